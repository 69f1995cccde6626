"""Libraries that people run on what they do not trust, imported in a box: real work of theirs, in their own threads.

Flow: a function → worker → import after the lock, or preloaded before it → files by the broker → result.
What they may not do there is tried beside what they may: a box that imports everything must still hold.
"""

from __future__ import annotations

import ctypes.util
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import boxed, libraries
from tests.support import den as dens
from tests.support.users import needs_userns

from foxden import SandboxExecutor

pytestmark = needs_userns

LIBRARIES = ("numpy", "pandas", "pyarrow", "PIL", "lxml", "sklearn", "h5py")
WAIT_S = 120
XXE = '<!DOCTYPE r [<!ENTITY x SYSTEM "file://{}">]><r>&x;</r>'


# --- imported after the lock ----------------------------------------------------------------------------------------


def run(pool: SandboxExecutor, function: Callable[..., Any], *args: Any) -> Any:
    return pool.submit(function, *args).result(WAIT_S)


@pytest.fixture(params=["imported", "preloaded"])
def pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., SandboxExecutor]]:
    """Makes a pool of one worker in which a library is imported by the function, or was before the lock."""
    made: list[SandboxExecutor] = []

    def make(*names: str, **options: Any) -> SandboxExecutor:
        if request.param == "preloaded":
            options["preload"] = list(names)
        pool = SandboxExecutor(1, timeout=WAIT_S, **options)
        made.append(pool)
        assert run(pool, libraries.loaded, names) == (list(names) if request.param == "preloaded" else [])
        return pool

    yield make
    for each in made:
        each.shutdown()


@pytest.mark.leaks_ok("what is preloaded is loaded here as well, and its linear algebra has threads of its own")
def test_numpy_computes_in_threads(pool: Callable[..., SandboxExecutor]) -> None:
    made = pool("numpy")
    assert run(made, libraries.with_numpy) == 600 * 600 * 2
    holds(made)


@pytest.mark.leaks_ok("what is preloaded is loaded here as well, and Arrow has threads of its own")
def test_pandas_reads_and_writes(pool: Callable[..., SandboxExecutor]) -> None:
    made = pool("pandas")
    assert run(made, libraries.with_pandas) == (4, 3)
    holds(made)


def test_pillow_reads_and_writes_pictures(pool: Callable[..., SandboxExecutor]) -> None:
    made = pool("PIL.Image")
    size, drawn, cut = run(made, libraries.with_pillow)
    assert (size, drawn) == ((64, 48), True)
    assert "truncated" in cut
    holds(made)


def test_lxml_reads_no_file_that_a_text_names(pool: Callable[..., SandboxExecutor], tmp_path: Path) -> None:
    (tmp_path / "given").write_text("granted")
    made = pool("lxml.etree", read=[tmp_path])
    assert run(made, libraries.with_lxml, XXE.format(tmp_path / "given")) == "granted", "the control"
    (tmp_path / "given").chmod(0o600)
    assert "root:" in Path("/etc/passwd").read_text(), "the control: whoever asks may read it"
    assert "root:" not in run(made, libraries.with_lxml, XXE.format("/etc/passwd"))
    dens.wait_until(lambda: "/etc/passwd" in refused(made), "the file to be told of")
    holds(made)


@pytest.mark.slow
def test_scikit_learn_fits_in_threads(pool: Callable[..., SandboxExecutor]) -> None:
    """OpenMP's and joblib's; where joblib would start processes it computes in turn."""
    made = pool("sklearn")
    fit, crossed, kinds = run(made, libraries.with_sklearn)
    assert (fit, kinds) == (1.0, 3)
    assert crossed > 0.8
    holds(made)


def test_hdf5_has_files_without_locks(pool: Callable[..., SandboxExecutor], tmp_path: Path) -> None:
    made = pool("h5py", write=[tmp_path])
    assert run(made, libraries.with_h5py, str(tmp_path / "numbers.h5")) == 4950
    assert (tmp_path / "numbers.h5").read_bytes()[1:4] == b"HDF"
    with pytest.raises(OSError, match="denied"):
        run(made, libraries.with_h5py, str(tmp_path.parent / "not-granted.h5"))
    holds(made)


@pytest.mark.parametrize("name", ["numpy", "pandas", "pyarrow", "PIL.Image", "lxml.etree"])
def test_nothing_that_an_import_looks_for_is_refused(name: str) -> None:
    """So that what is told is what the function did."""
    with SandboxExecutor(1, timeout=WAIT_S) as made:
        assert run(made, libraries.load, name) == name
        with pytest.raises(PermissionError):
            run(made, boxed.open_file, "/etc/passwd")
        dens.wait_until(lambda: "/etc/passwd" in refused(made), "the control to be told of")
        assert refused(made) == ["/etc/passwd"]


@pytest.mark.usefixtures("each_way")
def test_all_of_them_are_imported_in_one_worker() -> None:
    with SandboxExecutor(1, timeout=WAIT_S) as made:
        assert [run(made, libraries.load, name) for name in LIBRARIES] == list(LIBRARIES)
        holds(made)


# --- what libraries ask of the system ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_way")
def test_shared_objects_are_found_without_a_program() -> None:
    with SandboxExecutor(1, timeout=WAIT_S) as made:
        assert run(made, libraries.find_and_load, "c") == (ctypes.util.find_library("c"), 7)
        assert run(made, libraries.find_and_load, "no-such-library") == (None, 0)
        assert refused(made) == []


@pytest.mark.usefixtures("each_way")
def test_a_temporary_file_without_a_name_is_made() -> None:
    with SandboxExecutor(1, timeout=WAIT_S) as made:
        assert run(made, libraries.write_without_a_name) == b"text"
        assert refused(made) == []
        unnamed = os.O_TMPFILE | os.O_RDWR
        with pytest.raises(PermissionError):
            run(made, os.open, "/tmp", unnamed)
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            run(made, libraries.open_in_own_folder, unnamed)
        assert refused(made) == ["/tmp"]


# --- locks of multiprocessing -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_way")
def test_a_thread_pool_of_multiprocessing_has_its_locks() -> None:
    with SandboxExecutor(1, timeout=WAIT_S) as made:
        assert run(made, libraries.with_threads) == ([0, 1, 4, 9, 16], 5)


@pytest.mark.usefixtures("each_way")
def test_shared_memory_of_others_is_not_there() -> None:
    """/dev/shm is the worker's own folder; what is granted of the real one is the real one."""
    theirs = Path(f"/dev/shm/foxden-test-{os.getpid()}")
    theirs.write_text("theirs")
    try:
        with SandboxExecutor(1) as made, SandboxExecutor(1, read=[theirs]) as granted:
            with pytest.raises(FileNotFoundError):
                run(made, boxed.open_file, str(theirs))
            for way in ("/dev/shm/../dev/shm", "/dev/./shm", "/dev/shm/../../../../dev/shm"):
                path = f"{way}/{theirs.name}"
                with pytest.raises(PermissionError):
                    run(made, boxed.open_file, path)
            run(made, boxed.open_file, "/dev/shm/mine", "w")
            assert run(granted, boxed.open_file, str(theirs)) == "theirs", "the control"
            with pytest.raises(PermissionError):
                run(granted, boxed.open_file, str(theirs), "w")
            with pytest.raises(FileNotFoundError):
                run(granted, boxed.open_file, "/dev/shm/mine")
        assert not os.path.exists("/dev/shm/mine")
    finally:
        theirs.unlink()


def refused(pool: SandboxExecutor) -> list[str | None]:
    return [each.path for each in pool.violations()]


def holds(pool: SandboxExecutor) -> None:
    """What was imported has widened nothing."""
    for function, args in ((boxed.open_file, ("/etc/passwd",)), (boxed.connect, (9,)), (boxed.start_program, ())):
        with pytest.raises(PermissionError):
            run(pool, function, *args)
