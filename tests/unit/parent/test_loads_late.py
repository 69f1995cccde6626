"""A den is loaded without what only some of its uses need: its fork servers begin to warm up the sooner."""

from __future__ import annotations

import subprocess
import sys

LATE = (
    "foxden.ipc.value_decode", "foxden.parent.answers", "foxden.parent.functions", "foxden.parent.support",
    "foxden.parent.unit_test", "foxden.parent.utility", "foxden.parent.workers", "foxden.protocols.unittest",
    "difflib", "fractions", "json", "pickle", "secrets", "sysconfig", "tempfile", "tomllib", "zoneinfo",
)  # fmt: skip


def test_the_door_is_loaded_without_what_few_dens_need() -> None:
    # Site packages may load some of them before anything of ours.
    program = (
        f"import sys; late = [m for m in {LATE!r} if m not in sys.modules]; from foxden import Den;"
        "print([m for m in late if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
