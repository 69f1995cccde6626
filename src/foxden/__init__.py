"""foxden: Firefox's process model for Python.

A trusted parent, sandboxed children of named types, one process that owns the network.

    import foxden
    with foxden.Den() as den:
        print(den.open("https://example.org/").text)

The doors are loaded when first used: children import this package too, and need none of them.
"""

from __future__ import annotations

from foxden.errors import (
    ArgumentsNotSendable,
    BadMessage,
    CallTimeout,
    ChildCrashed,
    ChildTimeout,
    DenClosed,
    FoxdenError,
    LaunchFailed,
    LoadError,
    NetworkError,
    PolicyError,
    ProtocolMisuse,
    RemoteError,
    ResultNotData,
    SandboxUnavailable,
)

TYPE_CHECKING = False  # as type checkers read it; `typing` is most of what a process of ours loads first
if TYPE_CHECKING:
    from foxden.executor import SandboxExecutor, sandboxed, untrusted
    from foxden.parent.answers import Page, Reply
    from foxden.parent.den import AsyncDen, Den
    from foxden.parent.policies import Policy
    from foxden.workers_broken import WorkersBroken

__version__ = "0.1.0"

_DOORS = {"Den": "foxden.parent.den", "AsyncDen": "foxden.parent.den",
          "Page": "foxden.parent.answers", "Reply": "foxden.parent.answers",
          "SandboxExecutor": "foxden.executor", "sandboxed": "foxden.executor",
          "untrusted": "foxden.executor", "Policy": "foxden.parent.policies",
          "WorkersBroken": "foxden.workers_broken"}  # fmt: skip

__all__ = [
    "ArgumentsNotSendable",
    "AsyncDen",
    "BadMessage",
    "CallTimeout",
    "ChildCrashed",
    "ChildTimeout",
    "Den",
    "DenClosed",
    "FoxdenError",
    "LaunchFailed",
    "LoadError",
    "NetworkError",
    "Page",
    "Policy",
    "PolicyError",
    "ProtocolMisuse",
    "RemoteError",
    "Reply",
    "ResultNotData",
    "SandboxExecutor",
    "SandboxUnavailable",
    "WorkersBroken",
    "sandboxed",
    "untrusted",
]


def __getattr__(name: str) -> object:
    module = _DOORS.get(name)
    if module is None:
        raise AttributeError(f"module 'foxden' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
