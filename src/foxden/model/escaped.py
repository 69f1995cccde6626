"""Hostile text made harmless: what a terminal obeys, what reorders a line, what would begin a line of its own.

Runs in: every process; pure.  Trusts: nothing that comes from a page, a server or a child.
Flow: text of a child → one_line → a line of a log;  a record → json_line → a line of a report.
Source: ECMA-48 control functions; Unicode TR 36 on bidirectional overrides; RFC 8259.
"""

from __future__ import annotations

# Newline and tab are layout.  Everything else below 32, DEL, and C1 (which 8-bit terminals obey) is shown as \x1b.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
# They reorder what stands around them: `exe.txt` can look like `txt.exe`.
BIDI = {code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
# Bytes that are no UTF-8, and halves of pairs: whoever writes the text on is stopped by an exception.
_SURROGATES = {
    code: f"\\x{code & 0xFF:02x}" if 0xDC80 <= code < 0xDD00 else f"\\u{code:04x}" for code in range(0xD800, 0xE000)
}
_LINES = {0x0A: " ", 0x09: " ", 0x2028: " ", 0x2029: " "}
_ONE_LINE = str.maketrans({**CONTROLS, **BIDI, **_SURROGATES, **_LINES})
# A name that is quoted must not look like two words, or like another name: here newlines are shown, too, and so are
# characters that nobody sees.
_UNSEEN = {code: f"\\u{code:04x}" for code in (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0x2028, 0x2029, 0xFEFF)}
_QUOTED = str.maketrans({**CONTROLS, **BIDI, **_UNSEEN, **_SURROGATES, 0x0A: "\\n", 0x09: "\\t"})


def one_line(text: str) -> str:
    """Text for a title, a cell or a message: on one line, with all controls shown."""
    return text.replace("\r\n", " ").translate(_ONE_LINE)


def quoted_name(text: str) -> str:
    """A path or host of a child's as it is: every character that is not plainly seen is shown as its code."""
    return text.translate(_QUOTED)


def json_line(value: object) -> str:
    """`value` as JSON on one line of ASCII; parsed, it is exactly `value`, bytes that are no UTF-8 too."""
    import json

    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")
