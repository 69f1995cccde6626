"""The life of a den: however it ends, nothing of it is left; and it bears what else its process does.

Runs in: tests; what needs a process of its own runs in one, started by `run_script` or `start_script`.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import leaks
from tests.support.servers import ScriptedServer
from tests.support.users import needs_userns

from foxden import AsyncDen, ChildCrashed, Den, DenClosed, FoxdenError

pytestmark = needs_userns

PAGES: dens.Routes = {"/": dens.title_page("root"), "/long": dens.response(b"x" * (3 << 20), "text/plain")}

# A den with children of several families, which says so and waits.
_BUSY_DEN = """
def busy_den():
    den = Den()
    for kind in ("utility", "gmp", "socket", "ipdlunittest"):
        den._run(den._runtime.launch(kind))
    den.fetch(sys.argv[1])
    den.open(sys.argv[1])
    return den
"""


@pytest.fixture
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes(PAGES)) as server:
        yield server


def wait_for_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return line


def abstract_names(pid: int) -> list[str]:
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        return [line for line in table if f"@foxden-den.{os.getuid()}.{pid}." in line]


# --- the parent dies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thread", ["main", "short-lived"])
def test_nothing_is_left_when_the_parent_is_killed(pages: ScriptedServer, tmp_path: Path, thread: str) -> None:
    make = "busy_den()" if thread == "main" else "t = threading.Thread(target=busy_den); t.start(); t.join()"
    script = f"{_BUSY_DEN}\n{make}\nprint('ready', flush=True)\ntime.sleep(100)"
    with (
        dens.adopting_orphans() as running,
        dens.start_script(script, f"{pages.url}/", env={"TMPDIR": str(tmp_path)}) as process,
    ):
        wait_for_line(process)
        processes = set(leaks.children()) | set(_descendants(process.pid))
        assert len(processes) > 8, "there was something that could be left"
        assert abstract_names(process.pid), "`foxden ps` can find it"
        process.kill()
        process.wait()
        dens.wait_until(lambda: not running(), "everything of the den to end")
        assert not abstract_names(process.pid)
    assert list(tmp_path.iterdir()) == []


def _descendants(pid: int) -> list[int]:
    text = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(word) for word in text.split()]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_parent_is_killed_while_it_launches(signal_number: int) -> None:
    script = """
        den = Den()
        print("launching", flush=True)
        for kind in ("utility", "gmp", "content") * 4:
            threading.Thread(target=lambda kind=kind: den._run(den._runtime.launch(kind, None)), daemon=True).start()
        time.sleep(100)
    """
    for _ in range(4):
        with dens.adopting_orphans() as running, dens.start_script(script) as process:
            wait_for_line(process)
            time.sleep(random.random() * 0.4)
            process.send_signal(signal_number)
            process.wait()
            dens.wait_until(lambda: not running(), "everything of the den to end")


def test_nothing_is_left_when_the_process_ends_without_closing(pages: ScriptedServer) -> None:
    script = f"{_BUSY_DEN}\nden = busy_den()\ndel den\nimport gc; gc.collect()\nprint('done')"
    with dens.adopting_orphans() as running:
        assert dens.run_script(script, f"{pages.url}/") == "done\n"
        dens.wait_until(lambda: not running(), "everything of the den to end")


def test_process_that_ends_in_the_middle_of_a_load_ends_quietly() -> None:
    script = """
        den = Den()
        threading.Thread(target=lambda: den.open(sys.argv[1]), daemon=True).start()
        sys.stdin.close(); time.sleep(1); print("done")
    """
    with dens.gated() as (server, _), dens.adopting_orphans() as running:
        with dens.start_script(script, f"{server.url}/") as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "done\n", "")
        dens.wait_until(lambda: not running(), "everything of the den to end")


# --- it is closed -----------------------------------------------------------------------------------------------


def test_den_is_closed_twice_and_then_refuses(pages: ScriptedServer) -> None:
    den = Den()
    den.fetch(f"{pages.url}/")
    den.close()
    den.close()
    for ask in (lambda: den.fetch(f"{pages.url}/"), lambda: den.open(f"{pages.url}/"), den.processes, den.support):
        with pytest.raises(DenClosed) as caught:
            ask()
        assert caught.value.hint


def test_den_that_was_never_used_is_closed() -> None:
    with Den():
        pass
    Den().close()


def test_den_is_closed_when_its_block_is_left_by_an_exception(pages: ScriptedServer) -> None:
    with pytest.raises(ZeroDivisionError), Den() as den:  # noqa: PT012
        pid = den.open(f"{pages.url}/").process["pid"]
        raise ZeroDivisionError
    assert isinstance(pid, int)
    assert dens.has_ended(pid)


def test_work_that_is_under_way_hears_that_the_den_is_closed() -> None:
    with dens.gated() as (server, gate):
        den = Den()
        loads = [dens.Background(lambda: den.open(f"{server.url}/")), dens.Background(lambda: den.fetch(server.url))]
        gate.wait_for_request()
        closings = [dens.Background(den.close) for _ in range(3)]
        for closing in closings:
            closing.result()
        for load in loads:
            assert isinstance(load.error(), DenClosed)


def test_awaited_work_hears_that_the_den_is_closed_and_when_it_is_cancelled() -> None:
    import asyncio

    async def work(url: str) -> None:
        den = AsyncDen()
        given_up, interrupted = (asyncio.create_task(den.open(url)) for _ in range(2))
        await asyncio.to_thread(gate.wait_for_request)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await den.close()
        with pytest.raises(DenClosed):
            await interrupted

    with dens.gated() as (server, gate):
        asyncio.run(work(f"{server.url}/"))


def test_den_is_closed_while_children_are_being_started() -> None:
    """The leak check sees to it that none of them is left, not even as a zombie."""
    for delay_s in (0.0, 0.02, 0.1, 0.3):
        den = Den()
        launches = [dens.Background(functools.partial(dens.launch, den, "utility")) for _ in range(5)]
        time.sleep(delay_s)
        den.close()
        for launch in launches:
            assert isinstance(launch.error(), DenClosed | ChildCrashed | None)


def _call(ask: Callable[[], object], piece: bytes | memoryview) -> None:
    ask()


def test_den_cannot_be_asked_from_its_own_thread(pages: ScriptedServer) -> None:
    """From a sink: it would wait for itself."""
    with Den() as den:
        asks: list[Callable[[], object]] = [den.processes, den.close, lambda: den.open(f"{pages.url}/")]
        for ask in asks:
            with pytest.raises(FoxdenError, match="from its own thread"):
                den.fetch(f"{pages.url}/long", sink=functools.partial(_call, ask))
        assert den.fetch(f"{pages.url}/").status == 200


def test_sink_that_fails_is_its_callers_fault_and_nobody_elses(pages: ScriptedServer) -> None:
    pieces: list[memoryview] = []

    def fail_late(piece: bytes | memoryview) -> None:
        pieces.append(memoryview(piece)[1:])  # kept, against the rules
        if len(pieces) > 3:
            raise KeyError("the sink's own")

    with Den() as den:
        den.fetch(f"{pages.url}/")
        pid = dens.network_pid(den)
        with pytest.raises(KeyError, match="the sink's own"):
            den.fetch(f"{pages.url}/long", sink=fail_late)
        assert den.fetch(f"{pages.url}/long").received_bytes == 3 << 20
        assert dens.network_pid(den) == pid
    pieces.clear()


def test_ctrl_c_ends_the_load_and_not_the_den(pages: ScriptedServer) -> None:
    script = """
        den = Den()
        threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            den.open(sys.argv[1])
        except KeyboardInterrupt:
            print("interrupted", den.open(sys.argv[2]).title)
        den.close()
    """
    with dens.gated() as (server, gate):
        assert dens.run_script(script, f"{server.url}/", f"{pages.url}/") == "interrupted root\n"
        assert len(gate.requests) == 1


# --- what else its process does ---------------------------------------------------------------------------------


def test_fork_of_the_process_neither_uses_the_den_nor_ends_it(pages: ScriptedServer) -> None:
    script = """
        from foxden import DenClosed
        import multiprocessing

        def use():
            try:
                den.open(sys.argv[1])
            except DenClosed as error:
                assert error.hint and str(os.getppid()) in str(error), error
                os._exit(7)

        with Den() as den:
            den.open(sys.argv[1])
            if os.fork() == 0:
                sys.exit(0)  # leaves the with block
            pid = os.fork()
            if pid == 0:
                use()
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            process = multiprocessing.get_context("fork").Process(target=use)
            process.start()
            process.join()
            print(process.exitcode, den.open(sys.argv[1]).title)
    """
    assert dens.run_script(script, f"{pages.url}/") == "7\n7 root\n"


@pytest.mark.parametrize("habit", ["ignores SIGCHLD", "waits for all children", "blocks SIGCHLD"])
def test_den_bears_what_its_process_does_with_children(pages: ScriptedServer, habit: str) -> None:
    script = """
        from foxden import ChildCrashed, FoxdenError

        def wait_for_all():
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    time.sleep(0.001)

        if sys.argv[2] == "ignores SIGCHLD":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        elif sys.argv[2] == "blocks SIGCHLD":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        else:
            threading.Thread(target=wait_for_all, daemon=True).start()
        with Den() as den:
            for _ in range(3):
                page = den.open(sys.argv[1])
                for record in den.processes():
                    if record.process_type in ("content", "socket"):
                        os.kill(record.pid, signal.SIGKILL)
            print(page.title, den.fetch(sys.argv[1]).status)
        left = open(f"/proc/self/task/{os.getpid()}/children").read()
        print("closed", left)
    """
    assert dens.run_script(script, f"{pages.url}/", habit) == "root 200\nclosed \n"


def test_den_closes_in_an_exit_handler(pages: ScriptedServer) -> None:
    script = """
        import atexit
        den = Den()
        atexit.register(den.close)
        print(den.open(sys.argv[1]).title)
    """
    with dens.adopting_orphans() as running:
        assert dens.run_script(script, f"{pages.url}/") == "root\n"
        assert not running()


# --- nothing grows ----------------------------------------------------------------------------------------------


def held() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def test_nothing_grows_over_many_loads_and_deaths(pages: ScriptedServer) -> None:
    with Den() as den:

        def round_of_work() -> None:
            page = den.open(f"{pages.url}/long")
            den.fetch(f"{pages.url}/long")
            pid = page.process["pid"]
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
            dens.wait_until(lambda: pid not in leaks.children(), "it to be reaped")
            for _ in range(2):
                den.fetch(f"{pages.url}/")

        for _ in range(3):
            round_of_work()
        dens.wait_until(lambda: len(dens.pids(den, "content")) == 1, "the next process to be ready")
        before = held()
        for _ in range(27):
            round_of_work()
        os.kill(dens.network_pid(den), signal.SIGKILL)
        den.open(f"{pages.url}/")
        den.open(f"{pages.url}/long")
        after = held()
        # One content process may be there with its bridge, another be on its way.
        assert after[0] <= before[0] + 12
        assert after[1] == before[1]
        hosts = dens.on_loop(den, lambda: len(den._runtime.processes._hosts))
        assert hosts <= 4
        sites = dens.on_loop(den, lambda: dict(den._runtime.documents._sites))
        assert len(sites) == 1
        assert not dens.on_loop(den, lambda: dict(den._runtime.documents._wanted))
        assert not dens.on_loop(den, lambda: dict(den._runtime.network._readings))


def test_fifty_launches_leave_no_zombie() -> None:
    with Den() as den:
        for _ in range(10):
            children = [dens.launch(den, kind) for kind in ("utility", "gpu", "ipdlunittest", "utility", "broker")]
            dens.end(den, *children)
        assert [pid for pid in leaks.children() if dens.has_ended(pid)] == []
        kept = {"default", "forkserver", "broker"}  # the den's own broker stays, once a child has asked for anything
        dens.wait_until(lambda: {r.process_type for r in den.processes()} <= kept, "only what serves children")
