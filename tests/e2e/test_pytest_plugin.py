"""Tests that are marked `sandboxed`: each runs in a worker of its own, and is reported as if it ran here.

Flow: a file of tests → pytest, as a program of its own → its report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.boxed_pytest import plugin_options
from tests.support.users import needs_userns

from foxden.boxed_tests import answer_of, told_lines
from foxden.errors import FoxdenError

pytestmark = needs_userns

pytest_plugins = ["pytester"]
Run = Callable[..., pytest.RunResult]

HEAD = "import ctypes, os, pytest, time\nfrom dataclasses import dataclass\n"


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Writes a file of tests, and runs pytest on it."""
    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=HEAD + text)
        return pytester.runpytest_subprocess(*plugin_options(), "-p", "no:cacheprovider", "-ra", *options, timeout=120)

    return run


def test_a_marked_test_runs_in_a_locked_process_of_its_own(run: Run) -> None:
    result = run("""
    SEEN = []

    @pytest.mark.sandboxed
    @pytest.mark.parametrize("n", [1, 2])
    def test_boxed(n):
        assert os.getpid() == 1
        assert ctypes.CDLL(None).prctl(21, 0, 0, 0, 0) == 2  # PR_GET_SECCOMP: a filter
        SEEN.append(n)
        assert SEEN == [n], "nobody used this worker before"

    def test_not_marked():
        assert os.getpid() != 1
        assert SEEN == [], "what a box does stays there"
    """.replace("\n    ", "\n"))
    result.assert_outcomes(passed=3)


def test_fixtures_helpers_classes_and_coroutines_work(run: Run) -> None:
    result = run("""
LIMIT = 3

@dataclass
class Point:
    x: int

class Odd(Exception):
    pass

def helper(value):
    return value + LIMIT

def fail():
    raise Odd("odd")

@pytest.fixture
def point():
    return Point(4)

@pytest.mark.sandboxed
def test_function(point, monkeypatch):
    assert isinstance(point, Point)
    assert helper(point.x) == 7
    with pytest.raises(Odd, match="odd"):
        fail()

@pytest.mark.sandboxed
class TestClass:
    @pytest.fixture
    def three(self):
        return 3

    def setup_method(self):
        self.given = 5

    @pytest.mark.parametrize("n", [1, 2])
    def test_method(self, three, n):
        assert (self.given, three, n > 0, self.own()) == (5, 3, True, "own")

    def own(self):
        return "own"

@pytest.mark.sandboxed
async def test_coroutine():
    import asyncio
    await asyncio.sleep(0)
""")
    result.assert_outcomes(passed=4)


def test_a_marked_test_stands_where_pytest_does_and_may_go_to_its_own_folder(run: Run) -> None:
    result = run("""
HERE = os.getcwd()

@pytest.mark.sandboxed
def test_boxed(tmp_path, monkeypatch):
    assert os.getcwd() == HERE
    assert open("test_it.py").readline().startswith("import")
    monkeypatch.chdir(tmp_path)
    open("made", "w").close()
    assert [each.name for each in tmp_path.iterdir()] == os.listdir() == ["made"]
    monkeypatch.undo()
    assert os.getcwd() == HERE
""")
    result.assert_outcomes(passed=1)


def test_a_failure_is_told_as_pytest_tells_it(run: Run) -> None:
    result = run("""
def inner(value):
    print("what it wrote \\x1b[2J")
    assert {"a": value, "b": [1, 2]} == {"a": value, "b": [1, 3]}

@pytest.mark.sandboxed
def test_fails():
    inner(5)
""", "-v")  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "in its worker:", '  File "*test_it.py", line *, in test_fails', "    inner(5)",
        '  File "*test_it.py", line *, in inner', "    assert {*",
        "E   assert {'a': 5, 'b': [[]1, 2[]]} == {'a': 5, 'b': [[]1, 3[]]}",
        "E     Differing items:", "E     {'b': [[]1, 2[]]} != {'b': [[]1, 3[]]}",
        "*Captured stdout call*", "what it wrote \\x1b[[]2J",
        "FAILED test_it.py::test_fails - assert*",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*boxed_test*")


def test_skips_and_expected_failures_are_reported_as_such(run: Run) -> None:
    result = run("""
pytestmark = pytest.mark.sandboxed

def test_skip():
    pytest.skip("not today")

def test_import():
    pytest.importorskip("no_such_module_here")

def test_xfail():
    pytest.xfail("known")

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_raises():
    1 / 0

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_raises_another():
    {}["a"]

@pytest.mark.xfail(strict=True)
def test_passes():
    pass

def test_fails():
    pytest.fail("in words")
""")
    result.assert_outcomes(skipped=2, xfailed=2, failed=3)
    result.stdout.fnmatch_lines(["E   KeyError: 'a'", "E   Failed: in words"])
    result.stdout.fnmatch_lines(["SKIPPED [[]1[]] test_it.py:*: not today", "XFAIL test_it.py::test_xfail - known"])


HOSTILE = {
    "crashes": ("ctypes.string_at(0)", "E   ChildCrashed: utility child * ended by SIGSEGV while running test_hostile"),
    "exits": ("os._exit(0)", "E   ChildCrashed: utility child * exited with 0 while running test_hostile"),
    "hangs": ("time.sleep(100)", "E   CallTimeout: test_hostile: did not return within 2 s"),
    "leaves": ("raise SystemExit(3)", "E   SystemExit: 3"),
    "ends the run": ("pytest.exit('over')", "E   _pytest.outcomes.Exit: over"),
    "interrupts": ("raise KeyboardInterrupt", "E   KeyboardInterrupt"),
    "forks": ("os.fork()", "E   PermissionError: *"),
    "starts a program": ("__import__('subprocess').run(['true'])", "E   PermissionError: *"),
    "kills its parent": ("os.kill(os.getppid() or 1, 9)", "E   *Error: *"),
    "takes all memory": ("bytearray(8 << 30)", "E   MemoryError"),
}


def test_a_test_that_is_hostile_fails_alone(run: Run) -> None:
    tests = [
        f"""
@pytest.mark.sandboxed(timeout={2 if act == "hangs" else 30})
def test_hostile_{number}():
    {source}

@pytest.mark.sandboxed(timeout={2 if act == "hangs" else 30})
def test_after_{number}():
    assert 1 + 1 == 2
"""
        for number, (act, (source, _)) in enumerate(HOSTILE.items())
    ]
    result = run("".join(tests))
    result.assert_outcomes(passed=len(HOSTILE), failed=len(HOSTILE))
    for number, (_, words) in enumerate(HOSTILE.values()):
        name = f"test_hostile_{number}"
        result.stdout.fnmatch_lines([f"*_ {name} _*", words.replace("test_hostile", name)])


def test_a_worker_that_was_taken_over_answers_nothing_that_is_believed(run: Run) -> None:
    result = run("""
@pytest.mark.sandboxed
def test_hostile():
    import sys
    answers = [frame for frame in sys._current_frames().values()]
    frame = answers[0]
    while frame.f_code.co_name != "_run":
        frame = frame.f_back
    frame.f_globals["_call"] = None
    frame.f_globals["_failure"] = lambda *a: {"outcome": "magnificent"}
    raise ValueError
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E   FoxdenError: the worker's answer is no result of a test"])


def test_words_that_nobody_can_write_on_do_not_end_a_run_of_several_workers(run: Run) -> None:
    text = """
def test_says_it():
    print("\\udc80 printed")
    assert False, "\\udc80 \\ud800 raised"
"""
    tests = "pytestmark = pytest.mark.sandboxed\n" + text + "\ndef test_other():\n    pass\n"
    result = run(tests, "-n", "2")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E   AssertionError: \\x80 \\ud800 raised", "\\x80 printed"])
    run(text, "-n", "2").stdout.fnmatch_lines(["INTERNALERROR>*strings must be utf-8 encodable"])  # the control


def test_what_was_refused_is_shown_with_a_failed_test_alone(run: Run) -> None:
    result = run("""
pytestmark = pytest.mark.sandboxed

def test_reads():
    open("/etc/shadow").read()

def test_reads_and_passes():
    with pytest.raises(PermissionError):
        open("/etc/gshadow").read()

def test_fails_without():
    assert False
""")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*- refused by the sandbox -*", "refused open /etc/shadow (EACCES)", "  hint  *"])
    result.stdout.no_fnmatch_line("*gshadow*")
    assert result.stdout.str().count("refused by the sandbox") == 1


def test_a_fixture_that_cannot_be_sent_is_named(run: Run) -> None:
    result = run("""
import threading
LOCK = threading.Lock()

@pytest.fixture
def lines():
    yield (n for n in ())

@pytest.mark.sandboxed
def test_fixture(tmp_path_factory, lines):
    pass

@pytest.mark.sandboxed
def test_global():
    LOCK.acquire()
""")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([
        "fixture '*' cannot be sent to a worker: it is a *", "hint: let it return data, or use it in a fixture *",
        "the test cannot be sent to a worker: cannot pickle '_thread.lock' object",
        "hint: names of its module that it uses must be data, functions, classes or modules",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*direct cause*")


def test_options_grant_and_limit(run: Run, pytester: pytest.Pytester) -> None:
    data = pytester.mkdir("data")
    (data / "file").write_text("words")
    (data / "secret").write_text("hush")
    (pytester.path / "p.toml").write_text(f'[files]\n"{data}" = "r"\n"{data}/secret" = "deny"\n')
    result = run("""
import pathlib
HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.sandboxed(env={"TZ": "CET"}, timeout=20)

@pytest.mark.sandboxed(read=["data"])
def test_read():
    assert (HERE / "data/file").read_text() == "words"
    assert os.environ["TZ"] == "CET"
    with pytest.raises(PermissionError):
        (HERE / "data/file").write_text("other")

@pytest.mark.sandboxed(policy="p.toml", env={"TZ": "UTC"})
def test_policy():
    assert (HERE / "data/file").read_text() == "words"
    assert os.environ["TZ"] == "UTC"
    with pytest.raises(PermissionError):
        (HERE / "data/secret").read_text()

@pytest.mark.sandboxed(memory="256 MiB")
def test_memory():
    with pytest.raises(MemoryError):
        bytearray(512 << 20)

def test_nothing_is_given_unasked():
    with pytest.raises(PermissionError):
        (HERE / "data/file").read_text()

@pytest.mark.sandboxed(level=0)
def test_level_0():
    assert (HERE / "data/file").read_text() == "words"

def test_its_own_folder(tmp_path):
    (tmp_path / "made").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    with pytest.raises(PermissionError):
        (tmp_path.parent / "beside").write_text("x")
""")
    result.assert_outcomes(passed=6)


NONSENSE = {
    "sandboxed(raed=['x'])": "sandboxed: expected one of the options read, * got 'raed'",
    "sandboxed('x')": "sandboxed: options go by name, got 'x'",
    "sandboxed(read=['no/such'])": "*no such file or folder: *no/such*",
    "sandboxed(connect=['example.org'])": "*functions in a box have no network*",
    "sandboxed(policy='nonsense')": "*expected 'utility' or a policy file, got 'nonsense'*",
}


def test_options_that_make_no_sense_fail_the_test(run: Run) -> None:
    tests = [f"@pytest.mark.{marker}\ndef test_{n}():\n    pass\n\n" for n, marker in enumerate(NONSENSE)]
    result = run("".join(tests) + "def test_other():\n    pass\n")
    result.assert_outcomes(passed=1, failed=len(NONSENSE))
    result.stdout.fnmatch_lines(list(NONSENSE.values()))


def test_what_cannot_run_in_a_box_does_not_run_outside_of_one(run: Run) -> None:
    result = run("""
import unittest

@pytest.mark.sandboxed
class TestCase(unittest.TestCase):
    def test_method(self):
        print("it ran here")
        assert os.getpid() == 1
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TestCaseFunction cannot run in a box*"])
    result.stdout.no_fnmatch_line("it ran here")


def test_a_test_that_another_plugin_calls_here_fails(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    yield

class First:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        return True

def pytest_configure(config):
    config.pluginmanager.register(First())
""")
    result = run("@pytest.mark.sandboxed\ndef test_it():\n    pass\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["sandboxed: another plugin ran this test, without a box"])


def test_the_run_stops_at_the_first_failure_if_asked(run: Run) -> None:
    text = "pytestmark = pytest.mark.sandboxed\ndef test_a():\n    os._exit(1)\ndef test_b():\n    pass\n"
    run(text, "-x").assert_outcomes(failed=1)
    run(text).assert_outcomes(failed=1, passed=1)


def test_the_timeout_of_the_ini_file_holds(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfoxden_timeout = 0.5\n")
    result = run("@pytest.mark.sandboxed\ndef test_it():\n    time.sleep(100)\n", "--strict-markers")
    result.stdout.fnmatch_lines(["E   CallTimeout: test_it: did not return within 0.5 s", "hint: *foxden_timeout*"])


def test_processor_time_of_a_test_is_bounded_and_the_hint_is_of_that(run: Run) -> None:
    text = """
@pytest.mark.sandboxed(cpu_time={})
def test_it():
    until = time.process_time() + 1
    while time.process_time() < until:
        pass
"""
    run(text.format(60)).assert_outcomes(passed=1)
    result = run(text.format(0.5))
    result.assert_outcomes(failed=1)
    told = "E   CallTimeout: test_it: used more than 0.5 s of processor time"
    result.stdout.fnmatch_lines([told, "hint: cpu_time=*"])


def test_a_run_without_marked_tests_loads_nothing(run: Run) -> None:
    result = run("""
import sys

def test_it():
    heavy = {"foxden.boxed_tests", "foxden.executor", "foxden.parent", "foxden.sandbox", "msgspec", "asyncio"}
    assert "foxden.pytest_plugin" in sys.modules
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
""", "-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:asyncio")  # fmt: skip
    result.assert_outcomes(passed=1)


# --- what a worker may say --------------------------------------------------------------------------------------


ANSWERS = st.none() | st.integers() | st.text() | st.dictionaries(
    st.sampled_from(["outcome", "type", "message", "trace", "out", "err", "error"]),
    st.sampled_from(["passed", "failed", "skipped", "unloadable"]) | st.text() | st.none() | st.integers(),
)  # fmt: skip


@given(ANSWERS)
def test_any_answer_is_an_answer_or_refused(value: Any) -> None:
    try:
        answer = answer_of(value)
    except FoxdenError:
        return
    assert answer.outcome in ("passed", "failed", "skipped", "unloadable")
    lines = told_lines(answer)
    assert not any(character in line for line in lines for character in "\x1b\r\n")
