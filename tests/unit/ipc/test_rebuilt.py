"""What goes by value is rebuilt as if its module had been imported: one dict for all functions of a module."""

from __future__ import annotations

import functools
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from foxden.ipc import rebuilt
from foxden.parent import by_value
from foxden.parent.importable import View

VIEW = View(tuple(sys.path[1:]))


@pytest.fixture(autouse=True)
def nothing_there() -> Iterator[None]:
    rebuilt._spaces.clear()
    yield
    rebuilt._spaces.clear()
    for name in [name for name in sys.modules if name.startswith("foxden_test_")]:
        del sys.modules[name]


def script(text: str, name: str = "foxden_test_script") -> dict[str, Any]:
    """The globals of a module that no worker can import."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = f"/nowhere/{name}.py"
    exec(text, vars(module))
    return vars(module)


def there(function: Any) -> Any:
    """The function as a worker has it."""
    return pickle.loads(by_value.dump(function, None, VIEW))


def test_what_an_initializer_sets_is_there_for_the_functions_after_it() -> None:
    text = "model = None\ndef init(): global model, other; model = [1]; other = 2\ndef use(): return model, other"
    ours = script(text)
    there(ours["init"])()
    assert there(ours["use"])() == ([1], 2)
    assert ours["model"] is None


def test_what_changes_in_the_caller_changes_there() -> None:
    ours = script("limit = 1\nrows = [1]\ndef use(): return limit, rows")
    assert there(ours["use"])() == (1, [1])
    ours["limit"] = 2
    ours["rows"].append(2)
    assert there(ours["use"])() == (2, [1, 2])
    ours["limit"] = 1
    assert there(ours["use"])() == (1, [1, 2])
    ours["rows"] = []
    assert there(ours["use"])() == (1, [])


def test_true_is_not_one_and_empty_is_not_none() -> None:
    ours = script("value = 1\ndef use(): return value")
    for value in (1, True, 1.0, None, "", b"", [], (), {}, 0):
        ours["value"] = value
        found = there(ours["use"])()
        assert (type(found), found) == (type(value), value)


def test_an_empty_table_that_functions_fill_stays_filled() -> None:
    ours = script("known = {}\ndef learn(x): known[x] = 1; return len(known)\ndef count(): return len(known)")
    there(ours["learn"])("a")
    assert there(ours["count"])() == 1
    assert ours["known"] == {}


def test_modules_do_not_see_each_other() -> None:
    one, two = script("n = 1\ndef use(): return n"), script("n = 2\ndef use(): return n", "foxden_test_other")
    first, second = there(one["use"]), there(two["use"])
    assert (first(), second(), first()) == (1, 2, 1)


def test_modules_made_without_end_are_not_all_kept() -> None:
    kept = [there(script(f"n = {n}\ndef use(): return n", f"foxden_test_{n}")["use"]) for n in range(100)]
    assert len(rebuilt._spaces) == 64
    assert [function() for function in kept] == list(range(100))


def test_namespaces_made_for_exec_share_nothing() -> None:
    text = "known = {}\ndef learn(x): known[x] = 1; return len(known)"
    for _ in range(3):
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(text, space)
        assert there(space["learn"])("a") == 1
    assert not rebuilt._spaces


def test_functions_of_one_pickle_have_the_same_globals() -> None:
    count = "def count():\n global n\n n = globals().get('n', 0) + 1\n return n"
    ours = script(count + "\ndef twice(): return count() + count()")
    twice = there(ours["twice"])
    assert twice() == 3
    assert type(twice.__globals__) is dict  # anything else is slow to look up in
    assert twice.__globals__["count"].__globals__ is twice.__globals__


def test_a_cached_function_is_cached_there() -> None:
    ours = script("import functools\n@functools.cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)")
    fib = there(ours["fib"])
    assert fib(80) == 23416728348467685
    assert fib.cache_info().currsize == 81
    assert there(functools.lru_cache(3, typed=True)(len)).cache_parameters() == {"maxsize": 3, "typed": True}
    assert there(types.SimpleNamespace(known=functools.cache(ours["fib"].__wrapped__))).known(10) == 55


def test_views_of_memory_keep_their_shape() -> None:
    shaped = memoryview(bytearray(range(24))).cast("H", [3, 4])
    buffers: list[pickle.PickleBuffer] = []
    again = pickle.loads(by_value.dump(shaped, buffers, VIEW), buffers=buffers)
    assert not buffers  # it is small
    assert (again.format, again.shape, again.tobytes()) == ("H", (3, 4), shaped.tobytes())
    for view in (memoryview(b""), memoryview(b"abc"), memoryview(b"abcd")[::2], memoryview(b"abcd").cast("c")):
        again = pickle.loads(by_value.dump(view, [], VIEW))
        assert again.tobytes() == view.tobytes()
