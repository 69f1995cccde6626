"""A den that attackers share: what they do must not be felt by the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import den as dens

from foxden import Den


@pytest.fixture(scope="session")
def den() -> Iterator[Den]:
    with dens.shared_den(prefs={"foxden.hang.timeout": 2}) as den:
        yield den
