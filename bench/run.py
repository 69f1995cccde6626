"""`foxden run`: from a shell to the end of a program that does nothing; what a sandbox costs while programs work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure, interleaved, median
from bench.parts import SYSTEM_PYTHON

_ROUNDS = 20
_LONG_ROUNDS = 5
_PIPELINES = "for i in $(seq 1000); do echo $i | tr 1 2 | cat >/dev/null; done"
_READS = """
import os, time
def seconds(act, rounds=20_000):
    start = time.perf_counter()
    for _ in range(rounds):
        act()
    return (time.perf_counter() - start) / rounds
path = "/usr/bin/env"
print(seconds(lambda: os.close(os.open(path, os.O_RDONLY))), seconds(lambda: os.stat(path)))
"""
_CHECKOUT = Path(__file__).resolve().parents[1]
_BWRAP = [
    "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib",
    "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev",
    "--tmpfs", "/tmp", "/bin/true",
]  # fmt: skip


def measure() -> list[Figure]:
    return [*_cold(), *_reads(), *_pipelines(), *_suite()]


def _cold() -> list[Figure]:
    taken = interleaved(
        {
            "foxden": lambda: _run(_foxden("/bin/true")),
            "bwrap": lambda: _run(_BWRAP),
            "python": lambda: _run([sys.executable, "-c", ""]),
        },
        _ROUNDS,
    )
    ours, bwrap, python = (median(taken[name]) * 1e3 for name in ("foxden", "bwrap", "python"))
    return [
        Figure(
            "foxden run -- /bin/true, cold", ours, "ms", against=f"bwrap {bwrap:.0f} ms, python -c '' {python:.0f} ms"
        ),
        Figure("the same, beyond bwrap and a bare python together", ours - bwrap - python, "ms", 60.0, against="aim"),
    ]


def _reads() -> list[Figure]:
    """Of files that a program may read the kernel judges alone; each round is a process of its own."""
    program = [SYSTEM_PYTHON, "-I", "-S", "-c", _READS]
    inside, outside = [], []
    for _ in range(_ROUNDS):
        inside.append(_told(_foxden(*program)))
        outside.append(_told(program))
    figures = []
    for place, act in enumerate(("open and close", "stat")):
        ratio = median([a[place] / b[place] for a, b in zip(inside, outside, strict=True)])
        bare = median([each[place] for each in outside])
        against = f"{bare * 1e6:.2f} µs"
        figures.append(Figure(f"{act} of a readable file / unsandboxed", ratio, "x", 1.15, against=against))
    return figures


def _pipelines() -> list[Figure]:
    shell = ["bash", "-c", _PIPELINES]
    taken = interleaved({"inside": lambda: _run(_foxden(*shell)), "outside": lambda: _run(shell)}, _LONG_ROUNDS)
    inside, outside = median(taken["inside"]), median(taken["outside"])
    return [Figure("1000 pipelines of three / unsandboxed", inside / outside, "x", 1.15, against=f"{outside:.1f} s")]


def _suite() -> list[Figure]:
    """foxden's own tests of its model, by pytest: reading, importing, computing, examples of hypothesis kept."""
    program = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "tests/unit/model",
    ]  # fmt: skip
    reads = (sys.prefix, os.path.realpath(sys.prefix), sys.base_prefix, str(_CHECKOUT))
    options = [word for path in reads for word in ("--read", path)]
    options += ["--cwd", str(_CHECKOUT), "--env", "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis"]

    def outside() -> None:
        # As inside, hypothesis finds none of its tables and examples: reading them is a fifth of making them.
        with tempfile.TemporaryDirectory() as folder:
            environment = {**_environment(), "HYPOTHESIS_STORAGE_DIRECTORY": folder}
            subprocess.run(program, cwd=_CHECKOUT, env=environment, check=True, capture_output=True)

    taken = interleaved(
        {"inside": lambda: _run(_foxden(*program, options=options)), "outside": outside}, _LONG_ROUNDS
    )
    inside, bare = median(taken["inside"]), median(taken["outside"])
    return [Figure("a project's test suite / unsandboxed", inside / bare, "x", 1.15, against=f"{bare:.1f} s")]


def _foxden(*program: str, options: list[str] | None = None) -> list[str]:
    return [sys.executable, "-m", "foxden", "run", *(options or []), "--", *program]


def _environment() -> dict[str, str]:
    """With bytecode kept, as of an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _told(words: list[str]) -> list[float]:
    """The numbers that it prints."""
    return [float(word) for word in _run(words).split()]


def _run(words: list[str]) -> bytes:
    return subprocess.run(
        words, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=300
    ).stdout
