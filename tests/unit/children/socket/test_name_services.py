"""Name services are loaded before the sandbox, from what nsswitch.conf names."""

from __future__ import annotations

import pytest

from foxden.children.socket.name_services import preload, services


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        ("", ("files", "dns")),
        ("passwd: files\n", ("files", "dns")),
        ("hosts:          files dns\n", ("files", "dns")),
        ("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n",
         ("mymachines", "resolve", "files", "myhostname", "dns")),
        ("# hosts: no\n hosts: files mdns4_minimal [NOTFOUND=return] dns # why\n", ("files", "mdns4_minimal", "dns")),
        ("hosts:\n", ("files", "dns")),
        ("hosts: ../../evil /x dns\n", ("dns",)),
    ],
)  # fmt: skip
def test_services_of_the_hosts_line(configuration: str, names: tuple[str, ...]) -> None:
    assert services(configuration) == names


def test_what_ends_threads_is_loaded() -> None:
    assert "libgcc_s.so.1" in preload()
