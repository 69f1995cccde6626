"""How a load fails for a reason that is not the network's: one table of names, meanings and hints.

Runs in: every process; pure.  Trusts: nothing.
Flow: parent/files, children/content → `LoadError.code` → the docs.
Source: Gecko's xpcom/base/ErrorList.py; names that Firefox does not have are marked "foxden's own".
"""

from __future__ import annotations

import msgspec


class LoadErrorRow(msgspec.Struct, frozen=True):
    code: str
    meaning: str
    hint: str = ""


_Row = LoadErrorRow

LOAD_ERRORS: tuple[LoadErrorRow, ...] = (
    _Row("NS_ERROR_DOM_BAD_URI", "this page, or this redirect, may not load that URL"),
    _Row("NS_ERROR_FILE_NOT_FOUND", "there is no such file"),
    _Row("NS_ERROR_FILE_ACCESS_DENIED", "the file may not be read: by you, or by the policy of file pages"),
    _Row("NS_ERROR_FILE_IS_DIRECTORY", "it is a directory, and listings are not shown", "name a file in it"),
    _Row("NS_ERROR_FILE_NOT_REGULAR", "it is a fifo, a socket or a device (foxden's own)"),
    _Row("NS_ERROR_FILE_NAME_TOO_LONG", "the name is longer than a file's can be"),
    _Row("NS_ERROR_FILE_UNRESOLVABLE_SYMLINK", "its symbolic links lead nowhere"),
    _Row("NS_ERROR_FILE_CORRUPTED", "reading the file failed half-way"),
    _Row("NS_ERROR_INVALID_CONTENT_ENCODING", "the body is not what its Content-Encoding says"),
    _Row("NS_ERROR_WONT_HANDLE_CONTENT", "it is no text: an image, an archive, a program",
         "`foxden fetch -o FILE` keeps it as it is"),
)  # fmt: skip

BY_CODE: dict[str, LoadErrorRow] = {row.code: row for row in LOAD_ERRORS}
