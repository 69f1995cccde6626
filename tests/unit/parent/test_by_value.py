"""What a worker cannot import goes by value, and a module that comes, goes or is replaced is noticed."""

from __future__ import annotations

import functools
import importlib.util
import pickle
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foxden.parent import arguments, by_value
from foxden.parent.importable import View

_NAME = "foxden_test_hidden"


@pytest.fixture
def hidden(tmp_path: Path) -> Iterator[types.ModuleType]:
    """A loaded module where no worker looks."""
    yield _load(tmp_path / "first.py", "def answer(x):\n    return x + 1\n")
    sys.modules.pop(_NAME, None)


def _load(path: Path, text: str) -> types.ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    return module


def _view() -> View:
    return View((str(Path(types.__file__).parent), *sys.path[1:]))


def test_hidden_modules_are_looked_for_again_when_others_are_loaded(
    hidden: types.ModuleType, tmp_path: Path
) -> None:
    view = _view()
    assert hidden in view.modules_by_value()
    assert view.modules_by_value() is view.modules_by_value()  # nothing has changed
    other = _load(tmp_path / "second.py", "")  # as many as before
    assert other in view.modules_by_value()
    assert hidden not in view.modules_by_value()
    del sys.modules[_NAME]
    assert other not in view.modules_by_value()
    sys.modules[_NAME] = hidden
    assert hidden in view.modules_by_value()


def test_function_of_a_hidden_module_is_sent_whole(hidden: types.ModuleType) -> None:
    packed = arguments.pack(hidden.answer, (1,), {}, view=_view())
    text = "import pickle, sys; f = pickle.loads(sys.stdin.buffer.read()); print(f(1), f.__code__.co_filename)"
    there = subprocess.run([sys.executable, "-c", text], input=packed.definition, capture_output=True, check=True)
    assert pickle.loads(packed.work) == ((1,), {})
    assert there.stdout.decode().split() == ["2", str(hidden.__file__)]
    assert b"cannot" not in there.stderr


def test_what_was_registered_for_one_pickle_is_not_left_registered(hidden: types.ModuleType) -> None:
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    arguments.pack(hidden.answer, (1,), {}, view=_view())
    with pytest.raises(TypeError):
        by_value.dump((hidden.answer, types.SimpleNamespace(x=(i for i in ()))), None, _view())
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_arguments_of_a_hidden_module_go_by_value_too(hidden: types.ModuleType) -> None:
    hidden.Box = type("Box", (), {"__module__": _NAME})  # type: ignore[attr-defined]
    view = _view()
    assert not arguments.pack(hidden.answer, (1,), {}, view=view).is_by_value
    assert arguments.pack(hidden.answer, (hidden.Box(),), {}, view=view).is_by_value  # type: ignore[attr-defined]


def test_a_function_with_a_name_goes_by_it() -> None:
    for function, is_named in ((pickle.dumps, True), (textwrap.dedent, True), (Path, True), (lambda: 1, False)):
        made = arguments.pack_function(function, view=_view())
        for given in (function, made):
            packed = arguments.pack(given, (1,), {}, view=_view())
            assert (packed.is_named, packed.is_by_value, packed.goes_by_value) == (is_named, False, not is_named)
            assert (pickle.loads(packed.definition) is function) == is_named


def test_only_functions_of_python_itself_with_plain_arguments_import_nothing() -> None:
    def packed(function: Any, *values: Any, **named: Any) -> arguments.Packed:
        return arguments.pack(function, values, named, view=_view())

    assert packed(pow, 2, 3).imports_nothing
    assert packed(sorted, ["b"], reverse=True).imports_nothing
    assert packed(arguments.pack_function(len, view=_view()), "abc").imports_nothing
    imports = (
        packed(textwrap.dedent, ""), packed(lambda: 1), packed(len, Path("/")), packed(map, Path, []),
        packed(len, bytes(1 << 20)), packed(len, "x" * (1 << 20)),  # laid out apart: not looked into
    )  # fmt: skip
    assert not any(one.imports_nothing for one in imports)


def test_a_name_that_means_something_else_by_now_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    before = textwrap.dedent
    assert arguments.pack(before, ("",), {}, view=_view()).is_named
    monkeypatch.setattr(textwrap, "dedent", lambda text: text)
    assert not arguments.pack(before, ("",), {}, view=_view()).is_named


def test_classes_that_are_equal_to_others_are_not_taken_for_them() -> None:
    class Alike(type):
        def __eq__(cls, other: object) -> bool:
            return isinstance(other, Alike)

        def __hash__(cls) -> int:
            return 1

    here = globals()
    try:
        for name in ("First", "Second"):
            here[name] = Alike(name, (), {"__module__": __name__})
        view = View(["/"])
        packed = [arguments.pack(here[name], (), {}, view=view) for name in ("First", "Second")]
        assert [pickle.loads(one.work)[0].__name__ for one in packed] == ["First", "Second"]
    finally:
        for name in ("First", "Second"):
            here.pop(name, None)


def test_an_object_with_a_state_of_its_own_is_sent_with_each_call() -> None:
    bound = functools.partial(pickle.dumps, 1)
    assert arguments.pack_function(bound, view=_view()) is bound
    assert arguments.pack(bound, (), {}, view=_view()).definition == b""


def test_small_buffers_stay_in_the_pickle() -> None:
    small, large = bytearray(2000), bytearray(3000)
    packed = arguments.pack(len, (pickle.PickleBuffer(small), pickle.PickleBuffer(large)), {}, view=_view())
    assert [view.nbytes for view, _ in packed.buffers] == [3000]
    assert len(packed.work) > 2000


def test_views_of_memory_go_apart_where_there_is_a_place_for_them() -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = bytearray(range(24))
    shaped = memoryview(data).cast("H", [3, 4])
    work = by_value.dump((shaped,), buffers, _view())
    (arrived,) = pickle.loads(work, buffers=[memoryview(buffer) for buffer in buffers])
    assert (arrived.format, arrived.shape) == ("H", (3, 4))
    assert arrived.tobytes() == bytes(data)
    (whole,) = pickle.loads(by_value.dump((memoryview(data),), None, _view()))  # an initializer's: nothing goes apart
    assert bytes(whole) == bytes(data)
