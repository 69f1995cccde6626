"""What a terminal may see: hostile text made harmless, colours where there is a terminal, one line where one is due.

Runs in: command.  Trusts: nothing that comes from a page, a server or a child.
Flow: text → shown() → standard output;  (text, style) → paint() → text with colours, or without.
Source: ECMA-48 control functions; Unicode TR 36 on bidirectional overrides; no-color.org.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from foxden.model.escaped import BIDI, CONTROLS
from foxden.model.escaped import one_line as one_line  # all that shows a line has it from here

_SHOWN = str.maketrans(CONTROLS)
_SHOWN_ON_TERMINAL = str.maketrans({**CONTROLS, **BIDI})
# The same in JSON's own notation: inside a JSON text these stand in strings only.
_JSON = str.maketrans({code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *BIDI)})

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "alarm": "1;37;41"}


def shown(text: str, *, on_terminal: bool) -> str:
    """Text of a page for standard output: controls are shown, newlines and tabs kept."""
    plain = text.replace("\r\n", "\n")
    return plain.translate(_SHOWN_ON_TERMINAL if on_terminal else _SHOWN)


def json_text(value: object) -> str:
    """`value` as JSON that no terminal can be harmed with; parsed, it is exactly `value`."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2).translate(_JSON)


def is_terminal(stream: TextIO | None) -> bool:
    """False also for a stream that is closed."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def wants_colour(stream: TextIO | None) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, colour: bool) -> str:
    """`text` in a style of the table above; as it is without colour."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and style else text


def say(text: str = "") -> None:
    """A line on standard output."""
    if sys.stdout is not None:
        sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """A line on standard error, at once.  Where nobody can read it any more, nothing."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # the terminal is gone: there is nobody left to tell


def make_streams_lenient() -> None:
    """A character that the user's encoding does not have is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
