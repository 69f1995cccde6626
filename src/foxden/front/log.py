"""Logging as the user asked for it: `--log` and MOZ_LOG, one syntax.

Runs in: command.  Trusts: the user's words; what children write arrives escaped.
Flow: "child:5,process" → {module: level} → listeners of those modules → standard error.
Source: Firefox's MOZ_LOG: comma list of module:level, levels 0-5 or by name; `all`; options such as sync.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from foxden.front.terminal import one_line, tell

LEVELS = {"disabled": 0, "error": 1, "warning": 2, "info": 3, "debug": 4, "verbose": 5}
_FULL = 5
# Words of MOZ_LOG that are no modules: how Firefox writes, not what.  Ours writes at once, with times.
_OPTIONS = frozenset({"sync", "timestamp", "append", "rotate", "maxsize", "prependheader", "raw", "profilerstacks"})
INFO, DEBUG = LEVELS["info"], LEVELS["debug"]


class LogSyntaxError(ValueError):
    """The words are not those of MOZ_LOG."""


def parse(text: str) -> dict[str, int]:
    """Levels by module.  A module without a level gets level 4 as in Firefox.  Raises LogSyntaxError."""
    levels: dict[str, int] = {}
    for item in text.replace(" ", ",").split(","):
        module, colon, level = item.strip().partition(":")
        if not item.strip():
            continue
        if not module:
            raise LogSyntaxError(f"expected MODULE:LEVEL, got {item.strip()!r}")
        if module.lower() not in _OPTIONS:
            levels[module] = _level(item, level) if colon else DEBUG
    return levels


def _level(item: str, text: str) -> int:
    if text.lower() in LEVELS:
        return LEVELS[text.lower()]
    if text.isdecimal() and text.isascii():
        return min(int(text), _FULL)
    raise LogSyntaxError(f"{item.strip()}: expected a level of 0 to 5 or one of {', '.join(LEVELS)}, got {text!r}")


def level_of(module: str, levels: dict[str, int]) -> int:
    return levels.get(module, levels.get("all", 0))


def start(words: Iterable[str]) -> None:
    """Begin to log what was asked for.  Modules that do not exist are accepted, as in Firefox."""
    levels = {module: level for text in words for module, level in parse(text).items()}
    if level_of("child", levels) >= INFO:
        from foxden.launch import childlog

        childlog.listener = _log_child
    if level_of("process", levels) >= INFO:
        from foxden.parent import hosts

        hosts.listener = _log_process


def _log_child(who: str, text: str) -> None:
    _write("child", f"{who}: {text}")  # one line, escaped: a child cannot forge one of another


def _log_process(who: str, what: str) -> None:
    _write("process", f"{who} {what}")


def _write(module: str, text: str) -> None:
    now = time.time()
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    tell(f"{clock}.{int(now % 1 * 1000):03d} {module}: {one_line(text)}")
