#!/usr/bin/env python3
"""Write the pages of docs/reference that are made from tables: protocols, types, preferences, policies, errors, cli,
and of the one of the Python API, made from signatures.

    tools/make_docs.py            write what has changed
    tools/make_docs.py --check    exit 1 when a page is older than its table, and show the first lines that differ

Runs in: `make docs`, `make docs-check`.  Trusts: the checkout.
Flow: tables of foxden → one function a page → docs/reference/<page>.md.  The same tables give the same bytes.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]

from msgspec import inspect as shape  # noqa: E402

import platform_pages  # noqa: E402
import policy_pages  # noqa: E402
import python_pages  # noqa: E402
from foxden.errors import FoxdenError  # noqa: E402
from foxden.ipc.fields import Descriptor, Payload  # noqa: E402
from foxden.ipc.schema import Message, Protocol, Reply, Side, check_bounds  # noqa: E402
from foxden.model.process_types import PROCESS_TYPES, ProcessType  # noqa: E402
from foxden.protocols.registry import BY_NAME, PROTOCOLS  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by tools/make_docs.py from {source}.  Change that, then run `make docs`. -->\n"
DIFF_LINES = 12
Rows: TypeAlias = Sequence[tuple[str, ...]]


def main(arguments: list[str]) -> int:
    pages = make_pages()
    if "--check" not in arguments:
        REFERENCE.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (REFERENCE / name).write_text(text)
        return 0
    stale = [name for name, text in pages.items() if not is_current(name, text)]
    if stale:
        print(f"hint: run `make docs` ({', '.join(stale)})", file=sys.stderr)
    return 1 if stale else 0


def is_current(name: str, text: str) -> bool:
    page = REFERENCE / name
    old = page.read_text() if page.exists() else ""
    if old == text:
        return True
    names = (f"docs/reference/{name}", "its table")
    diff = difflib.unified_diff(old.splitlines(), text.splitlines(), *names, n=0, lineterm="")
    print("\n".join(list(diff)[:DIFF_LINES]))
    return False


def make_pages() -> dict[str, str]:
    """Name of the page → its text.  A page is left out, with a note, while a module it is made from is missing."""
    pages = {
        "protocols.md": protocols_page(),
        "process-types.md": process_types_page(),
        "errors.md": errors_page(),
        "policies.md": policy_pages.policies_page(MADE.format(source="foxden/sandbox/policies")),
        "env.md": policy_pages.environment_page(MADE.format(source="foxden/model/environment.py")),
    }
    late: tuple[tuple[str, str, Callable[[ModuleType], str]], ...] = (
        ("prefs.md", "foxden.model.preferences", preferences_page),
        ("cli.md", "foxden.front.group", cli_page),
        ("python.md", "foxden.dask", python_page),
    )
    pages["platforms.md"] = platform_pages.platforms_page(MADE.format(source="foxden/sandbox/acts.py and policies"))
    for name, module, make in late:
        try:
            pages[name] = make(importlib.import_module(module))
        except ModuleNotFoundError as error:
            print(f"note: {name} left out: {error}", file=sys.stderr)
    return pages


# ---- text


def table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [row_text(head), row_text(("---",) * len(head))]
    return "\n".join([*lines, *(row_text(row) for row in rows)]) + "\n"


def row_text(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def words_of(thing: Any) -> str:
    """Its own docstring as one paragraph; a base's does not count."""
    return " ".join(inspect.cleandoc(vars(thing).get("__doc__") or "").split())


# ---- protocols


def protocols_page() -> str:
    for protocol in PROTOCOLS:
        check_bounds(protocol)
    parts = [
        "# Protocols",
        MADE.format(source="foxden/protocols"),
        "Every message that two processes of foxden can exchange. What is not here is refused, and ends its sender.\n"
        "How a message travels, and what the words mean, is in [IPC](../concepts/ipc.md); the sync messages with\n"
        "their reasons are also in `src/foxden/protocols/SYNC.md`.\n",
        "## What the parent accepts\n",
        "The surface to audit: each of these may come from a process that was taken over.\n",
        accepted_table("default"),
        "## What the socket process accepts\n",
        "From the parent, which it trusts, and from the readers of bodies, which it does not.\n",
        accepted_table("socket"),
        *(protocol_text(protocol) for protocol in PROTOCOLS),
        "## Structs\n",
        "What fields are made of. Each is closed: an unknown name in one is refused.\n",
        table(("struct", "fields"), [(f"`{name}`", text) for name, text in sorted(structs().items())]),
    ]
    return "\n".join(parts)


def accepted_table(process: str) -> str:
    """What a process of this type receives, and from whom: messages, and replies to its own."""
    rows: list[tuple[str, ...]] = []
    for protocol in PROTOCOLS:
        for side in stands_on(process, protocol):
            for message in own_messages(protocol):
                name = f"{protocol.__name__}.{message.__name__}"
                if side.other in message.senders:
                    rows.append((peers(protocol, side), f"`{name}`", promise(message), fields(message)))
                if side in message.senders and message.Returns is not None:
                    rows.append((peers(protocol, side), f"`{name}.Returns`", "reply", fields(message.Returns)))
    return table(("from", "message", "kind", "fields"), rows)


def stands_on(process: str, protocol: type[Protocol]) -> list[Side]:
    """The sides of a protocol that a process of this type may stand on.

    The parent reads bodies itself, too: the end of a bridge that is open to any process may be its own.
    """
    sides = [side for side, end in zip(Side, protocol.ends, strict=True) if end == process]
    return [*sides, Side.CHILD] if process == "default" and protocol.ends == ("socket", "any") else sides


def peers(protocol: type[Protocol], side: Side) -> str:
    return protocol.ends[1] if side is Side.PARENT else protocol.ends[0]


def own_messages(protocol: type[Protocol]) -> list[type[Message]]:
    """Without those of its base, which have a section of their own."""
    return [message for message in protocol.messages.values() if message.protocol is protocol]


def protocol_text(protocol: type[Protocol]) -> str:
    base = protocol.__base__
    facts = [f"Number {protocol.number}; {protocol.ends[0]} (parent side) ↔ {protocol.ends[1]} (child side)"]
    if protocol.manager is not None:
        manager = protocol.manager.__name__
        facts.append(f"managed by {manager}, at most {protocol.max_live} made by one side live at a time")
    if base is not None and base is not Protocol:
        facts.append(f"adds to {base.__name__}")
    rows = [
        (
            str(message.number),
            f"`{message.__name__}`",
            direction(message),
            promise(message),
            fields(message),
            fields(message.Returns) if message.Returns is not None else "",
            words_of(message),
        )
        for message in own_messages(protocol)
    ]
    head = ("no.", "message", "to", "kind", "fields", "returns", "what it says")
    messages = table(head, rows) if rows else "No messages of its own.\n"
    return f"## {protocol.__name__}\n\n{words_of(protocol)}\n\n{'; '.join(facts)}.\n\n{messages}"


def direction(message: type[Message]) -> str:
    return "both" if len(message.senders) > 1 else next(iter(message.senders)).other.value


def promise(message: type[Message]) -> str:
    words = ["constructor" if message.__name__ == "Construct" else "async"]
    if message.sync:
        words = [f"sync: {message.sync}"]
    if message.once:
        words.append("once")
    if message.after is not None:
        words.append(f"after {message.after.__name__}")
    return ", ".join(words)


def fields(struct: type[Message] | type[Reply]) -> str:
    found = shape.type_info(struct).fields  # type: ignore[attr-defined]
    return ", ".join(field_text(field) for field in found) or "-"


def field_text(field: shape.Field) -> str:
    optional = "" if field.required else "?"
    return f"`{field.name}`{optional}: {type_text(field.type)}"


def structs() -> dict[str, str]:
    """Every struct that a field holds, at any depth: its name and its fields."""
    found: dict[str, str] = {}
    bodies = [body for p in PROTOCOLS for m in own_messages(p) for body in (m, m.Returns) if body is not None]
    waiting: list[Any] = [field.type for body in bodies for field in shape.type_info(body).fields]  # type: ignore[attr-defined]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, shape.StructType) and kind.cls.__name__ not in found:
            found[kind.cls.__name__] = ", ".join(field_text(field) for field in kind.fields)
            waiting += [field.type for field in kind.fields]
        singles = ("type", "item_type", "key_type", "value_type")
        waiting += [getattr(kind, name) for name in singles if hasattr(kind, name)]
        waiting += [inner for name in ("types", "item_types") for inner in getattr(kind, name, ())]
    return found


def type_text(kind: Any) -> str:
    match kind:
        case shape.Metadata():
            return type_text(kind.type)
        case shape.NoneType():
            return "none"
        case shape.BoolType():
            return "bool"
        case shape.IntType() | shape.FloatType():
            return f"{'int' if isinstance(kind, shape.IntType) else 'float'} {range_text(kind)}".strip()
        case shape.StrType() | shape.BytesType():
            return text_text(kind)
        case shape.ListType() | shape.VarTupleType() | shape.SetType() | shape.FrozenSetType():
            return f"up to {kind.max_length} × ({type_text(kind.item_type)})"
        case shape.DictType():
            return f"up to {kind.max_length} × ({type_text(kind.key_type)} → {type_text(kind.value_type)})"
        case shape.TupleType():
            return "(" + ", ".join(type_text(item) for item in kind.item_types) + ")"
        case shape.UnionType():
            return " or ".join(type_text(option) for option in kind.types)
        case shape.EnumType():
            return "one of " + ", ".join(f"`{member.value}`" for member in kind.cls)
        case shape.LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in kind.values)
        case shape.StructType():
            return f"[{kind.cls.__name__}](#structs)"
        case shape.CustomType() if issubclass(kind.cls, Payload):
            return f"**{kind.cls.__name__}**, up to {size_text(kind.cls.limit)}"
        case shape.CustomType() if issubclass(kind.cls, Descriptor):
            return f"descriptor **{kind.cls.__name__}**"
    raise TypeError(f"{type(kind).__name__}: say here how to show it")


def range_text(kind: Any) -> str:
    low, high = kind.ge if kind.ge is not None else kind.gt, kind.le if kind.le is not None else kind.lt
    return "" if low is None and high is None else f"{number_text(low)}–{number_text(high)}"


def number_text(number: float | None) -> str:
    """Large powers of two as such: 2^53-1 says more than its sixteen digits."""
    if not isinstance(number, int) or number < 1 << 20:
        return "…" if number is None else f"{number:g}" if isinstance(number, float) else str(number)
    if number & (number + 1) == 0:
        return f"2^{number.bit_length()}-1"
    return f"2^{number.bit_length() - 1}" if number & (number - 1) == 0 else str(number)


def text_text(kind: shape.StrType | shape.BytesType) -> str:
    word = "text" if isinstance(kind, shape.StrType) else "bytes"
    bounds = f"{kind.min_length}–{kind.max_length}" if kind.min_length else f"up to {kind.max_length}"
    pattern = getattr(kind, "pattern", None)
    if not pattern:
        return f"{word} {bounds}"
    return f"{word} {bounds} like " + (f"`` {pattern} ``" if "`" in pattern else f"`{pattern}`")


def size_text(size: int) -> str:
    return f"{size >> 20} MiB"


# ---- process types


def process_types_page() -> str:
    head = ("no.", "type", "what it is for", "family", "protocol", "policy", "switches")
    rows = [
        (
            str(row.number),
            f"`{row.name}`",
            row.about,
            family_text(row),
            protocol_link(row.protocol),
            policy_text(row),
            switches(row),
        )
        for row in PROCESS_TYPES
    ]
    words = [
        "# Process types",
        MADE.format(source="foxden/model/process_types.py"),
        "One row a type. Numbers are for ever: never changed, never given to another type.\n",
        table(head, rows),
        "A *family* is the fork server that a child comes from; families never mix. The family of a content process\n"
        "depends on what it may hold: web, file, or extension and privileged pages.\n",
    ]
    return "\n".join(words)


def family_text(row: ProcessType) -> str:
    held = f" ({', '.join(kind.value for kind in row.remote_types)})" if row.remote_types else ""
    return ("-" if row.family.value == "none" else row.family.value) + held


def protocol_link(name: str) -> str:
    return f"[{name}](protocols.md#{name.lower()})" if name in BY_NAME else "-"


def policy_text(row: ProcessType) -> str:
    return f"`{row.policy}.toml`" if row.policy else "-"


def switches(row: ProcessType) -> str:
    words = [f"level: `{row.level_pref}`"] if row.level_pref else []
    if row.disable_env:
        words.append(f"off: `{row.disable_env}`")
    if not row.working:
        words.append("its work comes in a later version")
    return "; ".join(words) or "-"


# ---- errors, preferences, command line


def errors_page() -> str:
    module = importlib.import_module("foxden.errors")
    tree = re.search(r"FoxdenError\n(?:[├│└ ].*\n)+", module.__doc__ or "")
    if tree is None:
        raise SystemExit("error: expected the tree of errors in the docstring of foxden.errors, found none")
    modules = (module, importlib.import_module("foxden.workers_broken"))
    found = [c for each in modules for c in vars(each).values() if isinstance(c, type) and issubclass(c, FoxdenError)]
    classes = list(dict.fromkeys(found))
    sections = [f"## {c.__name__}\n\nIs a {base_name(c)}. {words_of(c)}\n" for c in classes]
    head = ["# Errors", MADE.format(source="foxden/errors.py"), f"```text\n{tree[0]}```\n"]
    network = importlib.import_module("foxden.model.network_errors").NETWORK_ERRORS
    load = importlib.import_module("foxden.model.load_errors").LOAD_ERRORS
    codes = [
        f"## Codes of {title}\n\n"
        + table(("code", "means", "what to do"), [(f"`{row.code}`", row.meaning, row.hint) for row in rows])
        for title, rows in (("NetworkError", network), ("LoadError", load))
    ]
    return "\n".join([*head, *sections, *codes])


def base_name(error: type) -> str:
    base = error.__bases__[0].__name__
    return f"[{base}](#{base.lower()})" if base != "Exception" else "Python `Exception`"


def preferences_page(module: ModuleType) -> str:
    rows = [
        (f"`{row.name}`", f"`{row.default!r}`", type(row.default).__name__, bounds_text(row), row.doc)
        for row in module.PREFERENCES
    ]
    return "\n".join(
        [
            "# Preferences",
            MADE.format(source="foxden/model/preferences.py"),
            table(("name", "default", "type", "bounds", "what it does"), rows),
        ]
    )


def bounds_text(row: Any) -> str:
    least, most = getattr(row, "least", None), getattr(row, "most", None)
    return "-" if least is None and most is None else f"{number_text(least)}–{number_text(most)}"


def python_page(module: ModuleType) -> str:
    return python_pages.python_page(module, MADE.format(source="signatures and docstrings, and tools/python_pages.py"))


def cli_page(module: ModuleType) -> str:
    import click

    command = next(value for value in vars(module).values() if isinstance(value, click.Group))
    context = click.Context(command, info_name="foxden", terminal_width=100, max_content_width=100)
    parts = ["# Command line", MADE.format(source="foxden/front/group.py"), *command_texts(context)]
    return "\n".join(parts)


def command_texts(context: Any) -> Iterator[str]:
    """The help of a command, then of what stands under it, in order of name."""
    import click

    yield f"## {context.command_path}\n\n```text\n{context.command.get_help(context)}\n```\n"
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            sub = context.command.get_command(context, name)
            if sub is not None and not sub.hidden:
                inner = click.Context(sub, info_name=name, parent=context, terminal_width=100, max_content_width=100)
                yield from command_texts(inner)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
