"""What to return instead, for types that are no data.

Runs in: utility processes.  Trusts: nothing, it is a table.
Flow: value_encode meets a type that it does not send → hint_of → ResultNotData.hint.
Source: what people return.
"""

from __future__ import annotations

_BY_NAME = {
    "function": "return what it computes",
    "generator": "return list(…)",
    "Connection": "return the rows",
    "deque": "return list(…)",
    "mappingproxy": "return dict(…)",
    "dict_keys": "return list(…)",
    "dict_values": "return list(…)",
    "dict_items": "return list(…)",
    "map": "return list(…)",
    "filter": "return list(…)",
    "zip": "return list(…)",
    "SimpleNamespace": "return vars(…)",
    "Namespace": "return vars(…)",
    "slice": "return (s.start, s.stop, s.step)",
    "MaskedArray": "return (array.filled(…), array.mask)",
    "memmap": "return numpy.array(…)",
    "recarray": "return a list, or its columns: {name: array[name] for name in array.dtype.names}",
    "matrix": "return numpy.asarray(…)",
    "csr_matrix": "return (m.data, m.indices, m.indptr, m.shape)",
    "Tensor": "return tensor.numpy(force=True)",
    "Element": "return ElementTree.tostring(…)",
    "Match": "return match.groups()",
    "BytesIO": "return io.getvalue()",
    "StringIO": "return io.getvalue()",
}
_PICKLES = "use it inside the function, or return pickle.dumps(…), and know what that means: who loads it runs it"
_BY_PACKAGE = {
    "polars": ".to_arrow() makes it so",
    "ipaddress": "return str(…)",
    "sklearn": _PICKLES,
    "torch": _PICKLES,
    "xgboost": _PICKLES,
    "lightgbm": _PICKLES,
    "keras": _PICKLES,
    "pytz": "a zoneinfo.ZoneInfo instead of it",
    "dateutil": "a zoneinfo.ZoneInfo instead of it",
}


def hint_of(kind: type) -> str:
    """By its name, by its package, by what it is derived from."""
    if hasattr(kind, "model_dump"):  # pydantic
        return "return ….model_dump()"
    root = kind.__module__.partition(".")[0]
    found = _BY_NAME.get(kind.__name__) or _BY_PACKAGE.get(root)
    if found:
        return found
    if any(base.__module__.partition(".")[0] in ("sklearn", "torch") for base in kind.__mro__):
        return _PICKLES
    base = next((base for base in (str, bytes, int, float, dict, list, tuple, set) if issubclass(kind, base)), None)
    return f"return {base.__name__}(…)" if base else "return numbers, text, lists …, or name a dataclass with returns="
