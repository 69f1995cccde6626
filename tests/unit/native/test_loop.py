"""The loop in C by itself: hostile registers and memory, bad arguments, time, fairness, nothing left behind."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import mmap
import os
import resource
import select
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.harness import Child, Result, libc, outcome, raw, rules_of, run, serve

from foxden import native
from foxden.broker import quick
from foxden.broker.loops import Loop, NativeLoop
from foxden.broker.server import Broker
from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

pytestmark = [pytest.mark.needs("native", "seccomp"), pytest.mark.usefixtures("extension")]

AT_FDCWD = -100
PAGE = 4096
ALL = (1 << 64) - 1
STAT_SIZE = {"x86_64": 144, "aarch64": 128}[linux.ARCH]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("content")
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the calls that Python was handed."""
    handed: list[int] = []
    real = NativeLoop.wait

    def wait(loop: NativeLoop, timeout: float) -> Any:
        found = list(real(loop, timeout))
        handed.extend(each.note.number for each in found if each.note is not None)
        return found

    monkeypatch.setattr(NativeLoop, "wait", wait)
    return handed


def openat(path: bytes | int, flags: int = os.O_RDONLY) -> int:
    fd = raw("openat", AT_FDCWD, path, flags, 0)
    os.close(fd)
    return 0


def at_page_end(text: bytes, *, before: int = 0) -> tuple[mmap.mmap, int]:
    """Memory whose last bytes are these, with nothing behind; and their address."""
    area = mmap.mmap(-1, 3 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    area[2 * PAGE - len(text) + before : 2 * PAGE + before] = text
    libc.munmap(ctypes.c_void_p(start + 2 * PAGE), ctypes.c_size_t(PAGE))
    return area, start + 2 * PAGE - len(text) + before


# --- what it answers --------------------------------------------------------------------------------------------


def test_plain_granted_calls_never_come_to_python(folder: Path, answered: list[int]) -> None:
    def act() -> list[Any]:
        openat(os.fsencode(folder / "file"))
        buffer = ctypes.create_string_buffer(STAT_SIZE)
        found = []
        for _ in range(3):  # the maps of ids are learnt by the first
            raw("newfstatat", AT_FDCWD, os.fsencode(folder / "file"), buffer, 0)
            found.append(buffer.raw.hex())
        openat(os.fsencode(folder), os.O_DIRECTORY | os.O_CLOEXEC)
        return [*found, outcome(lambda: openat(os.fsencode(folder / "none")))]

    result = run(act, rules_of_folder(folder))
    first, *others, missing = result.value
    assert others == [first, first]
    assert missing == "ENOENT"
    assert answered.count(NUMBERS[linux.ARCH]["openat"]) == 0
    assert 1 <= answered.count(NUMBERS[linux.ARCH]["newfstatat"]) <= 2
    assert result.end.served == 6


NULL_WAYS = {
    "write": os.O_WRONLY, "both": os.O_RDWR, "append": os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC,
    "shell": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "read": os.O_RDONLY | os.O_NONBLOCK,
}  # fmt: skip


def _null_as_made(flags: int) -> list[int]:
    """Its status flags, whether it stays over exec, which device it is, and what it takes."""
    fd = raw("openat", AT_FDCWD, b"/dev/null", flags, 0o600)
    status = os.fstat(fd)
    made = [fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD), status.st_rdev]
    made.append(os.write(fd, b"abc") if flags & os.O_ACCMODE else len(os.read(fd, 3)))
    os.close(fd)
    return made


def test_null_device_opened_in_any_way_never_comes_to_python(answered: list[int]) -> None:
    def act() -> list[Any]:
        return [outcome(lambda flags=flags: _null_as_made(flags)) for flags in NULL_WAYS.values()]

    assert run(act, {"/dev/null": "rwc"}).value == act()
    assert answered.count(NUMBERS[linux.ARCH]["openat"]) == 0
    assert run(act, {"/dev/null": "rw"}, view="child").value == act(), "in its own view it need not be given creation"
    assert answered.count(NUMBERS[linux.ARCH]["openat"]) == 1, "the first, by which its view is learnt"


@pytest.mark.parametrize(
    ("rules", "flags", "told"),
    [
        ({"/dev/null": "r"}, os.O_WRONLY, "EACCES"),
        ({"/dev/null": "w"}, os.O_RDONLY, "EACCES"),
        ({"/dev/null": "r"}, os.O_RDWR, "EACCES"),
        ({"/dev": "r"}, os.O_WRONLY | os.O_CREAT, "EACCES"),
        ({"/dev/null": "rw"}, os.O_WRONLY | os.O_CREAT, "EACCES"),
        ({"/dev/null": "r"}, os.O_RDONLY | os.O_TRUNC, "EACCES"),
        ({"/dev/null": "rwc"}, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "EEXIST"),
        ({"/dev/null": "rw"}, os.O_RDONLY | os.O_DIRECTORY, "ENOTDIR"),
        ({"/dev/zero": "r"}, os.O_RDONLY, "EACCES"),
    ],
)
def test_null_device_not_granted_so_is_told(rules: dict[str, str], flags: int, told: str, answered: list[int]) -> None:
    assert run(lambda: outcome(lambda: _null_as_made(flags)), rules).value == told
    assert answered.count(NUMBERS[linux.ARCH]["openat"]) == 1


def test_write_to_anything_else_is_looked_at_by_python(folder: Path, answered: list[int]) -> None:
    def act() -> Any:
        return outcome(lambda: openat(os.fsencode(folder / "file"), os.O_WRONLY | os.O_TRUNC))

    assert run(act, {str(folder): "rw"}).value == 0
    assert run(act, {str(folder): "r"}).value == "EACCES"
    assert answered.count(NUMBERS[linux.ARCH]["openat"]) == 2


def rules_of_folder(folder: Path) -> dict[str, str]:
    return {str(folder): "r"}


def test_the_descriptor_is_as_the_kernel_would_have_made_it(folder: Path) -> None:
    import fcntl

    flags = [0, os.O_CLOEXEC, os.O_NONBLOCK]

    def act() -> list[Any]:
        found = []
        for each in flags:
            fd = raw("openat", AT_FDCWD, os.fsencode(folder / "file"), each | os.O_NOCTTY, 0)
            found.append([fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD), os.read(fd, 9).decode()])
            os.close(fd)
        return found

    by_the_kernel = act()
    assert run(act, rules_of_folder(folder)).value == by_the_kernel


@pytest.mark.parametrize("before", [0, -1, -300])
def test_a_path_that_ends_with_its_page_is_read_whole(folder: Path, before: int, answered: list[int]) -> None:
    def act() -> Any:
        _area, address = at_page_end(os.fsencode(folder / "file") + b"\0", before=before)
        return outcome(lambda: openat(address))

    assert run(act, rules_of_folder(folder)).value == 0
    assert answered == []


@pytest.mark.parametrize("length", [255, 256, 257, 4000, 4094])
def test_a_path_is_read_over_pages_up_to_its_limit(folder: Path, length: int) -> None:
    name = os.fsencode(folder) + b"/sub" + b"/x" * 2100
    name = name[:length].rstrip(b"/").ljust(length, b"y")

    def act() -> Any:
        _area, address = at_page_end(name + b"\0")
        return outcome(lambda: openat(address))

    assert run(act, rules_of_folder(folder)).value in ("ENOENT", "ENAMETOOLONG")


def test_a_path_without_end_or_without_memory_is_an_error(folder: Path) -> None:
    def act() -> list[Any]:
        _area, address = at_page_end(b"/" + b"a" * 100)  # no NUL before the memory ends
        endless = ctypes.create_string_buffer(b"/" + b"a" * 9000)
        return [
            outcome(lambda: openat(address)), outcome(lambda: openat(ctypes.addressof(endless))),
            outcome(lambda: openat(16)), outcome(lambda: openat(0)), outcome(lambda: openat(-1)),
            outcome(lambda: openat((1 << 63) - 1)), outcome(lambda: openat(-PAGE)),
        ]  # fmt: skip

    value = run(act, rules_of_folder(folder)).value
    assert value == ["EFAULT", "ENAMETOOLONG", "EFAULT", "EFAULT", "EFAULT", "EFAULT", "EFAULT"]


def test_registers_full_of_ones_are_errors(folder: Path) -> None:
    numbers = list(quick.CALLS)

    def act() -> list[Any]:
        found = []
        for number in numbers:
            result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(-1) for _ in range(6)))
            found.append(result)
        path = os.fsencode(folder / "file")
        found.append(outcome(lambda: raw("newfstatat", AT_FDCWD, path, 16, 0)))  # a buffer that is none
        found.append(outcome(lambda: raw("newfstatat", AT_FDCWD, path, -1, 0)))
        found.append(outcome(lambda: raw("openat", AT_FDCWD, path, 1 << 40, 0)))  # the kernel reads 32 bits
        return found

    *refused, buffer, other, flags = run(act, rules_of_folder(folder)).value
    assert refused == [-1] * len(numbers)
    assert (buffer, other) == ("EFAULT", "EFAULT")
    assert flags > 0


def test_a_child_without_room_for_a_descriptor_hears_so(folder: Path) -> None:
    def act() -> Any:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        assert highest >= 3
        return outcome(lambda: openat(os.fsencode(folder / "file")))

    assert run(act, {**rules_of_folder(folder), "/proc": "r"}).value == "EMFILE"


def test_a_child_that_dies_in_its_call_leaves_the_loop_alone(folder: Path) -> None:
    def act() -> None:
        threading.Thread(target=lambda: (time.sleep(0.005), os._exit(0)), daemon=True).start()
        while True:
            openat(os.fsencode(folder / "file"))

    for _ in range(5):
        run(act, rules_of_folder(folder))


# --- time, and whose turn it is -----------------------------------------------------------------------------------


def attached(folder: Path, act: Callable[[], Any], broker: Broker, number: int = 1) -> Child:
    child = Child(act)
    broker.attach(number, child.listener, rules=rules_of(rules_of_folder(folder)))
    child.go()
    return child


def test_time_is_up_in_the_middle_of_a_flood(folder: Path) -> None:
    def act() -> None:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            openat(os.fsencode(folder / "file"))

    broker = Broker(lambda said: None)
    try:
        child = attached(folder, act, broker)
        started = time.monotonic()
        broker.step(0.1)
        assert 0.09 <= time.monotonic() - started < 0.6
        assert broker._by_id[1].served > 20
        serve(broker, child)
        child.end()
    finally:
        broker.close()


def test_python_has_its_turn_in_an_endless_flood(folder: Path) -> None:
    def act() -> None:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            openat(os.fsencode(folder / "file"))

    broker = Broker(lambda said: None)
    try:
        child = attached(folder, act, broker)
        started = time.monotonic()
        broker.step()
        assert 0.9 < time.monotonic() - started < 2.0
        serve(broker, child)
        child.end()
    finally:
        broker.close()


@pytest.mark.parametrize("floods", ["answered here", "refused"])
def test_a_flood_starves_neither_another_child_nor_what_is_watched(folder: Path, floods: str) -> None:
    path = folder / "file" if floods == "answered here" else folder.parent / "secret"
    reader, writer = os.pipe()
    turns: list[float] = []

    def flood() -> None:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            outcome(lambda: openat(os.fsencode(path)))

    def meek() -> list[float]:
        taken = []
        for _ in range(20):
            started = time.monotonic()
            openat(os.fsencode(folder / "file"))
            taken.append(time.monotonic() - started)
            time.sleep(0.01)
        return taken

    def from_parent(event: int) -> None:
        os.read(reader, 1)
        turns.append(time.monotonic())
        if len(turns) < 200:
            os.write(writer, b"x")

    broker = Broker(lambda said: None)
    try:
        broker.watch(reader, from_parent)
        children = [attached(folder, flood, broker, number) for number in (1, 2)]
        other = attached(folder, meek, broker, 3)
        os.write(writer, b"x")
        serve(broker, *children, other)
        for child in children:
            child.end()
        assert sorted(other.end())[10] < 0.05
        assert len(turns) == 200
    finally:
        broker.close()
        os.close(reader)
        os.close(writer)


def test_a_signal_ends_the_wait_and_is_heard() -> None:
    import signal

    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    loop = make()
    epoll = select.epoll()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert loop.serve(epoll.fileno(), 5.0) is None
        assert heard == [signal.SIGALRM]
        signal.signal(signal.SIGALRM, lambda number, frame: 1 / 0)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(ZeroDivisionError):
            loop.serve(epoll.fileno(), 5.0)
    finally:
        signal.signal(signal.SIGALRM, before)
        epoll.close()


@pytest.mark.parametrize("timeout", [0.0, -0.0, 1e-9, float("-inf"), float("nan"), 1e308])
def test_any_time_is_a_time(timeout: float) -> None:
    reader, writer = os.pipe()
    epoll = select.epoll()
    try:
        epoll.register(reader, select.EPOLLIN)
        os.write(writer, b"x")
        assert make().serve(epoll.fileno(), timeout) == (reader, select.EPOLLIN)
    finally:
        epoll.close()
        os.close(reader)
        os.close(writer)


# --- bad arguments ------------------------------------------------------------------------------------------------


def make(rows: bytes | None = None) -> native.NativeLoop:
    extension = native.load()
    assert extension is not None
    return extension.Loop(b"" if rows is None else rows, -1)


CALL, RULE = struct.Struct("=4i3I"), struct.Struct("=IIiI")


@pytest.mark.parametrize(
    "rows",
    [b"x", b"x" * 27, CALL.pack(2, 6, 1, -1, 0, 0, 2),
     CALL.pack(2, -1, 1, -1, 0, 0, 2), CALL.pack(2, 0, 6, -1, 0, 0, 2),
     CALL.pack(2, 0, -2, -1, 0, 0, 2), CALL.pack(2, 0, 1, 6, 0, 0, 2), CALL.pack(2, 0, 1, -2, 0, 0, 2),
     CALL.pack(2, 0, 1, -1, 0, 0, 2) * 9],
)  # fmt: skip
def test_a_table_of_calls_that_is_none_is_refused(rows: bytes) -> None:
    with pytest.raises(ValueError, match="Loop: "):
        make(rows)


@pytest.mark.parametrize(
    ("rows", "text"),
    [(b"x", b""),
     (RULE.pack(0, 2, 1, 0), b"/"), (RULE.pack(2, 0, 1, 0), b"/"), (RULE.pack(1, 0xFFFF_FFFF, 1, 0), b"/a"),
     (RULE.pack(0xFFFF_FFFF, 1, 1, 0), b"/a"), (RULE.pack(0, 1, 1, 0) * 2, b"/"),
     (RULE.pack(0, 2, 1, 0) + RULE.pack(0, 1, 1, 0), b"/a")],
)  # fmt: skip
def test_rules_out_of_bounds_or_order_are_refused_and_change_nothing(rows: bytes, text: bytes) -> None:
    loop = make()
    loop.set_rules(7, -1, RULE.pack(0, 1, 3, 0), b"/")
    with pytest.raises(ValueError, match="set_rules: "):
        loop.set_rules(7, -1, rows, text)
    assert loop.allows(7, b"/x", 3)
    with pytest.raises(ValueError, match="set_rules: "):
        loop.set_rules(8, -1, rows, text)
    with pytest.raises(KeyError):
        loop.served(8)


def test_a_path_with_nul_inside_is_a_value_error() -> None:
    loop = make()
    loop.set_rules(7, -1, b"", b"")
    with pytest.raises(ValueError, match="null byte"):
        loop.allows(7, b"a\0b", 1)


@pytest.mark.parametrize(
    "call",
    [lambda loop: loop.set_ids(1, (0, 0, 0), (0, 0, 0)), lambda loop: loop.hold(1, True), lambda loop: loop.remove(1),
     lambda loop: loop.served(1), lambda loop: loop.allows(-1, b"/", 1)],
)  # fmt: skip
def test_a_child_that_there_is_not_is_a_key_error(call: Callable[[Any], object]) -> None:
    with pytest.raises(KeyError, match="no child has listener"):
        call(make())


@pytest.mark.parametrize("name", ["set_rules", "set_ids", "hold", "remove", "served", "serve", "allows"])
@pytest.mark.parametrize("arguments", [(), ("x",), (1, 2, 3, 4, 5, 6), (None, None), (1 << 70, 1), (1, "x", "y", "z")])
def test_arguments_of_another_kind_are_errors(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        getattr(make(), name)(*arguments)


def test_a_loop_has_no_keywords_and_no_other_table() -> None:
    extension: Any = native.load()
    for arguments in ((), (b"",), (1, 2)):
        with pytest.raises(TypeError):
            extension.Loop(*arguments)
    with pytest.raises(ValueError, match="Loop: "):
        extension.Loop(b"", 1, more=1)


def test_a_descriptor_that_is_no_epoll_is_an_os_error() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="Invalid argument"):
            make().serve(reader, 0.0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            make().serve(-1, 0.0)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_listener_that_is_none_is_an_os_error() -> None:
    reader, writer = os.pipe()
    epoll = select.epoll()
    loop = make()
    try:
        epoll.register(reader, select.EPOLLIN)
        loop.set_rules(reader, -1, b"", b"")
        os.write(writer, b"x")
        with pytest.raises(OSError, match="Inappropriate ioctl"):
            loop.serve(epoll.fileno(), 0.0)
    finally:
        epoll.close()
        os.close(reader)
        os.close(writer)


def test_a_loop_that_serves_is_left_alone() -> None:
    loop = make()
    epoll = select.epoll()
    reader, writer = os.pipe()
    epoll.register(reader, select.EPOLLIN)
    thread = threading.Thread(target=loop.serve, args=(epoll.fileno(), 10.0))
    thread.start()
    try:
        time.sleep(0.05)
        with pytest.raises(RuntimeError, match="another thread"):
            loop.set_rules(7, -1, b"", b"")
        with pytest.raises(RuntimeError, match="another thread"):
            loop.serve(epoll.fileno(), 0.0)
    finally:
        os.write(writer, b"x")
        thread.join()
        epoll.close()
        os.close(reader)
        os.close(writer)


# --- nothing is left ------------------------------------------------------------------------------------------------


def test_neither_descriptors_nor_memory_grow(folder: Path) -> None:
    def both(path: bytes) -> None:
        outcome(lambda: openat(path))
        outcome(lambda: raw("newfstatat", AT_FDCWD, path, 16, 0))

    def act() -> None:
        for _ in range(300):
            for name in ("file", "none", "sub"):
                both(os.fsencode(folder / name))

    def once() -> Result:
        return run(act, rules_of_folder(folder))

    once()
    before = len(os.listdir("/proc/self/fd"))
    assert once().end.served == 1800
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_of_rules_is_given_back() -> None:
    rows = b"".join(RULE.pack(10 * number, 10, 3, 0) for number in range(10_000))
    text = b"".join(b"/%09d" % number for number in range(10_000))

    def churn(times: int) -> None:
        for _ in range(times):
            loop = make()
            for listener in range(8):
                loop.set_rules(listener, -1, bytes(bytearray(rows)), bytes(bytearray(text)))
            loop.set_rules(1, -1, b"", b"")
            loop.remove(2)
            del loop

    churn(3)
    gc.collect()
    before = resident()
    churn(60)
    assert resident() - before < 8 << 20


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


def test_without_the_extension_the_loop_is_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    from foxden.broker.loops import make_loop

    kinds = []
    for value in ("0", "1"):
        monkeypatch.setenv("FOXDEN_NO_NATIVE", value)
        loop = make_loop(80)
        kinds.append(type(loop))
        loop.close()
    assert kinds == [NativeLoop, Loop]
    monkeypatch.setenv("FOXDEN_NO_NATIVE", "0")
    loop = make_loop(88)  # a kernel that tells more than the extension knows
    loop.close()
    assert type(loop) is Loop
