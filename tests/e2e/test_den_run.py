"""Den.run: real programs from a den, what they were refused, how they end, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from tests.support import den as dens
from tests.support import leaks

import foxden
from foxden import Den
from foxden.ipc.fields import Stream
from foxden.parent import programs
from foxden.parent.programs import Done

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the den of this module is shared; shared_den looks for leaks when it closes it"),
]


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with dens.shared_den() as den:
        yield den


def sh(den: Den, script: str, **options: object) -> Done:
    return den.run(["sh", "-c", script], **options)  # type: ignore[arg-type]


def test_output_and_exit_code_are_exact(den: Den) -> None:
    done = sh(den, "printf out; printf err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr, done.signal) == (7, b"out", b"err", None)
    assert done.enforcement.summary() == "FULL"
    assert done.violations == ()


def test_input_of_any_size_goes_in_and_comes_out(den: Den) -> None:
    data = bytes(range(256)) * 40_000
    assert den.run(["cat"], input=data).stdout == data
    assert den.run(["head", "-c", "3"], input=data).stdout == data[:3]
    assert den.run(["cat"]).stdout == b"", "without input there is nothing to read"


def test_what_was_refused_comes_with_the_option_that_would_allow_it(den: Den, tmp_path: Path) -> None:
    done = den.run(["touch", "/srv/made"])
    assert (done.returncode, Path("/srv/made").exists()) == (1, False)
    first = done.violations[0]
    assert (first.operation, first.path, first.errno, first.hint) == ("open", "/srv/made", "EACCES", "write=['/srv']")
    assert den.run(["touch", str(tmp_path / "made")], write=[tmp_path]).returncode == 0
    assert (tmp_path / "made").exists()


def test_files_are_there_by_grant_or_by_name(den: Den, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data\n")
    path = str(tmp_path / "data")
    assert den.run(["cat", path]).stdout == b"data\n"
    assert den.run(["cat", path], designate=False).returncode == 1
    assert sh(den, f"cat {path}").returncode == 1
    assert sh(den, f"cat {path}", read=[path]).stdout == b"data\n"
    assert sh(den, f"echo x > {path}", read=[path]).returncode != 0
    assert sh(den, "cat data", read=[tmp_path], cwd=tmp_path).stdout == b"data\n"


def test_environment_is_what_was_given(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    plain = sh(den, "env").stdout.decode()
    assert "SECRET" not in plain
    assert {line.partition("=")[0] for line in plain.splitlines()} <= {
        "PATH", "HOME", "LANG", "TERM", "TZ", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"}  # fmt: skip
    assert sh(den, "echo $SECRET $OTHER", env={"SECRET": None, "OTHER": "x"}).stdout == b"s3cret x\n"


@pytest.mark.parametrize(
    ("script", "options", "code", "limit"),
    [
        ("trap '' TERM INT; while :; do sleep 1; done", {"timeout": 0.4}, 124, "timeout"),
        ("sleep 100 & wait", {"timeout": 0.4}, 124, "timeout"),
        ("while :; do :; done", {"cpu_time": 1}, 152, "cpu-time"),
    ],
)
def test_limits_end_it_and_are_recorded(
    den: Den, script: str, options: dict[str, float], code: int, limit: str
) -> None:
    start = time.monotonic()
    done = sh(den, script, **options)
    assert (done.returncode, done.limit) == (code, limit)
    assert time.monotonic() - start < 10
    assert [(v.kind, v.operation) for v in done.violations] == [("limit", limit)]


def test_memory_of_the_whole_tree_is_limited(den: Den) -> None:
    script = (
        "import os, time\n"
        "for _ in range(6):\n"
        "  if os.fork() == 0:\n"
        "    kept = bytearray(80 << 20); kept[::4096] = b'x' * len(kept[::4096]); time.sleep(20)\n"
        "time.sleep(20)"
    )
    assert den.run(["python3", "-c", script], memory="200M", timeout=15).limit == "memory"
    small = script.replace("80 <<", "8 <<").replace("sleep(20)", "sleep(0.3)")
    assert den.run(["python3", "-c", small], memory="200M", timeout=15).limit == ""


def test_output_beyond_its_limit_is_dropped_and_the_program_goes_on(den: Den) -> None:
    done = sh(den, "head -c 3000000 /dev/zero; echo done >&2", output=1000)
    assert (len(done.stdout), done.truncated, done.stderr, done.returncode) == (1000, True, b"done\n", 0)


def test_grandchild_that_holds_the_pipe_holds_up_nobody(den: Den) -> None:
    start = time.monotonic()
    done = sh(den, "(sleep 100 &) ; echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n")
    assert time.monotonic() - start < 5


def test_programs_that_cannot_be_executed_are_errors_with_hints(den: Den, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/nonexistent/interpreter\n")
    (tmp_path / "text").chmod(0o755)
    for words in (["no-such-program"], [str(tmp_path / "text")], [str(tmp_path)]):
        with pytest.raises(foxden.LoadError) as caught:
            den.run(words)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("ls -l", {}),
        ([], {}),
        ([""], {}),
        (["ls"], {"read": 7}),
        (["ls"], {"read": ["/"]}),
        (["ls"], {"read": ["/proc"]}),
        (["ls"], {"write": ["/no/such/folder"]}),
        (["ls"], {"timeout": 0}),
        (["ls"], {"timeout": float("nan")}),
        (["ls"], {"memory": "lots"}),
        (["ls"], {"processes": 0}),
        (["ls"], {"cwd": "/no/such/folder"}),
        (["ls"], {"env": {"A=B": "x"}}),
        (["ls"], {"connect": ["example.org"]}),
        (["ls"], {"policy": "/no/such/policy.toml"}),
        (["ls"], {"colour": "blue"}),
        (["ls", "a\0b"], {}),
    ],
)
def test_wrong_arguments_are_refused_in_words(den: Den, words: list[str], options: dict[str, object]) -> None:
    with pytest.raises(foxden.FoxdenError):
        den.run(words, **options)  # type: ignore[arg-type]
    assert den.run(["true"]).returncode == 0, "the den goes on"


def test_everything_it_asked_for_is_told_where_that_is_wished(den: Den, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("x")
    done = sh(den, f"cat {tmp_path}/seen; cat /srv/hidden", read=[tmp_path / "seen"], explain=True)
    asked = {(act.path, act.granted) for act in done.acts if act.operation == "open"}
    assert (f"{tmp_path}/seen", True) in asked
    assert ("/srv/hidden", False) in asked
    assert "/srv/hidden" in {violation.path for violation in done.violations}


def test_many_at_a_time_and_one_after_the_other_stay_apart(den: Den) -> None:
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda number: sh(den, f"echo {number} > /tmp/n; cat /tmp/n").stdout, range(40)))
    assert outputs == [f"{number}\n".encode() for number in range(40)]
    assert sh(den, "test -e /tmp/n").returncode == 1, "nothing of one program is seen by the next"


def test_interrupted_caller_ends_its_program() -> None:
    with Den() as den:
        async def work() -> None:
            async with foxden.AsyncDen() as other:
                task = asyncio.ensure_future(other.run(["sleep", "100"]))
                await asyncio.sleep(0.8)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await other.run(["echo", "next"])).stdout == b"next\n"

        asyncio.run(work())
        assert den.run(["true"]).returncode == 0


def test_den_that_closes_ends_what_runs() -> None:
    den = Den()
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(den.run(["sleep", "100"]))
        except foxden.FoxdenError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)
    den.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_programs_leave_nothing_in_the_den(den: Den) -> None:
    for _ in range(30):
        assert den.run(["true"]).returncode == 0
    time.sleep(0.5)
    kept = [record for record in den.processes() if record.process_type == "plugin"]
    assert len(kept) <= 2, "those that wait for the next program"


@pytest.mark.needs("userns", "landlock", "seccomp")
@pytest.mark.parametrize("accepted", [(), ("landlock",)])
def test_program_that_waits_for_its_sandbox_runs_only_in_a_whole_one(
    accepted: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told what to execute together with its sandbox, and is the first to know whether that is whole."""
    monkeypatch.setenv("FOXDEN_TEST_LANDLOCK_ABI", "3")
    made = tmp_path / "made"
    with Den(allow_partial=accepted) as den:
        programs, begun = den._runtime.programs, den._runtime.processes._begun
        dens.on_loop(den, programs.keep_ready)
        dens.wait_until(lambda: bool(begun["plugin"]) and all(task.done() for _, task in begun["plugin"]), "one begun")
        waiting = {task.result().pid for _, task in begun["plugin"]}
        if accepted:
            sh(den, f"touch {made}", write=[tmp_path]).check_returncode()
        else:
            with pytest.raises(foxden.SandboxUnavailable, match="landlock"):
                sh(den, f"touch {made}", write=[tmp_path])
        dens.wait_until(lambda: any(map(dens.has_ended, waiting)), "the end of the one that was taken")
    assert made.exists() == bool(accepted)


def test_program_that_could_not_be_told_what_to_do_leaves_nothing_open(
    den: Den, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipes() -> set[str]:
        return {target for _, target in leaks.snapshot().descriptors if target.startswith("pipe:")}

    def no_more() -> NoReturn:
        raise OSError(errno.EMFILE, "no descriptor is left")

    real, calls = programs._pipe, []

    def first_only() -> tuple[Stream, Stream]:
        calls.append(1)
        return real() if len(calls) % 3 == 1 else no_more()

    sh(den, "true").check_returncode()
    before = pipes()
    with monkeypatch.context() as patch:
        patch.setattr(programs, "_pipe", first_only)
        for _ in range(5):
            with pytest.raises(OSError, match="no descriptor is left"):
                sh(den, "true")
    assert len(calls) >= 5
    dens.wait_until(lambda: not pipes() - before, "every pipe closed")
    sh(den, "true").check_returncode()
