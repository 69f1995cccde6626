"""Real parts for the figures: a runtime on the measuring thread's own loop, a web server, a peer.

Source: tests/support/servers, which starts the same nginx for the tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foxden.model.enforcement import Layer
from foxden.parent.runtime import Runtime

BWRAP = (
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
    "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
    "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev",
)  # fmt: skip
_SWITCH = "FOXDEN_NO_NATIVE"
SYSTEM_PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


@contextmanager
def without_native() -> Iterator[None]:
    """What is made meanwhile does without the extension in C."""
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before


def make_runtime(prefs: dict[str, object] | None = None, accept: tuple[Layer, ...] = ()) -> Runtime:
    """A runtime on the running loop; the caller closes it."""
    runtime = Runtime(profile=None, prefs=prefs or {}, lock_parent=False, accept_partial=accept)
    runtime.start()
    return runtime


@contextmanager
def authority(path: Path) -> Iterator[None]:
    """Trust this certificate authority for as long as it lasts."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before
