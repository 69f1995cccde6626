"""Which time zones there are.  The module zoneinfo is loaded when a value has one.

Runs in: parent.  Trusts: the system's tables of zones.
Flow: a name from a worker → is it among names() → only then zoneinfo is asked for it.
Source: zoneinfo; looking for a zone that the system has not may import a package that is named after it.
"""

from __future__ import annotations

import datetime
import functools


@functools.cache
def names() -> frozenset[str]:
    import zoneinfo

    return frozenset(zoneinfo.available_timezones())


def kinds() -> tuple[type[datetime.tzinfo], ...]:
    """The classes of zones that values may have."""
    import zoneinfo

    return datetime.timezone, zoneinfo.ZoneInfo


def zone(name: str) -> datetime.tzinfo:
    """`name`: one of names()."""
    import zoneinfo

    return zoneinfo.ZoneInfo(name)
