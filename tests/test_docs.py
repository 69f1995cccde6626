"""What is written is true: links lead somewhere, every fact has its words, and no file names one machine.

Flow: the files of the checkout, and the tables of foxden → what is missing or wrong, in words.
"""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path

import pytest

from foxden import errors
from foxden.model.process_types import PROCESS_TYPES

CHECKOUT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root"))
INDEX_HOSTS = ("pypi.org", "pythonhosted.org", "deb.debian.org", "registry.npmjs")


def own_files(*patterns: str) -> list[Path]:
    """Files that git keeps or would keep; without git, or in an unpacked archive, those that are there."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for top in ("src", "tests", "tools", "docs", "bench") for path in (CHECKOUT / top).rglob("*")]
    return sorted({path for path in paths if path.is_file() and any(path.match(pattern) for pattern in patterns)})


def broken_links(page: Path) -> list[str]:
    targets = (target for target in LINK.findall(page.read_text()) if "://" not in target and "mailto:" not in target)
    return [f"{page.name}: {target}" for target in targets if not (page.parent / target).exists()]


ROOT_OF_A_PROCESS = re.compile(r"/proc/[^/\s]+/root/")  # a name of the kernel's, on every machine


def naming(text: str, words: tuple[str, ...]) -> list[str]:
    lines = (ROOT_OF_A_PROCESS.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if any(word in line for word in words)]


def test_every_link_between_pages_leads_somewhere() -> None:
    assert [link for page in own_files("*.md") for link in broken_links(page)] == []


def test_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](page.md) [b](gone.md#x) [c](https://a.example/) [d](#here)")
    assert broken_links(page) == ["page.md: gone.md"]


@pytest.mark.parametrize("words", [MACHINE_PATHS, INDEX_HOSTS], ids=["paths of one machine", "hosts of an index"])
def test_no_file_names(words: tuple[str, ...]) -> None:
    readable = own_files("*.py", "*.sh", "*.md", "*.toml", "*.lock", "Makefile", "run", "*.c", "*.policy")
    readable.remove(Path(__file__))  # it has to name them
    named = {path.name: lines for path in readable if (lines := naming(path.read_text(errors="replace"), words))}
    assert named == {}


def test_name_of_a_machines_path_is_found() -> None:
    assert naming(f"a\ncd {MACHINE_PATHS[0]}x\n", MACHINE_PATHS) == [f"cd {MACHINE_PATHS[0]}x"]
    assert naming(f"/proc/1{MACHINE_PATHS[1]}etc\n", MACHINE_PATHS) == []


def test_every_error_is_in_the_tree_of_errors() -> None:
    raised = [name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert [name for name in raised if not re.search(rf"\b{name}\b", errors.__doc__ or "")] == []


def test_every_process_type_says_what_it_is() -> None:
    assert [row.name for row in PROCESS_TYPES if not row.about.endswith(".")] == []


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    assert targets - set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE)) == set()
