"""The page about the Python API is true: its names and defaults are the code's, and a worker has what it says.

Flow: docs/reference/python.md → its tables → the code's signatures; a worker that tries each line.
"""

from __future__ import annotations

import array
import asyncio
import datetime
import decimal
import errno
import fcntl
import fractions
import inspect
import os
import pathlib
import re
import resource
import socket
import sys
import tempfile
import threading
import time
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import boxed
from tests.support.den import end_shared_executors

import foxden
from foxden import AsyncDen, Den, Policy, SandboxExecutor, boxed_tests, sandboxed, untrusted
from foxden.launch import private_folders
from foxden.parent import functions
from foxden.parent.grant_arguments import GrantArguments
from foxden.parent.program_request import RunArguments, request_of

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "reference" / "python.md").read_text()
MIB = 1 << 20


def section(title: str) -> str:
    """What stands below a heading, up to the next one."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section {title!r}"
    return found[1]


def rows(title: str) -> dict[str, list[str]]:
    """The first table of a section: the other cells of each row by its first one."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    return {first: others for first, *others in cells}


# ---- names, parameters, defaults


def test_every_public_name_stands_in_it() -> None:
    told = set(re.findall(r"^##+ (\w+)$", PAGE, re.MULTILINE))
    errors = {name.partition("]")[0].strip("[") for name in rows("Errors")}
    assert set(foxden.__all__) - told - errors == set()


def _methods(owner: type) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(owner, name) for name in vars(owner) if not name.startswith("_")}
    return {name: value for name, value in found.items() if inspect.isroutine(value)}


CALLED: list[tuple[str, Callable[..., Any], set[str]]] = [
    ("SandboxExecutor", SandboxExecutor, set()),
    ("sandboxed", sandboxed, {"**options"}),
    ("untrusted", untrusted, set()),
    ("Policy", Policy, set(GrantArguments.__annotations__)),
    ("Den", Den, set()),
    *((f"SandboxExecutor.{name}", method, set()) for name, method in _methods(SandboxExecutor).items()),
    *((f"Policy.{name}", method, set()) for name, method in _methods(Policy).items()),
    *(
        (f"Den.{name}", method, set(RunArguments.__annotations__) if name == "run" else set())
        for name, method in _methods(Den).items()
    ),
]


def _shown(default: object) -> str:
    if default is inspect.Parameter.empty:
        return ""
    return "256 MiB" if default == 256 * MIB else f"`{default!s}`" if hasattr(default, "value") else f"`{default!r}`"


def _told(title: str) -> dict[str, str]:
    return {name.strip("`"): cells[0] for name, cells in rows(title).items()}


@pytest.mark.parametrize(("title", "called", "options"), CALLED, ids=[each[0] for each in CALLED])
def test_every_parameter_stands_in_it_with_its_default(
    title: str, called: Callable[..., Any], options: set[str]
) -> None:
    told, wanted = _told(title), {}
    for name, parameter in inspect.signature(called).parameters.items():
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if name != "self" and not (stars == "**" and options):
            wanted[stars + name] = _shown(parameter.default)
    assert set(told) == {*wanted, *options}
    assert {name: told[name] for name in wanted} == wanted


def test_every_parameter_of_dasks_plugin_stands_in_it() -> None:
    plugin = pytest.importorskip("foxden.dask").Plugin
    told = _told("foxden.dask.Plugin")
    parameters = dict(inspect.signature(plugin).parameters)
    del parameters["options"]
    assert told.pop("**options") == "those of [SandboxExecutor](#sandboxexecutor)"
    assert told == {name: _shown(each.default) for name, each in parameters.items()}


def test_an_awaited_den_has_the_methods_and_parameters_of_the_other() -> None:
    def parameters(owner: Any) -> dict[str, Any]:
        found = {name: inspect.signature(method).parameters.values() for name, method in _methods(owner).items()}
        return {name: [(each.name, each.kind, each.default) for each in all_] for name, all_ in found.items()}

    assert parameters(AsyncDen) == parameters(Den)
    assert inspect.signature(AsyncDen) == inspect.signature(Den)
    assert {name.strip("`") for name in rows("AsyncDen")} == set(_methods(AsyncDen))


def test_options_of_a_marked_test_and_of_a_run_stand_in_it() -> None:
    told = _told("pytest")
    shared = inspect.signature(SandboxExecutor).parameters
    assert told.pop("timeout") == "`foxden_timeout`"
    assert told.pop("foxden_timeout") == "`60`"
    del told["in pytest's ini file"], told["---"], told["foxden_allow_partial"]
    assert told == {name: _shown(shared[name].default) for name in boxed_tests._OPTIONS if name != "timeout"}
    run = _told("Den.run")
    request = request_of(["true"], {})
    assert (run["designate"], run["explain"]) == (f"`{request.designate}`", f"`{request.explain}`")
    assert (run["cwd"], request.cwd) == ("the caller's", os.getcwd())


# ---- what a worker has: each line of the table, tried.  Numbers are read from the line.


def _numbers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)]


def allocate(size: int) -> int:
    return len(bytearray(size))


def count_threads() -> int:
    gate, threads = threading.Event(), []
    try:
        while len(threads) < 300:
            thread = threading.Thread(target=gate.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        pass
    gate.set()
    return len(threads) + 1


def make_new(folder: str) -> tuple[str, str]:
    file, inner = os.path.join(folder, "file"), os.path.join(folder, "inner")
    with open(file, "w"):
        os.mkdir(inner)
    return f"{os.stat(file).st_mode & 0o777:04o}", f"{os.stat(inner).st_mode & 0o777:04o}"


def lock(function: Any) -> None:
    with tempfile.TemporaryFile() as file:
        function(file, fcntl.LOCK_EX)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def many(count: int) -> list[tuple[()]]:
    return [()] * count


def own_name() -> tuple[int, str]:
    return os.getpid(), socket.gethostname()


def _fails(pool: SandboxExecutor, kind: type[BaseException], function: Any, *args: Any) -> None:
    with pytest.raises(kind):
        pool.submit(function, *args).result()


def _memory(pool: SandboxExecutor, text: str, folder: Path) -> None:
    (gib,) = _numbers(text)
    assert pool.submit(allocate, (gib * 1024 - 400) * MIB).result()
    _fails(pool, MemoryError, allocate, gib * 1024 * MIB)


def _threads(pool: SandboxExecutor, text: str, folder: Path) -> None:
    (most,) = _numbers(text)
    assert most - 4 <= pool.submit(count_threads).result() <= most


def _descriptors(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(resource.getrlimit, resource.RLIMIT_NOFILE).result()[0] == _numbers(text)[0]


def _file_size(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(resource.getrlimit, resource.RLIMIT_FSIZE).result()[0] == _numbers(text)[0] << 30


def _ready(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert _numbers(text) == [functions._READY_S]


def _result(pool: SandboxExecutor, text: str, folder: Path) -> None:
    (mib,) = _numbers(text)
    assert len(pool.submit(bytes, (mib - 1) * MIB).result()) == (mib - 1) * MIB
    _fails(pool, foxden.ResultNotData, bytes, (mib + 1) * MIB)
    with pytest.raises(foxden.FoxdenError, match="max_result"):
        SandboxExecutor(1, max_result=(4 << 30) + 1)


def _values(pool: SandboxExecutor, text: str, folder: Path) -> None:
    together, flat = _numbers(text)
    assert len(pool.submit(list, range(together + 1)).result()) == together + 1
    assert len(pool.submit(many, together - 10).result()) == together - 10
    _fails(pool, foxden.ResultNotData, many, together + 1)
    assert flat == 1 << 24


def _depth(pool: SandboxExecutor, text: str, folder: Path) -> None:
    (depth,) = _numbers(text)
    assert pool.submit(nested, depth - 1).result()
    _fails(pool, foxden.ResultNotData, nested, depth + 2)  # a list of scalars at the bottom counts for nothing


def _arguments(pool: SandboxExecutor, text: str, folder: Path) -> None:
    (most,) = _numbers(text)
    assert pool.submit(len, [np.ones(10_000) for _ in range(most - 1)]).result() == most - 1
    with pytest.raises(foxden.ArgumentsNotSendable):
        pool.submit(len, [np.ones(10_000) for _ in range(most + 1)])


def _directory(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert text.startswith("yours where")
    with SandboxExecutor(1, read=[os.getcwd()]) as granted:
        assert granted.submit(os.getcwd).result() == os.getcwd()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with SandboxExecutor(1) as elsewhere:
            assert elsewhere.submit(os.getcwd).result() == "/"
    finally:
        os.chdir(before)


def look_at(theirs: str) -> tuple[list[str], int, int]:
    """What lies in this worker's folder, and in that of another; how much may be there."""
    own = tempfile.gettempdir()
    system = os.statvfs(own)
    there = os.listdir(theirs) if os.path.exists(theirs) else []
    return os.listdir(own) + there, system.f_blocks * system.f_frsize, system.f_files


def write_at_home() -> str:
    path = pathlib.Path.home() / "mine"
    path.write_text("mine")
    return path.read_text()


def in_threads() -> list[int]:
    from multiprocessing import pool

    with pool.ThreadPool(2) as threads:
        return threads.map(abs, [-1, -2])


def write_shared() -> list[str]:
    name = "foxden-test"
    pathlib.Path("/dev/shm", name).write_text("mine")
    return [path.read_text() for path in pathlib.Path(tempfile.gettempdir()).iterdir() if path.name == name]


def _home(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(lambda: str(pathlib.Path.home())).result() == pool.submit(tempfile.gettempdir).result()
    assert pool.submit(write_at_home).result() == "mine"
    with SandboxExecutor(1, env={"HOME": "/srv/app"}) as given:
        assert given.submit(os.path.expanduser, "~").result() == "/srv/app"


def _environment(pool: SandboxExecutor, text: str, folder: Path) -> None:
    found = pool.submit(lambda: dict(os.environ)).result()
    assert re.findall(r"`(\w+)", text) == list(found) == ["LC_CTYPE", "JOBLIB_MULTIPROCESSING", "HOME"]
    assert re.findall(r"`(\w+)=([^`]+)`", text) == [each for each in found.items() if each[0] != "HOME"]
    assert text.endswith("nothing of yours")


def _argv(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert f"`{pool.submit(lambda: sys.argv).result()}`" in text
    assert pool.submit(lambda: sys.orig_argv).result() == [sys.executable]


def _shared_memory(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(in_threads).result() == [1, 2]
    assert pool.submit(write_shared).result() == ["mine"]
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("foxden-test")]


def _temporary(pool: SandboxExecutor, text: str, folder: Path) -> None:
    size, files, workers = _numbers(text)
    assert workers == private_folders.COUNT
    with SandboxExecutor(1, fresh=True) as own:
        place = own.submit(tempfile.mkdtemp).result()
        for _ in range(2):
            found = own.submit(look_at, os.path.dirname(place)).result()
            assert found == ([], size << 30, files), "not even of the one before"
    assert not os.path.exists(place)


def _new_files(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(make_new, str(folder)).result() == tuple(re.findall(r"0\d{3}", text))
    _fails(pool, OSError, os.umask, 0)


def _locks(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(lock, fcntl.lockf).result() is None
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        pool.submit(lock, fcntl.flock).result()


def _files(pool: SandboxExecutor, text: str, folder: Path) -> None:
    for path in (inspect.getfile(foxden), os.__file__, "/usr/share/zoneinfo/UTC", str(folder / "given")):
        assert pool.submit(os.path.getsize, path).result() >= 0
    _fails(pool, PermissionError, boxed.open_file, "/etc/passwd")


def _network(pool: SandboxExecutor, text: str, folder: Path) -> None:
    for function, args in ((socket.socket, ()), (os.fork, ()), (os.execv, (sys.executable, ["python"]))):
        _fails(pool, PermissionError, function, *args)


def _who(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(own_name).result() == (1, "foxden")


def _streams(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert pool.submit(lambda: sys.stdin.read()).result() == ""


def _time(pool: SandboxExecutor, text: str, folder: Path) -> None:
    assert "no limit" in text, "tried below"


TRIED: dict[str, Callable[[SandboxExecutor, str, Path], None]] = {
    "memory": _memory,
    "threads": _threads,
    "open files": _descriptors,
    "size of a file": _file_size,
    "time to get ready": _ready,
    "time of a call": _time,
    "size of a result": _result,
    "values in a result": _values,
    "depth of a result": _depth,
    "arguments": _arguments,
    "working directory": _directory,
    "temporary files": _temporary,
    "home": _home,
    "environment": _environment,
    "arguments of the program": _argv,
    "`/dev/shm`": _shared_memory,
    "new files": _new_files,
    "locks": _locks,
    "files to read": _files,
    "network and programs": _network,
    "who it is": _who,
    "standard streams": _streams,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "given").touch()
    return folder


@pytest.fixture(scope="module")
def pool(place: Path) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, write=[place], timeout=60) as made:
        yield made


def test_every_line_about_a_worker_is_tried() -> None:
    assert list(rows("What a function's worker has")) == list(TRIED)


@pytest.mark.leaks_ok("the pool is for all of them")
@pytest.mark.parametrize("what", list(TRIED))
def test_a_worker_has_what_the_page_says(what: str, pool: SandboxExecutor, place: Path) -> None:
    TRIED[what](pool, rows("What a function's worker has")[what][0], place)


DATA = [
    None, True, 1, 1.5, 1j, "text", b"bytes", bytearray(b"x"), [1], (1,), {"a": 1}, {1}, frozenset({1}), range(3),
    array.array("d", [1.0]), datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), datetime.time(1),
    datetime.timedelta(1), datetime.UTC, zoneinfo.ZoneInfo("UTC"), decimal.Decimal("1.5"), fractions.Fraction(1, 2),
    uuid.UUID(int=1), Path("/x"), np.float64(1.5),
]  # fmt: skip


@pytest.mark.leaks_ok("the pool is for all of them")
def test_results_are_the_data_that_the_page_names(pool: SandboxExecutor) -> None:
    for value in DATA:
        found = pool.submit(lambda value=value: value).result()
        assert (type(found), found) == (type(value), value)
    assert bytes(pool.submit(lambda: memoryview(b"view")).result()) == b"view"
    assert pool.submit(np.arange, 3).result().tolist() == [0, 1, 2]
    assert repr(pool.submit(lambda: ValueError("text")).result()) == "ValueError('text')"
    _fails(pool, foxden.ResultNotData, object)


# ---- how long calls may take


def _sleeping(policy: Policy | None) -> Iterator[Callable[[], Any]]:
    with Den() as den:
        yield lambda: den.call(time.sleep, 30, policy=policy)
    yield lambda: untrusted(time.sleep, 30, policy=policy)


@pytest.fixture
def shared_executors() -> Iterator[None]:
    """Those of `untrusted` and `sandboxed` live as long as the program; here they end with the test."""
    yield
    end_shared_executors()


@pytest.mark.usefixtures("shared_executors")
def test_limits_of_time_are_given_as_the_page_says() -> None:
    brief = Policy(timeout=0.5)
    for call in _sleeping(brief):
        with pytest.raises(foxden.CallTimeout):
            call()

    async def awaited() -> None:
        async with AsyncDen() as den:
            with pytest.raises(foxden.CallTimeout):
                await den.call(time.sleep, 30, policy=brief)

    asyncio.run(awaited())
    with pytest.raises(foxden.CallTimeout):
        sandboxed(timeout=0.5)(time.sleep)(30)
    with pytest.raises(MemoryError):
        untrusted(allocate, 300 * MIB, policy=Policy(memory="256 MiB"))


@pytest.mark.leaks_ok("the pool of the tests before is open")
def test_only_untrusted_has_a_limit_where_none_is_given() -> None:
    from foxden import executor

    told = rows("How long calls may take")
    limits = {name: cells[0] for name, cells in told.items() if cells[0] != "as long as it likes"}
    assert limits == {
        "`untrusted`": f"{executor.UNTRUSTED_TIMEOUT_S:g} s",
        "`Den.open`, `Den.fetch`": f"{inspect.signature(Den.open).parameters['timeout'].default:g} s",
        "a test marked `sandboxed`": "60 s",
    }
    with SandboxExecutor(1) as plain, Den() as den, den._calls.lend(None) as functions:
        sizes = [each.pool._sizes for each in (plain._functions, functions)]
    assert [size.seconds for size in sizes] == [None, None]
