"""Prewarming: afterwards nothing needs the file system any more."""

from __future__ import annotations

import subprocess
import sys

from foxden.children.content import prewarm

# Runs in a fresh interpreter: after prewarm() every import that would read a file is an error.
PROGRAM = """
import sys, zlib
from foxden.children.content import prewarm
prewarm.prewarm()
before = set(sys.modules)
def refuse(event, arguments):
    if event in ("open", "import") and not (event == "import" and arguments[0] in sys.modules):
        raise SystemExit(f"{event} after prewarm: {arguments[:1]}")
sys.addaudithook(refuse)
from foxden.children.content.decode_body import BodyDecoder
from foxden.children.content.document import show
from foxden.children.content.encodings_table import LABELS
from foxden.errors import LoadError
for label in LABELS:
    show(bytes(range(256)), content_type=f"text/html;charset={label}")
for header in (None, "text/html", "text/xml", "application/json", "text/plain", "application/xhtml+xml", "image/png"):
    for body in (b"", b"{", b'{"a": 1}', b"<p>&eacute;\\xff", b"[" * 9999, b"<div>" * 3000, b"<a " * 40000):
        try:
            show(body, content_type=header, url="http://h/")
        except LoadError:
            pass
for coding in ("gzip", "deflate", "gzip, deflate", "br"):
    try:
        BodyDecoder(coding, 99).feed(b"garbage")
    except LoadError:
        pass
print("nothing new:", set(sys.modules) == before)
"""


def test_no_path_imports_or_opens_anything_after_prewarm() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing new: True\n", "")


def test_prewarm_may_be_called_in_any_process() -> None:
    prewarm.prewarm()


def test_prewarm_is_quick_and_may_be_called_again() -> None:
    program = (
        "import time; from foxden.children.content import prewarm; began = time.process_time();"
        "prewarm.prewarm(); prewarm.prewarm(); print(time.process_time() - began)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.25  # ten times what it takes on an idle machine
