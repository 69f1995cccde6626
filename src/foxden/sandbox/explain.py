"""What a policy answers to one act, which of its lines says so, and what would allow it.

Runs in: parent and command; pure.  Trusts: the resolved policy; the act is a child's word, and only quoted.
Flow: ResolvedPolicy + path and access, or call and arguments → Answer → Violation, `foxden policy why`.
Source: sandbox/filter and sandbox/paths decide; this only tells.  explain_hints has the table of hints.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from foxden.sandbox.constants import AUDIT_ARCH, ERRNOS, NAMES, value_of
from foxden.sandbox.explain_hints import Hints, granted_place
from foxden.sandbox.filter import VerdictTable, judge, verdicts
from foxden.sandbox.hopeless import NOTHING
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.policy import ResolvedPolicy
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import ARGUMENTS, Action, Verdict, policy_error

_ERRNO_NAMES = {number: name for name, number in ERRNOS.items()}
_NO_ARGS = (0,) * 6
_AT_FDCWD = (1 << 64) - 100

# What a wish for a file comes to the filter as: a call that exists on every architecture, and its arguments.
_CALLS: dict[Access, tuple[str, tuple[int, ...]]] = {
    Access.STAT: ("newfstatat", (_AT_FDCWD, 1, 1, 0, 0, 0)),
    Access.READ: ("openat", (_AT_FDCWD, 1, 0, 0, 0, 0)),
    Access.WRITE: ("openat", (_AT_FDCWD, 1, 1, 0, 0, 0)),
    Access.CREATE: ("mkdirat", (_AT_FDCWD, 1, 0, 0, 0, 0)),
    Access.CONNECT: ("connect", _NO_ARGS),
    Access.EXECUTE: ("execve", _NO_ARGS),
}


class Answer(msgspec.Struct, frozen=True):
    """`errno`: what a refused act is told; empty when it is allowed, or kills.  `rule`: the line that decides."""

    allowed: bool
    rule: str
    errno: str = ""
    kills: bool = False
    hint: str = ""
    cases: tuple[tuple[str, str], ...] = ()  # (verdict, line) of a call that depends on its arguments

    def word(self) -> str:
        return "allowed" if self.allowed else "kills the process" if self.kills else f"refused with {self.errno}"


class Explainer:
    """Answers for one kind of child.  Made once, asked often."""

    def __init__(self, resolved: ResolvedPolicy, hints: Hints, *, arch: str) -> None:
        self.resolved, self.hints, self.arch = resolved, hints, arch
        self._table: VerdictTable | None = verdicts(resolved, arch) if resolved.default is not None else None

    # ---- files

    def file(self, path: str, access: Access) -> Answer:
        """May it do this with the path?  Of several wishes in `access` the first that is refused is told."""
        wanted = [bit for bit in _CALLS if bit & access] or [Access.STAT]
        answers = [self._file(path, bit) for bit in wanted]
        refused = next((answer for answer in answers if not answer.allowed), None)
        if refused is None:
            return answers[-1]
        return Answer(False, refused.rule, refused.errno, refused.kills, self._hint(path, access) if path else "")

    def _hint(self, path: str, access: Access) -> str:
        """What would allow it.  Deny wins at equal length: where a line denies the path, no grant of it helps."""
        for place in (path, granted_place(path, access)):
            if place != "/" and self.resolved.files.by_path.get(AbsPath(place), Access.NONE) & Access.DENY:
                return f"{NOTHING}{self.resolved.origins.get(place, 'a line of the policy')} stands against it"
        return self.hints.for_file(path, access)

    def _file(self, path: str, bit: Access) -> Answer:
        if self._table is None:
            return self._no_sandbox()
        name, args = _CALLS[bit]
        verdict, where = judge(self._table, NUMBERS[self.arch][name], args, AUDIT_ARCH[self.arch])
        if verdict.action in (Action.KILL, Action.ERRNO):
            return _answer(verdict, where)
        if verdict.action is Action.NOTIFY and bit is Access.EXECUTE:
            return _answer(verdict, where)  # a broker opens files; it starts nothing
        given, rule = self._rule_of(path)
        if bool(given & bit) or (bit is Access.STAT and given not in (Access.NONE, Access.DENY)):
            return Answer(True, rule)
        if verdict.action is Action.ALLOW and not self._walls_in():
            return Answer(True, f"{where or self._policy()} (then the kernel decides, as for the user)")
        if verdict.action is Action.NOTIFY:
            return Answer(False, rule, _name(verdict.errno))
        missing = self.resolved.root == "empty" and given in (Access.NONE, Access.DENY)
        return Answer(False, rule, "ENOENT" if missing else "EACCES")

    def _walls_in(self) -> bool:
        """Whether the kernel gives only what the file rules grant, whatever the filter lets pass."""
        return self.resolved.landlock or self.resolved.root == "empty"

    def _rule_of(self, path: str) -> tuple[Access, str]:
        """What the file rules give to a path, and the rule that says so."""
        try:
            clean = AbsPath.parse(path)
        except ValueError as error:
            return Access.NONE, f"{self._policy()}: {error}"
        by_path = self.resolved.files.by_path
        ancestor: str = clean
        while ancestor and ancestor not in by_path:
            ancestor = ancestor.rpartition("/")[0]
        ancestor = ancestor or "/"
        if ancestor not in by_path:
            return Access.NONE, f"{self._policy()}: no file rule speaks of it"
        given = lookup(self.resolved.files, clean)
        known = self._added(ancestor, quoted=True) or self.resolved.origins.get(ancestor)
        return given, known or f'granted: files "{ancestor}" = "{given.word()}"'

    def _added(self, rule: str, *, quoted: bool = False) -> str:
        """The preference or environment name that added this rule; empty when it is of the policy's text."""
        entry = next((entry for entry in self.resolved.added if entry.rule == rule), None)
        if entry is None:
            return ""
        return f"{entry.origin}: " + (f'"{rule}" = "{entry.access}"' if quoted else f"{rule} = {entry.access}")

    # ---- calls

    def call(self, number: int, args: Sequence[int] = _NO_ARGS) -> Answer:
        """What the filter says to this call with these arguments."""
        if self._table is None:
            return self._no_sandbox()
        full = [value & 0xFFFF_FFFF_FFFF_FFFF for value in (*args, *_NO_ARGS)[:6]]
        verdict, where = judge(self._table, number, full, AUDIT_ARCH[self.arch])
        name = name_of(number, self.arch)
        if name is None:
            where = f"{self._policy()}: no architecture of foxden's has this call"
        where = where or self._added(name or "") or self._policy()
        answer = _answer(verdict, where)
        if answer.allowed:
            return answer
        return Answer(False, answer.rule, answer.errno, answer.kills, self.hints.for_call(name, number))

    def call_in_general(self, name: str) -> Answer:
        """What the filter says to a call whose arguments are not known: the usual answer, and the exceptions."""
        answer = self.call(NUMBERS[self.arch][name])
        rules = self.resolved.calls.get(name)
        if self._table is None or rules is None or not rules.cases:
            return answer
        verdict = rules.otherwise or self.resolved.default
        assert verdict is not None, "with a table there is a default"  # noqa: S101 - for the type checker
        where = rules.where if rules.otherwise else self.resolved.default_where
        usual = _answer(verdict, where or self._added(name) or self._policy())
        cases = tuple((str(case.verdict), case.where) for case in rules.cases)
        hint = "" if usual.allowed else self.hints.for_call(name, NUMBERS[self.arch][name])
        return Answer(usual.allowed, usual.rule, usual.errno, usual.kills, hint, cases)

    # ---- words

    def _policy(self) -> str:
        return f"{self.resolved.name}.toml level {self.resolved.level}"

    def _no_sandbox(self) -> Answer:
        return Answer(True, f"{self._policy()}: no sandbox at all")


def _name(errno: int) -> str:
    return _ERRNO_NAMES.get(errno, f"errno {errno}")


def _answer(verdict: Verdict, where: str) -> Answer:
    if verdict.action is Action.ALLOW:
        return Answer(True, where)
    if verdict.action is Action.KILL:
        return Answer(False, where, kills=True)
    return Answer(False, where, _name(verdict.errno))


def errno_name(number: int) -> str | None:
    """EACCES for 13; None for 0."""
    return _name(number) if number else None


_NAMES_OF: dict[str, dict[int, str]] = {}


def name_of(number: int, arch: str) -> str | None:
    """The call with this number."""
    if arch not in _NAMES_OF:
        _NAMES_OF[arch] = {value: name for name, value in NUMBERS[arch].items()}
    return _NAMES_OF[arch].get(number)


def parse_act(text: str, arch: str) -> tuple[int, tuple[int, ...] | None]:
    """`openat`, `257`, `openat(flags=O_RDWR|O_CREAT)` → number and arguments; None: not given.  Raises: PolicyError."""
    name, bracket, rest = text.strip().partition("(")
    number = int(name, 0) if name[:1].isdigit() else NUMBERS[arch].get(name)
    if number is None:
        raise policy_error("the call", f"a system call of {arch}", name, NUMBERS[arch])
    if not bracket:
        return number, None
    if not rest.endswith(")"):
        raise policy_error("the call", "`name(argument=VALUE, …)`", text)
    known = ARGUMENTS.get(name_of(number, arch) or "", {})
    args = [0] * 6
    for item in filter(None, (part.strip() for part in rest[:-1].split(","))):
        word, equals, value = (part.strip() for part in item.partition("="))
        if not equals or word not in known:
            raise policy_error("the call", f"`argument=VALUE` with one of {', '.join(known) or 'none'}", item, known)
        args[known[word].index] = _parse_value(value, arch)
    return number, tuple(args)


def _parse_value(text: str, arch: str) -> int:
    total = 0
    for term in (part.strip() for part in text.split("|")):
        if term in NAMES:
            total |= value_of(term, arch)
        else:
            try:
                total |= int(term, 0)
            except ValueError:
                raise policy_error("the call", "a constant or a number", term, NAMES) from None
    return total & 0xFFFF_FFFF_FFFF_FFFF
