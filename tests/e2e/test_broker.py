"""The broker in a den: granted files read through it, refused ones told with a stack, its rules, its death."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import den as dens

from foxden import ChildCrashed, Den, FoxdenError
from foxden.parent.broker import AskRecord
from foxden.protocols.broker import PBroker

pytestmark = [pytest.mark.needs("userns", "landlock", "seccomp"), pytest.mark.usefixtures("each_way")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good").write_text("good")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def listen(den: Den) -> list[PBroker.OnAct]:
    acts: list[PBroker.OnAct] = []
    den._runtime.brokers.on_act.append(lambda child_id, act: acts.append(act))
    return acts


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + dens.DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@pytest.mark.parametrize("level", [3, 4])
def test_a_granted_file_is_read_through_the_broker_and_another_is_told_with_its_stack(folder: Path, level: int) -> None:
    with Den(level=level) as den:
        acts = listen(den)
        child = dens.launch(den, "content", "web")
        assert dens.pids(den, "broker") == []  # nobody asked for anything yet
        assert dens.outcome(den, child, "read-file", str(folder / "good")) == "EACCES"
        den.grant(child.pid, str(folder / "good"), "r")
        assert dens.outcome(den, child, "read-file", str(folder / "good")) == "allowed"
        assert dens.outcome(den, child, "write-file", str(folder / "good")) == "EACCES"
        assert dens.outcome(den, child, "read-file", str(folder / "secret")) == "EACCES"
        wait_for(lambda: len(acts) >= 3)
        told = [act for act in acts if act.path == str(folder / "secret")]
        assert [(act.child_id, act.pid, act.operation, act.granted) for act in told] == [
            (child.child_id, child.pid, "open", False)
        ]
        assert any("_read_file" in frame for frame in told[0].stack)
        den.revoke(child.pid, str(folder / "good"))
        assert dens.outcome(den, child, "read-file", str(folder / "good")) == "EACCES"


def test_a_grant_is_for_one_child_and_not_for_its_neighbour(folder: Path) -> None:
    with Den() as den:
        one, other = dens.launch(den, "content", "web"), dens.launch(den, "content", "web")
        den.grant(one.pid, str(folder), "rwc")
        assert dens.outcome(den, one, "write-file", str(folder / "made")) == "allowed"
        assert dens.outcome(den, other, "read-file", str(folder / "made")) == "EACCES"


@pytest.mark.parametrize(
    ("path", "word"), [("relative", "r"), ("/a/../b", "r"), ("/a", "everything"), ("/a/", "r"), ("", "r")]
)
def test_a_grant_that_says_nothing_clear_is_an_error(path: str, word: str) -> None:
    with Den() as den:
        child = dens.launch(den, "content", "web")
        with pytest.raises(FoxdenError, match="grant: expected"):
            den.grant(child.pid, path, word)
        with pytest.raises(FoxdenError, match="was granted"):
            den.revoke(child.pid, "/a")
        with pytest.raises(FoxdenError, match="pid of a child"):
            den.grant(1, "/a", "r")


def test_a_page_of_a_file_is_read_at_every_level(folder: Path) -> None:
    page = folder / "page.html"
    page.write_text("<title>a page</title>")
    with Den() as den:
        assert den.open(str(page)).title == "a page"


# --- asking -----------------------------------------------------------------------------------------------------


def test_the_caller_is_asked_and_its_word_holds_for_one_call(folder: Path) -> None:
    asked: list[AskRecord] = []
    answers = iter([True, False])

    def ask(record: AskRecord) -> bool:
        asked.append(record)
        return next(answers)

    with Den(ask=ask) as den:
        child = dens.launch(den, "content", "web")
        assert dens.outcome(den, child, "read-file", str(folder / "secret")) == "allowed"
        assert dens.outcome(den, child, "read-file", str(folder / "secret")) == "EACCES"
        assert asked[0] == AskRecord(
            child_id=child.child_id, pid=child.pid, process_type="content", remote_type="web", operation="open",
            path=str(folder / "secret"), access="r",
        )  # fmt: skip


def test_a_caller_that_does_not_answer_in_time_has_said_no(folder: Path) -> None:
    def ask(record: AskRecord) -> bool:
        time.sleep(4)
        return True

    with Den(ask=ask, prefs={"foxden.broker.ask-timeout": 1}) as den:
        child = dens.launch(den, "content", "web")
        assert dens.outcome(den, child, "read-file", str(folder / "secret")) == "EACCES"
        time.sleep(2.5)  # the answer that comes too late changes nothing
        assert dens.outcome(den, child, "thread") == "allowed"


# --- temporary files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [2, 3, 4])
def test_temporary_files_are_made_in_a_directory_of_the_childs_own_that_goes_with_it(folder: Path, level: int) -> None:
    with Den(level=level) as den:
        one, other = dens.launch(den, "content", "web"), dens.launch(den, "content", "web")
        answer = dens.probe(den, one, "write-file")
        assert answer.succeeded, answer.detail
        own = Path(answer.detail).parent
        assert own.stat().st_mode & 0o777 == 0o700
        assert dens.outcome(den, one, "write-file", str(own / "kept")) == "allowed"
        for beside in (own.parent / "new", Path("/tmp/foxden-probe"), folder / "new"):
            assert dens.outcome(den, one, "write-file", str(beside)) == "EACCES"
        assert dens.outcome(den, other, "write-file", str(own / "kept")) == "EACCES"
        dens.end(den, one)
        wait_for(lambda: not own.exists())
        assert own.parent.exists()
    assert not own.parent.exists()


def test_what_a_killed_den_left_is_removed_by_the_next(folder: Path) -> None:
    from foxden.parent.temporaries import Temporaries

    left = Temporaries()
    path = Path(left.of(1))
    left.make(1)
    (path / "deep").mkdir()
    (path / "deep" / "file").write_text("left")
    living = Temporaries()
    kept = Path(living.of(1))
    living.make(1)
    assert path.exists()  # its den lives
    os.close(left._lock)  # as when a process is killed
    following = Temporaries()
    following.of(1)
    following.make(1)
    assert not path.parent.exists()
    assert kept.exists()
    following.close()
    living.close()


# --- the broker's own end ---------------------------------------------------------------------------------------


def test_when_the_broker_dies_its_children_are_ended_and_the_next_has_a_new_one(folder: Path) -> None:
    with Den() as den:
        child = dens.launch(den, "content", "web")
        assert dens.outcome(den, child, "read-file", str(folder / "good")) == "EACCES"
        (broker,) = dens.pids(den, "broker")
        os.kill(broker, signal.SIGKILL)
        assert "the broker that answers its calls is gone" in dens.ended(den, child).reason
        with pytest.raises(ChildCrashed, match="broker"):
            dens.inside(den, _crash(child))
        following = dens.launch(den, "content", "web")
        den.grant(following.pid, str(folder / "good"), "r")
        assert dens.outcome(den, following, "read-file", str(folder / "good")) == "allowed"
        assert dens.pids(den, "broker") != [broker]


async def _crash(child: object) -> None:
    raise child.crash("working")  # type: ignore[attr-defined]


def test_the_broker_is_a_sandboxed_process_of_its_own_without_network() -> None:
    with Den() as den:
        broker = dens.launch(den, "broker")
        assert broker.enforcement is not None
        assert not broker.enforcement.missing()
        for probe in ("tcp-socket", "udp-socket", "abstract-listen"):
            assert dens.outcome(den, broker, probe) == "EACCES"
        for probe, argument in (("exec", "/bin/true"), ("fork", ""), ("mount", "")):
            assert dens.outcome(den, broker, probe, argument) == "EPERM"
        assert dens.outcome(den, broker, "read-file", "/etc/passwd") == "allowed"


def test_a_flood_of_refusals_is_told_up_to_a_bound(folder: Path) -> None:
    with Den() as den:
        child = dens.launch(den, "content", "web")
        acts = listen(den)
        for number in range(300):
            assert dens.outcome(den, child, "read-file", f"/nowhere/{number}") == "EACCES"
        wait_for(lambda: len(acts) >= 200)
        assert sum(act.count for act in acts) <= 300
