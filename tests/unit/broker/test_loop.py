"""The loop: stacks, asks, rules that change, fifos, floods, children that vanish, descriptors that stay few."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.harness import Child, in_threads, opened, outcome, outcomes, rules_of, run, serve

from foxden.broker.records import Act, Ask, Detached
from foxden.broker.server import Broker
from foxden.broker.waiting import HELPERS_MAX

pytestmark = [pytest.mark.needs("seccomp"), pytest.mark.usefixtures("each_way")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "file").write_text("content")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def rules(folder: Path) -> dict[str, str]:
    return {str(folder / "w"): "rwc"}


# --- telling ----------------------------------------------------------------------------------------------------


def named_in_the_stack(path: Path) -> str:
    return path.read_text()


def test_a_refusal_is_told_with_the_stack_of_the_child_once_and_then_counted(folder: Path) -> None:
    def act() -> list[Any]:
        return [outcome(lambda: named_in_the_stack(folder / "secret")) for _ in range(10)]

    result = run(act, rules(folder), stacks=True)
    assert result.value == ["EACCES"] * 10
    assert [(each.operation, each.path, each.times) for each in result.acts] == [
        ("open", str(folder / "secret"), 1), ("open", str(folder / "secret"), 9)
    ]  # fmt: skip
    assert any("named_in_the_stack" in frame for frame in result.acts[0].stack)
    assert result.acts[1].stack == ()
    assert result.end.refused == 10


def test_threads_that_are_refused_at_once_all_get_their_answer(folder: Path) -> None:
    def work() -> list[Any]:
        name = threading.current_thread().name
        return [outcome((folder / f"{name}-{number}").read_text) for number in range(20)]

    result = run(lambda: in_threads(6, work), rules(folder), stacks=True)
    assert result.value == [["EACCES"] * 20] * 6
    assert sum(each.times for each in result.acts) + result.end.untold == 120


def test_a_child_that_does_not_hear_the_signal_is_answered_without_a_stack(folder: Path) -> None:
    def act() -> list[Any]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        started = time.monotonic()
        return [outcome((folder / "secret").read_text), time.monotonic() - started]

    result = run(act, rules(folder), stacks=True)
    assert result.value[0] == "EACCES"
    assert result.value[1] < 2
    assert [each.stack for each in result.acts] == [()]


def test_what_is_granted_is_told_where_everything_is_told(folder: Path) -> None:
    result = run(lambda: (folder / "w" / "file").read_text(), rules(folder), everything=True)
    assert [(each.granted, each.operation, each.path) for each in result.acts][:1] == [
        (True, "open", str(folder / "w" / "file"))
    ]
    assert run(lambda: (folder / "w" / "file").read_text(), rules(folder)).acts == []


# --- asking, and rules that change ------------------------------------------------------------------------------


def test_what_is_refused_is_asked_first_and_the_answer_holds_for_that_one_call(folder: Path) -> None:
    answers = iter([True, False, True])

    def ask(record: Ask) -> bool:
        assert (record.operation, record.path) == ("open", str(folder / "secret"))
        return next(answers)

    def act() -> list[Any]:
        return [outcome((folder / "secret").read_text) for _ in range(3)]

    result = run(act, rules(folder), ask=ask)
    assert result.value == ["secret", "EACCES", "secret"]
    assert len([each for each in result.told if isinstance(each, Ask)]) == 3


def test_no_answer_in_time_is_a_no(folder: Path) -> None:
    told: list[Any] = []
    child = Child(lambda: outcome((folder / "secret").read_text))
    broker = Broker(told.append)
    try:
        broker.attach(1, child.listener, rules=rules_of(rules(folder)), ask=True, ask_timeout_s=0.2)
        child.go()
        serve(broker, child)
        assert child.end() == "EACCES"
    finally:
        broker.close()
    assert [type(each) for each in told] == [Ask, Act, Detached]


def test_a_protected_name_is_not_asked_for(folder: Path) -> None:
    result = run(lambda: outcome(lambda: opened(folder / "w" / ".envrc", os.O_CREAT | os.O_WRONLY)), rules(folder),
                 ask=lambda record: True, protected=[(str(folder), (".envrc",))])  # fmt: skip
    assert result.value == "EACCES"
    assert [each for each in result.told if isinstance(each, Ask)] == []


def test_rules_change_while_a_child_runs(folder: Path) -> None:
    told: list[Any] = []
    gate, opener = os.pipe()

    def act() -> list[Any]:
        found = []
        for _ in range(3):
            found.append(outcome((folder / "secret").read_text))
            os.read(gate, 1)
        return found

    child = Child(act)
    broker = Broker(told.append)
    changes = [rules_of({str(folder): "r"}), rules_of({}), []]
    try:
        broker.attach(1, child.listener, rules=rules_of(rules(folder)))
        child.go()

        def change() -> None:
            done = broker._by_id[1].served if 1 in broker._by_id else 0
            if changes and done >= 4 - len(changes):
                broker.set_rules(1, changes.pop(0))
                os.write(opener, b"x")

        serve(broker, child, also=change)
        assert child.end() == ["EACCES", "secret", "EACCES"]
    finally:
        broker.close()
        os.close(gate)
        os.close(opener)


# --- what takes long --------------------------------------------------------------------------------------------


def test_a_fifo_blocks_the_thread_that_opens_it_and_nobody_else(folder: Path) -> None:
    def act() -> list[Any]:
        path = folder / "w" / "fifo"
        os.mkfifo(path)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(path.read_text()))
        reader.start()
        time.sleep(0.05)
        between = (folder / "w" / "file").read_text()
        path.write_text("through the fifo")
        reader.join()
        return [between, said, outcome(lambda: opened(path, os.O_WRONLY | os.O_NONBLOCK))]

    assert run(act, rules(folder)).value == ["content", ["through the fifo"], "ENXIO"]


def test_helpers_are_let_go_when_their_child_dies_and_too_many_are_refused(folder: Path) -> None:
    path = folder / "w" / "fifo"
    os.mkfifo(path)

    def act() -> None:
        tries = [threading.Thread(target=lambda: outcome(path.read_text), daemon=True) for _ in range(HELPERS_MAX)]
        for thread in tries:
            thread.start()
        while outcome(lambda: os.stat(path)) and len(os.listdir("/proc/self/task")) <= HELPERS_MAX:
            time.sleep(0.01)
        time.sleep(0.3)
        one_more = outcome(lambda: opened(path, os.O_RDONLY))
        Path(folder / "w" / "answer").write_text(str(one_more))
        os._exit(0)

    before = threading.active_count()
    run(act, {**rules(folder), "/proc": "r"})
    assert (folder / "w" / "answer").read_text() == "EAGAIN"
    assert threading.active_count() == before


def test_an_opening_that_a_signal_ends_is_given_up(folder: Path) -> None:
    def act() -> Any:
        path = folder / "w" / "fifo"
        os.mkfifo(path)

        class Late(Exception):
            pass

        def late(number: int, frame: object) -> None:
            raise Late

        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            path.read_text()
        except Late:
            return outcome((folder / "w" / "file").read_text)
        return "it was opened"

    assert run(act, rules(folder)).value == "content"


# --- hostile ----------------------------------------------------------------------------------------------------


def requests(folder: Path) -> None:
    """A thousand of every kind, granted, refused, failing."""
    for number in range(40):
        round_of_requests(folder / "w", folder / "secret", number)


def round_of_requests(own: Path, secret: Path, number: int) -> None:
    outcomes({
        "read": (own / "file").read_text, "secret": secret.read_text, "stat": lambda: os.stat(own),
        "missing": lambda: os.stat(own / "no"), "list": lambda: os.listdir(own),
        "make": lambda: (own / "new").write_text("x"), "link": lambda: os.link(own / "new", own / "hard"),
        "rename": lambda: os.rename(own / "hard", own / f"moved{number}"), "unlink": lambda: os.unlink(own / "new"),
        "sym": lambda: os.symlink("file", own / f"sym{number}"), "through": (own / f"sym{number}").read_text,
        "up": lambda: os.stat(own / ".." / "secret"), "mkdir": lambda: os.mkdir(own / f"dir{number}"),
        "rmdir": lambda: os.rmdir(own / f"dir{number}"), "chmod": lambda: os.chmod(own / "file", 0o600),
        "own": lambda: opened("/proc/self/fd/0", os.O_RDONLY), "dir fd": lambda: os.stat("x", dir_fd=0),
        "utime": lambda: os.utime(own / "file"), "truncate": lambda: os.truncate(own / "no", 1),
        "device": lambda: os.mknod(own / "d", 0o20600), "long": lambda: os.stat("/" + "x" * 5000),
        "statfs": lambda: os.statvfs(own), "xattr": lambda: os.listxattr(own), "loop": lambda: os.stat(own / "l"),
        "file/": lambda: os.stat(f"{own}/file/"), "file/x": lambda: os.stat(own / "file" / "x"),
    })  # fmt: skip


@pytest.mark.parametrize("view", ["host", "child"])
def test_descriptors_of_the_broker_are_as_many_after_a_thousand_requests(folder: Path, view: str) -> None:
    (folder / "w" / "l").symlink_to("l")
    told: list[Any] = []
    child = Child(lambda: [requests(folder), os.getpid()][1])
    broker = Broker(told.append)
    try:
        broker.attach(1, child.listener, view=view, rules=rules_of(rules(folder)))
        counts: list[int] = []

        def count() -> None:
            counts.append(len(os.listdir("/proc/self/fd")))

        child.go()
        serve(broker, child, also=count)
        assert child.end() == child.pid
    finally:
        broker.close()
    end = next(each for each in told if isinstance(each, Detached))
    assert end.served > 1000
    assert len(set(counts[1:-1])) == 1


def test_a_child_killed_in_the_middle_of_its_calls_leaves_nothing(folder: Path) -> None:
    before = os.listdir("/proc/self/fd")

    def act() -> None:
        for _ in range(4):
            threading.Thread(target=lambda: [requests(folder) for _ in range(1000)], daemon=True).start()
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGKILL)

    result = run(act, rules(folder))
    assert result.value is None
    assert result.end.served > 100
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_flood_of_one_child_does_not_starve_another(folder: Path) -> None:
    told: list[Any] = []

    def flood() -> None:
        deadline = time.monotonic() + 1.5

        def work() -> None:
            while time.monotonic() < deadline:
                outcome(lambda: os.stat(folder / "secret"))

        in_threads(8, work)

    def polite() -> float:
        time.sleep(0.2)
        worst = 0.0
        for _ in range(200):
            started = time.monotonic()
            (folder / "w" / "file").read_text()
            worst = max(worst, time.monotonic() - started)
        return worst

    children = [Child(flood), Child(polite)]
    broker = Broker(told.append)
    try:
        for number, child in enumerate(children):
            broker.attach(number, child.listener, rules=rules_of(rules(folder)))
            child.go()
        serve(broker, *children)
        worst = children[1].end()
        children[0].end()
    finally:
        broker.close()
    assert worst < 0.25  # eight waiting calls of the other, and a busy machine


def test_after_detaching_the_kernel_answers(folder: Path) -> None:
    told: list[Any] = []
    gate, opener = os.pipe()

    def act() -> list[Any]:
        first = outcome((folder / "w" / "file").read_text)
        os.read(gate, 1)
        return [first, outcome((folder / "w" / "file").read_text)]

    child = Child(act)
    broker = Broker(told.append)
    try:
        broker.attach(1, child.listener, rules=rules_of(rules(folder)))
        child.go()

        def leave() -> None:
            if broker._by_id and broker._by_id[1].served >= 2:
                broker.detach(1)
                os.write(opener, b"x")

        serve(broker, child, also=leave)
        assert child.end() == ["content", "ENOSYS"]
    finally:
        broker.close()
        os.close(gate)
        os.close(opener)


def test_the_core_imports_nothing_heavy() -> None:
    """The command makes a Broker in a supervisor that has just been forked, and has no time to load anything but what
    the command has loaded already."""
    import subprocess
    import sys

    heavy = "dataclasses inspect traceback asyncio pathlib subprocess"
    code = (
        "import sys; from foxden.launch.loading import load_msgspec; load_msgspec(); from foxden.broker import server; "
        f"print([n for n in {heavy.split()!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}"],
                          capture_output=True, text=True, timeout=20, check=True)  # fmt: skip
    assert done.stdout == "[]\n"
