"""What a cache can ask for in place of an object that cannot be hashed.

Runs in: the parent, tools, tests; pure.  Trusts: nothing.
Flow: a mapping → Same → lru_cache: the same mapping, and no other, has the same result.
Source: functools.lru_cache.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Same(Generic[T]):
    """Equal to what stands for the very same object.  It holds it, so that no other can come to its place.

    Only for what nobody changes: frozen structs, and mappings in them."""

    __slots__ = ("it",)

    def __init__(self, it: T) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it
