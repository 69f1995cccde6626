"""Address spaces: who is behind an IP address, judged on the bytes that will be dialled.

Runs in: every process; pure.  Trusts: nothing.
Flow: text of a host → `canonical_host` → text of an address → `space_of` → may this transaction go there?
Source: IANA special-purpose address registries (RFC 6890 and updates); RFC 6052 (NAT64), RFC 3056 (6to4),
RFC 4380 (Teredo); WHATWG URL, "host parsing" and "IPv4 parser".
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import unquote_to_bytes


class AddressSpace(enum.Enum):
    PUBLIC = "public"
    LOOPBACK = "loopback"  # this machine
    PRIVATE = "private"  # RFC 1918, unique local, shared CGN space
    LINK_LOCAL = "link-local"  # where cloud metadata services live
    NEVER = "never"  # unspecified, multicast, broadcast, reserved, documentation


_NEVER, _LINK_LOCAL = AddressSpace.NEVER, AddressSpace.LINK_LOCAL
_LOOPBACK, _PRIVATE, _PUBLIC = AddressSpace.LOOPBACK, AddressSpace.PRIVATE, AddressSpace.PUBLIC

# When one address can be read in more ways than one, the reading that stands first here counts.
_GRAVEST_FIRST = (_NEVER, _LINK_LOCAL, _LOOPBACK, _PRIVATE, _PUBLIC)

# Metadata services of clouds outside the link-local ranges: they hand out credentials to whoever can ask.
_METADATA: frozenset[IPv4Address | IPv6Address] = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's wire server
            "fd00:ec2::254",  # Amazon
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
        ),
    )
)

_V4: tuple[tuple[IPv4Network, AddressSpace], ...] = tuple(
    (IPv4Network(network), space)
    for network, space in (
        ("0.0.0.0/8", _NEVER),  # Linux dials 0.0.0.0 as this machine
        ("10.0.0.0/8", _PRIVATE),
        ("100.64.0.0/10", _PRIVATE),  # RFC 6598
        ("127.0.0.0/8", _LOOPBACK),
        ("169.254.0.0/16", _LINK_LOCAL),
        ("172.16.0.0/12", _PRIVATE),
        ("192.0.0.0/24", _NEVER),  # IETF protocol assignments
        ("192.0.2.0/24", _NEVER),  # documentation
        ("192.88.99.0/24", _NEVER),  # 6to4 relays, withdrawn by RFC 7526
        ("192.168.0.0/16", _PRIVATE),
        ("198.18.0.0/15", _NEVER),  # benchmarks
        ("198.51.100.0/24", _NEVER),  # documentation
        ("203.0.113.0/24", _NEVER),  # documentation
        ("224.0.0.0/4", _NEVER),  # multicast
        ("240.0.0.0/4", _NEVER),  # reserved, and broadcast
    )
)

_V6: tuple[tuple[IPv6Network, AddressSpace], ...] = tuple(
    (IPv6Network(network), space)
    for network, space in (
        ("::1/128", _LOOPBACK),
        ("fc00::/7", _PRIVATE),
        ("fe80::/10", _LINK_LOCAL),
        ("fec0::/10", _PRIVATE),  # site-local, withdrawn but still routed somewhere
        ("2001::/23", _NEVER),  # IETF protocol assignments: benchmarks, identifiers
        ("2001:db8::/32", _NEVER),  # documentation
        ("3fff::/20", _NEVER),  # documentation
        ("2000::/3", _PUBLIC),  # the only global unicast space that was ever given out
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
# Bytes of the IPv4 address for prefixes of /48, /56, /64 and /96 (RFC 6052, 2.2): which one a site uses is its own.
_NAT64_LAYOUTS = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))


@lru_cache(maxsize=4096)
def space_of(text: str) -> AddressSpace:
    """Return the space of an IP address; a zone id is left out of account.

    An IPv6 address that carries an IPv4 address is judged by what it carries.
    Raises: ValueError when `text` is not an address in its plain notation (`parse_host` reads the odd ones).
    """
    address = ip_address(text.partition("%")[0])
    return _space_of_v4(address) if isinstance(address, IPv4Address) else _space_of_v6(address)


def _space_of_v4(address: IPv4Address) -> AddressSpace:
    if address in _METADATA:
        return _LINK_LOCAL
    return next((space for network, space in _V4 if address in network), _PUBLIC)


def _space_of_v6(address: IPv6Address) -> AddressSpace:
    if address in _METADATA:
        return _LINK_LOCAL
    embedded = _embedded(address)
    if embedded:
        spaces = {_space_of_v4(inner) for inner in embedded}
        return next(space for space in _GRAVEST_FIRST if space in spaces)
    return next((space for network, space in _V6 if address in network), _NEVER)


def _embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to `address` may end at; empty for a plain IPv6 address."""
    raw = address.packed
    if address in _MAPPED or address in _TRANSLATED or address in _NAT64:
        return (IPv4Address(raw[12:]),)
    if address in _SIX_TO_FOUR:
        return (IPv4Address(raw[2:6]),)
    if address in _TEREDO:  # server in clear, client inverted
        return IPv4Address(raw[4:8]), IPv4Address(bytes(byte ^ 0xFF for byte in raw[12:]))
    if address in _NAT64_LOCAL:
        readings = [IPv4Address(bytes(raw[place] for place in layout)) for layout in _NAT64_LAYOUTS]
        # The layouts that the site does not use read as 0.x.y.z; if all do, one of them is meant.
        return tuple(inner for inner in readings if inner.packed[0]) or (readings[-1],)
    return ()


def unmapped(text: str) -> str:
    """Return the canonical text of an address; `::ffff:a.b.c.d` is dialled as, and therefore is, `a.b.c.d`."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


# --- hosts ------------------------------------------------------------------------------------------------------

_FORBIDDEN = re.compile(r"[\x00-\x20\"#%/:<>?@\[\\\]^`{|}\x7f]")  # WHATWG "forbidden domain code point", and quotes
_DIGITS = re.compile(r"[0-9]+\Z")
_HEX = re.compile(r"0[xX][0-9A-Fa-f]*\Z")
_NAME_MAX, _LABEL_MAX = 253, 63


def canonical_host(text: str) -> str:
    """Return the one spelling of a URL's host: an address as the kernel would print it, or a name in lower case.

    Percent-encoding is undone once; one trailing dot is dropped; IPv6 may stand in brackets or not.
    Raises: ValueError for what is no host: empty, forbidden characters, not ASCII (names travel as punycode),
    a zone id, or a name that ends in a number without being an IPv4 address.
    """
    if text.startswith("[") or text.count(":") > 1:
        return _canonical_v6(text)
    decoded = _percent_decode(text)
    if _FORBIDDEN.search(decoded):
        raise ValueError(f"expected a host, got {text!r}: it holds a character that no host may have")
    name = decoded.lower().removesuffix(".")
    labels = name.split(".")
    if _ends_in_number(labels[-1]):
        return _canonical_v4(labels, text)
    if len(name) > _NAME_MAX or any(not 0 < len(label) <= _LABEL_MAX for label in labels):
        raise ValueError(f"expected a host, got {text[:80]!r}: a label is empty or too long")
    return name


def parse_host(text: str) -> str | None:
    """Return the canonical address that `text` stands for, or None when it is a name.

    Reads what browsers read: `127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1`, `127.0.0.1.`, `[::1]`.
    Raises: ValueError as `canonical_host` does.
    """
    host = canonical_host(text)
    return host if ":" in host or _ends_in_number(host.rpartition(".")[2]) else None


def _percent_decode(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("ascii") if "%" in text else text.encode("ascii").decode()
    except UnicodeError:
        raise ValueError(f"expected a host in ASCII, got {text!r}: names travel as punycode") from None


def _canonical_v6(text: str) -> str:
    if text.startswith("[") != text.endswith("]"):
        raise ValueError(f"expected an IPv6 address, got {text!r}: its brackets do not match")
    inner = text[1:-1] if text.startswith("[") else text
    if "%" in inner:
        raise ValueError(f"expected an address without a zone id, got {text!r}")
    address = IPv6Address(inner)
    if address.ipv4_mapped is None:
        return str(address)
    # Python 3.13 writes these with dots, earlier ones and WHATWG's serialiser do not.
    high, low = divmod(int(address) & 0xFFFF_FFFF, 1 << 16)
    return f"::ffff:{high:x}:{low:x}"


def _ends_in_number(label: str) -> bool:
    return bool(_DIGITS.match(label) or _HEX.match(label))


def _canonical_v4(labels: list[str], text: str) -> str:
    """WHATWG's IPv4 parser: one to four numbers in any base; the last fills all bytes that are left."""
    if len(labels) > 4:
        raise ValueError(f"expected an IPv4 address, got {text!r}: it has more than four parts")
    numbers = [_v4_number(label, text) for label in labels]
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise ValueError(f"expected an IPv4 address, got {text!r}: a part of it is too large")
    value = numbers[-1] + sum(number << (24 - 8 * place) for place, number in enumerate(numbers[:-1]))
    return str(IPv4Address(value))


def _v4_number(label: str, text: str) -> int:
    if len(label) > 64:  # leading zeros are legal, but nobody means a thousand of them
        raise ValueError("expected an IPv4 address, got a number of more than 64 digits")
    if _HEX.match(label):
        return int(label[2:] or "0", 16)
    base = 8 if len(label) > 1 and label.startswith("0") else 10
    try:
        if not _DIGITS.match(label):
            raise ValueError
        return int(label, base)
    except ValueError:
        raise ValueError(f"expected an IPv4 address, got {text!r}: {label!r} is not a number") from None
