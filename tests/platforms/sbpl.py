"""A reader of Seatbelt profiles: text → rules → what the last rule that matches says.

Runs in: tests.  Trusts: nothing; a word that it does not know is an error, so that nothing is passed over.
Flow: text → parse → Profile.answer(operation, subject).
Source: Apple's Sandbox Guide v1.0; the last rule that matches wins, and `default` speaks where none does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Expression = str | list["Expression"]  # a word, a "text", or what is in parentheses

_TOKEN = re.compile(r"""\s*(?:;[^\n]*\n|(?P<paren>[()])|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()";]+))""")
_PATH_FILTERS = ("subpath", "literal")
_NAME_FILTERS = ("global-name", "sysctl-name", "iokit-user-client-class")


def parse(text: str) -> list[Expression]:
    """Raises: ValueError when a parenthesis has no other half, or a character is of no token."""
    stack: list[list[Expression]] = [[]]
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"expected a token, got {text[at : at + 30]!r}")
        at = found.end()
        if found["paren"] == "(":
            stack.append([])
        elif found["paren"] == ")":
            if len(stack) == 1:
                raise ValueError(f"expected no ')' without '(', got one at {at}")
            inner = stack.pop()
            stack[-1].append(inner)
        elif found["text"] or found["word"]:
            stack[-1].append(found["text"] or found["word"])
    if len(stack) != 1:
        raise ValueError(f"expected ')' for every '(', {len(stack) - 1} are open at the end")
    return stack[0]


@dataclass(frozen=True)
class Rule:
    allow: bool
    operations: tuple[str, ...]
    filters: tuple[tuple[str, str], ...]  # none: whatever it is done to


@dataclass(frozen=True)
class Profile:
    rules: tuple[Rule, ...]
    default: bool  # allowed?

    def answer(self, operation: str, subject: str = "") -> bool:
        answer = self.default
        for rule in self.rules:
            if any(_same(word, operation) for word in rule.operations) and _passes(rule, subject):
                answer = rule.allow
        return answer


def read(text: str, parameters: Mapping[str, str]) -> Profile:
    """Raises: ValueError for anything that this reader does not know."""
    expressions = parse(text)
    if expressions[0] != ["version", "1"]:
        raise ValueError(f"expected (version 1) first, got {expressions[0]}")
    rules = [_rule(expression, parameters) for expression in expressions[1:]]
    defaults = [rule for rule in rules if rule.operations == ("default",)]
    if len(defaults) != 1:
        raise ValueError(f"expected one rule of default, got {len(defaults)}")
    return Profile(tuple(rule for rule in rules if rule not in defaults), defaults[0].allow)


def _rule(expression: Expression, parameters: Mapping[str, str]) -> Rule:
    if isinstance(expression, str) or expression[0] not in ("allow", "deny"):
        raise ValueError(f"expected (allow …) or (deny …), got {expression}")
    words = [part for part in expression[1:] if isinstance(part, str)]
    filters = [_filter(part, parameters) for part in expression[1:] if not isinstance(part, str)]
    return Rule(expression[0] == "allow", tuple(words), tuple(filters))


def _filter(parts: list[Expression], parameters: Mapping[str, str]) -> tuple[str, str]:
    name = parts[0]
    if name == "target" and parts[1:] == ["self"]:
        return "target", "self"
    if name not in (*_PATH_FILTERS, *_NAME_FILTERS) or len(parts) != 2:
        raise ValueError(f"expected a filter, got {parts}")
    return str(name), _text(parts[1], parameters)


def _text(expression: Expression, parameters: Mapping[str, str]) -> str:
    if isinstance(expression, str):
        if not expression.startswith('"'):
            raise ValueError(f'expected a "text", got {expression}')
        return re.sub(r"\\(.)", r"\1", expression[1:-1])
    if expression[0] == "param":
        return parameters[_text(expression[1], parameters)]
    if expression[0] == "string-append":
        return "".join(_text(part, parameters) for part in expression[1:])
    raise ValueError(f"expected param or string-append, got {expression}")


def _same(word: str, operation: str) -> bool:
    return operation.startswith(word[:-1]) if word.endswith("*") else word == operation


def _passes(rule: Rule, subject: str) -> bool:
    return not rule.filters or any(_matches(name, value, subject) for name, value in rule.filters)


def _matches(name: str, value: str, subject: str) -> bool:
    if name == "subpath":
        return value == "/" or subject == value or subject.startswith(value + "/")
    return subject == value


# ---- an act as operations


def operations(operation: str, path: str) -> Iterator[tuple[str, str]]:
    """What the kernel is asked when a program does this: all must be allowed."""
    table: dict[str, tuple[tuple[str, str], ...]] = {
        "read": (("file-read-data", path),),
        "list": (("file-read-data", path),),
        "stat": (("file-read-metadata", path),),
        "write": (("file-write-data", path),),
        "create": (("file-write-create", path), ("file-write-unlink", path)),
        "connect": (("network-outbound", "*:443"),),
        "listen": (("network-bind", "*:80"), ("network-inbound", "*:80")),
        "exec": (("process-exec", "/bin/sh"), ("process-exec-interpreter", "/bin/sh")),
        "fork": (("process-fork", ""),),
        "print": (("mach-lookup", "com.apple.printtool.agent"), ("network-outbound", "/private/var/run/cupsd")),
    }
    yield from table[operation]
