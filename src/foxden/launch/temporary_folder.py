"""Where a child's temporary files go, told to the module tempfile.

Runs in: children, before their sandbox is on.  Trusts: the parent, which names the folder.
Flow: PChildProcess.Launch.temporary → use → tempfile.tempdir.
Source: tempfile.gettempdir.  A variable TMPDIR would be seen by functions, which have the variables they were given.
"""

from __future__ import annotations

from typing import Any

from foxden.launch import when_loaded


def use(folder: str) -> None:
    def tell(tempfile: Any) -> None:
        tempfile.tempdir = folder

    when_loaded.then("tempfile", tell)
