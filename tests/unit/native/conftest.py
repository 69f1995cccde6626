"""The extension switched on, whatever the environment of the run says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def extension() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FOXDEN_NO_NATIVE", raising=False)
        yield
