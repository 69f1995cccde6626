"""The page of docs/reference about the Python API: public names, parameters with their defaults, what a worker has.

Runs in: tools/make_docs.py.  Trusts: the checkout.
Flow: foxden.__all__, signatures and docstrings, WORKER below → docs/reference/python.md.
Source: docs/guides, which show how; tests/e2e/test_python_page.py, which tries each line of WORKER.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import foxden
from foxden import boxed_tests, executor, pytest_plugin
from foxden.ipc import values
from foxden.launch import private_folders
from foxden.parent import arguments, den, functions, programs
from foxden.parent.grant_arguments import GrantArguments
from foxden.parent.program_request import RunArguments
from foxden.sandbox.policy_files import read_policy

_LIMITS = tomllib.loads(read_policy("utility"))["limits"]

# What a function finds in its worker → how it is, and what changes it.  One line each; each is tried by a test.
WORKER: tuple[tuple[str, str, str], ...] = (
    ("memory", f"{_LIMITS['memory']}; more is a `MemoryError`", "`memory=`"),
    ("threads", f"{_LIMITS['tasks']} in all, the first one and foxden's own counted", "`Policy(processes=…)`"),
    ("open files", f"{_LIMITS['descriptors']} descriptors", ""),
    ("size of a file", f"{_LIMITS['file_size']}", "`Policy(file_size=…)`"),
    ("time to get ready", f"{functions._READY_S:g} s for `preload` and `initializer`, then `ChildTimeout`",
     "a `timeout=` that is longer"),
    ("time of a call", "no limit, but for `untrusted`: "
                       f"{executor.UNTRUSTED_TIMEOUT_S:g} s", "`timeout=`, `cpu_time=`, `Policy(timeout=…)`"),
    ("size of a result", f"{values.MAX_RESULT >> 20} MiB with its buffers", "`max_result=`, up to 4 GiB"),
    ("values in a result", f"{values.MAX_TOKENS:,}; a flat list, or dict by text, of numbers and text is one; "
                           f"all of those together hold up to {values.MAX_ITEMS:,}", ""),
    ("depth of a result", f"{values.MAX_DEPTH} containers in each other", ""),
    ("arguments", f"what cloudpickle takes, in up to {arguments._MAX_BUFFERS} buffers: a large array is one, "
                  "and so is a long pickle", ""),
    ("working directory", "yours where it, or something in it, is granted; else `/`", "`read=`, `write=`"),
    ("temporary files", f"a folder of its own for `tempfile`, in memory, gone with the worker: "
                        f"{private_folders.SIZE >> 30} GiB, {private_folders.INODES:,} files; beyond "
                        f"{private_folders.COUNT} workers of a den at a time on the disk, without such a bound",
     "`write=`: on the disk"),
    ("home", "that folder, too: `Path.home()`", "`env=`"),
    ("environment", "`LC_CTYPE=C.UTF-8`, `JOBLIB_MULTIPROCESSING=0`, `HOME` and nothing of yours",
     "`env=`, `Policy(env=…)`"),
    ("arguments of the program", "none: `sys.argv` is `['']`, as at a prompt", "arguments of the function"),
    ("`/dev/shm`", "that folder as well: locks of `multiprocessing`, and its `ThreadPool`", "`read=`, `write=`"),
    ("new files", "have mode 0600, new folders 0700; `os.umask` fails", ""),
    ("locks", "`fcntl.lockf` works, of `fcntl.flock` it is said that there is none (`ENOSYS`)", ""),
    ("files to read", "what `sys.path` has, the standard library, time zones, fonts and `/etc/mime.types`",
     "`read=`, `write=`, `Policy(…)`"),
    ("network and programs", "none: sockets, `fork` and `exec` are a `PermissionError`", ""),
    ("who it is", "process 1 of a namespace of its own, on a host named `foxden`", ""),
    ("standard streams", "input is empty; what is printed goes to a bounded log", ""),
)  # fmt: skip

RESULTS = """\
**Results** come back as data: `None`, `bool`, `int`, `float`, `complex`, `str`, `bytes`, `bytearray`, `memoryview`,
`list`, `tuple`, `dict`, `set`, `frozenset`, `range`, `array.array`; dates, times, `timedelta` and their zones;
`Decimal`, `Fraction`, `UUID`, paths; NumPy arrays and scalars, pandas `Series` and `DataFrame`; exceptions of Python's
own; and the dataclasses, enums and named tuples that `returns=` names. Anything else is `ResultNotData`.
"""

# What no signature says: which calls have a limit of time, and how one is given where there is no option.
TIMES = """\
| call | may take | to say otherwise |
| --- | --- | --- |
| `SandboxExecutor(…).submit`, `.map` | as long as it likes | `SandboxExecutor(timeout=…, cpu_time=…)` |
| `@sandboxed` | as long as it likes | `@sandboxed(timeout=…)` |
| `Den.call`, `AsyncDen.call` | as long as it likes | `den.call(f, policy=Policy(timeout=…))` |
| `untrusted` | {untrusted:g} s | `untrusted(f, policy=Policy(timeout=…))` |
| `Den.run` | as long as it likes | `den.run([…], timeout=…)` |
| `Den.open`, `Den.fetch` | {open:g} s | `timeout=…` |
| a test marked `sandboxed` | {test} s | `timeout=…`, or `foxden_timeout` in pytest's ini file |

Other limits go the same way: `untrusted(f, policy=Policy(memory="256 MiB"))`.
"""


NOTHING = "nothing said"
RUN_DEFAULTS = {"designate": "`True`", "explain": "`False`", "cwd": "the caller's"}  # of request_of


class Entry(NamedTuple):
    """One callable of the page."""

    name: str  # as a user writes it
    called: Callable[..., Any]  # has the signature
    words: Any  # has the docstring
    options: Mapping[str, str] = {}  # what its **options may be: name → default


def entries(dask: Any) -> Iterator[Entry]:
    """In the order of the page.  A name with a dot is a method's."""
    shared = {"**options": "those of [SandboxExecutor](#sandboxexecutor)"}
    yield Entry("SandboxExecutor", foxden.SandboxExecutor.__init__, foxden.SandboxExecutor)
    yield from _methods(foxden.SandboxExecutor)
    yield Entry("sandboxed", foxden.sandboxed, foxden.sandboxed, shared)
    yield Entry("untrusted", foxden.untrusted, foxden.untrusted)
    yield Entry("foxden.dask.Plugin", dask.Plugin.__init__, dask.Plugin, shared)
    yield Entry("Policy", foxden.Policy.__init__, foxden.Policy, dict.fromkeys(GrantArguments.__annotations__, NOTHING))
    yield from _methods(foxden.Policy)
    yield Entry("Den", foxden.Den.__init__, foxden.Den.__init__)
    yield from _methods(foxden.Den)


def _methods(owner: type) -> Iterator[Entry]:
    """Its own public methods, in the order in which they stand."""
    for name, value in vars(owner).items():
        function = value.__func__ if isinstance(value, classmethod) else value
        if not name.startswith("_") and inspect.isfunction(function):
            options = {each: RUN_DEFAULTS.get(each, NOTHING) for each in RunArguments.__annotations__}
            yield Entry(f"{owner.__name__}.{name}", function, function, options if name == "run" else {})


def python_page(dask: Any, made: str) -> str:
    parts = [
        "# Python",
        made,
        "All names of `import foxden`, the plugin of Dask and that of pytest. The words are those of the docstrings.\n",
        "- functions: [SandboxExecutor](#sandboxexecutor), [sandboxed](#sandboxed), [untrusted](#untrusted),\n"
        "  [foxden.dask.Plugin](#foxdendaskplugin), [tests](#pytest)\n"
        "- pages, programs, and functions, too: [Den](#den), [AsyncDen](#asyncden); what they return: [Page](#page),\n"
        "  [Reply](#reply), [Done](#done)\n"
        "- for all of them: [Policy](#policy), [errors](#errors)\n",
        "## What a function's worker has\n",
        _table(("what", "how it is", "to say otherwise"), WORKER),
        RESULTS,
        "## How long calls may take\n",
        TIMES.format(untrusted=executor.UNTRUSTED_TIMEOUT_S, open=den.OPEN_TIMEOUT_S, test=_ini("foxden_timeout")[0]),
        *(entry_text(entry) for entry in entries(dask)),
        async_text(),
        *(record_text(kind) for kind in (foxden.Page, foxden.Reply, programs.Done)),
        pytest_text(),
        errors_text(),
    ]
    return "\n".join(parts)


def entry_text(entry: Entry) -> str:
    found = list(parameters(entry.called, entry.options))
    names = {name.lstrip("*") for name, _ in found}
    texts, rest = split_words(inspect.cleandoc(inspect.getdoc(entry.words) or ""), names)
    rows = [(f"`{name}`", default, texts.get(name.lstrip("*"), "")) for name, default in found]
    head = ["parameter", "default", "what it is"][: 3 if texts else 2]
    parts = [f"{'###' if entry.words in _METHODS else '##'} {entry.name}\n", "\n".join(rest) + "\n"]
    return "\n".join([*parts, *([_table(head, [row[: len(head)] for row in rows])] if rows else [])])


_METHODS = {entry.words for owner in (foxden.SandboxExecutor, foxden.Policy, foxden.Den) for entry in _methods(owner)}


def async_text() -> str:
    """A den that is awaited has the same methods: a test holds it to that."""
    words = [(f"`{each.name.partition('.')[2]}`", _one_line(each.words.__doc__)) for each in _methods(foxden.AsyncDen)]
    return (
        f"## AsyncDen\n\n{foxden.AsyncDen.__doc__} All parameters are those of [Den](#den).\n\n"
        + _table(("method", "what it does"), words)
    )


def parameters(called: Callable[..., Any], options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and default of each, as the page shows them; what has no default has to be given."""
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD and options:
            yield from options.items()
        elif name not in ("self", "cls"):
            stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
            yield stars + name, default_text(parameter.default)


def default_text(default: object) -> str:
    if default is inspect.Parameter.empty:
        return ""
    if isinstance(default, int) and default >= 1 << 20 and default % (1 << 20) == 0:
        return f"{default >> 20} MiB"
    return f"`{default}`" if isinstance(default, Enum) else f"`{default!r}`"


def split_words(text: str, names: set[str]) -> tuple[dict[str, str], list[str]]:
    """Of a docstring: what it says of each parameter (`a, b: words.  c: words.`), and the other paragraphs."""
    said: dict[str, str] = {}
    rest: list[str] = []
    for paragraph in text.split("\n\n"):
        place = re.compile(r"(?:^|\n|  |; )((?:\w+, )*\w+)(?: \([\w ]+\))?: ")
        marks = [found for found in place.finditer(paragraph) if _is_of(found[1], names)]
        ends = [*(found.start() for found in marks[1:]), len(paragraph)]
        if not marks or marks[0].start() > 0:
            rest.append(_one_line(paragraph[: marks[0].start()] if marks else paragraph))
        for found, end in zip(marks, ends, strict=True) if marks else ():
            words = _one_line(paragraph[found.end() : end])
            if found[1] == "Raises":
                rest.append(f"Raises: {words}")
            else:
                said |= dict.fromkeys(found[1].split(", "), words.rstrip(";"))
    return said, [line for each in rest for line in (each, "")][:-1]


def _is_of(marked: str, names: set[str]) -> bool:
    return marked == "Raises" or any(name in names for name in marked.split(", "))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def record_text(kind: type) -> str:
    """A class that users are given: its fields, without defaults, and its methods."""
    names = list(inspect.get_annotations(kind))
    fields = ", ".join(f"`{name}`" for name in names)
    methods = [name for name, value in vars(kind).items() if not name.startswith("_") and inspect.isfunction(value)]
    methods += [name for name, value in vars(kind).items() if isinstance(value, property)]
    more = f" Beside them: {', '.join(f'`{name}`' for name in methods)}." if methods else ""
    assert dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__"), kind
    return f"## {kind.__name__}\n\n{_one_line(inspect.cleandoc(kind.__doc__ or ''))}\n\nFields: {fields}.{more}\n"


def pytest_text() -> str:
    shared = inspect.signature(foxden.SandboxExecutor).parameters
    rows = [
        (f"`{name}`", "`foxden_timeout`" if name == "timeout" else default_text(shared[name].default))
        for name in boxed_tests._OPTIONS
    ]
    inis = [(f"`{name}`", f"`{default}`" if default else "", words) for name, (default, words) in _INIS().items()]
    return (
        "## pytest\n\n`@pytest.mark.sandboxed(…)`; options as of [SandboxExecutor](#sandboxexecutor), "
        "[how](../guides/test-in-a-box.md).\n\n"
        + _table(("option", "default"), rows)
        + "\n"
        + _table(("in pytest's ini file", "default", "what it is"), inis)
    )


def _ini(name: str) -> tuple[str, str]:
    return _INIS()[name]


def _INIS() -> dict[str, tuple[str, str]]:
    """What the plugin adds to pytest's ini file: name → default, words."""
    found: dict[str, tuple[str, str]] = {}

    class Parser:
        def addini(self, name: str, help: str, default: Any = "", type: Any = None) -> None:
            found[name] = str(default), help

    pytest_plugin.pytest_addoption(Parser())  # type: ignore[arg-type]
    return found


def errors_text() -> str:
    rows = [
        (f"[{name}](errors.md#{name.lower()})", ", ".join(f"`{base.__name__}`" for base in kind.__bases__))
        for name in foxden.__all__
        if isinstance(kind := getattr(foxden, name), type) and issubclass(kind, BaseException)
    ]
    return f"## Errors\n\n{_table(('error', 'is a'), rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells) + "\n"
