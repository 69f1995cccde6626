"""Functions that mean harm, in a worker: each spoils its own call, and the pool goes on.

Each refusal has its control: the same pool does an honest call before and after.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import boxed
from tests.support.den import wait_until

import foxden
from foxden import Den, SandboxExecutor
from foxden.errors import notes_of
from foxden.ipc.codec import Kind, encode
from foxden.ipc.values import Code, Ext, encode_tokens
from foxden.protocols.utility import PTasks

WAIT_S = 30


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den, SandboxExecutor(1, den=den) as warm:
        assert warm.submit(boxed.double, 1).result(WAIT_S) == 2
        yield den


@pytest.fixture
def pool(den: Den) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, den=den, timeout=5, returns=[boxed.Point]) as pool:
        assert run(pool, boxed.double, 1) == 2
        yield pool
        assert run(pool, boxed.double, 2) == 4, "the pool goes on"


def run(pool: SandboxExecutor, function: Any, *args: Any) -> Any:
    return pool.submit(function, *args).result(WAIT_S)


@pytest.mark.parametrize("function", [boxed.hang, boxed.spin])
def test_a_function_that_never_returns_is_ended(den: Den, function: Any) -> None:
    with SandboxExecutor(1, den=den, timeout=0.3) as pool:
        assert run(pool, boxed.double, 1) == 2
        begun = time.monotonic()
        future, behind = pool.submit(function), pool.submit(boxed.double, 4)
        with pytest.raises(foxden.CallTimeout, match=r"did not return within 0\.3 s") as caught:
            future.result(WAIT_S)
        assert time.monotonic() - begun < 3
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, foxden.ChildTimeout)
        assert behind.result(WAIT_S) == 8, "what waited behind it is done by the next worker"


def test_a_deadline_holds_while_nobody_looks(den: Den) -> None:
    with SandboxExecutor(1, den=den, timeout=0.3) as pool:
        future = pool.submit(boxed.hang)
        time.sleep(1.5)
        assert isinstance(future.exception(0), foxden.CallTimeout)


@pytest.mark.parametrize(("function", "args"), [(boxed.spin, ()), (boxed.spin_in_threads, (3,))])
def test_a_function_that_computes_without_end_is_ended(den: Den, function: Any, args: Any) -> None:
    with SandboxExecutor(1, den=den, cpu_time=0.3, timeout=WAIT_S) as pool:
        assert run(pool, boxed.double, 1) == 2
        begun = time.monotonic()
        future, behind = pool.submit(function, *args), pool.submit(boxed.double, 4)
        with pytest.raises(foxden.CallTimeout, match=r"used more than 0\.3 s of processor time") as caught:
            future.result(WAIT_S)
        assert time.monotonic() - begun < WAIT_S / 3, "long before its timeout"
        assert (caught.value.limit, isinstance(caught.value, TimeoutError)) == ("cpu-time", True)
        assert "cpu_time=" in caught.value.hint
        assert behind.result(WAIT_S) == 8, "what waited behind it is done by the next worker"


def test_processor_time_is_watched_while_nobody_looks(den: Den) -> None:
    with SandboxExecutor(1, den=den, cpu_time=0.1) as pool:
        future = pool.submit(boxed.spin)
        wait_until(lambda: future._state == "FINISHED", "the call to be ended")  # asking it would be looking
        assert isinstance(future.exception(0), foxden.CallTimeout)


def test_a_chunk_that_computes_without_end_takes_no_other_with_it(den: Den) -> None:
    with SandboxExecutor(1, den=den, cpu_time=0.2, timeout=WAIT_S) as pool:
        run(pool, boxed.double, 1)
        futures = pool._functions.submit_chunks(boxed.compute, [[[seconds, 0]] for seconds in (0.1, 60, 0.3, 0.1)])
        assert futures[0].result(WAIT_S) == [None, None]
        with pytest.raises(foxden.CallTimeout, match=r"used more than 0\.4 s"):
            futures[1].result(WAIT_S)
        assert [future.result(WAIT_S) for future in futures[2:]] == [[None, None]] * 2


def test_exit_at_once_names_the_code_and_the_last_words(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.ChildCrashed, match="exited with 7 while running leave_at_once") as caught:
        run(pool, boxed.leave_at_once, 7)
    assert caught.value.exit_code == 7
    assert "last words" in notes_of(caught.value)[0]
    assert "output=sys.stderr" in caught.value.hint


def test_a_crash_names_the_signal(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.ChildCrashed, match="SIGSEGV while running crash") as caught:
        run(pool, boxed.crash)
    assert caught.value.signal == 11


def test_a_crash_fails_its_own_call_only(den: Den) -> None:
    with SandboxExecutor(2, den=den) as pool:
        futures = [pool.submit(boxed.sleep, 0.3, n) for n in range(3)]
        crashing = pool.submit(boxed.crash)
        futures += [pool.submit(boxed.double, n) for n in range(5)]
        assert [future.result(WAIT_S) for future in futures] == [0, 1, 2, 0, 2, 4, 6, 8]
        with pytest.raises(foxden.ChildCrashed):
            crashing.result(WAIT_S)


@pytest.mark.parametrize("function", [boxed.execute, boxed.fork, boxed.start_program])
def test_no_process_is_started(pool: SandboxExecutor, function: Any) -> None:
    with pytest.raises(PermissionError):
        run(pool, function)


def test_descriptors_that_are_closed_end_the_worker(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.ChildCrashed, match="while running close_everything"):
        run(pool, boxed.close_everything)


def test_builtins_that_are_overwritten_spoil_one_worker(pool: SandboxExecutor) -> None:
    with pytest.raises((foxden.FoxdenError, TypeError)):  # noqa: PT012 - its own call, or the next in that worker
        run(pool, boxed.overwrite_builtins)
        run(pool, boxed.double, 1)
    _until_it_works(pool)


def _until_it_works(pool: SandboxExecutor) -> None:
    """A worker that was spoilt may fail a call or two before it is gone."""
    for _ in range(5):
        try:
            if run(pool, boxed.double, 1) == 2:
                return
        except Exception:
            continue
    pytest.fail("the pool did not recover")


EVIL = {
    "no tokens": b"",
    "not msgpack": b"\xc1",
    "not a list": b"\x05",
    "truncated": b"\x92\x01",
    "a list of four thousand millions": b"\xdd\xff\xff\xff\xff\x01",
    "nested": encode_tokens([[[[1]]]]),
    "more items than came": encode_tokens([Ext(Code.LIST, (1 << 40).to_bytes(8, "little")), 1]),
    "a negative number of items": encode_tokens([Ext(Code.LIST, b"\xff" * 8), 1]),
    "items left over": encode_tokens([Ext(Code.TUPLE, (1).to_bytes(8, "little")), 1, 2]),
    "unknown extension": encode_tokens([Ext(99, b"x")]),
    "a type that was not named": encode_tokens([Ext(Code.ENUM, b"os.environ"), "PATH"]),
    "no dataclass": encode_tokens([Ext(Code.RECORD, b"tests.support.boxed.Point"), {"x": 1}]),
    "shared memory that is not there": encode_tokens([Ext(Code.SHARED_BYTES, bytes(8) + b"\xff" * 8)]),
    "deep": encode_tokens([Ext(Code.LIST, (1).to_bytes(8, "little"))] * 5000 + [1]),
    "an unhashable key": encode_tokens([Ext(Code.SET, (1).to_bytes(8, "little")), [1]]),
    "an array of objects": encode_tokens([Ext(Code.NDARRAY, bytes(16)), "|O8", [1], False]),
    "bools that are none": encode_tokens([Ext(Code.NUMPY_SCALAR, b"|b1\0\xff")]),
    "an exception of a base that is a number": encode_tokens([Ext(Code.ERROR, b"a.B"), None, "", [], "", 5]),
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("data", EVIL.values(), ids=EVIL.keys())
def test_a_result_that_lies_ends_its_worker(pool: SandboxExecutor, data: bytes) -> None:
    assert run(pool, boxed.patch_worker, encode_tokens([1])) == 1, "the control: what it says is believed if it is data"
    with pytest.raises(foxden.ChildCrashed):
        run(pool, boxed.leave_at_once, 1)
    with pytest.raises(foxden.BadMessage, match="PTasks"):
        run(pool, boxed.patch_worker, data)


def test_a_dataclass_with_the_wrong_fields_is_not_built(pool: SandboxExecutor) -> None:
    """A slip is told as one; one that the worker keeps quiet about is found here."""
    assert run(pool, boxed.point, 1) == boxed.point(1)
    with pytest.raises(foxden.ResultNotData, match=r"result: Point\.x: expected int, got str"):
        run(pool, boxed.lie_about_point)
    name = Ext(Code.RECORD, b"tests.support.boxed.Point")
    lie = encode_tokens([name, Ext(Code.DICT, (3).to_bytes(8, "little")), "x", "1", "y", 0.5, "tags", []])
    with pytest.raises(foxden.ResultNotData, match=r"result: Point\.x: expected int, got str"):
        run(pool, boxed.answer_once, lie)


def test_a_zone_that_is_a_file_is_not_looked_for(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.ResultNotData, match=r"no time zone '\.\./\.\./etc/passwd'"):
        run(pool, boxed.answer_once, encode_tokens([Ext(Code.ZONE, b"../../etc/passwd")]))


def _packet(message: PTasks.Returned) -> bytes:
    return encode(0, 0, message.number, Kind.SEND, message)[0]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"garbage" * 100,
        _packet(PTasks.Returned(call=999_999, value=encode_tokens([1]))),
        encode(0, 0, PTasks.Run.number, Kind.SEND, PTasks.Run(call=1, work=b""))[0],
        encode(5, 0, PTasks.Returned.number, Kind.SEND, PTasks.Returned(call=1, value=b""))[0],
    ],
    ids=["empty", "short", "garbage", "another call's answer", "a call to the parent", "no such actor"],
)
def test_what_is_written_on_the_pipes_by_hand_ends_the_worker(pool: SandboxExecutor, packet: bytes) -> None:
    with pytest.raises((foxden.BadMessage, foxden.ChildCrashed)):
        run(pool, boxed.write_to_pipes, packet)


def test_a_flood_on_the_pipes_ends_the_worker(pool: SandboxExecutor) -> None:
    with pytest.raises((foxden.BadMessage, foxden.ChildCrashed)):
        run(pool, boxed.flood)


def test_a_flood_of_output_is_no_trouble(pool: SandboxExecutor, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(pool, boxed.flood_output) == "done"
    assert "evil" not in "".join(capfd.readouterr())


def test_what_is_unpickled_runs_in_the_worker_and_never_here(
    pool: SandboxExecutor, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "made"
    import pickle

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the parent unpickled something")

    evil = boxed.RunsWhenLoaded(str(target))
    assert pickle.loads(pickle.dumps(evil)) == "7"  # the control: loading it does write
    target.unlink()
    for name in ("loads", "load", "Unpickler", "_loads"):
        monkeypatch.setattr(pickle, name, never)
    with pytest.raises((OSError, foxden.RemoteError)):
        run(pool, boxed.same, evil)  # loading it in the worker: no such place there
    with pytest.raises(foxden.ResultNotData):
        run(pool, lambda: boxed.RunsWhenLoaded(str(target)))
    assert not target.exists()


# --- beside what is granted -------------------------------------------------------------------------------------


def _reach(granted: str, beside: str, folder: str) -> dict[str, str]:
    """Each way from a granted folder to what lies beside it: what it gave, or its error."""
    import contextlib
    import os

    fd = os.open(granted, os.O_RDONLY | os.O_DIRECTORY)
    name = os.path.basename(beside)
    with contextlib.suppress(OSError):
        os.chdir(granted)
    acts = {
        "stat": lambda: os.stat(beside),
        "lstat": lambda: os.lstat(beside),
        "stat by ..": lambda: os.stat(f"{granted}/../{name}"),
        "stat by descriptor": lambda: os.stat(f"../{name}", dir_fd=fd),
        "access": lambda: os.access(beside, os.F_OK) or os.stat(beside),
        "readlink": lambda: os.readlink(beside),
        "xattr": lambda: os.getxattr(folder, "user.x"),
        "list": lambda: os.listdir(folder),
        "list by descriptor": lambda: os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd),
        "path only": lambda: os.open(folder, os.O_PATH | os.O_DIRECTORY),
        "read": lambda: os.open(beside, os.O_RDONLY),
        "read by ..": lambda: os.open(f"../{name}", os.O_RDONLY, dir_fd=fd),
        "make": lambda: os.mkdir(f"{folder}/new"),
        "move": lambda: os.rename(granted, f"{folder}/moved"),
        "list from above": lambda: (os.chdir(folder), os.listdir())[1],
        "read from above": lambda: (os.chdir(folder), os.open(name, os.O_RDONLY))[1],
        "stat from above": lambda: (os.chdir(folder), os.stat(name))[1],
    }
    found = {}
    for act, do in acts.items():
        try:
            found[act] = f"could: {do()!r}"
        except OSError as error:
            found[act] = type(error).__name__
    found["above"] = str(os.path.isdir(folder))
    found["granted"] = str(os.listdir(granted))
    return found


def test_looking_at_the_way_to_what_is_granted_shows_nothing_beside_it(den: Den, tmp_path: pathlib.Path) -> None:
    granted, beside = tmp_path / "granted", tmp_path / "secret"
    granted.mkdir()
    (granted / "file").write_text("given")
    beside.write_text("secret")
    with SandboxExecutor(1, den=den, read=[granted]) as pool:
        found = run(pool, _reach, str(granted), str(beside), str(tmp_path))
        missing = run(pool, _reach, str(granted), str(tmp_path / "none"), str(tmp_path))
    assert (found.pop("above"), found.pop("granted")) == ("True", "['file']"), "the control"
    assert set(found.values()) <= {"PermissionError", "FileNotFoundError"}, found
    del missing["above"], missing["granted"]
    assert found == missing, "and nothing tells whether it is there"
    assert not (tmp_path / "new").exists()
    assert beside.read_text() == "secret"


def _ways_to(secret: str, out: str) -> dict[str, str]:
    """Each way to a file that is kept back, from the readable folder that it lies in: what it gave, or its error."""
    import os

    folder, name = os.path.split(secret)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def through(make: Any) -> bytes:
        make(secret, f"{out}/way")
        return pathlib.Path(out, "way").read_bytes()

    acts = {
        "read": lambda: pathlib.Path(secret).read_bytes(),
        "by ..": lambda: pathlib.Path(out, "..", name).read_bytes(),
        "by descriptor": lambda: os.open(name, os.O_RDONLY, dir_fd=fd),
        "by the folder's descriptor": lambda: pathlib.Path(f"/proc/self/fd/{fd}/{name}").read_bytes(),
        "by root": lambda: pathlib.Path(f"/proc/self/root{secret}").read_bytes(),
        "symlink": lambda: through(os.symlink),
        "hard link": lambda: through(os.link),
        "rename": lambda: through(os.rename),
        "move the folder": lambda: os.rename(folder, f"{folder}-moved"),
        "write": lambda: os.open(secret, os.O_WRONLY),
    }
    found = {}
    for act, do in acts.items():
        try:
            found[act] = f"could: {do()!r}"
        except OSError as error:
            found[act] = type(error).__name__
    found["beside"] = pathlib.Path(folder, "data.txt").read_text()
    return found


def test_no_way_leads_to_a_secret_beside_the_callers_code(
    den: Den, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    for name in (".env", "data.txt"):
        (tmp_path / name).write_text(name)
    monkeypatch.syspath_prepend(tmp_path)
    with SandboxExecutor(1, den=den, write=[tmp_path / "out"]) as pool:
        found = run(pool, _ways_to, str(tmp_path / ".env"), str(tmp_path / "out"))
    assert found.pop("beside") == "data.txt", "the control: the folder is readable"
    assert set(found.values()) <= {"PermissionError", "FileNotFoundError"}, found
    with SandboxExecutor(1, den=den, read=[tmp_path / ".env"]) as pool:
        found = run(pool, _ways_to, str(tmp_path / ".env"), str(tmp_path / "out"))
    assert found["read"] == "could: b'.env'", "the control: granted it is read"
    assert found["write"] == "PermissionError"
