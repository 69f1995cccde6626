"""What an error says: its text, its hint where a traceback is shown, and all of it after it was sent elsewhere."""

from __future__ import annotations

import copy
import pickle
import traceback
from concurrent.futures import BrokenExecutor

import pytest

import foxden
from foxden import errors
from foxden.errors import CallTimeout, ChildCrashed, FoxdenError, NetworkError, notes_of
from foxden.workers_broken import WorkersBroken


def shown(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


def test_a_traceback_shows_the_hint_and_the_text_stays_as_it_is() -> None:
    error = foxden.PolicyError("read: no such path", hint="make it first")
    assert str(error) == "read: no such path"
    assert error.hint == "make it first"
    assert shown(error)[-2:] == ["foxden.errors.PolicyError: read: no such path", "hint: make it first"]
    assert shown(FoxdenError("no hint")) == ["foxden.errors.FoxdenError: no hint"]


def test_a_hint_that_comes_later_takes_the_place_of_the_first() -> None:
    error = FoxdenError("text", hint="one")
    error.add_note("a note")
    error.hint = "two"
    assert (error.hint, shown(error)[1:]) == ("two", ["a note", "hint: two"])
    error.hint = ""
    assert (error.hint, shown(error)[1:]) == ("", ["a note"])
    error.hint = "three"
    assert notes_of(error) == ["a note"]
    assert notes_of(ValueError()) == []


def test_an_error_that_is_raised_again_has_its_hint_once() -> None:
    error = FoxdenError("text", hint="one")
    for _ in range(3):
        with pytest.raises(FoxdenError) as caught:
            raise error
        assert shown(caught.value)[-2:] == ["foxden.errors.FoxdenError: text", "hint: one"]


SOME = [
    FoxdenError("text", hint="do"),
    foxden.SandboxUnavailable("text", layers=("seccomp",), hint="do"),
    ChildCrashed("text", pid=3, process_type="utility", signal=9, hint="do"),
    CallTimeout("text", limit="cpu-time", hint="do"),
    NetworkError("text", code="NS_ERROR_X", url="http://a/", hint="do"),
    foxden.LoadError("text", code="NS_ERROR_X"),
    errors.RemoteTraceback("text"),
    WorkersBroken("text", hint="do"),
]


@pytest.mark.parametrize("error", SOME, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_that_is_pickled_or_copied_is_the_same(error: FoxdenError, again: object) -> None:
    other = again(error)  # type: ignore[operator]
    assert type(other) is type(error)
    assert (str(other), other.args, shown(other)) == (str(error), error.args, shown(error))
    assert {**vars(other), "__notes__": None} == {**vars(error), "__notes__": None}
    other.hint = "another"
    assert error.hint != "another"
    assert "hint: another" not in shown(error)


def test_bases_of_other_libraries_hold_after_pickling() -> None:
    assert isinstance(pickle.loads(pickle.dumps(SOME[3])), TimeoutError)
    assert isinstance(pickle.loads(pickle.dumps(SOME[7])), BrokenExecutor)
