"""The page of docs/reference about platforms: acts × children, what each model answers; the rows of Windows.

Runs in: tools/make_docs.py.  Trusts: the checkout.
Flow: sandbox/acts.STANDARD_ACTS → simulate, macos, windows → docs/reference/platforms.md.
Source: docs/concepts/platforms.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foxden.sandbox import acts, macos, policy, simulate, windows
from foxden.sandbox.policy_files import read_policy

# Which children stand side by side: platform, title, and the children by process type, remote type and level.
MATRICES: tuple[tuple[str, str, tuple[tuple[str, str, int], ...]], ...] = (
    ("linux", "Linux: enforced", (("content", "web", 1), ("content", "web", 2), ("content", "web", 3),
                                  ("content", "web", 4), ("content", "file", 4), ("gmp", "", 1), ("rdd", "", 1),
                                  ("socket", "", 1), ("utility", "", 1))),
    ("macos", "macOS: shown and exported, not enforced", (("content", "web", 1), ("content", "web", 2),
                                                          ("content", "web", 3), ("content", "file", 3),
                                                          ("gmp", "", 1))),
    ("windows", "Windows: shown and exported, not enforced", (("content", "web", 0), ("content", "web", 1),
                                                              ("content", "web", 2), ("content", "web", 3),
                                                              ("content", "web", 4), ("content", "file", 4),
                                                              ("gmp", "", 1), ("plugin", "", 1))),
)  # fmt: skip
LINUX_PLACES = ("home", "profile", "install")  # the page is of no machine: those that every one has


def platforms_page(made: str) -> str:
    parts = [
        "# What the sandboxes of three platforms answer",
        made,
        "The same acts, asked of the model of each platform. foxden enforces what stands under Linux; macOS and\n"
        "Windows are Firefox's tables as rows, simulated. *Not said*: the tables leave it open. How to read and\n"
        "export them: [platforms](../concepts/platforms.md).\n",
        *(matrix_text(*matrix) for matrix in MATRICES),
        "## The rows of Windows\n",
        windows_text(),
        "## What the {places} stand for in these answers\n",
        places_text(),
    ]
    return "\n".join(parts)


def matrix_text(platform: str, title: str, children: tuple[tuple[str, str, int], ...]) -> str:
    deciders = [decider(platform, *child) for child in children]
    head = ("act", *(f"{kind} {remote}@{level}".replace(" @", "@") for kind, remote, level in children))
    rows = []
    for operation, path in acts.STANDARD_ACTS:
        act = acts.act_on(platform, operation, path)
        outcomes = [decide(act).outcome.value for decide in deciders]
        shown = tuple(f"**{outcome}**" if outcome == "allowed" else outcome for outcome in outcomes)
        rows.append((f"{operation.value} `{path}`" if path else operation.value, *shown))
    return f"## {title}\n\n{table(head, rows)}"


def decider(platform: str, name: str, remote_type: str, level: int) -> Callable[[acts.Act], acts.Decision]:
    places, remote = acts.EXAMPLE_PLACES[platform], remote_type or None
    if platform == "macos":
        mac = macos.resolve(name, read_policy, level=level, remote_type=remote)
        return lambda act: macos.decide(mac, act, places)
    if platform == "windows":
        win = windows.resolve(name, read_policy, level=level, remote_type=remote)
        return lambda act: windows.decide(win, act, places)
    variables: dict[str, str | Sequence[str]] = {place: places[place] for place in LINUX_PLACES}
    variables["system_libraries"] = ("/lib", "/usr/lib")
    linux = policy.resolve(policy.load(name, read_policy), level=level, remote_type=remote, variables=variables)
    return lambda act: simulate.decide(linux, act)


def windows_text() -> str:
    children = (*(("content", level) for level in range(5)), ("gmp", 1), ("plugin", 1))
    found = [windows.resolve(name, read_policy, level=level) for name, level in children]
    names = dict.fromkeys(name for each in found for name in each.settings)
    rows = [(name, *(setting_text(each.settings.get(name)) for each in found)) for name in names]
    for title, lists in (
        ("mitigations", [each.mitigations for each in found]),
        ("delayed mitigations", [each.delayed_mitigations for each in found]),
    ):
        shown = (", ".join(name.removeprefix("MITIGATION_") for name in listed) or "none" for listed in lists)
        rows.append((title, *shown))
    return table(("setting", *(f"{name}@{level}" for name, level in children)), rows)


def setting_text(setting: windows.Setting | None) -> str:
    if setting is None:
        return "-"
    return setting.value if isinstance(setting.value, str) else "yes" if setting.value else "no"


def places_text() -> str:
    head = ("place", "Linux", "macOS", "Windows")
    examples = [acts.EXAMPLE_PLACES[platform] for platform in ("linux", "macos", "windows")]
    return table(head, [(f"`{{{name}}}`", *(f"`{each[name]}`" for each in examples)) for name in examples[0]])


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
