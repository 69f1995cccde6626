"""What the words of the Windows tables mean in Win32: flags, SIDs, privileges, calls, with their numbers.

Runs in: the parent, tools and tests; pure tables.  Trusts: nothing, it is data.
Flow: read by windows.decide (tokens, labels) and windows.settings (everything).
Source: winnt.h, winbase.h of the Windows SDK 10.0; Chromium's sandbox/win/src: job.cc, restricted_token_utils.cc,
process_mitigations.cc, from which the levels' names come.
"""

from __future__ import annotations

import msgspec

# Well-known SIDs by the names that tables here use.  Without a fixed one: those of a user and of a session.
SIDS: dict[str, str] = {
    "Null": "S-1-0-0",
    "Everyone": "S-1-1-0",
    "Interactive": "S-1-5-4",
    "AuthenticatedUsers": "S-1-5-11",
    "Restricted": "S-1-5-12",
    "SYSTEM": "S-1-5-18",
    "Administrators": "S-1-5-32-544",
    "Users": "S-1-5-32-545",
    "TrustedInstaller": "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
    "CurrentUser": "TokenUser of the parent's token",
    "LogonSession": "S-1-5-5-X-Y of the parent's token (SE_GROUP_LOGON_ID)",
}
# Those that a user's token carries: who may open what grants one of them.
OF_A_USER = ("CurrentUser", "Everyone", "Interactive", "AuthenticatedUsers", "Users", "Administrators", "LogonSession")

INTEGRITY: dict[str, tuple[int, str]] = {
    "INTEGRITY_LEVEL_UNTRUSTED": (0x0000, "S-1-16-0"),
    "INTEGRITY_LEVEL_LOW": (0x1000, "S-1-16-4096"),
    "INTEGRITY_LEVEL_MEDIUM": (0x2000, "S-1-16-8192"),
    "INTEGRITY_LEVEL_HIGH": (0x3000, "S-1-16-12288"),
}


class Token(msgspec.Struct, frozen=True):
    """What CreateRestrictedToken is given.  Groups not in `keep` are for denying only (SidsToDisable)."""

    keep: tuple[str, ...]
    restricting: tuple[str, ...] = ()  # SidsToRestrict: what is opened must grant one of these as well
    user_deny_only: bool = False
    privileges: tuple[str, ...] = ("SeChangeNotifyPrivilege",)  # every other is deleted


_GROUPS = ("Users", "Everyone", "Interactive")
_RESTRICTING = ("Users", "Everyone", "Restricted")

TOKENS: dict[str, Token] = {
    "USER_NON_ADMIN": Token((*_GROUPS, "AuthenticatedUsers")),
    "USER_INTERACTIVE": Token((*_GROUPS, "AuthenticatedUsers"), (*_RESTRICTING, "CurrentUser", "LogonSession")),
    "USER_LIMITED": Token(_GROUPS, (*_RESTRICTING, "LogonSession")),
    "USER_RESTRICTED": Token((), ("Restricted",), user_deny_only=True),
    "USER_LOCKDOWN": Token((), ("Null",), user_deny_only=True, privileges=()),
}

UI_RESTRICTIONS: dict[str, int] = {
    "JOB_OBJECT_UILIMIT_HANDLES": 0x01,
    "JOB_OBJECT_UILIMIT_READCLIPBOARD": 0x02,
    "JOB_OBJECT_UILIMIT_WRITECLIPBOARD": 0x04,
    "JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS": 0x08,
    "JOB_OBJECT_UILIMIT_DISPLAYSETTINGS": 0x10,
    "JOB_OBJECT_UILIMIT_GLOBALATOMS": 0x20,
    "JOB_OBJECT_UILIMIT_DESKTOP": 0x40,
    "JOB_OBJECT_UILIMIT_EXITWINDOWS": 0x80,
}
LIMITS: dict[str, int] = {
    "JOB_OBJECT_LIMIT_ACTIVE_PROCESS": 0x0008,
    "JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION": 0x0400,
    "JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE": 0x2000,
}


class Job(msgspec.Struct, frozen=True):
    """What SetInformationJobObject is given.  `limits` empty: there is no job."""

    limits: tuple[str, ...] = ()
    ui: tuple[str, ...] = ()
    active_processes: int = 0  # 0: as many as it likes


_ENDS = "JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE"
_ONE = "JOB_OBJECT_LIMIT_ACTIVE_PROCESS"
_DIES = "JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION"
_INTERACTIVE = (
    "JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS", "JOB_OBJECT_UILIMIT_DESKTOP", "JOB_OBJECT_UILIMIT_EXITWINDOWS"
)  # fmt: skip
_LIMITED = (*_INTERACTIVE, "JOB_OBJECT_UILIMIT_DISPLAYSETTINGS")

JOBS: dict[str, Job] = {
    "JOB_NONE": Job(),
    "JOB_UNPROTECTED": Job((_ENDS,)),
    "JOB_INTERACTIVE": Job((_ENDS,), _INTERACTIVE),
    "JOB_LIMITED_USER": Job((_ENDS, _ONE), _LIMITED, 1),
    "JOB_RESTRICTED": Job((_ENDS, _ONE), tuple(UI_RESTRICTIONS), 1),
    "JOB_LOCKDOWN": Job((_ENDS, _ONE, _DIES), tuple(UI_RESTRICTIONS), 1),
}


class Creation(msgspec.Struct, frozen=True):
    """A bit of PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY, set before the process has run.  0: none of its own."""

    flag: str
    value: int
    only_32_bits: bool = False


CREATION: dict[str, Creation] = {
    "MITIGATION_DEP": Creation("PROCESS_CREATION_MITIGATION_POLICY_DEP_ENABLE", 0x01, only_32_bits=True),
    # Taking thunks away is not setting DEP_ATL_THUNK_ENABLE (0x02): there is no bit for it.
    "MITIGATION_DEP_NO_ATL_THUNK": Creation(
        "PROCESS_CREATION_MITIGATION_POLICY_DEP_ATL_THUNK_ENABLE is left out", 0, only_32_bits=True
    ),
    "MITIGATION_SEHOP": Creation("PROCESS_CREATION_MITIGATION_POLICY_SEHOP_ENABLE", 0x04, only_32_bits=True),
    "MITIGATION_HEAP_TERMINATE": Creation("PROCESS_CREATION_MITIGATION_POLICY_HEAP_TERMINATE_ALWAYS_ON", 1 << 12),
    "MITIGATION_BOTTOM_UP_ASLR": Creation("PROCESS_CREATION_MITIGATION_POLICY_BOTTOM_UP_ASLR_ALWAYS_ON", 1 << 16),
    "MITIGATION_EXTENSION_POINT_DISABLE": Creation(
        "PROCESS_CREATION_MITIGATION_POLICY_EXTENSION_POINT_DISABLE_ALWAYS_ON", 1 << 32
    ),
    "MITIGATION_IMAGE_LOAD_NO_REMOTE": Creation(
        "PROCESS_CREATION_MITIGATION_POLICY_IMAGE_LOAD_NO_REMOTE_ALWAYS_ON", 1 << 52
    ),
    "MITIGATION_IMAGE_LOAD_NO_LOW_LABEL": Creation(
        "PROCESS_CREATION_MITIGATION_POLICY_IMAGE_LOAD_NO_LOW_LABEL_ALWAYS_ON", 1 << 56
    ),
}


class Delayed(msgspec.Struct, frozen=True):
    """A call that the process itself makes once it has loaded what it needs, before it sees any input."""

    call: str
    arguments: dict[str, str | int]


DELAYED: dict[str, Delayed] = {
    "MITIGATION_STRICT_HANDLE_CHECKS": Delayed(
        "SetProcessMitigationPolicy",
        {
            "MitigationPolicy": "ProcessStrictHandleCheckPolicy (3)",
            "RaiseExceptionOnInvalidHandleReference": 1,
            "HandleExceptionsPermanentlyEnabled": 1,
        },
    ),
    "MITIGATION_DLL_SEARCH_ORDER": Delayed(
        "SetDefaultDllDirectories", {"DirectoryFlags": "LOAD_LIBRARY_SEARCH_DEFAULT_DIRS (0x1000)"}
    ),
}
