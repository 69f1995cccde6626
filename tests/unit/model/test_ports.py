"""The port list is Firefox's, and nothing that is no port passes."""

from __future__ import annotations

import pytest

from foxden.model.ports import BAD_PORTS, DEFAULT_PORTS, is_bad_port


@pytest.mark.parametrize("port", [1, 22, 25, 53, 139, 587, 993, 2049, 6000, 6665, 6669, 6697, 10080])
def test_port_of_another_service_is_bad(port: int) -> None:
    assert is_bad_port(port)


@pytest.mark.parametrize("port", [80, 443, 8080, 8443, 3000, 5000, 65535, 2, 24])
def test_other_ports_are_good(port: int) -> None:
    assert not is_bad_port(port)


@pytest.mark.parametrize("port", [0, -1, 65536, 1 << 32])
def test_number_that_is_no_port_is_bad(port: int) -> None:
    assert is_bad_port(port)


def test_list_has_as_many_entries_as_geckos_and_no_default_port() -> None:
    assert len(BAD_PORTS) == 82
    assert not BAD_PORTS & set(DEFAULT_PORTS.values())
