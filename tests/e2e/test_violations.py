"""Violations of real dens: who was refused what, by which line, what would allow it; in the API, on standard error
and in the report.  Every refusal has its positive control."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support.loopback import packet
from tests.support.servers import ScriptedServer
from tests.support.users import needs_userns

from foxden import AsyncDen, ChildCrashed, Den, FoxdenError, LoadError, NetworkError
from foxden.ipc.codec import Kind
from foxden.ipc.fields import Payload
from foxden.ipc.memory import make_payload
from foxden.model.records import Act, Violation
from foxden.parent.hosts import ChildHost, End
from foxden.parent.violations import RATE_MAX
from foxden.protocols.broker import PBroker
from foxden.protocols.unittest import PIPDLUnitTest
from foxden.sandbox.paths import Access
from foxden.sandbox.syscall_numbers import NUMBERS

pytestmark = pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it")

OPENAT = NUMBERS[os.uname().machine]["openat"]
PTRACE = NUMBERS[os.uname().machine]["ptrace"]
HOSTILE = "/home/x\n2026-01-01 Sandbox: all is well\r\x1b[2J\x9b31m\u202egpj.exe"


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with dens.shared_den() as den:
        yield den


def told(
    child: ChildHost, *, path: str = "", granted: bool = False, number: int = OPENAT, **more: object
) -> PBroker.OnAct:
    """What the broker says of a child's act."""
    fields = {"operation": "open" if path else "", "access": int(Access.READ) if path else 0, "errno": 13, **more}
    return PBroker.OnAct(
        child_id=child.child_id, pid=child.pid, granted=granted, syscall=number, args=(1, 2, 3), path=path, **fields
    )  # type: ignore[arg-type]  # fmt: skip


def act(den: Den, child: ChildHost, message: PBroker.OnAct) -> None:
    dens.on_loop(den, lambda: den._runtime.denials.act(child, message))


# --- what the broker tells --------------------------------------------------------------------------------------


def test_refused_file_has_rule_hint_and_stack(den: Den) -> None:
    with dens.child_of(den, "utility") as child:
        act(den, child, told(child, path="/etc/passwd", stack=("job.py:3 load",)))
        (violation,) = den.violations(pid=child.pid)
    assert violation == Violation(
        time=violation.time, pid=child.pid, process_type="utility", level=1, kind="file", operation="open",
        syscall="openat", args=(1, 2, 3), path="/etc/passwd", access="r", errno="EACCES",
        rule='strict.toml: files "/" = "deny"', hint="read=['/etc/passwd']", stack=("job.py:3 load",),
    )  # fmt: skip
    assert str(violation) == (
        'open /etc/passwd: [utility level 1] refused with EACCES; rule: strict.toml: files "/" = "deny"; '
        "hint: read=['/etc/passwd']; in: job.py:3 load"
    )


def test_refused_call_has_its_name_and_no_hint_that_would_not_help(den: Den) -> None:
    with dens.child_of(den, "content", "web") as child:
        act(den, child, told(child, number=PTRACE, errno=1))
        (violation,) = den.violations(pid=child.pid)
    assert (violation.kind, violation.operation, violation.syscall, violation.errno) == (
        "syscall", "ptrace", "ptrace", "EPERM",
    )  # fmt: skip
    assert (violation.remote_type, violation.rule) == ("web", "common.toml: @other-processes = notify.EPERM")
    assert violation.hint == "no option allows this: it reaches into other processes"


def test_granted_act_is_no_violation_and_is_told_where_everything_is(den: Den) -> None:
    acts: list[Act] = []
    with dens.child_of(den, "utility") as child:
        dens.on_loop(den, lambda: den._runtime.denials.tell_acts(child, acts.append))
        act(den, child, told(child, path="/usr/lib/x", granted=True, errno=0))
        act(den, child, told(child, path="/etc/passwd"))
        assert [violation.path for violation in den.violations(pid=child.pid)] == ["/etc/passwd"]
    assert [(each.path, each.granted) for each in acts] == [("/usr/lib/x", True), ("/etc/passwd", False)]


def test_child_with_grants_is_explained_by_its_own_rules(den: Den) -> None:
    with dens.child_of(den, "utility") as child:
        rules = (("/data", int(Access.READ)),)
        dens.on_loop(den, lambda: den._runtime.denials.explain_by(child, rules, explain=False))
        act(den, child, told(child, path="/data/x", access=int(Access.WRITE)))
        (violation,) = den.violations(pid=child.pid)
    assert violation.rule == "granted: --read /data"
    assert violation.hint == "write=['/data/x']"


def test_broker_own_reason_stands_before_the_rule(den: Den) -> None:
    with dens.child_of(den, "utility") as child:
        act(den, child, told(child, path="/etc/passwd", detail="a symbolic link in a tree that may be written"))
        (violation,) = den.violations(pid=child.pid)
    assert violation.rule.startswith("a symbolic link in a tree that may be written (strict.toml")


def test_flood_of_one_child_leaves_the_record_of_another(den: Den) -> None:
    with dens.child_of(den, "utility") as quiet, dens.child_of(den, "utility") as loud:
        act(den, quiet, told(quiet, path="/quiet"))

        def flood() -> None:
            for number in range(20 * RATE_MAX):
                den._runtime.denials.act(loud, told(loud, path=f"/{number}"))

        dens.on_loop(den, flood)
        assert [violation.path for violation in den.violations(pid=quiet.pid)] == ["/quiet"]
        kept = den.violations(pid=loud.pid)
    assert len(kept) < 4 * RATE_MAX
    assert sum(violation.count for violation in kept) == 20 * RATE_MAX
    assert "more violations" in [violation.operation for violation in kept]


# --- what the kernel and the protocols tell ---------------------------------------------------------------------


def test_child_that_its_filter_killed_is_recorded(den: Den) -> None:
    child = dens.launch(den, "gmp")
    assert dens.outcome(den, child, "thread") == "allowed"
    with pytest.raises(ChildCrashed, match="SIGSYS"):
        dens.probe(den, child, "unshare-user")
    (violation,) = den.violations(pid=child.pid)
    assert (violation.kind, violation.operation, violation.process_type) == ("syscall", "killed", "gmp")
    assert "gmp.toml level 1: kill" in violation.rule


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGXFSZ])
def test_end_by_a_limit_is_recorded_unless_it_was_our_own_doing(den: Den, number: signal.Signals) -> None:
    with dens.child_of(den, "utility") as child:
        dens.on_loop(den, lambda: den._runtime.denials.ended(child, End(signal=number, reason="closed")))
        assert den.violations(pid=child.pid) == []
        dens.on_loop(den, lambda: den._runtime.denials.ended(child, End(signal=number)))
        (violation,) = den.violations(pid=child.pid)
    assert violation.kind == "limit"
    assert number.name in violation.rule


def test_child_that_ends_well_leaves_no_record(den: Den) -> None:
    child = dens.launch(den, "utility")
    dens.end(den, child)
    assert den.violations(pid=child.pid) == []


def test_message_outside_of_the_protocol_is_recorded(den: Den) -> None:
    with dens.unit_test_child(den) as (child, root):
        raw = packet(0, PIPDLUnitTest.Tell.number, int(Kind.SEND), [7])
        message = PIPDLUnitTest.SendRaw(packet=make_payload(Payload, raw), descriptors=0)
        dens.on_loop(den, lambda: root.send(message))
        dens.ended(den, child)
        (violation,) = den.violations(pid=child.pid)
    assert (violation.kind, violation.operation) == ("ipc", "bad message")
    assert "PIPDLUnitTest.Tell" in violation.rule


# --- files of pages, and the network ----------------------------------------------------------------------------


def test_file_that_no_page_may_read_is_recorded(den: Den, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<title>Fine</title>")
    assert den.open(str(tmp_path / "page.html")).title == "Fine"
    with pytest.raises(LoadError):
        den.open("/proc/version")
    violation = den.violations()[-1]
    assert (violation.kind, violation.path, violation.remote_type) == ("file", "/proc/version", "file")
    assert violation.rule == 'content.toml level 3: files "/proc" = "deny"'


def test_bad_port_is_recorded(den: Den) -> None:
    with pytest.raises(NetworkError):
        den.fetch("http://127.0.0.1:25/")
    violation = den.violations()[-1]
    assert (violation.kind, violation.host, violation.port) == ("network", "127.0.0.1", 25)
    assert violation.errno == "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"
    assert violation.pid == dens.network_pid(den)
    assert violation.hint.startswith("no option allows this: ")


def test_redirect_to_a_private_address_is_recorded_and_a_typed_one_is_not(den: Den) -> None:
    with ScriptedServer(dens.routes({"/": dens.title_page("Inner")})) as inner:
        there = f"http://127.0.0.1:{inner.port}/"
        with ScriptedServer(dens.routes({"/": dens.redirect_to(there)})) as outer:
            before = len(den.violations())
            assert b"Inner" in den.fetch(there).body
            assert len(den.violations()) == before
            with pytest.raises(NetworkError):
                den.fetch(f"http://127.0.0.1:{outer.port}/")
    violation = den.violations()[-1]
    assert (violation.errno, violation.port) == ("NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED", inner.port)
    assert violation.hint == "--pref foxden.network.private-hosts=127.0.0.1"


def test_failure_that_is_no_refusal_is_no_violation(den: Den) -> None:
    before = len(den.violations())
    with pytest.raises(NetworkError, match="CONNECTION_REFUSED"):
        den.fetch("http://127.0.0.1:1234/")
    assert len(den.violations()) == before


# --- on standard error, and in the report -----------------------------------------------------------------------


def test_hostile_text_makes_one_line_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with dens.make_den({"MOZ_SANDBOX_LOGGING": "1"}) as den, dens.child_of(den, "utility") as child:
        message = told(child, path=HOSTILE, stack=("x.py:1 \x1b]0;evil\x07\nSandbox: forged",))
        act(den, child, message)
        assert den.violations()[0].path == HOSTILE  # exact in the API
    err = capfd.readouterr().err
    (line,) = [line for line in err.splitlines() if line]
    assert line.startswith("Sandbox: denied op=open perms=r path=/home/x\\n2026")
    assert line.isprintable()
    assert "rule: strict.toml" in line


@pytest.mark.parametrize("environment", [{}, {"MOZ_SANDBOX_LOGGING": "0"}, {"MOZ_SANDBOX_LOGGING": ""}])
def test_nothing_is_printed_unasked(environment: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    with dens.make_den(environment) as den, dens.child_of(den, "utility") as child:
        act(den, child, told(child, path="/x"))
        assert len(den.violations()) == 1
    assert "Sandbox:" not in capfd.readouterr().err


def test_report_has_every_record_of_the_den(tmp_path: Path) -> None:
    with Den(report=tmp_path / "r") as den, dens.child_of(den, "utility") as child:
        act(den, child, told(child, path=HOSTILE))
        act(den, child, told(child, path=HOSTILE))
    first, last = (json.loads(line) for line in (tmp_path / "r").read_text("ascii").splitlines())
    assert (first["path"], first["kind"], "count" in first, last["count"]) == (HOSTILE, "file", False, 2)


def test_report_that_cannot_be_had_is_an_error_and_leaves_no_den_behind(tmp_path: Path) -> None:
    (tmp_path / "r").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FoxdenError, match="it is a symbolic link"):
        Den(report=tmp_path / "r")
    assert not (tmp_path / "elsewhere").exists()


def test_full_report_does_not_hinder_the_den(capfd: pytest.CaptureFixture[str]) -> None:
    with Den(report="/dev/full") as den, dens.child_of(den, "utility") as child:
        for number in range(3):
            act(den, child, told(child, path=f"/{number}"))
        assert len(den.violations()) == 3
    assert capfd.readouterr().err.count("warning: /dev/full: No space left on device") == 1


@needs_userns
def test_command_reports_and_prints(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "foxden", "fetch", "--report", str(tmp_path / "r"), "http://127.0.0.1:25/"]
    done = subprocess.run(
        command, env={**os.environ, "MOZ_SANDBOX_LOGGING": "1"}, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == 1
    assert "Sandbox: denied connection to 127.0.0.1:25 for pid=" in done.stderr
    (line,) = (tmp_path / "r").read_text().splitlines()
    assert json.loads(line)["port"] == 25


def test_async_den_tells_the_same() -> None:
    async def ask() -> list[Violation]:
        async with AsyncDen() as den:
            with pytest.raises(NetworkError):
                await den.fetch("http://127.0.0.1:25/")
            return await den.violations()

    assert [violation.port for violation in asyncio.run(ask())] == [25]


# --- with a broker at work --------------------------------------------------------------------------------------


@pytest.mark.needs("userns", "landlock", "seccomp")
@pytest.mark.parametrize("kind", ["utility", "content"])
def test_real_refusal_comes_with_the_stack_of_the_child(den: Den, kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    path = str((tmp_path / "secret").resolve())
    with dens.child_of(den, kind, "web" if kind == "content" else "") as child:
        assert dens.outcome(den, child, "read-file", path) == "EACCES"
        dens.wait_until(lambda: any(each.path == path for each in den.violations(pid=child.pid)), "the record")
        violation = next(each for each in den.violations(pid=child.pid) if each.path == path)
        assert (violation.kind, violation.access, violation.errno) == ("file", "r", "EACCES")
        assert 'files "/" = "deny"' in violation.rule
        assert path in violation.hint
        assert any("_read_file" in frame for frame in violation.stack), violation.stack
        den.grant(child.pid, path, "r")
        assert dens.outcome(den, child, "read-file", path) == "allowed", "the control: it is the grant that was missing"


@pytest.mark.needs("userns", "landlock", "seccomp")
def test_real_refusal_of_a_call_is_recorded(den: Den) -> None:
    with dens.child_of(den, "utility") as child:
        assert dens.outcome(den, child, "keyctl") == "EPERM"
        dens.wait_until(lambda: bool(den.violations(pid=child.pid)), "the record")
        violation = next(each for each in den.violations(pid=child.pid) if each.syscall == "keyctl")
    assert violation.rule == "common.toml: @kernel-surface = notify.EPERM"
    assert violation.hint.startswith("no option allows this: ")
