#!/usr/bin/env python3
"""Run a command as an ordinary user who has a name and a range of subordinate ids, though the machine knows none.

    python tests/support/subordinate_user.py COMMAND...

Runs in: tests, as root only.  Trusts: newuidmap and newgidmap (Debian: uidmap), which read what is shown here.
Flow: a mount namespace of its own → /etc/passwd, group, subuid, subgid with one more line → tools/as_ordinary_user.py.
FOXDEN_TEST_RANGE: "first:count" of the range; default 200000:65536.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
UID = 54321
NAME = "foxden-test"
_CLONE_NEWNS, _MS_BIND, _MS_REC_PRIVATE = 0x0002_0000, 0x1000, 0x4_4000


def lines(given: str) -> dict[str, str]:
    """What each file says of the user, besides what it says already."""
    return {
        "/etc/passwd": f"{NAME}:x:{UID}:{UID}::/nonexistent:/bin/sh\n",
        "/etc/group": f"{NAME}:x:{UID}:\n",
        "/etc/subuid": f"{NAME}:{given}\n",
        "/etc/subgid": f"{NAME}:{given}\n",
    }


def show(folder: Path, given: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "a mount namespace is not to be had")
    for path, line in lines(given).items():
        shown = folder / os.path.basename(path)
        shown.write_text((Path(path).read_text() if os.path.exists(path) else "") + line)
        shown.chmod(0o644)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path}: expected a file to stand on (Debian: uidmap makes it)")
        if libc.mount(str(shown).encode(), path.encode(), None, _MS_BIND, None):
            raise OSError(ctypes.get_errno(), f"cannot show another {path}")


def main(command: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="fxs-") as folder:
        show(Path(folder), os.environ.get("FOXDEN_TEST_RANGE", "200000:65536"))
        # The mounts hold the files: they may go from the folder now.
    tool = str(CHECKOUT / "tools" / "as_ordinary_user.py")
    os.execve(sys.executable, [sys.executable, tool, *command], {**os.environ, "FOXDEN_TEST_UID": str(UID)})


if __name__ == "__main__":
    main(sys.argv[1:])
