"""From a shell: process start to the text of a small page, next to a client without any sandbox."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.servers import Nginx

from bench.figures import Figure, interleaved, median

_PAGE = "<!doctype html><title>Small</title><p>A small page.</p>" + "<p>More words.</p>" * 20
_ROUNDS = 12


def measure() -> list[Figure]:
    foxden = Path(sys.executable).parent / "foxden"
    with tempfile.TemporaryDirectory(prefix="foxden-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "small.html").write_text(_PAGE)
        with Nginx(root) as server:
            url = f"{server.http}/small.html"
            peer = f"import httpx; print(httpx.get({url!r}).text)"
            taken = interleaved(
                {
                    "foxden": lambda: _run([str(foxden), "open", url]),
                    "httpx": lambda: _run([sys.executable, "-c", peer]),
                },
                _ROUNDS,
            )
    ours, theirs = median(taken["foxden"]), median(taken["httpx"])
    return [
        Figure("foxden open, cold", ours * 1e3, "ms", against=f"python -c 'import httpx; …': {theirs * 1e3:.0f} ms"),
        Figure("foxden open, cold / httpx without sandbox", ours / theirs, "x", 2.0, against="aim"),
    ]


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60)
