"""May this transaction connect to this address?  The one place where that is judged.

Runs in: socket process; pure.  Trusts: the parent's Access; never a resolver, never a URL.
Flow: addresses of a look-up → `choose` → libcurl; the address being dialled, or that a pooled connection has →
`may_connect` once more.
Source: seed document "private addresses are refused by default"; model/addresses for the spaces.
"""

from __future__ import annotations

from functools import lru_cache

from foxden.model.addresses import AddressSpace, space_of, unmapped
from foxden.protocols.network import Access

MAX_CANDIDATES = 16  # addresses of one host that are tried


def may_connect(address: str, access: Access) -> bool:
    """True when `address` lies in an allowed space, or is named.  What is not an address is refused."""
    return _may_connect(address, access.spaces, access.addresses)


@lru_cache(maxsize=4096)
def _may_connect(address: str, spaces: tuple[AddressSpace, ...], named: tuple[str, ...]) -> bool:
    if "%" in address:  # with a zone it is an address of one interface, which nobody was granted
        return False
    try:
        space = space_of(address)
        if space in spaces and space is not AddressSpace.NEVER:
            return True
        return unmapped(address) in {unmapped(name) for name in named}
    except ValueError:  # not an address, or one of the named ones is not
        return False


def choose(addresses: tuple[str, ...], access: Access) -> tuple[str, ...]:
    """Return the addresses that may be dialled, in the resolver's order, each once."""
    allowed = (address for address in dict.fromkeys(addresses) if may_connect(address, access))
    return tuple(address for address, _ in zip(allowed, range(MAX_CANDIDATES), strict=False))
