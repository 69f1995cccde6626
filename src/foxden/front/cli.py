"""The `foxden` command: its door, as light as can be.

Runs in: command.  Trusts: its command line.
Flow: argv → front.group → exit code.
Source: interface.md "Command".
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        gc.disable()  # until a den is made: loading makes much that lives and little that dies
        begin_early(words)
        from foxden.launch.loading import load_msgspec

        load_msgspec()
        if words[:1] == ["run"]:
            from foxden.front.run_words import run_quickly

            code = run_quickly(words[1:])
            if code is not None:
                if arguments is None:
                    _end(code)
                return code
        # Here and not above, so that Ctrl-C is quiet while all of it is loaded, too.
        from foxden.front.group import run

        return run(words)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _end(code: int) -> NoReturn:
    """End at once: taking an interpreter down takes as long as some programs run."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def families_for(words: Sequence[str]) -> tuple[str, ...]:
    """Whose fork servers this command line will want at once; a guess, and nothing depends on it."""
    if words[:1] == ["fetch"]:
        return ("network",)
    if words[:1] != ["open"]:
        return ()
    return ("network", "web") if any(word.startswith(("http://", "https://")) for word in words) else ("file",)


def begin_early(words: Sequence[str]) -> None:
    """Have the fork servers load while this process does."""
    families = families_for(words)
    if not families or "--help" in words or "-h" in words:
        return
    from foxden.launch import early

    with contextlib.suppress(OSError):  # it fails again where it can be told
        early.begin(*families)
