"""What holds for every test: nothing leaks, nothing is skipped unsaid, and the real servers that tests share."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest

from tests.support import alone, leaks, users
from tests.support.pki import Pki
from tests.support.servers import Nginx, python_docs_directory

_baseline = pytest.StashKey[leaks.Holdings]()


# --- needs and skips --------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    users.check_marks(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None:
        call.excinfo = users.explained(call.excinfo)
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if users.is_forbidden_skip(reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {reason} (FOXDEN_TEST_STRICT: nothing may be missing)"
    return report


# --- beside each other --------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that needs the whole machine waits until the other workers' tests are done, and they wait for it."""
    place = alone.place_of(item.config)
    is_alone = item.get_closest_marker(alone.MARKER) is not None
    with alone.turn(place, alone=is_alone) if place is not None else contextlib.nullcontext():
        return (yield)


# --- leaks ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves descriptors, children or threads behind."""
    permission = request.node.get_closest_marker("leaks_ok")
    if permission:
        assert permission.args or permission.kwargs, "leaks_ok(reason): say why"
        yield
        leaks.remember(request.node.nodeid)
        return
    request.node.stash[_baseline] = leaks.snapshot()
    yield
    leaked = leaks.leaked_since(request.node.stash[_baseline])
    if leaked:
        lines = leaked.describe()
        leaks.end_children(leaked)
        pytest.fail("left behind:\n  " + "\n  ".join(lines), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """What a fixture of a wider scope opens in the middle of a test belongs to that scope, not to the test."""
    stash = getattr(request, "_pyfuncitem", request.node).stash
    if fixturedef.scope == "function" or _baseline not in stash:
        return (yield)
    before = leaks.snapshot()
    result = yield
    stash[_baseline] = stash[_baseline].together_with(leaks.snapshot().without(before))
    return result


# --- with and without the extension in C -------------------------------------------------------------------------


@pytest.fixture(params=["native", "python"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test both ways; `usefixtures` it in modules whose outcome must be the same."""
    monkeypatch.delenv("FOXDEN_NO_NATIVE", raising=False)
    if request.param == "native":
        users.require("native")
    else:
        monkeypatch.setenv("FOXDEN_NO_NATIVE", "1")
    return str(request.param)


# --- shared -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Certificates, good and bad."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def python_docs(pki: Pki) -> Iterator[Nginx]:
    """Python's documentation, served by nginx over http and https (HTTP/2)."""
    users.require("nginx")
    users.require("python_docs")
    with Nginx(python_docs_directory(), tls=pki.valid) as server:
        yield server


def pytest_configure() -> None:
    # Beside others everything is slow at times, and that is no fault of what is tested.
    hypothesis.settings.register_profile(
        "foxden", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("foxden")
    # A shell starts background jobs with SIGINT ignored, and what is ignored is inherited: tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
