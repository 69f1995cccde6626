"""Warnings of tests in boxes: raised under the filters that hold outside, shown where pytest shows them.

Flow: a file of tests → pytest, as a program of its own → its summary;  what a worker says → what is made of it.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.boxed_pytest import plugin_options
from tests.support.users import needs_userns

from foxden.boxed_tests import answer_of
from foxden.boxed_warnings import Warned, category_of, checked, show
from foxden.children.utility.boxed_test import WARNING_SIZES, WARNINGS_MAX
from foxden.errors import FoxdenError

pytestmark = needs_userns

pytest_plugins = ["pytester"]
Run = Callable[..., pytest.RunResult]

HEAD = """
import os, pytest, warnings
pytestmark = pytest.mark.sandboxed

class Odd(UserWarning):
    pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Writes a file of marked tests, and runs pytest on it."""
    def run(text: str, *options: str, ini: str = "") -> pytest.RunResult:
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(test_it=HEAD + text)
        return pytester.runpytest_subprocess(*plugin_options(), "-p", "no:cacheprovider", "-ra", *options, timeout=120)

    return run


# --- shown ------------------------------------------------------------------------------------------------------


WARNS = """
def helper():
    warnings.warn("old ways", DeprecationWarning, stacklevel=2)

def test_warns():
    assert os.getpid() == 1
    helper()
    warnings.warn("of its own\\nin two lines", Odd)

def test_fails():
    warnings.warn("before it failed")
    assert False
"""


def test_warnings_are_in_the_summary_as_if_raised_outside(run: Run) -> None:
    result = run(WARNS)
    result.assert_outcomes(passed=1, failed=1, warnings=3)
    result.stdout.fnmatch_lines([
        "*= warnings summary =*",
        "test_it.py::test_warns", "  */test_it.py:12: DeprecationWarning: old ways", "    helper()",
        "test_it.py::test_warns", "  */test_it.py:13: Odd: of its own", "  in two lines", "    warnings.warn(*, Odd)",
        "test_it.py::test_fails", "  */test_it.py:16: UserWarning: before it failed",
    ])  # fmt: skip
    outside = run(WARNS.replace("getpid() == 1", "getpid() != 1"), "-o", "markers=sandboxed", "-p", "no:foxden")
    seen, expected = ([line for line in each.outlines if line.startswith("  ")] for each in (result, outside))
    assert [line for line in seen if "test_it.py:" in line] == [line for line in expected if "test_it.py:" in line]


def test_warnings_reach_the_process_that_hands_out_the_tests(run: Run) -> None:
    """A category of the test's own file has no name that could be imported there."""
    result = run(WARNS, "-n", "2")
    result.assert_outcomes(passed=1, failed=1, warnings=3)
    result.stdout.fnmatch_lines([
        "  *:12: DeprecationWarning: old ways", "  *:13: UserWarning: test_it.Odd: of its own",
    ])  # fmt: skip


def test_a_flood_of_warnings_is_cut_and_counted(run: Run) -> None:
    result = run("""
def test_flood():
    for n in range(1000):
        warnings.warn(f"number {n} " + "x" * 10_000)
""")
    result.assert_outcomes(passed=1, warnings=WARNINGS_MAX)
    result.stdout.fnmatch_lines(["*: UserWarning: number 98 x*", "*: UserWarning: 901 more warnings of this test *"])
    result.stdout.no_fnmatch_line("*number 99 *")
    assert len(result.stdout.str()) < WARNINGS_MAX * 2 * sum(WARNING_SIZES)


def test_without_pytests_own_recording_they_are_written(run: Run) -> None:
    result = run(WARNS, "-p", "no:warnings")
    result.stdout.fnmatch_lines(["*Captured stderr call*", "*:16: UserWarning: before it failed"])


def test_what_a_test_expects_and_records_itself_is_not_shown(run: Run) -> None:
    result = run("""
@pytest.fixture
def early(recwarn):
    warnings.warn("of a fixture")

def test_expects(recwarn):
    with pytest.warns(Odd, match="expected"):
        warnings.warn("expected", Odd)
    warnings.warn("recorded")
    assert [str(each.message) for each in recwarn] == ["recorded"]

def test_of_a_fixture(early, recwarn):
    warnings.warn("then")
    assert [str(each.message) for each in recwarn] == ["of a fixture", "then"]

def test_expects_in_vain():
    with pytest.warns(Odd):
        pass
""")
    result.assert_outcomes(passed=2, failed=1, warnings=0)
    result.stdout.fnmatch_lines(["E   Failed: DID NOT WARN*"])


# --- filtered ---------------------------------------------------------------------------------------------------


def test_markers_filter_inside_the_box(run: Run) -> None:
    result = run("""
def old():
    warnings.warn("old ways", DeprecationWarning)

@pytest.mark.filterwarnings("error")
def test_error():
    old()

@pytest.mark.filterwarnings("error::test_it.Odd")
def test_error_of_its_own():
    old()
    warnings.warn("strange", Odd)

@pytest.mark.filterwarnings("error:old:DeprecationWarning:test_it")
def test_error_by_its_words_and_module():
    warnings.warn("new", DeprecationWarning)
    old()

@pytest.mark.filterwarnings("ignore:old")
def test_ignored():
    old()

@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_the_closest_marker_wins():
    old()
    with pytest.raises(Odd):
        warnings.warn("strange", Odd)
""")
    result.assert_outcomes(passed=1, failed=4, warnings=2)
    result.stdout.fnmatch_lines([
        "E   DeprecationWarning: old ways", "E   test_it.Odd: strange", "E   DeprecationWarning: old ways",
        "FAILED test_it.py::test_error - DeprecationWarning: old ways",
    ])  # fmt: skip


def test_markers_are_read_from_the_farthest_to_the_closest(run: Run) -> None:
    text = """
@pytest.mark.filterwarnings("default")
@pytest.mark.filterwarnings("error")
def test_it():
    warnings.warn("x")
"""
    inside, outside = run(text), run(text, "-o", "markers=sandboxed", "-p", "no:foxden")
    assert inside.parseoutcomes() == outside.parseoutcomes()


@pytest.mark.parametrize("options", [[], ["-W", "error"]], ids=["by the ini file", "by -W"])
def test_filters_of_the_run_hold_inside_the_box(run: Run, options: list[str]) -> None:
    ini = "filterwarnings =\n    error\n    ignore:known:UserWarning\n" if not options else ""
    result = run("""
def test_known():
    warnings.warn("known")

def test_other():
    warnings.warn("other")
""", *options, ini=ini)  # fmt: skip
    result.assert_outcomes(passed=0 if options else 1, failed=2 if options else 1)
    result.stdout.fnmatch_lines(["E   UserWarning: other", "FAILED test_it.py::test_other - UserWarning: other"])


def test_a_filter_that_a_fixture_sets_holds_inside_the_box(run: Run) -> None:
    result = run("""
@pytest.fixture
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield

def test_strict(strict):
    warnings.warn("not here")

def test_other():
    warnings.warn("here")
""")
    result.assert_outcomes(passed=1, failed=1, warnings=1)


def test_a_filter_of_a_category_that_no_box_can_import_stops_nothing(run: Run, pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("lib")
    (folder / "odd.py").write_text("class Odd(UserWarning): pass\n")
    (folder / "far.py").write_text("open('made', 'w').close()\nclass Far(UserWarning): pass\n")
    result = run("""
def test_warns():
    warnings.warn("shown")
    with pytest.raises(OSError):
        import far

def test_error():
    import odd
    warnings.warn("an error", odd.Odd)
""", ini="pythonpath = lib\nfilterwarnings =\n    ignore::far.Far\n    error::odd.Odd\n")  # fmt: skip
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["E   odd.Odd: an error", "*UserWarning: shown"])


def test_a_filter_of_a_category_beside_the_test_goes_with_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(beside="class Beside(UserWarning): pass")
    result = run("""
from beside import Beside

def test_error():
    warnings.warn("an error", Beside)

def test_other():
    warnings.warn("another")
""", ini="filterwarnings = error::beside.Beside")  # fmt: skip
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(["E   beside.Beside: an error", "*UserWarning: another"])


# --- a worker that lies -----------------------------------------------------------------------------------------


LIES = """
def lie(rows):
    import sys
    frame = sys._getframe()
    while frame.f_code.co_name != "_run":
        frame = frame.f_back
    frame.f_globals["_told"] = lambda log: rows
"""
TRUE = ["builtins.DeprecationWarning", "true", "/a/file.py", 3, "its line"]
CYCLE = "rows = [[]]; rows[0].append(rows)"
REFUSED = {
    "too many": f"rows = [{TRUE!r}] * {WARNINGS_MAX + 1}",
    "too long": f"rows = [['builtins.UserWarning', 'x' * {WARNING_SIZES[1] + 1}, 'f', 1, '']]",
    "a name too long": f"rows = [['x' * {WARNING_SIZES[0] + 1}, '', 'f', 1, '']]",
    "no rows": "rows = 'builtins.UserWarning'",
    "no row": "rows = ['abcde']",
    "a row too short": "rows = [['builtins.UserWarning', 'x']]",
    "no text": "rows = [['builtins.UserWarning', 5, 'f', 1, '']]",
    "a line below all": "rows = [['builtins.UserWarning', 'x', 'f', -1, '']]",
    "a line beyond all": "rows = [['builtins.UserWarning', 'x', 'f', 1 << 40, '']]",
    "cyclic": CYCLE,
}


def test_lies_about_warnings_fail_their_test_alone(run: Run) -> None:
    lies = [*REFUSED.values(), f"rows = [{TRUE!r}]"]
    result = run(LIES + "".join(f"\ndef test_{n}():\n    {lie}\n    lie(rows)\n" for n, lie in enumerate(lies)))
    result.assert_outcomes(failed=len(REFUSED), passed=1, warnings=1)
    told = ["E   FoxdenError: the worker's answer is no result of a test"] * (len(REFUSED) - 1)
    result.stdout.fnmatch_lines([*told, "E   ResultNotData: *", "  /a/file.py:3: DeprecationWarning: true"])


def test_what_a_worker_says_makes_no_line_of_its_own_and_no_file_is_read(run: Run) -> None:
    rows = [
        ["builtins.UserWarning", "a\x1b[2J\r\n===== 9 passed in 1s =====\nb\u202e\x85c \udc80", "/dev/zero\nx", 1, ""],
        ["x\n= y =.Z\x1b]0;t\x07", "named", "\x1b[31m", 0, "line\nmore"],
        ["builtins.UserWarning", "endless", "/dev/zero", 1, ""],
    ]
    result = run(LIES + f"\ndef test_it():\n    lie({rows!r})\n", "-n", "1")
    result.assert_outcomes(passed=1, warnings=3)
    lines = [line for line in result.outlines if "[2J" in line or "named" in line or "endless" in line]
    assert lines == [
        "  /dev/zero x:1: UserWarning: a\\x1b[2J",
        r"  \x1b[31m:0: UserWarning: x = y =.Z\x1b]0;t\x07: named",
        "  /dev/zero:1: UserWarning: endless",
    ]
    assert not any(line.startswith("===== 9 passed") for line in result.outlines)
    assert not any(character in result.stdout.str() for character in "\x1b\r\x07\u202e\x85")


HERE = types.SimpleNamespace()
WORKER = types.SimpleNamespace(workerinput={})


class Own(UserWarning):
    def __init__(self) -> None:
        raise AssertionError("it was made")


class Outer:
    class Inner(UserWarning):
        pass


some_warning = UserWarning("no class")


@pytest.mark.parametrize("name", [
    "", ".", "Warning", "builtins", "builtins.", "builtins.int", "builtins.Exception", "builtins.print",
    "no.such.module.Odd", f"{__name__}.Outer.Inner", f"{__name__}.some_warning", f"{__name__}.sys", "os.path.x\ny",
])  # fmt: skip
def test_what_is_no_category_is_none(name: str) -> None:
    assert category_of(name, HERE) is None


def test_categories_are_found_among_those_that_are_here() -> None:
    assert category_of("builtins.DeprecationWarning", HERE) is DeprecationWarning
    assert category_of("pytest.PytestWarning", HERE) is pytest.PytestWarning
    assert category_of(f"{__name__}.Own", HERE) is Own
    assert category_of("builtins.DeprecationWarning", WORKER) is DeprecationWarning
    assert category_of(f"{__name__}.Own", WORKER) is None, "its name may mean nothing where a worker hands it on"


def test_looking_a_category_up_imports_and_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return UserWarning

    lazy = types.ModuleType("lazy_one")
    lazy.__getattr__ = asked.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_one", lazy)
    monkeypatch.setitem(sys.modules, "lazy_two", Lazy("lazy_two"))
    asked.clear()
    assert [category_of(f"{name}.Odd", HERE) for name in ("lazy_one", "lazy_two", "this")] == [None] * 3
    assert (asked, "this" in sys.modules) == ([], False)
    assert (lazy.Odd, sys.modules["lazy_two"].Odd, asked) == (None, UserWarning, ["Odd", "Odd"]), "the control"


def test_a_category_that_somebody_wrote_is_not_made() -> None:
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("error")
        show([Warned(f"{__name__}.Own", "text", "file", 1, "")], HERE)
    assert [(type(each.message), str(each.message), each.category) for each in log] == [(UserWarning, "text", Own)]
    with pytest.raises(AssertionError, match="it was made"):
        Own()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.just("builtins.UserWarning"),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=20,
)  # fmt: skip
ROWS = st.lists(st.tuples(st.just("builtins.UserWarning") | st.text(), st.text(), st.text(), st.integers(), st.text()))


@given(VALUES | ROWS)
def test_any_warnings_are_shown_in_lines_or_refused(value: Any) -> None:
    warned = checked(value)
    if warned is None:
        with pytest.raises(FoxdenError, match="no result of a test"):
            answer_of({"outcome": "passed", "warnings": value})
        return
    assert answer_of({"outcome": "passed", "warnings": value}).warned == warned
    with warnings.catch_warnings(record=True) as log:
        show(warned, HERE)
    assert len(log) == len(warned)
    for each in log:
        text = warnings.formatwarning(str(each.message), each.category, each.filename, each.lineno, each.line)
        assert not any(character in text for character in "\x1b\r\x85\u202e")
        text.encode()


def test_a_cycle_of_rows_is_refused() -> None:
    rows: list[Any] = [[]]
    rows[0].append(rows)
    assert checked(rows) is None
    assert checked([TRUE]) == (Warned(*TRUE),), "the control"
