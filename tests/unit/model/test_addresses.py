"""Address spaces and the many spellings of a host: big tables, for this is where private networks are reached from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foxden.model.addresses import AddressSpace, canonical_host, parse_host, space_of, unmapped

PUBLIC, LOOPBACK, PRIVATE = AddressSpace.PUBLIC, AddressSpace.LOOPBACK, AddressSpace.PRIVATE
LINK_LOCAL, NEVER = AddressSpace.LINK_LOCAL, AddressSpace.NEVER

SPACES = {
    PUBLIC: """1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255
        198.20.0.0 203.0.112.255 203.0.114.0 223.255.255.255 2606:4700::1111 2a00:1450::1 2620:fe::fe
        ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808:: 64:ff9b:1::808:808 64:ff9b:1:808:8:800::
        ::ffff:0:808:808 2001:0:808:808::f7f7:f7f7""",
    LOOPBACK: """127.0.0.1 127.0.0.0 127.255.255.255 ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::7f00:1
        64:ff9b::127.9.9.9 2002:7f00:1:: ::ffff:0:7f00:1 64:ff9b:1::7f00:1 64:ff9b:1:7f00:0:100::
        2001:0:808:808::80ff:fffe 2001:0:7f00:1::f7f7:f7f7""",
    PRIVATE: """10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 172.16.0.0 172.31.255.255 192.168.0.0
        192.168.255.255 fc00:: fdff:ffff::1 fd12:3456::1 fec0::1 feff::1 ::ffff:10.1.2.3 64:ff9b::c0a8:1
        2002:c0a8:101:: ::ffff:0:a00:1 64:ff9b:1:a:0:100::""",
    LINK_LOCAL: """169.254.0.0 169.254.169.254 169.254.255.255 fe80::1 febf::1 fd00:ec2::254 fd20:ce::254
        100.100.100.200 168.63.129.16 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: fe80::1%eth0
        ::ffff:100.100.100.200 64:ff9b:1::a9fe:a9fe""",
    NEVER: """0.0.0.0 0.1.2.3 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9
        224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::2 ::127.0.0.1 ::8.8.8.8 100::1 2001:db8::1
        2001:2::1 2001:10::1 2001:20::1 3fff::1 4000::1 5f00::1 ff02::1 ff00::1 ::ffff:0.0.0.0 ::ffff:224.0.0.1
        64:ff9b::0:1 2002:0:1:: 64:ff9b:1::1 64:ff9b:1:: 1::1""",
}
CASES = [(text, space) for space, texts in SPACES.items() for text in texts.split()]


@pytest.mark.parametrize(("text", "space"), CASES)
def test_every_address_lies_in_its_space(text: str, space: AddressSpace) -> None:
    assert space_of(text) is space


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "1.2.3", "1.2.3.4.5", "01.2.3.4", "::g", "[::1]", " 1.1.1.1"]
)
def test_what_is_no_plain_address_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is the standard library's
        space_of(text)


@given(st.ip_addresses())
def test_public_addresses_are_global_for_the_standard_library_too(address: ipaddress.IPv4Address) -> None:
    if space_of(str(address)) is PUBLIC and not getattr(address, "teredo", None) and "64:ff9b" not in str(address):
        assert address.is_global or getattr(address, "sixtofour", None) or getattr(address, "ipv4_mapped", None)


@given(st.ip_addresses(v=4))
def test_embedding_an_address_never_makes_it_public(address: ipaddress.IPv4Address) -> None:
    plain = space_of(str(address))
    number = int(address)
    for prefix, shift in ((0xFFFF << 32, 0), (0x64FF9B << 96, 0), (0xFFFF << 48, 0), (0x2002 << 112, 80)):
        assert space_of(str(ipaddress.IPv6Address(prefix | number << shift))) is plain


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", "127.0.0.1"), ("127.1", "127.0.0.1"), ("127.0.1", "127.0.0.1"), ("127", "0.0.0.127"),
        ("2130706433", "127.0.0.1"), ("017700000001", "127.0.0.1"), ("0x7f000001", "127.0.0.1"),
        ("0X7F.0.0.1", "127.0.0.1"), ("0177.0.0.01", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("127.0.0.1.", "127.0.0.1"),
        ("127.0.0.0x1", "127.0.0.1"), ("0", "0.0.0.0"), ("0x", "0.0.0.0"), ("0x.0x.0", "0.0.0.0"),
        ("1.65535", "1.0.255.255"),
        ("4294967295", "255.255.255.255"), ("192.168.257", "192.168.1.1"), ("%31%32%37.0.0.1", "127.0.0.1"),
        ("127%2e0%2e0%2e1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1"), ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::FFFF:127.0.0.1]", "::ffff:7f00:1"), ("[2606:4700:0::1]", "2606:4700::1"), ("000127.0.0.1", "87.0.0.1"),
    ],
)  # fmt: skip
def test_every_spelling_of_an_address_becomes_one(text: str, address: str) -> None:
    assert ipaddress.ip_address(parse_host(text) or "") == ipaddress.ip_address(address)
    assert parse_host(parse_host(text) or "") == parse_host(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"), ("EXAMPLE.Com", "example.com"), ("example.com.", "example.com"),
        ("ex%61mple.com", "example.com"), ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
        ("1.2.3.4.example", "1.2.3.4.example"), ("0x7f.example", "0x7f.example"), ("a", "a"),
        ("1a", "1a"), ("0xg", "0xg"),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
    ],
)  # fmt: skip
def test_name_is_no_address_and_has_one_spelling(text: str, name: str) -> None:
    assert parse_host(text) is None
    assert canonical_host(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", ".a", "a b", "a/b", "a#b", "a?b", "a@b", "a:b", "a\\b", "a%00b",
     "a%2fb", "a%40b", "a%zz", "bücher.example",
     "b%C3%BCcher", "a\tb", "a\x7f", "a|b", "a^b", "<a>", "256.0.0.1", "1.2.3.4.5", "1.2.3.08",
     "127.0.0.1.1", "4294967296",
     "1.16777216", "foo.1", "foo.0x1", "foo.0xg.1", "1..2", "0x100000000", "9" * 100, "[::1",
     "::1]", "[::1%eth0]", "[fe80::1%25lo]", "[1.2.3.4]",
     "[]", "[::g]", "x" * 64, ".".join(["x" * 60] * 5), "1.2.3.4..", "%", "%2", "127.0.0.1%00"],
)  # fmt: skip
def test_what_is_no_host_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_host(text)


def test_mapped_address_is_the_address_that_it_maps() -> None:
    assert unmapped("::ffff:10.0.0.1") == "10.0.0.1"
    assert unmapped("2606:4700:0:0::1") == "2606:4700::1"


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_a_value_error(text: str) -> None:
    try:
        host = canonical_host(text)
    except ValueError:
        return
    assert canonical_host(host) == host
