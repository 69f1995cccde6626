"""Processes that die, hang or are killed at the worst moment: each load ends with a page or with a clear error.

Runs in: tests; every test has a den of its own.  Flow: load under way → signal to one process → what the caller gets,
what the server saw, and whether the next load works.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support.servers import ScriptedServer
from tests.support.users import needs_userns

from foxden import ChildCrashed, ChildTimeout, Den, FoxdenError, LaunchFailed, NetworkError
from foxden.launch import interpreter, launcher
from foxden.parent import documents
from foxden.protocols.unittest import PIPDLUnitTest

pytestmark = needs_userns

LONG = 8 << 20  # more than a ring and all socket buffers hold
LONG_HEAD = dens.response(b"", "text/plain").replace(b"Length: 0", f"Length: {LONG}".encode())
PAGES: dens.Routes = {
    "/": dens.title_page("root"),
    "/other": dens.title_page("other"),
    "/long": LONG_HEAD + b"x" * LONG,
}


@pytest.fixture
def den() -> Iterator[Den]:
    with dens.make_den(prefs={"foxden.hang.timeout": 1}) as den:
        yield den


@pytest.fixture
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes(PAGES)) as server:
        yield server


def by_name(server: ScriptedServer) -> str:
    return server.url.replace("127.0.0.1", "localhost")


def pid_of_content(den: Den, url: str) -> int:
    pid = den.open(url).process["pid"]
    assert isinstance(pid, int)
    return pid


def content_at_work(den: Den, site: str) -> int:
    """The content process of a site, when it has asked for the bytes of a document and waits for more of them."""
    documents = den._runtime.documents

    def find() -> int:
        hosts = documents._sites.get(site, [])
        at_work = [h.pid for h in hosts if h.alive and h.root.managed and not getattr(h.root, "loads", None)]
        return at_work[0] if at_work else 0

    dens.wait_until(lambda: dens.on_loop(den, find) > 0, f"a content process of {site} to be at work")
    return dens.on_loop(den, find)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


# --- content processes ------------------------------------------------------------------------------------------


def test_content_process_killed_in_the_middle_of_a_load(den: Den, pages: ScriptedServer) -> None:
    with dens.gated(before=LONG_HEAD + b"some of it") as (server, gate):
        load = dens.Background(lambda: den.open(f"{server.url}/"))
        gate.wait_for_request()
        pid = content_at_work(den, "http://127.0.0.1")
        kill(pid)
        error = load.error()
    assert isinstance(error, ChildCrashed)
    assert (error.pid, error.process_type, error.signal) == (pid, "content", signal.SIGKILL)
    assert "SIGKILL" in str(error)
    assert f"{server.url}/" in str(error)
    assert error.hint
    page = den.open(f"{pages.url}/")
    assert page.title == "root"
    assert page.process["pid"] != pid


def test_content_process_killed_while_idle_is_replaced_unseen(den: Den, pages: ScriptedServer) -> None:
    for _ in range(3):
        pid = pid_of_content(den, f"{pages.url}/")
        kill(pid)
        assert pid_of_content(den, f"{pages.url}/other") != pid


@pytest.mark.parametrize("path", ["/other", "/long"])
def test_stopped_content_process_is_ended_at_the_deadline_and_others_go_on(
    den: Den, pages: ScriptedServer, path: str
) -> None:
    pid = pid_of_content(den, f"{pages.url}/")
    dens.stop(pid)
    load = dens.Background(lambda: den.open(f"{pages.url}{path}", timeout=1.5))
    assert den.open(f"{by_name(pages)}/").title == "root", "the parent waits for nobody"
    assert den.fetch(f"{pages.url}/").status == 200
    assert load.running
    error = load.error()
    assert isinstance(error, ChildTimeout)
    assert str(pid) in str(error)
    assert path in str(error)
    assert error.hint
    dens.wait_until(lambda: dens.has_ended(pid), "the stopped process to be ended")
    assert den.open(f"{pages.url}{path}").status == 200


def test_slow_server_is_not_taken_for_a_hung_content_process(den: Den, pages: ScriptedServer) -> None:
    pid = pid_of_content(den, f"{pages.url}/")
    with dens.gated(before=LONG_HEAD + b"some of it") as (server, _):
        with pytest.raises(NetworkError) as caught:
            den.open(f"{server.url}/", timeout=1)
        assert caught.value.code == "NS_ERROR_NET_TIMEOUT"
    assert pid_of_content(den, f"{pages.url}/") == pid


def test_slow_server_is_told_by_the_network_first_and_the_content_process_lives(
    den: Den, pages: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket process gives up at the same moment as we do.  Its word comes first where the den's loop was busy."""
    monkeypatch.setattr(documents, "_PING_S", dens.DEADLINE_S)
    pid = pid_of_content(den, f"{pages.url}/")
    with dens.gated(before=LONG_HEAD + b"some of it") as (server, gate):
        load = dens.Background(lambda: den.open(f"{server.url}/", timeout=1.5))
        gate.wait_for_request()
        time.sleep(0.3)  # the content process reads the body
        dens.stop(pid)  # and cannot say that it ended
        dens.on_loop(den, lambda: time.sleep(2))  # both are due when this ends
        os.kill(pid, signal.SIGCONT)
        error = load.error()
    assert isinstance(error, NetworkError)
    assert error.code == "NS_ERROR_NET_TIMEOUT"
    assert pid_of_content(den, f"{pages.url}/") == pid


def test_idle_surplus_process_that_will_not_go_is_ended(den: Den, pages: ScriptedServer) -> None:
    child = dens.launch(den, "content", "web")
    dens.stop(child.pid)
    dens.on_loop(den, child.close)  # asked to shut down; it cannot hear
    end = dens.ended(den, child)
    assert (end.signal, end.reason) == (signal.SIGKILL, "closed")


@pytest.mark.parametrize(
    ("how", "signal_number", "exit_code", "word"),
    [
        ("abort", signal.SIGSEGV, None, "SIGSEGV"),  # the first of a pid namespace cannot signal itself: libc halts it
        ("segv", signal.SIGSEGV, None, "SIGSEGV"),
        ("exit", None, 7, "exited with 7"),
        ("raise", None, 70, "exited with 70"),
    ],
)
def test_end_of_a_child_is_told_as_the_kernel_tells_it(
    den: Den, how: str, signal_number: int | None, exit_code: int | None, word: str
) -> None:
    child = dens.launch(den, "ipdlunittest")
    dens.on_loop(den, lambda: child.root.send(PIPDLUnitTest.Die(how=how)))  # type: ignore[arg-type]
    end = dens.ended(den, child)
    error = child.crash("it was told to")
    assert (end.signal, end.exit_code) == (signal_number, exit_code) == (error.signal, error.exit_code)
    assert word in str(error)
    if how == "raise":
        assert "RuntimeError: the parent asked this child to fail" in end.log


def test_hung_child_is_found_by_a_ping(den: Den) -> None:
    with dens.unit_test_child(den) as (child, root):
        dens.inside(den, child.ping(5))
        dens.on_loop(den, lambda: root.send(PIPDLUnitTest.Die(how="hang")))
        with pytest.raises(ChildTimeout, match=r"PChildProcess\.Ping"):
            dens.inside(den, child.ping(0.2))


# --- the socket process -----------------------------------------------------------------------------------------


def test_idle_socket_process_killed_is_replaced_unseen(den: Den, pages: ScriptedServer) -> None:
    den.fetch(f"{pages.url}/")
    for _ in range(3):
        before = dens.network_pid(den)
        kill(before)
        started = time.monotonic()
        assert den.fetch(f"{pages.url}/").status == 200
        assert time.monotonic() - started < 10, "a restart takes milliseconds"
        assert dens.network_pid(den) != before
        assert den.open(f"{pages.url}/").title == "root", "over a new bridge"


@pytest.mark.parametrize("path", ["/long", "/other"])
def test_content_process_gets_a_bridge_to_the_new_socket_process(den: Den, pages: ScriptedServer, path: str) -> None:
    content = pid_of_content(den, f"{pages.url}{path}")
    kill(dens.network_pid(den))
    assert pid_of_content(den, f"{pages.url}{path}") == content, "the page's process outlives the network's"


def test_idempotent_request_without_an_answer_is_sent_once_more(den: Den) -> None:
    with dens.gated(after=dens.title_page("late")) as (server, gate):
        load = dens.Background(lambda: den.open(f"{server.url}/"))
        gate.wait_for_request()
        kill(dens.network_pid(den))
        gate.wait_for_request()
        gate.open()
        assert load.result().title == "late"
    assert len(gate.requests) == 2


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_request_that_loses_two_socket_processes_is_given_up(den: Den, method: str) -> None:
    with dens.gated() as (server, gate):
        load = dens.Background(lambda: den.fetch(f"{server.url}/", method=method))
        for _ in range(2):
            gate.wait_for_request()
            kill(dens.network_pid(den))
        error = load.error()
    assert isinstance(error, NetworkError)
    assert error.code == "NS_ERROR_SOCKET_PROCESS_GONE"
    assert len(gate.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_request_that_may_not_be_repeated_is_not(den: Den, method: str) -> None:
    with dens.gated(after=dens.title_page("late")) as (server, gate):
        load = dens.Background(lambda: den.fetch(f"{server.url}/", method=method, data=b"an order"))
        gate.wait_for_request()
        kill(dens.network_pid(den))
        error = load.error()
        assert isinstance(error, NetworkError)
        assert (error.code, error.url) == ("NS_ERROR_SOCKET_PROCESS_GONE", f"{server.url}/")
        gate.open()
        assert den.fetch(f"{server.url}/").status == 200
    assert [request.split()[0].decode() for request in gate.requests] == [method, "GET"]


@pytest.mark.parametrize("ask", [Den.open, Den.fetch], ids=["open", "fetch"])
def test_socket_process_killed_after_bytes_were_delivered(den: Den, ask: Callable[..., object]) -> None:
    with dens.gated(before=LONG_HEAD + b"some of it" * 100_000) as (server, gate):
        load = dens.Background(lambda: ask(den, f"{server.url}/"))
        gate.wait_for_request()
        if ask is Den.open:
            content_at_work(den, "http://127.0.0.1")
        else:
            dens.wait_until(lambda: bool(den._runtime.network._readings), "the body to be read")
        kill(dens.network_pid(den))
        error = load.error()
    assert isinstance(error, NetworkError)
    assert error.code == "NS_ERROR_SOCKET_PROCESS_GONE"
    assert len(gate.requests) == 1, "what was delivered once is not asked for again"


def test_stopped_socket_process_is_ended_and_replaced(den: Den, pages: ScriptedServer) -> None:
    den.fetch(f"{pages.url}/")
    pid = dens.network_pid(den)
    dens.stop(pid)
    loads = [dens.Background(lambda: den.fetch(f"{pages.url}/", timeout=0.5)) for _ in range(5)]
    for load in loads:
        error = load.error()
        assert isinstance(error, NetworkError)
        assert error.code in ("NS_ERROR_NET_TIMEOUT", "NS_ERROR_SOCKET_PROCESS_GONE")
    dens.wait_until(lambda: dens.has_ended(pid), "the stopped process to be ended")
    assert den.fetch(f"{pages.url}/").status == 200
    assert dens.network_pid(den) != pid


def test_no_load_hangs_while_the_socket_process_is_killed_again_and_again(den: Den, pages: ScriptedServer) -> None:
    done = threading.Event()

    def load(number: int) -> str:
        try:
            return den.open(f"{pages.url}/", timeout=10).title if number % 3 else f"{den.fetch(pages.url).status}"
        except FoxdenError as error:
            return getattr(error, "code", type(error).__name__)

    def kill_again_and_again() -> int:
        count = 0
        while not done.wait(0.02 + random.random() / 20):
            for pid in dens.pids(den, "socket"):
                with contextlib.suppress(ProcessLookupError):  # it was killed already, and is being replaced
                    kill(pid)
                    count += 1
        return count

    killer = dens.Background(kill_again_and_again)
    with ThreadPoolExecutor(30) as pool:
        results = list(pool.map(load, range(90)))
    done.set()
    assert killer.result() > 0
    assert set(results) <= {"root", "200", "NS_ERROR_SOCKET_PROCESS_GONE", "LaunchFailed"}
    assert den.open(f"{pages.url}/").title == "root"


# --- what makes processes ---------------------------------------------------------------------------------------


def test_fork_server_killed_is_replaced_and_its_children_live_on(den: Den, pages: ScriptedServer) -> None:
    child = pid_of_content(den, f"{pages.url}/")
    for _ in range(2):
        (server,) = dens.pids(den, "forkserver", "web")
        kill(server)
        assert dens.launch(den, "content", "web").enforcement is not None
        assert dens.pids(den, "forkserver", "web") != [server]
    assert pid_of_content(den, f"{pages.url}/") == child


def test_fork_server_of_the_network_and_its_child_killed(den: Den, pages: ScriptedServer) -> None:
    den.fetch(f"{pages.url}/")
    kill(*dens.pids(den, "forkserver", "network"))
    kill(dens.network_pid(den))
    assert den.fetch(f"{pages.url}/").status == 200


def test_parent_that_stays_unlocked_needs_no_starter(den: Den, pages: ScriptedServer, tmp_path: Path) -> None:
    den.open(f"{pages.url}/")
    (tmp_path / "file.html").write_text("<title>a file</title>")
    assert den.open(str(tmp_path / "file.html")).title == "a file", "of a family that had no fork server yet"
    assert dens.pids(den, "forkserver", "starter") == []


_STARTER_KILLED = """
import os, signal, sys, time
from foxden import Den
from foxden.errors import LaunchFailed
with Den(lock_parent=True) as den:
    assert den.open(sys.argv[1]).title == "a file"
    (starter,) = [record for record in den.processes() if record.name == "starter"]
    os.kill(starter.pid, signal.SIGKILL)
    while any(record.name == "starter" for record in den.processes()):
        time.sleep(0.01)
    assert den.open(sys.argv[1]).title == "a file", "what was made before goes on"
    try:
        den.run(["/bin/true"])
    except LaunchFailed as error:
        print(error, error.hint, sep="; ")
"""


def test_starter_of_a_locked_parent_killed(tmp_path: Path) -> None:
    (tmp_path / "file.html").write_text("<title>a file</title>")
    out = dens.run_script(_STARTER_KILLED, str(tmp_path / "file.html"))
    assert out.strip() == (
        "the starter process is gone, and this parent is locked: it can start no program; "
        "close this den and make a new one"
    )


def test_everything_but_the_parent_killed_at_once(den: Den, pages: ScriptedServer) -> None:
    den.open(f"{pages.url}/")
    for record in den.processes()[1:]:
        kill(record.pid)
    assert den.open(f"{pages.url}/").title == "root"
    assert den.open(f"{by_name(pages)}/").title == "root"


def test_stopped_fork_server_is_ended_and_replaced(
    den: Den, pages: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    den.open(f"{pages.url}/")
    monkeypatch.setattr(launcher, "_START_TIMEOUT_S", 0.5)
    (server,) = dens.pids(den, "forkserver", "web")
    dens.stop(server)
    with pytest.raises(LaunchFailed, match="web process did not answer"):
        dens.launch(den, "content", "web")
    dens.wait_until(lambda: dens.has_ended(server), "the stopped fork server to be ended")
    monkeypatch.undo()
    assert dens.launch(den, "content", "web").enforcement is not None


def test_den_that_cannot_be_made_ends_what_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server is the first that a den makes: it loads while the rest is made, which may fail."""
    begun: list[int] = []
    spawn = interpreter.spawn
    monkeypatch.setattr(interpreter, "spawn", lambda *words: begun.append(spawn(*words)) or begun[-1])
    with Den(warm=("utility",), report=str(tmp_path / "report")):
        assert len(begun) == 1
        os.kill(begun[0], 0)
    with pytest.raises(FoxdenError, match="expected a file to append to"):
        Den(warm=("utility",), report=str(tmp_path / "none/report"))
    assert len(begun) == 2
    for pid in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_interpreter_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(LaunchFailed, match="/nonexistent/python"):
        Den()


def test_a_fork_server_that_stands_still_is_ended_and_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launcher, "_START_TIMEOUT_S", 0.5)
    with Den(warm=("utility",)) as den:
        (server,) = (record.pid for record in den.processes() if record.name == "utility")
        os.kill(server, signal.SIGSTOP)
        with pytest.raises(LaunchFailed, match="utility process did not answer, and was ended"):
            den.call(abs, -1)
        monkeypatch.setattr(launcher, "_START_TIMEOUT_S", 20.0)
        assert den.call(abs, -1) == 1
    gc.collect()
    assert not [record for record in caplog.records if "never retrieved" in record.getMessage()]
