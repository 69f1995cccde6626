"""What a load's bytes are for.

Runs in: every process; pure.
Source: docs/reference/protocols.md, PDocumentLoad.
"""

from __future__ import annotations

import enum


class LoadSink(enum.Enum):
    """What a content process makes of a body."""

    DOCUMENT = "document"
    MEASURE = "measure"  # count and hash the bytes and keep none: integrity checks and benchmarks
