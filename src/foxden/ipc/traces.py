"""The traceback of an exception in a worker, as text: without our own frames, and without a look at files for lines of
source that the parent has.

Runs in: utility processes.  Trusts: nothing of the exception, whose parts are its function's: formatting may fail.
Flow: ipc/rebuilt notes whose code came by value → text_of(error) → the parent, which adds the lines (its source_lines).
Source: traceback and linecache, which would look for the caller's script, and be refused it.
"""

from __future__ import annotations

from types import CodeType, TracebackType

_FILES_MAX = 1024
_OUR_FRAMES = "foxden.children.utility."
_NO_LINES: tuple[int, None, list[str]] = (0, None, [])

_sent: dict[str, None] = {}  # files of code that came by value


def note_sent(code: CodeType) -> None:
    """This code came by value: its file is the caller's."""
    if len(_sent) < _FILES_MAX:
        _sent[code.co_filename] = None


def text_of(error: BaseException) -> str:
    """Raises whatever the exception's parts raise."""
    import linecache
    import traceback

    unknown = {name: (*_NO_LINES, name) for name in _sent if name not in linecache.cache}
    linecache.cache.update(unknown)
    try:
        return "".join(traceback.format_exception(type(error), error, _of_functions(error.__traceback__)))
    finally:
        for name in unknown:  # for others, who may be allowed to read it
            linecache.cache.pop(name, None)


def _of_functions(tracing: TracebackType | None) -> TracebackType | None:
    """From where a function of the caller's begins; all of it, where none has begun."""
    inner = tracing
    while inner is not None and str(inner.tb_frame.f_globals.get("__name__")).startswith(_OUR_FRAMES):
        inner = inner.tb_next
    return inner or tracing
