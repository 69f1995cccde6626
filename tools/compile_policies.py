"""Write the compiled policies anew; `--check` fails when one is older than its text.

Run by `make policies` and, checking, by `make docs-check`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foxden.sandbox import read_policies
from foxden.sandbox.constants import ARCHES
from foxden.sandbox.program_base import LOCKS, POLICIES, compile_base, encode_base, path_of


def main(arguments: list[str]) -> int:
    stale = []
    bases = ((name, arch) for name in (*POLICIES, *LOCKS) for arch in ARCHES)
    files = {path_of(*base): encode_base(compile_base(*base)) for base in bases}
    files |= {read_policies.path_of(name): read_policies.compile_read(name) for name in read_policies.READ}
    for path, wanted in ((Path(path), wanted) for path, wanted in files.items()):
        if path.is_file() and path.read_bytes() == wanted:
            continue
        stale.append(path.name)
        if "--check" not in arguments:
            path.write_bytes(wanted)
    for name in stale:
        print(f"{name}: {'older than its text: make policies' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
