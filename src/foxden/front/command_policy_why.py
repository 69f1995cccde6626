"""`foxden policy why`: what a policy would answer, without running anything.

Runs in: command.  Trusts: the user's command line.
Flow: path, call or host + type, remote type, level → Explainer → verdict, rule, hint → exit code.
Source: interface.md "Command"; `nono why`, `sesearch`.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from foxden.front.options import plain_options
from foxden.front.terminal import json_text, paint, say, wants_colour
from foxden.model.escaped import quoted_name

if TYPE_CHECKING:
    from foxden.model.process_types import ProcessType, RemoteType
    from foxden.parent.plans import Plans
    from foxden.parent.prefs import Prefs
    from foxden.sandbox.explain import Answer, Explainer
    from foxden.sandbox.paths import Access

_ALLOWED, _REFUSED = 0, 1
_NO_NETWORK = "a program has a network of its own, with nobody else in it"


@click.command("why", short_help="Say what a policy would answer, and what would change it.")
@click.argument("what", metavar="PATH|CALL|HOST")
@click.option("--type", "type_name", metavar="TYPE", required=True, help="Process type, as `foxden ps` shows it.")
@click.option("--remote-type", metavar="R", help="What a content process holds: web, file, privileged, extension.")
@click.option("--level", metavar="N", type=int, help="The level; else the one that a den would use.")
@click.option("--access", metavar="rwcx", default="r", help="What is wanted of a path: r, w, c, x, stat, connect.")
@click.option("--pref", "prefs", metavar="NAME=VALUE", multiple=True, help="As if this preference were set.")
@click.option("--profile", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Profile folder.")
@plain_options
def command(
    what: str,
    type_name: str,
    remote_type: str | None,
    level: int | None,
    access: str,
    prefs: tuple[str, ...],
    profile: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Say whether a process of this type may do something, which line of which policy decides, and what would allow it.

    A PATH has a slash in it; a CALL is a system call by name or number, with arguments if they matter, as
    'openat(flags=O_RDWR)'; a HOST has a dot or a colon.  Exit codes: 0 allowed, 1 refused, 2 wrong usage.
    """
    question = _Question(type_name, remote_type, level, prefs, profile)
    found = question.ask(what, access)
    if as_json:
        say(json_text(found))
    else:
        _print(found)
    return _ALLOWED if all(answer["verdict"] == "allowed" for answer in found["answers"]) else _REFUSED


class _Question:
    """Whom it is about."""

    def __init__(
        self, type_name: str, remote_type: str | None, level: int | None, prefs: tuple[str, ...], profile: str | None
    ) -> None:
        self._row = _row(type_name)
        self._remote = _remote(self._row, remote_type)
        self._prefs = _prefs(self._row, level, prefs)
        self._plans = _plans(self._prefs, profile)
        self._explainer = self._made(level)

    def _made(self, level: int | None) -> Explainer:
        from foxden.sandbox.explain import Explainer
        from foxden.sandbox.explain_hints import Hints
        from foxden.sandbox.policy_files import read_policy

        resolved = self._plans.resolved(self._row, self._remote)
        if level is not None and resolved.level != level:
            raise click.BadParameter(f"expected a level that {self._row.name} has, got {level}", param_hint="'--level'")
        return Explainer(resolved, Hints(self._row.name, read_policy), arch=platform.machine())

    def ask(self, what: str, access: str) -> dict[str, Any]:
        kind = kind_of(what)
        if kind == "url":
            host = re.split(r"[/@?#]", what.partition("://")[2])[0]
            raise click.UsageError(f"expected a host as {host or 'example.org'}, got the URL {what!r}")
        answers = {"path": self._path, "call": self._call, "host": self._host}[kind](what, access)
        return {
            "asked": what,
            "kind": kind,
            "process_type": self._row.name,
            "remote_type": self._remote.value if self._remote else None,
            "level": self._explainer.resolved.level,
            "answers": answers,
        }

    def _path(self, what: str, access: str) -> list[dict[str, Any]]:
        """Of the path as it was given, and of where its links lead: a broker asks both."""
        from foxden.sandbox.paths import Access

        try:
            wanted = Access.parse(access)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--access'") from None
        if wanted is Access.DENY or "\0" in what:
            raise click.BadParameter(f"expected what is wanted of a path, got {access!r}", param_hint="'--access'")
        given = os.path.normpath(os.path.abspath(os.path.expanduser(what)))
        real = os.path.realpath(given)
        paths = [given] if real == given else [given, real]
        return [{"path": path, **_told(self._of_path(path, wanted))} for path in paths]

    def _of_path(self, path: str, wanted: Access) -> Answer:
        """What the rules say; of a tree that is private to a program, also that the host's files are not in it."""
        from foxden.launch.program_view import caller
        from foxden.sandbox.explain import Answer
        from foxden.sandbox.paths import Access
        from foxden.sandbox.program import private_trees

        answer = self._explainer.file(path, wanted)
        private = self._row.name == "plugin" and any(
            path.startswith(tree + "/") for tree in private_trees(caller().home)
        )
        if not private or not answer.allowed:
            return answer
        if wanted & Access.CREATE:
            return Answer(True, f"{answer.rule}: private to it, and gone when it ends")
        hint = self._explainer.hints.for_file(path, wanted)
        return Answer(False, f"{answer.rule}: private to it; the host's file is not in there", "ENOENT", hint=hint)

    def _call(self, what: str, access: str) -> list[dict[str, Any]]:
        from foxden.errors import PolicyError
        from foxden.sandbox.explain import name_of, parse_act

        arch = self._explainer.arch
        try:
            number, args = parse_act(what, arch)
        except PolicyError as error:
            raise click.UsageError(f"{error}{f'; {error.hint}' if error.hint else ''}") from None
        name = name_of(number, arch)
        known = name is not None and args is None
        answer = self._explainer.call_in_general(name or "") if known else self._explainer.call(number, args or ())
        return [{"call": name or str(number), "number": number, **_told(answer)}]

    def _host(self, what: str, access: str) -> list[dict[str, Any]]:
        """A host: who may connect at all is a matter of types; where a load may go is the network's."""
        from foxden.errors import PolicyError
        from foxden.model.ports import is_bad_port
        from foxden.sandbox.grants import checked_connect, split_connect

        try:
            host, port = split_connect(checked_connect("the host", what))
        except PolicyError as error:
            raise click.UsageError(f"{error}{f'; {error.hint}' if error.hint else ''}") from None
        bare = host.strip("[]")
        number = int(port) if port else None
        place = {"host": bare, "port": number}
        if self._row.name != "socket":
            return [{**place, **self._connect(bare, port)}]
        bad_port = number is not None and is_bad_port(number)
        code = "NS_ERROR_PORT_ACCESS_NOT_ALLOWED" if bad_port else _space_code(bare, self._prefs)
        if not code:
            return [{**place, "verdict": "allowed", "rule": "the network goes to public addresses, and what was typed"}]
        from foxden.parent.denials import REFUSALS

        hint = self._explainer.hints.for_host(bare, number, code)
        return [{**place, "verdict": "refused", "errno": code, "rule": REFUSALS[code], "hint": hint}]

    def _connect(self, host: str, port: str) -> dict[str, Any]:
        """May a child of this type make an internet socket at all, and is there a network that it leads to?"""
        from foxden.sandbox.explain import parse_act

        if self._row.name == "plugin":
            hint = self._explainer.hints.for_host(host, int(port) if port else None, "")
            return {"verdict": "refused", "errno": "ENETUNREACH", "rule": _NO_NETWORK, "hint": hint}

        number, args = parse_act("socket(domain=AF_INET, type=SOCK_STREAM)", self._explainer.arch)
        told = _told(self._explainer.call(number, args or ()))
        if told["verdict"] != "allowed":
            told["hint"] = self._explainer.hints.for_host(host, int(port) if port else None, "")
        return told


def kind_of(what: str) -> str:
    """`path`, `call`, `host` or `url`.

    A word alone is a call when a call has that name, else a host when it looks like one, else refused as a call.
    """
    from foxden.sandbox.syscalls import SYSCALLS

    if re.match(r"[a-z][a-z0-9+.-]*://", what):
        return "url"
    name = what.partition("(")[0]
    if name in SYSCALLS or re.fullmatch(r"\d+|0x[0-9a-fA-F]+", name):
        return "call"
    if what.startswith(("/", "./", "../", "~")) or ("/" in what and "(" not in what) or what in (".", ".."):
        return "path"
    return "host" if "(" not in what and re.search(r"[.:]", what) else "call"


def _space_code(host: str, prefs: Prefs) -> str:
    """Why a name that leads to this address may not be dialled; empty when it may, or when it is not an address."""
    from foxden.model.addresses import AddressSpace, space_of

    try:
        space = space_of(host)
    except ValueError:
        return ""
    if space is AddressSpace.PUBLIC or host in prefs.get_list("foxden.network.private-hosts"):
        return ""
    return "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED"


def _told(answer: Answer) -> dict[str, Any]:
    verdict = "allowed" if answer.allowed else "killed" if answer.kills else "refused"
    told: dict[str, Any] = {"verdict": verdict, "rule": answer.rule}
    if answer.errno:
        told["errno"] = answer.errno
    if answer.hint:
        told["hint"] = answer.hint
    if answer.cases:
        told["cases"] = [{"verdict": verdict, "rule": rule} for verdict, rule in answer.cases]
    return told


def _row(name: str) -> ProcessType:
    from foxden.model.process_types import BY_NAME, child_rows

    known = [row.name for row in child_rows()]
    if name not in known:
        raise click.BadParameter(f"expected one of {', '.join(known)}; got {name!r}", param_hint="'--type'")
    return BY_NAME[name]


def _remote(row: ProcessType, name: str | None) -> RemoteType | None:
    """A content process always holds something: web pages, where nothing else is said."""
    known = [remote.value for remote in row.remote_types]
    if name is None:
        return row.remote_types[0] if row.remote_types else None
    if name not in known:
        expected = f"one of {', '.join(known)}" if known else f"none: {row.name} has no remote types"
        raise click.BadParameter(f"expected {expected}; got {name!r}", param_hint="'--remote-type'")
    return row.remote_types[known.index(name)]


def _prefs(row: ProcessType, level: int | None, given: tuple[str, ...]) -> Prefs:
    from foxden.model.preferences import PreferenceError
    from foxden.parent.prefs import Prefs

    values: dict[str, object] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {item!r}", param_hint="'--pref'")
        values[name.strip()] = value
    if level is not None and row.level_pref:
        values[row.level_pref] = level
    try:
        return Prefs(values)
    except PreferenceError as error:
        raise click.BadParameter(str(error), param_hint="'--level'" if level is not None else "'--pref'") from None


def _plans(prefs: Prefs, profile: str | None) -> Plans:
    from foxden.parent.plans import Plans

    return Plans(prefs, profile)


def _print(found: dict[str, Any]) -> None:
    colour = wants_colour(sys.stdout)
    kind = " ".join(filter(None, (found["process_type"], found["remote_type"], f"level {found['level']}")))
    for answer in found["answers"]:
        style = "green" if answer["verdict"] == "allowed" else "red"
        errno = f" with {answer['errno']}" if "errno" in answer else ""
        what = answer.get("path") or answer.get("call") or found["asked"]
        say(f"{paint(answer['verdict'] + errno, style, colour)}  {quoted_name(what)}  for {kind}")
        say(f"  rule  {quoted_name(answer['rule'])}")
        for case in answer.get("cases", ()):
            say(f"  but   {quoted_name(case['rule'])}")
        if "hint" in answer:
            say(f"  hint  {paint(quoted_name(answer['hint']), 'cyan', colour)}")
