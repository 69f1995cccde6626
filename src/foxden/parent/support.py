"""What this machine gives, layer by layer and type by type, learnt by starting one child of each type.

Runs in: parent.  Trusts: the kernel's behaviour, not its flags: a real child runs the whole sequence.
Flow: every process type → launch with every loss accepted → Enforcement → table, and what to do about it.
Source: Firefox's about:support sandbox section; facts on how distributions and containers take layers away.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from foxden import native
from foxden.errors import FoxdenError
from foxden.model.enforcement import Enforcement, Layer, Status
from foxden.model.process_types import BY_NAME, PROCESS_TYPES, ProcessType, RemoteType, family_of
from foxden.parent.kernel import Facts, Feature, features, landlock_abi
from foxden.sandbox import seccomp
from foxden.sandbox.plan import SandboxPlan

if TYPE_CHECKING:
    from foxden.parent.runtime import Runtime

# What an operator can do about a layer that is not FULL.
REMEDIES: dict[Layer, str] = {
    Layer.NAMESPACES: "allow unprivileged user namespaces: sysctl user.max_user_namespaces=28633; on Ubuntu 24.04 "
    "an AppArmor profile with `userns,`; in a container a runtime profile that lets clone(CLONE_NEWUSER) pass",
    Layer.ROOT: "comes with namespaces",
    Layer.NETWORK: "comes with namespaces",
    Layer.LIMITS: "comes with namespaces",
    Layer.CAPABILITIES: "nothing is known to take this away",
    Layer.LANDLOCK: "a kernel of 5.13 or later with landlock among the lsm= of its command line; 6.12 has all of it",
    Layer.SECCOMP: "a kernel with CONFIG_SECCOMP_FILTER",
}


class TypeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process type as it starts here.  `error`: why it does not."""

    process_type: str
    remote_type: str | None = None
    level: int
    enforcement: Enforcement | None = None
    error: str = ""
    switched_off_by: str = ""  # the build setting, or the name in the environment, that turned its sandbox off
    own_ids: bool = False  # it has a uid and gid of its own
    kept_ids: str = ""  # why not


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """`features`: parent/kernel, one row each; their names are for ever."""

    release: str
    features: list[Feature]


class SupportReport(msgspec.Struct, frozen=True, kw_only=True):
    kernel: Kernel
    architecture: str
    python: str
    landlock_abi: int
    seccomp: bool
    native: str  # the extension in C: `in use`, or why not
    types: list[TypeReport]
    advice: list[str]


async def report(runtime: Runtime, only: Collection[str] = ()) -> SupportReport:
    """Start one child of each type, or only of these types, note what it got, end it."""
    wanted = [
        (row, remote)
        for row in PROCESS_TYPES
        if row.child and (not only or row.name in only)
        for remote in (row.remote_types or (None,))
    ]
    for row, remote in wanted:
        runtime.launcher.prepare(family_of(row, remote))  # they load while others already start
    notify = asyncio.create_task(_probe_notify(runtime))
    types = list(await asyncio.gather(*(_report_type(runtime, row, remote) for row, remote in wanted)))
    words, error = await notify
    abi = landlock_abi(runtime.prefs.landlock_abi_limit())
    facts = Facts(
        enforcements=tuple(entry.enforcement for entry in types if entry.enforcement is not None),
        notify=words,
        notify_error=error,
        landlock_abi=abi,
        seccomp="no filters" not in error and seccomp.is_available(),
        kept_ids=tuple(entry.kept_ids for entry in types if entry.enforcement is not None),
    )
    return SupportReport(
        kernel=Kernel(release=platform.release(), features=features(facts)),
        architecture=platform.machine(),
        python=sys.version.split()[0],
        landlock_abi=abi,
        seccomp=facts.seccomp,
        native=native.status(),
        types=types,
        advice=_advice(types, warn_namespaces=runtime.prefs.get_bool("security.sandbox.warn_unprivileged_namespaces"))
        + runtime.plans.warnings(),
    )


async def _probe_notify(runtime: Runtime) -> tuple[frozenset[str], str]:
    """What a listener can do here, tried by a child that has nothing but its fork server's filter on it; or why not."""
    row = BY_NAME["utility"]
    bare = SandboxPlan(policy=row.policy, level=0)
    try:
        host = await runtime.processes.launch(
            row.name, runtime.root_for(row), name="support", judge=False, plan=bare
        )
    except FoxdenError as error:
        return frozenset(), str(error)
    try:
        answer = await host.probe("kernel-notify")
    except FoxdenError as error:
        return frozenset(), str(error)
    finally:
        host.kill("support has seen it")
        await host.ended
    if answer.succeeded:
        return frozenset(answer.detail.split()), ""
    return frozenset(), {16: "another listener serves these processes", 38: "there are no filters"}.get(
        answer.errno, answer.detail
    )


async def _report_type(runtime: Runtime, row: ProcessType, remote: RemoteType | None) -> TypeReport:
    level = runtime.prefs.level_of(row)
    name = remote.value if remote else None
    off = runtime.prefs.switched_off_by(row)
    # A program's plan is made for each; this is what they all have.
    plan = runtime.programs.bare_plan() if row.name == "plugin" and level else None
    try:
        host = await runtime.processes.launch(
            row.name, runtime.root_for(row), remote_type=remote, name="support", judge=False, plan=plan
        )
    except FoxdenError as error:
        return TypeReport(process_type=row.name, remote_type=name, level=level, error=str(error), switched_off_by=off)
    enforcement = host.enforcement
    kept = host.kept_ids
    if not kept and enforcement and enforcement.namespaces and enforcement.namespaces.status is not Status.FULL:
        kept = "its user namespace gives no right to change ids"
    host.kill("support has seen it")
    await host.ended
    return TypeReport(
        process_type=row.name,
        remote_type=name,
        level=level,
        enforcement=enforcement,
        switched_off_by=off,
        own_ids=not kept,
        kept_ids=kept,
    )


def _advice(types: list[TypeReport], *, warn_namespaces: bool) -> list[str]:
    """One line a layer that is not whole somewhere, and one a sandbox that is switched off."""
    lacking = {
        layer
        for entry in types
        if entry.enforcement is not None
        for layer, status in entry.enforcement.items()
        if status.status is not Status.FULL
    }
    if not warn_namespaces:
        lacking.discard(Layer.NAMESPACES)
    lines = [f"{layer.value}: {REMEDIES[layer]}" for layer in Layer if layer in lacking]
    off = sorted({entry.switched_off_by for entry in types if entry.switched_off_by})
    return lines + [f"{name} is set: the sandbox of its processes is OFF" for name in off]
