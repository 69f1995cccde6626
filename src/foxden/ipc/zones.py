"""Which time zones there are.

Runs in: parent.  Trusts: the system's tables of zones.
Flow: a name from a worker → is it among names() → only then zoneinfo is asked for it.
Source: zoneinfo; looking for a zone that the system has not may import a package that is named after it.
"""

from __future__ import annotations

import functools
import zoneinfo


@functools.cache
def names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
