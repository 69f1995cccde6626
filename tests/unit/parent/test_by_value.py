"""What a worker cannot import goes by value, and a module that comes, goes or is replaced is noticed."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from foxden.parent import arguments, by_value

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


def _view() -> arguments.View:
    return arguments.View((str(Path(types.__file__).parent), *sys.path[1:]))


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
    text = "import pickle, sys; f, a, k = pickle.loads(sys.stdin.buffer.read()); print(f(*a), f.__code__.co_filename)"
    there = subprocess.run([sys.executable, "-c", text], input=packed.work, capture_output=True, check=True)
    assert there.stdout.decode().split() == ["2", str(hidden.__file__)]
    assert b"cannot" not in there.stderr


def test_what_was_registered_for_one_pickle_is_not_left_registered(hidden: types.ModuleType) -> None:
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    arguments.pack(hidden.answer, (1,), {}, view=_view())
    with pytest.raises(TypeError):
        by_value.dump((hidden.answer, types.SimpleNamespace(x=(i for i in ()))), None, _view().modules_by_value)
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_views_of_memory_go_apart_where_there_is_a_place_for_them() -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = bytearray(range(24))
    shaped = memoryview(data).cast("H", [3, 4])
    work = by_value.dump((shaped,), buffers, list)
    (arrived,) = pickle.loads(work, buffers=[memoryview(buffer) for buffer in buffers])
    assert (arrived.format, arrived.shape) == ("H", (3, 4))
    assert arrived.tobytes() == bytes(data)
    (whole,) = pickle.loads(by_value.dump((memoryview(data),), None, list))  # an initializer's: nothing goes apart
    assert bytes(whole) == bytes(data)
