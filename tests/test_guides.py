"""What the guides show is what happens: their commands run, and print what stands below them.

Flow: README.md, docs/start.md, docs/guides → fenced blocks → one page in one folder, block after block → text compared.

    ```console   run by sh; below each `$ command` stands what it prints, on both streams; nothing there: not compared
    ```python    run as a script; a ```text block right after it is what it prints
    ```python, ```toml, ```sh whose first line is `# NAME` is a file of that name

Other blocks are not run: a screen, a form, what another machine has to do.  `…` stands for any text.  Numbers of four
digits and more are equal to each other, and after `pid ` those of three.  The folder stands below the home directory,
which is shown as /home/me.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import boxed_pytest
from tests.support.servers import free_port
from tests.support.users import needs_userns

CHECKOUT = Path(__file__).resolve().parents[1]
# tests/e2e/test_executor_guides.py, tests/e2e/test_web_service.py
ELSEWHERE = ("parse-uploads", "run-a-models-code", "a-pool-in-a-web-service")
GUIDES = [page for page in sorted((CHECKOUT / "docs" / "guides").glob("*.md")) if page.stem not in ELSEWHERE]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "docs" / "start.md", *GUIDES]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w-]+\.(?:py|toml|sh))\n")
FILE_KINDS = ("python", "toml", "sh")
NUMBERS = re.compile(r"(?:(?<=pid )|(?<='pid': )|(?<=\"pid\": ))\d{3,}|\d{4,}")  # the kernel begins again at 300
END = "\x01"
TIMEOUT_S = 60


class Block(NamedTuple):
    kind: str
    text: str
    follows: str  # what stands between it and the block before


def blocks(page: str) -> Iterator[Block]:
    last = 0
    for found in BLOCK.finditer(page):
        yield Block(found[1], found[2], page[last : found.start()])
        last = found.end()


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console, and what stands below it."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert parts[0] == "", f"expected a console to begin with a command, got {parts[0]!r}"
    return [(command, below) for command, _, below in (part.partition("\n") for part in parts[1:])]


def matches(shown: str, printed: str) -> bool:
    pattern = re.escape(NUMBERS.sub("1111", shown.strip())).replace("\\\n…", "(?:\n…)?").replace("…", "[^\1]*?")
    return re.fullmatch(pattern, NUMBERS.sub("1111", printed.strip())) is not None


class Reader:
    """Somebody who does what a page says, in a folder of theirs."""

    def __init__(self, folder: Path) -> None:
        self.home, self.place = folder / "me", folder / "me" / "project"
        programs = folder / "bin"
        for made in (self.place, programs, self.home / ".ssh"):
            made.mkdir(parents=True)
        (self.home / ".ssh" / "id_ed25519").write_text("a secret\n")
        for name, command in (("foxden", f"{sys.executable} -m foxden"), ("pytest", " ".join(boxed_pytest.words()))):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
        kept = {name: value for name, value in os.environ.items() if name.startswith(("FOXDEN_", "PYTHON"))}
        kept["PYTHONPATH"] = str(CHECKOUT / "src")
        self.environment = kept | {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb"}

    def run(self, words: list[str]) -> str:
        """Both streams, as a terminal gets them.  What still runs in the background ends, too."""
        with tempfile.TemporaryFile() as output:
            with subprocess.Popen(
                words, cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            ) as process:  # fmt: skip
                try:
                    process.wait(TIMEOUT_S)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            output.seek(0)
            return output.read().decode("utf-8", "replace").replace(str(self.home), "/home/me")

    def console(self, text: str) -> list[tuple[str, str, str]]:
        """Each command, what it is said to print, what it printed."""
        asked = commands(text.replace("/home/me", str(self.home)))
        lines = [f"{command}\nstatus=$?; printf '{END}'; (exit $status)" for command, _ in asked]
        printed = self.run(["sh", "-c", "\n".join(lines)]).split(END)
        shown = (below for _, below in commands(text))
        return [(command, below, seen) for (command, _), below, seen in zip(asked, shown, printed, strict=False)]


def wrong(page: Path, folder: Path) -> list[str]:
    """What the page says and does not hold."""
    reader, found = Reader(folder), []
    port = str(free_port())
    all_blocks = list(blocks(re.sub(r"(?<=[: ])8000\b", port, page.read_text())))
    for place, block in enumerate(all_blocks):
        name = FILE.match(block.text) if block.kind in FILE_KINDS else None
        if name:
            (reader.place / name[1]).write_text(block.text.replace("/home/me", str(reader.home)))
        elif block.kind == "console":
            for command, shown, printed in reader.console(block.text):
                if shown.strip() and not matches(shown, printed):
                    found.append(f"$ {command}\n-- said\n{shown}-- is\n{printed}")
        elif block.kind == "python":
            printed = reader.run([sys.executable, "-c", block.text])
            after = all_blocks[place + 1] if place + 1 < len(all_blocks) else None
            shown = after.text if after and after.kind == "text" and not after.follows.strip() else "…"
            if "Traceback" in printed or not matches(shown, printed):
                found.append(f"{block.text}-- said\n{shown}-- is\n{printed}")
    return found


@needs_userns
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page_shows_what_happens(page: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fx-") as folder:  # short: long paths are shown without their middle
        found = wrong(page, Path(folder))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_page_that_says_what_does_not_happen_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```toml\n# a.toml\nx = 1\n```\n```console\n$ cat a.toml\n…\nx = 2\n$ (exit 3)\n$ echo $?\n3\n```\n"
        "```python\nprint('yes')\n```\n```text\nno\n```\n"
    )
    first, second = wrong(page, tmp_path / "reader")
    assert first.startswith("$ cat a.toml\n-- said\n…\nx = 2\n-- is\n# a.toml\nx = 1\n")
    assert second.startswith("print('yes')")


def test_number_of_a_process_and_what_is_left_out_are_any() -> None:
    assert matches("pid 12345, … end\n", "pid 9876, what\never end")
    assert matches("begin\n…\n", "begin\n")
    assert matches("pid 12345, … end\n", "pid 300, what end"), "where the kernel begins again with its numbers"
    assert not matches("pid 12345, … end\n", "pid 12, end")
