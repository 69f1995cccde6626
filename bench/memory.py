"""What an idle den takes: proportional set size of each process after one page."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.servers import Nginx

from bench.figures import Figure

_SCRIPT = """
import json, sys, foxden
with foxden.Den(prefs={"dom.ipc.processPrelaunch.fission.number": 0}) as den:
    den.open(sys.argv[1])
    print(json.dumps({f"{p.process_type} {p.name}": p.memory_bytes for p in den.processes()}))
"""


def measure() -> list[Figure]:
    import json

    with tempfile.TemporaryDirectory(prefix="foxden-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "small.html").write_text("<title>x</title>")
        with Nginx(root) as server:
            words = [sys.executable, "-c", _SCRIPT, f"{server.http}/small.html"]
            done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    taken: dict[str, int] = json.loads(done.stdout)
    names = {"default parent": "parent", "socket network": "socket process"}
    figures = [Figure(f"idle PSS, {names[k]}", taken[k] / 1e6, "MB") for k in names if k in taken]
    content = [size for name, size in taken.items() if name.startswith("content")]
    return [*figures, Figure("idle PSS, one content process", content[0] / 1e6, "MB")]


