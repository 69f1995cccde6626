"""What ctypes.util finds with ldconfig is found in the linker's cache, without a program."""

from __future__ import annotations

import ctypes.util
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from foxden.children.utility.shared_objects import CACHE, soname_in

MAGIC = b"glibc-ld.so.cache1.1"
ENTRY = struct.Struct("=iIIIQ")

pytestmark = pytest.mark.skipif(not Path(CACHE).exists(), reason="needs glibc's linker")


def cache(*entries: tuple[int, bytes], before: bytes = b"") -> bytes:
    """Flags and soname of each."""
    begin, texts, rows = 48 + 24 * len(entries), b"", b""
    for flags, soname in entries:
        rows += ENTRY.pack(flags, begin + len(texts), begin + len(texts), 0, 0)
        texts += soname + b"\0"
    return before + struct.pack("=20sI24x", MAGIC, len(entries)) + rows + texts


def test_the_same_is_found_as_by_ldconfig() -> None:
    shown = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    names = sorted(set(re.findall(r"^\tlib([\w+-]+)\.so", shown, re.MULTILINE)))[:60]
    assert len(names) > 10
    words = Path(CACHE).read_bytes()
    for name in ("c", "m", "dl", *names[::6]):
        assert soname_in(words, name) == ctypes.util.find_library(name), name
    assert soname_in(words, "no-such-library") is None


@pytest.mark.skipif(sys.platform != "linux", reason="flags of x86-64")
def test_the_first_of_this_machines_kind_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foxden.sandbox.linux.ARCH", "x86_64")
    words = cache(
        (0x0003, b"libx.so.1"), (0x0303, b"libxy.so.2"), (0x0301, b"libx.so.3"), (0x0303, b"libx.so.4"),
        (0x0303, b"libx.so.5"),
    )  # fmt: skip
    assert soname_in(words, "x") == "libx.so.4"
    assert soname_in(cache((0x0303, b"libx.so.1"), before=b"ld.so-1.7.0 and older entries "), "x") == "libx.so.1"
    monkeypatch.setattr("foxden.sandbox.linux.ARCH", "aarch64")
    assert soname_in(words, "x") == "libx.so.1"


@pytest.mark.parametrize(
    "words",
    [b"", MAGIC, b"something else", cache((0x0303, b"libx.so"))[:60], cache((0x0303, b"libx.so"))[:-1],
     struct.pack("=20sI24x", MAGIC, 1 << 31)],
    ids=["empty", "magic", "other", "cut", "no end", "lie"],
)  # fmt: skip
def test_what_is_no_cache_is_an_error_that_asks_the_usual_way(words: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        soname_in(words, "x")
