"""Address spaces: who is behind an IP address, judged on the bytes that will be dialled.

Runs in: every process; pure.  Trusts: nothing.
Flow: text of an address → `space_of` → may this transaction go there?
Source: IANA special-purpose address registries (RFC 6890 and updates); RFC 6052 (NAT64), RFC 3056 (6to4).
"""

from __future__ import annotations

import enum


class AddressSpace(enum.Enum):
    PUBLIC = "public"
    LOOPBACK = "loopback"  # this machine
    PRIVATE = "private"  # RFC 1918, unique local, shared CGN space
    LINK_LOCAL = "link-local"  # where cloud metadata services live
    NEVER = "never"  # unspecified, multicast, broadcast, reserved, documentation
