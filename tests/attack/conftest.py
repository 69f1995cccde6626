"""A den that attackers share: what they do must not be felt by the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import den as dens
from tests.support.probe_targets import a_victim

from foxden import Den


@pytest.fixture(scope="session")
def victim() -> Iterator[int]:
    """The pid of a process of the test user's.  It is there before any den, for dens look at what they leave."""
    with a_victim() as pid:
        yield pid


@pytest.fixture(scope="session")
def den(victim: int) -> Iterator[Den]:
    with dens.shared_den(prefs={"foxden.hang.timeout": 2}) as den:
        yield den
