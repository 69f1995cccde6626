"""The process table: every kind of process that foxden has, one row each.

Runs in: every process; pure.  Trusts: nothing, it is data.
Flow: read by the launcher, `foxden ps`, `foxden support`, the docs and the tests; nothing else lists types.
Source: Security/Sandbox/Process model (MozillaWiki); numbers of Gecko's GeckoProcessTypes where Gecko has one.
"""

from __future__ import annotations

import enum

import msgspec


class Family(enum.Enum):
    """Who may be forked from the same fork server.  Families never mix: forks share addresses of all code."""

    NONE = "none"  # not forked: the parent, and the fork servers themselves
    WEB = "web"  # remote pages
    FILE = "file"  # file:// pages: their server never held a web page's memory layout
    EXTENSION = "extension"  # extension and privileged content: more messages are open to them
    MEDIA = "media"  # GMP, RDD, GPU, VR: native decoders and drivers
    NETWORK = "network"  # the socket process alone
    UTILITY = "utility"  # functions, the IPC test process
    PLUGIN = "plugin"  # unmodified programs: their server may execute, which no other family may
    BROKER = "broker"  # the broker alone: it reads and writes other processes' memory, which no other family may


class RemoteType(enum.Enum):
    """What a content process may hold.  A content process has exactly one, for life."""

    WEB = "web"
    FILE = "file"
    PRIVILEGED = "privileged"
    EXTENSION = "extension"


class ProcessType(msgspec.Struct, frozen=True):
    """One row.  `number`s are for ever: never changed, never used again for another type."""

    number: int
    name: str  # in `ps`, records, policy file names and the command line
    protocol: str  # the top-level protocol it speaks with the parent (`protocols/registry`)
    policy: str  # sandbox/policies/<policy>.toml
    child: str  # module with `main(process)`; empty: not forked by a fork server
    family: Family
    remote_types: tuple[RemoteType, ...] = ()
    level_pref: str = ""  # preference that chooses the level; empty: the one strict level
    disable_env: str = ""  # environment name of the parent that switches the sandbox off
    working: bool = True  # False: starts, reports ready and stops; its work comes in a later version
    about: str = ""


_IDLE = "foxden.children.idle"

PROCESS_TYPES: tuple[ProcessType, ...] = (
    ProcessType(0, "default", "", "parent", "", Family.NONE,
                about="The parent: trusted, decides everything, opens no network socket, runs no untrusted input."),
    ProcessType(1, "plugin", "PPlugin", "plugin", "foxden.children.plugin.process", Family.PLUGIN,
                level_pref="dom.ipc.plugins.sandbox-level.default", disable_env="MOZ_DISABLE_NPAPI_SANDBOX",
                about="Unmodified third-party programs and native libraries."),
    ProcessType(2, "content", "PContent", "content", "foxden.children.content.process", Family.WEB,
                remote_types=(RemoteType.WEB, RemoteType.FILE, RemoteType.PRIVILEGED, RemoteType.EXTENSION),
                level_pref="security.sandbox.content.level", disable_env="MOZ_DISABLE_CONTENT_SANDBOX",
                about="Parses pages.  One per site; no files, no network, no exec, no new processes."),
    ProcessType(3, "ipdlunittest", "PIPDLUnitTest", "ipdlunittest", "foxden.children.ipdlunittest.process",
                Family.UTILITY, about="Exists to test the IPC layer from both ends."),
    ProcessType(4, "gmp", "PChildProcess", "gmp", _IDLE, Family.MEDIA, disable_env="MOZ_DISABLE_GMP_SANDBOX",
                working=False, about="Third-party codecs and CDMs: locked before their code is loaded."),
    ProcessType(5, "gpu", "PChildProcess", "gpu", _IDLE, Family.MEDIA,
                level_pref="security.sandbox.gpu.level", disable_env="MOZ_DISABLE_GPU_SANDBOX",
                working=False, about="The compositor: tiles to pixels."),
    ProcessType(6, "vr", "PChildProcess", "vr", _IDLE, Family.MEDIA, working=False, about="VR hardware and runtimes."),
    ProcessType(7, "rdd", "PChildProcess", "rdd", _IDLE, Family.MEDIA, disable_env="MOZ_DISABLE_RDD_SANDBOX",
                working=False, about="Decodes audio and video."),
    ProcessType(8, "socket", "PSocketProcess", "socket", "foxden.children.socket.process", Family.NETWORK,
                level_pref="security.sandbox.socket.process.level", disable_env="MOZ_DISABLE_SOCKET_PROCESS_SANDBOX",
                about="All of the network: DNS, TCP, TLS, HTTP.  One per den."),
    ProcessType(9, "broker", "PBroker", "broker", "foxden.broker.process", Family.BROKER,
                about="Opens files for the others (RemoteSandboxBroker)."),
    ProcessType(10, "forkserver", "PForkServer", "forkserver", "", Family.NONE,
                about="One per family: warm, single-threaded, forks the others."),
    ProcessType(11, "utility", "PUtility", "utility", "foxden.children.utility.process", Family.UTILITY,
                disable_env="MOZ_DISABLE_UTILITY_SANDBOX",
                about="Isolated jobs: functions in a box.  They import what the caller has, and reach nothing else."),
)

BY_NAME: dict[str, ProcessType] = {row.name: row for row in PROCESS_TYPES}

# The filter that a family's fork server puts on itself, and that all its children inherit, by the name of its policy.
# The network's has none: it must fork the one process that makes internet sockets.
SERVER_POLICIES: dict[Family, str] = {
    Family.WEB: "forkserver",
    Family.FILE: "forkserver",
    Family.EXTENSION: "forkserver",
    Family.MEDIA: "forkserver",
    Family.UTILITY: "forkserver",
    Family.PLUGIN: "forkserver-plugin",
    Family.BROKER: "forkserver-broker",
}

# Families whose processes keep the caller's ids: a program works on the user's own files, and the broker opens them and
# reads the memory of children with other ids, which only their namespaces' owner may.
KEEP_CALLERS_IDS: frozenset[Family] = frozenset({Family.PLUGIN, Family.BROKER})

# The family of a content process depends on what it may hold.
_CONTENT_FAMILIES: dict[RemoteType, Family] = {
    RemoteType.WEB: Family.WEB,
    RemoteType.FILE: Family.FILE,
    RemoteType.PRIVILEGED: Family.EXTENSION,
    RemoteType.EXTENSION: Family.EXTENSION,
}


def family_of(row: ProcessType, remote_type: RemoteType | None) -> Family:
    """Return the fork server family of a child of this type."""
    if remote_type is None:
        return row.family
    return _CONTENT_FAMILIES[remote_type]


def child_rows() -> tuple[ProcessType, ...]:
    """Rows that a fork server can start, in order of number."""
    return tuple(row for row in PROCESS_TYPES if row.child)
