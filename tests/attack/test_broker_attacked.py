"""The broker of a den under attack: swapped names, floods, a broker that stands still or is killed in mid-call.

Whatever happens to it, no call goes on in the kernel by itself: a child gets its answer, an error, or its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import users

from foxden import ChildCrashed, Den
from foxden.parent.hosts import ChildHost

pytestmark = [pytest.mark.needs("userns", "landlock", "seccomp"), pytest.mark.usefixtures("each_way")]

#: How long a race may go on until both of its ends were seen often enough.
_RACE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`ground` gets granted; `out` does not."""
    for name in ("ground", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "ground" / "good").write_text("good")
    (tmp_path / "out" / "file").write_text("secret")
    return tmp_path


@pytest.fixture
def den() -> Iterator[Den]:
    with Den() as den:
        yield den


def granted(den: Den, folder: Path) -> ChildHost:
    """A child that may read and change the ground, and that the broker has answered."""
    child = dens.launch(den, "utility")
    den.grant(child.pid, str(folder / "ground"), "rwc")
    assert dens.outcome(den, child, "read-file", str(folder / "ground" / "good")) == "allowed"
    return child


def swap(folder: Path) -> None:
    """`ground/x`: the good file, then a link to the secret, and so on."""
    path, other = folder / "ground" / "x", folder / "ground" / "x.next"
    os.symlink(folder / "out" / "file", other)
    os.rename(other, path)
    os.link(folder / "ground" / "good", other)
    os.rename(other, path)


def swap_folder(folder: Path) -> None:
    """`ground/d`: a folder of its own, then a link to the other."""
    path, other, own = folder / "ground" / "d", folder / "ground" / "d.next", folder / "ground" / "own"
    os.symlink(folder / "out", other)
    os.rename(other, path)
    os.unlink(path)
    own.mkdir(exist_ok=True)
    (own / "file").write_text("good")
    os.symlink("own", path)


@pytest.mark.parametrize(("swapper", "name"), [(swap, "x"), (swap_folder, "d/file")])
def test_names_that_are_swapped_never_give_the_secret(
    den: Den, folder: Path, swapper: Callable[[Path], None], name: str
) -> None:
    """Case 7, from a real child: tests/unit/broker/test_races.py tries more often."""
    child = granted(den, folder)
    stop = threading.Event()

    def flip() -> int:
        times = 0
        while not stop.is_set():
            swapper(folder)
            times += 1
        return times

    flipping = dens.Background(flip)
    seen: Counter[str] = Counter()
    until = time.monotonic() + _RACE_S
    while not (seen["good"] > 20 and seen.total() > 1000) and time.monotonic() < until:  # a busy machine gets more time
        said = dens.probe(den, child, "act", f"read-many {folder}/ground/{name}").detail
        seen.update({word: int(times) for word, times in (each.split("=") for each in said.split(","))})
    stop.set()
    assert flipping.result() > 50
    assert seen.keys() <= {"good", "", "EACCES", "ENOENT"}, seen
    assert seen["good"] > 20, "the control: it is found as the good one, too"


def test_flood_of_opens_of_one_child_leaves_another_its_answers(den: Den, folder: Path) -> None:
    """Case 96."""
    one, other = granted(den, folder), granted(den, folder)
    path = str(folder / "ground" / "good")
    flood = dens.Background(lambda: dens.probe(den, one, "act", f"read-many {folder}/out/file").detail)
    times = []
    while flood.running:
        begun = time.monotonic()
        assert dens.outcome(den, other, "read-file", path) == "allowed"
        times.append(time.monotonic() - begun)
    word, _, count = flood.result().partition("=")
    assert (word, int(count) > 500) == ("EACCES", True)
    times.sort()
    assert times[len(times) // 2] < 0.1
    assert times[-1] < 2


def test_broker_that_stands_still_lets_its_callers_wait_and_nobody_else(den: Den, folder: Path) -> None:
    """Case 94: no call goes on by itself; when the broker goes on they get the answers that they would have got."""
    good, secret = str(folder / "ground" / "good"), str(folder / "out" / "file")
    allowed, refused, bystander = granted(den, folder), granted(den, folder), dens.launch(den, "utility")
    (broker,) = dens.pids(den, "broker")
    dens.stop(broker)
    try:
        calls = [dens.Background(lambda: dens.outcome(den, allowed, "read-file", good)),
                 dens.Background(lambda: dens.outcome(den, refused, "read-file", secret))]  # fmt: skip
        for _ in range(10):
            dens.inside(den, bystander.ping(10))
            assert dens.outcome(den, bystander, "thread") == "allowed"
            time.sleep(0.03)
        assert all(call.running for call in calls), "they wait"
    finally:
        os.kill(broker, signal.SIGCONT)
    assert [call.result() for call in calls] == ["allowed", "EACCES"]
    assert allowed.alive
    assert refused.alive


@pytest.mark.parametrize("first", [signal.SIGSTOP, signal.SIGKILL], ids=str)
def test_broker_killed_in_mid_call_ends_its_callers_by_name(den: Den, folder: Path, first: signal.Signals) -> None:
    """Cases 36, 94: never "continue", and the next child has a new broker."""
    secret = str(folder / "out" / "file")
    child = granted(den, folder)
    (broker,) = dens.pids(den, "broker")
    if first == signal.SIGSTOP:  # it has the call, and will never answer
        dens.stop(broker)
    call = dens.Background(lambda: dens.probe(den, child, "act", f"read-many {secret}"))
    time.sleep(0.3)
    assert call.running
    os.kill(broker, signal.SIGKILL)
    error = call.error()
    assert isinstance(error, ChildCrashed)
    assert "the broker that answers its calls is gone" in dens.ended(den, child).reason
    assert dens.has_ended(child.pid)
    following = granted(den, folder)
    assert dens.outcome(den, following, "read-file", secret) == "EACCES"


def test_child_killed_in_mid_call_leaves_the_broker_to_the_others(den: Den, folder: Path) -> None:
    child, other = granted(den, folder), granted(den, folder)
    for _ in range(5):
        call = dens.Background(lambda child=child: dens.probe(den, child, "act", f"read-many {folder}/out/file"))
        time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        assert isinstance(call.error(), ChildCrashed)
        assert dens.outcome(den, other, "read-file", str(folder / "ground" / "good")) == "allowed"
        child = granted(den, folder)


def test_grant_that_is_taken_back_while_it_is_used_is_refused_from_then_on(den: Den, folder: Path) -> None:
    child = granted(den, folder)
    path = folder / "ground" / "good"
    using = dens.Background(lambda: dens.probe(den, child, "act", f"read-many {path}").detail)
    time.sleep(0.3)
    den.revoke(child.pid, str(folder / "ground"))
    seen = dict(each.split("=") for each in using.result().split(","))
    assert seen.keys() == {"good", "EACCES"}
    assert dens.outcome(den, child, "read-file", str(path)) == "EACCES"


@pytest.mark.parametrize("name", ["?", "?" * 255, "a\n\x1b[31m", "/?" * 1500])
def test_names_that_are_no_text_are_refused_and_told_and_end_nobody(den: Den, folder: Path, name: str) -> None:
    """Case 21: `?` stands for a byte that is no UTF-8."""
    child, other = granted(den, folder), granted(den, folder)
    (broker,) = dens.pids(den, "broker")
    assert dens.outcome(den, child, "act", f"open-bytes {folder}/out/{name}") == "EACCES"
    Path(os.fsdecode(os.fsencode(folder / "ground") + b"/\xff")).write_text("x")
    assert dens.outcome(den, child, "act", f"open-bytes {folder}/ground/?") == "allowed", "the control"
    shown = f"{folder}/out/{name.lstrip('/').partition('/')[0]}".replace("?", "\\xff")
    dens.wait_until(lambda: any(each.path == shown for each in den.violations()), "the refusal to be told")
    assert dens.outcome(den, other, "read-file", str(folder / "ground" / "good")) == "allowed"
    assert dens.pids(den, "broker") == [broker]


def test_program_that_names_what_is_no_text_goes_on(folder: Path) -> None:
    """The same with the broker of its own that `foxden run` gives it."""
    text = "import sys\nfor name in (b'/etc/\\xff', b'/etc/' + b'/\\xff' * 1500):\n"
    text += "  try: open(name, 'w')\n  except OSError as error: print(error.errno)\nprint('done')"
    words = ["-m", "foxden", "run", "--report", str(folder / "report"), "--", "/usr/bin/python3", "-c", text]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=30, check=False, cwd="/",
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(users.CHECKOUT / "src")},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "13\n13\ndone\n"), done.stderr
    assert "/etc/\\\\xff" in (folder / "report").read_text()


def test_pid_of_a_dead_child_and_of_a_stranger_get_no_grant(den: Den, folder: Path) -> None:
    """Case 134: a grant is of one child and of its channel; no number that is used again inherits it."""
    from foxden import FoxdenError

    child = granted(den, folder)
    dens.end(den, child)
    for pid in (child.pid, os.getpid(), 1):
        with pytest.raises(FoxdenError, match="pid of a child"):
            den.grant(pid, str(folder), "r")
    following = dens.launch(den, "utility")
    assert dens.outcome(den, following, "read-file", str(folder / "ground" / "good")) == "EACCES"
