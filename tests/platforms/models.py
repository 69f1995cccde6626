"""The models of the three platforms behind one question, and the cases that are asked of them.

Runs in: tests.  Trusts: the committed policies.
Flow: cases.toml → Case; (platform, type, level) → decide.
Source: tests/platforms/cases.toml.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from foxden.model.process_types import BY_NAME
from foxden.sandbox import macos, policy, simulate, windows
from foxden.sandbox.acts import EXAMPLE_PLACES, Act, Decision, Operation, act_on
from foxden.sandbox.policy_files import read_policy

LINUX_PLACES = {name: EXAMPLE_PLACES["linux"][name] for name in ("home", "profile", "install")}


@dataclass(frozen=True)
class Case:
    source: str
    operation: Operation
    path: str  # with its {place}
    process_type: str
    remote_type: str | None
    platform: str
    level: int
    expected: str

    def __str__(self) -> str:
        kind = f":{self.remote_type}" if self.remote_type else ""
        return f"{self.platform}-{self.process_type}{kind}@{self.level}-{self.operation.value} {self.path}".rstrip()

    def act(self) -> Act:
        return act_on(self.platform, self.operation, self.path)


def read_cases() -> Iterator[Case]:
    text = (Path(__file__).parent / "cases.toml").read_text(encoding="utf-8")
    for row in tomllib.loads(text)["case"]:
        operation, _, path = row["act"].partition(" ")
        process_type, _, remote_type = row["type"].partition(":")
        for platform in ("linux", "macos", "windows"):
            for level, expected in row.get(platform, {}).items():
                yield Case(
                    row["source"], Operation(operation), path, process_type, remote_type or None, platform, int(level),
                    expected,
                )  # fmt: skip


@functools.cache
def decider(platform: str, process_type: str, remote_type: str | None, level: int) -> Callable[[Act], Decision]:
    """The model of one child."""
    name = BY_NAME[process_type].policy
    places = EXAMPLE_PLACES[platform]
    if platform == "macos":
        mac = macos.resolve(name, read_policy, level=level, remote_type=remote_type)
        return lambda act: macos.decide(mac, act, places)
    if platform == "windows":
        win = windows.resolve(name, read_policy, level=level, remote_type=remote_type)
        return lambda act: windows.decide(win, act, places)
    variables = {**LINUX_PLACES, "system_libraries": ("/lib", "/usr/lib")}
    resolved = policy.resolve(
        policy.load(name, read_policy), level=level, remote_type=remote_type, variables=variables
    )  # fmt: skip
    return lambda act: simulate.decide(resolved, act)
