"""Markup that would make the parser slow or large, tamed before the parser sees it.

Runs in: content child; pure.  Trusts: nothing.  What it misjudges costs time or memory, which the process's limits end.
Flow: text → `tame` → text without too deep nesting, endless formatting, thousands of attributes; what was cut.
Source: measured on lexbor 2.x: time grows with tags × depth, with attributes², and with unclosed formatting × blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Browsers stop nesting, too: Chromium at 512 elements, Firefox shows nothing below 200.
MAX_DEPTH = 512
MAX_FORMATTING = 64
MAX_ATTRIBUTES = 256
MAX_TAGS = 1_000_000
# Each tag can make the parser open all unclosed formatting elements again: this many nodes, some 150 bytes each.
MAX_NODES = 2_000_000
MAX_CHARACTERS = 32 << 20
_MAX_ROOT_TAGS = 32  # each <html …> and <body …> after the first is merged into it, attribute by attribute
# Below these nothing can go wrong that would be noticed, and the scan is saved.
_SMALL_TAGS, _SMALL_CHARACTERS = 1_500, 64 << 10
_LONG_ATTRIBUTES = 512
_SEARCH_DEPTH = 64  # how far up an end tag looks for its element

NESTING, NODES, ATTRIBUTES, INPUT = "nesting", "nodes", "attributes", "input"

_ATTRIBUTES = r"((?:[^>=]++|=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)"
_RAW_NAMES = "script|style|title|textarea|xmp|iframe|noembed|noframes"
_BOGUS = "<[!?][^>]*+|</[^a-z][^>]*+"  # what the parser takes for a comment
# One token: a comment, an element whose content is no markup (with that content), or a tag.  Everything ends at the
# end of the text where its own end is missing, so that no place is looked at twice.
_RAW = rf"<(?P<raw>{_RAW_NAMES})(?=[\t\n\f\r />]){_ATTRIBUTES}>?(?P<body>(?:[^<]++|<(?!/(?P=raw)[\t\n\f\r />]))*+)"
_COMMENT = r"<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+)"
_TAG = rf"<(?P<end>/?)(?P<name>[a-z][^\t\n\f\r />]*+){_ATTRIBUTES.replace('(', '(?P<attributes>', 1)}>?"
_TOKEN = re.compile(f"{_COMMENT}|{_BOGUS}|{_RAW}|{_TAG}", re.I)
_TAG_ALONE = re.compile(_TAG, re.I)
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+[^\t\n\f\r />][^\t\n\f\r />=]*+"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?+"
)


def element_names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VOID = element_names(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
)
_FORMATTING = element_names("a b big code em font i nobr s small strike strong tt u")
_MARKERS = element_names("td th caption applet object marquee template")
_TABLE_PARTS = element_names("table tbody thead tfoot tr td th caption colgroup")
_FOREIGN = element_names("svg math")
_TABLE_BARRIERS = element_names("table template html")
_BARRIERS = _MARKERS | element_names("table html select svg math foreignobject desc")
_BLOCKS = element_names(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form header "
    "hgroup main menu nav ol p pre search section summary ul h1 h2 h3 h4 h5 h6 listing"
)
_SPECIAL = _BARRIERS | _BLOCKS | _TABLE_PARTS | element_names("li dd dt body button head plaintext select")
# What a start tag closes when it is the innermost open element.
_CLOSED_BY: dict[str, frozenset[str]] = {
    **dict.fromkeys(_BLOCKS, element_names("p")),
    "li": element_names("li p"),
    "dt": element_names("dt dd p"),
    "dd": element_names("dt dd p"),
    "option": element_names("option"),
    "optgroup": element_names("option optgroup"),
    "tr": element_names("tr td th p"),
    "td": element_names("td th p"),
    "th": element_names("td th p"),
    "tbody": element_names("tr td th tbody thead tfoot p"),
    "thead": element_names("tr td th tbody thead tfoot p"),
    "tfoot": element_names("tr td th tbody thead tfoot p"),
}


@dataclass
class Tamed:
    """Markup that can be parsed, and the names of what was cut from it."""

    text: str
    cut: tuple[str, ...] = ()


def tame(text: str) -> Tamed:
    """Cut what the parser would choke on.  Ordinary pages come back as they are.  Cost: O(characters)."""
    cut: list[str] = []
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS]
        cut.append(INPUT)
    if len(text) < _SMALL_CHARACTERS and text.count("<") < _SMALL_TAGS:
        return Tamed(text, tuple(cut))
    scan = _Scan(text)
    scan.run()
    return Tamed(scan.result(), tuple(cut + scan.cut))


@dataclass(slots=True)
class _Scan:
    """A rough likeness of the parser's stack of open elements and its list of formatting elements.

    Where it cannot be sure it takes elements to be open still: then a page loses nesting it could have kept.
    """

    text: str
    cut: list[str] = field(default_factory=list)
    _kept: list[str] = field(default_factory=list)  # what comes before `_position`, once anything was left out
    _position: int = 0
    _stack: list[str] = field(default_factory=list)  # names, outermost first
    _hidden: list[str] = field(default_factory=list)  # of elements inside those, whose start tags were left out
    _formatting: list[tuple[str, str]] = field(default_factory=list)  # (name, attributes); ("", "") is a marker
    _nodes: int = 0
    _roots: int = 0

    def run(self) -> None:
        for tags, match in enumerate(self._tokens(), 1):
            self._nodes += 1 + len(self._formatting)
            if tags > MAX_TAGS or self._nodes > MAX_NODES:
                self._leave_out(match.start(), len(self.text), NODES)
                return
            name = match["name"].lower()
            if match["end"]:
                if self._hidden and self._hidden[-1] == name:
                    self._hidden.pop()
                    self._leave_out(match.start(), match.end(), NESTING)
                else:
                    self._close(name)
            elif name not in _VOID:
                self._open(name, match)
            if len(match["attributes"]) > _LONG_ATTRIBUTES:
                self._trim_attributes(match)

    def result(self) -> str:
        return "".join([*self._kept, self.text[self._position :]]) if self._position else self.text

    def _tokens(self) -> Iterator[re.Match[str]]:
        """Tags in order.  Raw elements count when they are not raw: inside SVG a <title> holds markup."""
        for match in _TOKEN.finditer(self.text):
            if match["name"]:
                yield match
            elif match["raw"]:
                inside = any(name in _FOREIGN for name in self._stack)
                last = match.end() if inside else match.end("raw") + len(match[2])
                yield from _TAG_ALONE.finditer(self.text, match.start(), last + 1)

    def _leave_out(self, start: int, end: int, why: str) -> None:
        self._kept.append(self.text[self._position : start])
        self._position = end
        if why not in self.cut:
            self.cut.append(why)

    def _trim_attributes(self, match: re.Match[str]) -> None:
        if match.start() < self._position:
            return  # the whole tag is left out already
        start = match.start("attributes")
        for count, attribute in enumerate(_ATTRIBUTE.finditer(self.text, start, match.end("attributes"))):
            if count == MAX_ATTRIBUTES:
                self._leave_out(attribute.start(), match.end("attributes"), ATTRIBUTES)
                return

    def _open(self, name: str, match: re.Match[str]) -> None:
        stack = self._stack
        closes = _CLOSED_BY.get(name)
        if closes is not None:
            while stack and stack[-1] in closes:
                self._pop()
        if name in ("html", "body"):
            self._roots += 1
            if self._roots > _MAX_ROOT_TAGS:
                self._leave_out(match.start(), match.end(), ATTRIBUTES)
            return
        too_deep = len(stack) >= MAX_DEPTH
        if name in _FORMATTING and not too_deep and not self._start_formatting(name, match["attributes"]):
            self._leave_out(match.start(), match.end(), NESTING)
            return
        if too_deep:
            self._hidden.append(name)
            self._leave_out(match.start(), match.end(), NESTING)
            return
        stack.append(name)
        if name in _MARKERS:
            self._formatting.append(("", ""))

    def _start_formatting(self, name: str, attributes: str) -> bool:
        """False: too many are open, this one is left out.  Of equal ones the parser keeps three, and of <a> one."""
        entry = (name, attributes)
        alike: list[int] = []
        open_here = 0
        for place in range(len(self._formatting) - 1, -1, -1):
            other = self._formatting[place]
            if not other[0]:
                break
            open_here += 1
            if other == entry or (name == other[0] and name in ("a", "nobr")):
                alike.append(place)
        if len(alike) >= (1 if name in ("a", "nobr") else 3):
            del self._formatting[alike[-1]]
        elif open_here >= MAX_FORMATTING:
            return False
        self._formatting.append(entry)
        return True

    def _close(self, name: str) -> None:
        stack = self._stack
        formatting = name in _FORMATTING
        if formatting:
            self._end_formatting(name)
        if name not in _SPECIAL:
            barriers = _BARRIERS if formatting else _SPECIAL
        else:
            barriers = _TABLE_BARRIERS if name in _TABLE_PARTS else _BARRIERS
        for place in range(len(stack) - 1, max(-1, len(stack) - _SEARCH_DEPTH - 1), -1):
            if stack[place] == name:
                self._hidden.clear()
                if formatting:  # blocks inside it stay open
                    del stack[place]
                while not formatting and len(stack) > place:
                    self._pop()
                return
            if stack[place] in barriers:
                return

    def _pop(self) -> None:
        if self._stack.pop() in _MARKERS:
            while self._formatting and self._formatting.pop()[0]:
                pass

    def _end_formatting(self, name: str) -> None:
        for place in range(len(self._formatting) - 1, -1, -1):
            other = self._formatting[place][0]
            if other == name:
                del self._formatting[place]
            if other == name or not other:
                return
