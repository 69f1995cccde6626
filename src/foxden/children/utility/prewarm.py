"""What the fork server of utility processes loads, so that no worker has to.

Runs in: fork server, before any fork.  Trusts: nothing is read yet.
Flow: fork server → prewarm → every worker has it, without a file; prewarm_late → all but, perhaps, the first.
Source: figures: a worker's first call.
"""

from __future__ import annotations

# What cloudpickle, functions and their errors need at once.  Not asyncio: only functions that are async do.
_MODULES = (
    "cloudpickle",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "foxden.ipc.typed",
    "foxden.ipc.rebuilt",
    "json",
    "inspect",
    "warnings",
)


_WORK = b"\x80\x05\x8c\x08builtins\x8c\x03len\x93\x8c\x00\x85}\x87."  # pickle of (len, ("",), {})


def prewarm() -> None:
    _rehearse()


def prewarm_late() -> None:
    import contextlib
    import importlib

    for name in _MODULES:
        with contextlib.suppress(ImportError):  # a worker that needs it says so: its call fails with the reason
            importlib.import_module(name)


def _rehearse() -> None:
    """Take a call, and make what answers it, as every worker will."""
    from foxden.ipc.codec import Kind, decode_body, encode
    from foxden.ipc.value_encode import encode_value
    from foxden.protocols.utility import PTasks, ResultTokens

    value = ResultTokens(encode_value({"a": [1, ("b",)]}, limit=1 << 20).data)
    returned = PTasks.Returned(call=1, value=value.data)
    finished = PTasks.Finished(call=1, value=value)
    run = PTasks.Run(call=1, work=_WORK, parts=((0, 1, True),))
    for message in (run, returned, finished):
        packet, _ = encode(0, 0, message.number, Kind.SEND, message)
        if message is run:
            decode_body(PTasks.Run, memoryview(packet), [])
