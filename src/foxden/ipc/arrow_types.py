"""The types of Arrow that results may have: a closed table, and how much memory an array of each takes.

Runs in: parent, utility processes.  Trusts: nothing, it is a table; pyarrow itself is handed in by who has loaded it.
Flow: arrow_encode: type → its name and numbers; arrow_decode: name and numbers, checked → type.
Source: Arrow, "Columnar Format".  Not among them: extension types, whose deserialisers are code; unions, views, maps.
"""

from __future__ import annotations

from typing import Any

_UNITS = ("s", "ms", "us", "ns")

# Name on the wire, as Arrow writes the type → what makes it: a function of pyarrow and its arguments.
PLAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "null": ("null", ()),
    "bool": ("bool_", ()),
    **{name: (name, ()) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
    "halffloat": ("float16", ()),
    "float": ("float32", ()),
    "double": ("float64", ()),
    **{name: (name, ()) for name in ("string", "large_string", "binary", "large_binary")},
    "date32[day]": ("date32", ()),
    "date64[ms]": ("date64", ()),
    **{f"time32[{unit}]": ("time32", (unit,)) for unit in _UNITS[:2]},
    **{f"time64[{unit}]": ("time64", (unit,)) for unit in _UNITS[2:]},
    **{f"duration[{unit}]": ("duration", (unit,)) for unit in _UNITS},
}
OFFSETS = {"string": 4, "binary": 4, "large_string": 8, "large_binary": 8, "list": 4, "large_list": 8}  # bytes of each
INDICES = frozenset(name for name in PLAIN if name.startswith(("int", "uint")))
UNITS = frozenset(_UNITS)
DECIMAL_DIGITS = {"decimal128": 38, "decimal256": 76}
MAX_ARROW_DEPTH = 24  # of types in types
MAX_WIDTH = 1 << 24  # bytes of one item of fixed size, or items of a list of fixed size
FORBIDDEN_WORDS = b"ARROW:"  # metadata that begins so says: of an extension type


def name_of_type(pyarrow: Any, kind: Any) -> str:
    """As the tables have it; empty for a type that results may not have."""
    plain = PLAIN.get(str(kind))
    if plain is not None and kind.equals(getattr(pyarrow, plain[0])(*plain[1])):
        return str(kind)
    types = pyarrow.types
    rest = ("timestamp", "decimal128", "decimal256", "fixed_size_binary", "list", "large_list", "fixed_size_list",
            "struct", "dictionary")  # fmt: skip
    return "" if isinstance(kind, pyarrow.BaseExtensionType) else next(
        (name for name in rest if getattr(types, f"is_{name}")(kind)), ""
    )


def bytes_of_bits(count: int) -> int:
    return (count + 7) // 8


def is_weightless(name: str, kind: Any) -> bool:
    """Does an array take no memory of its own, however long it is?  Then a bound for its length is what is left."""
    if name == "fixed_size_binary":
        return bool(kind.byte_width == 0)
    if name == "fixed_size_list":
        return bool(kind.list_size == 0)
    return name == "null" or (name == "struct" and kind.num_fields == 0)
