"""Markup that would make the parser slow or large, tamed before the parser sees it.

Runs in: content child; pure.  Trusts: nothing.  What it misjudges costs time or memory, which the process's limits end.
Flow: text → `tame` → text without too deep nesting, endless formatting, thousands of attributes; what was cut.
Source: measured on lexbor 2.x: time grows with tags × depth, with attributes², and with unclosed formatting × blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

# Browsers stop nesting, too: Chromium at 512 elements, Firefox shows nothing below 200.
MAX_DEPTH = 512
MAX_FORMATTING = 64
MAX_ATTRIBUTES = 256
MAX_TAGS = 600_000
# Each tag can make the parser open all unclosed formatting elements again: this many nodes, some 150 bytes each.
MAX_NODES = 1_500_000
_MAX_ROOT_TAGS = 32  # each <html …> and <body …> after the first is merged into it, attribute by attribute
# Below these nothing can go wrong that would be noticed, and the scan is saved.
_SMALL_TAGS, _SMALL_CHARACTERS = 1_500, 64 << 10
_LONG_ATTRIBUTES = 512
_SEARCH_DEPTH = 64  # how far up an end tag looks for its element

NESTING, NODES, ATTRIBUTES = "nesting", "nodes", "attributes"  # names of what was cut

# One token: a tag, a comment, or what the parser takes for a comment.  Everything ends at the end of the text where
# its own end is missing, so that no place is looked at twice.  Quotes count after "=" alone, as in the parser.
_ATTRIBUTES = r"[^>=]*+(?:=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+')?+[^>=]*+)*+"
_TOKEN = re.compile(
    rf"<(?:(/?[a-zA-Z][^\t\n\f\r />]*+)({_ATTRIBUTES})>?|!--(?:-?>|(?:[^-]++|-(?!-!?>))*+)|[!?/][^>]*+)"
)
_RAW_NAMES = "script|style|title|textarea|xmp|iframe|noembed|noframes"  # what is in these is no markup
_RAW_ENDS = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.I) for name in _RAW_NAMES.split("|")}
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
_ONE_AT_A_TIME = element_names("a nobr button")  # a second one ends the first
_FOREIGN = element_names("svg math")
_INSIDE_TABLES = _TABLE_PARTS - {"table"}
_HOLDERS = _FOREIGN | {"table", "template"}
_TABLE_BARRIERS = element_names("table template html")
_BARRIERS = _MARKERS | element_names("table html select svg math foreignobject desc")
_HEADINGS = element_names("h1 h2 h3 h4 h5 h6")
_BLOCKS = _HEADINGS | element_names(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form header "
    "hgroup main menu nav ol p pre search section summary ul listing"
)
_SPECIAL = _BARRIERS | _BLOCKS | _TABLE_PARTS | element_names("li dd dt body button head plaintext select")
# What a start tag closes, through elements that are not special.
_CLOSED_BY: dict[str, frozenset[str]] = {
    **dict.fromkeys(_BLOCKS, element_names("p")),
    "li": element_names("li p"),
    **dict.fromkeys(("dt", "dd"), element_names("dt dd p")),
    "tr": element_names("tr td th p"),
    **dict.fromkeys(("td", "th"), element_names("td th p")),
    **dict.fromkeys(("tbody", "thead", "tfoot"), element_names("tr td th tbody thead tfoot p")),
}
# What it closes only when that is the innermost element.
_CLOSED_IF_LAST: dict[str, frozenset[str]] = {
    **dict.fromkeys(_HEADINGS, _HEADINGS),
    "option": element_names("option"),
    "optgroup": element_names("option optgroup"),
}


class Tamed(msgspec.Struct):
    """Markup that can be parsed, and the names of what was cut from it."""

    text: str
    cut: tuple[str, ...] = ()


def tame(text: str) -> Tamed:
    """Cut what the parser would choke on.  Ordinary pages come back as they are.  Cost: O(characters)."""
    brackets = text.count("<")
    if brackets < _SMALL_TAGS and len(text) < _SMALL_CHARACTERS:
        return Tamed(text)
    if brackets <= MAX_TAGS and _is_tidy(text):
        return Tamed(text)
    scan = _Scan(text)
    scan.run()
    return Tamed(scan.result(), tuple(scan.cut))


# The end tags that a tidy page may leave out, by the end tag that stands in their place.
_OMITTED: dict[str, frozenset[str]] = {
    **{f"/{name}": frozenset({"/p"}) for name in (*_BLOCKS, "li", "dd", "dt", "td", "th", "body", "html")},
    **dict.fromkeys(("/ul", "/ol"), element_names("/li /p")),
    "/dl": element_names("/dt /dd /p"),
    "/select": element_names("/option"),
}
_TIDY_DEPTH = 100  # no formatting can be endless in what is nested properly and less deep than this


def _is_tidy(text: str) -> bool:
    """Whether every end tag ends the innermost element, nothing is deep and no tag is long: most pages are so.

    Markup hidden in scripts and titles is taken for markup here; it can only make a tidy page look untidy.
    """
    tokens = _TOKEN.findall(text)
    expected: list[str] = []
    roots = 0
    for name, attributes in tokens:
        if len(attributes) > _LONG_ATTRIBUTES:
            return False
        name = name.lower()
        if name[:1] == "/":
            omitted = _OMITTED.get(name, ())
            while expected and expected[-1] != name and expected[-1] in omitted:
                expected.pop()
            if expected and expected[-1] == name:
                expected.pop()
            elif name != "/p":  # this one alone is an element when it has nothing to end: an empty paragraph
                return False
        elif name and name not in _VOID:
            roots += name in ("html", "body")
            end = "/" + name
            if not (name in ("p", "li") and expected and expected[-1] == end):
                expected.append(end)
            if len(expected) > _TIDY_DEPTH:
                return False
    return roots <= _MAX_ROOT_TAGS


class _Scan(msgspec.Struct):
    """A rough likeness of the parser's stack of open elements and its list of formatting elements.

    Where it cannot be sure it takes elements to be open still: then a page loses nesting it could have kept.
    """

    text: str
    cut: list[str] = msgspec.field(default_factory=list)
    _kept: list[str] = msgspec.field(default_factory=list)  # what comes before `_position`, once anything was left out
    _position: int = 0
    _stack: list[str] = msgspec.field(default_factory=list)  # names, outermost first
    _hidden: list[str] = msgspec.field(default_factory=list)  # of elements inside those, whose start tags were left out
    _formatting: list[tuple[str, str]] = msgspec.field(default_factory=list)  # (name, attributes); ("", "") is a marker
    _lost: list[str] = msgspec.field(default_factory=list)  # formatting that another's end closed, innermost first
    _nodes: int = 0
    _roots: int = 0

    def run(self) -> None:
        for tags, match in enumerate(self._tokens(), 1):
            self._nodes += 1 + len(self._formatting)
            if tags > MAX_TAGS or self._nodes > MAX_NODES:
                self._leave_out(match.start(), len(self.text), NODES)
                return
            name = match[1].lower()
            if name.lstrip("/") in _INSIDE_TABLES and _HOLDERS.isdisjoint(self._stack):
                pass  # the parser ignores both ends of these outside tables
            elif name[0] == "/":
                self._end_tag(name[1:], match)
            elif name not in _VOID:
                self._open(name, match)
            if len(match[2]) > _LONG_ATTRIBUTES:
                self._trim_attributes(match)

    def result(self) -> str:
        return "".join([*self._kept, self.text[self._position :]]) if self._position else self.text

    def _tokens(self) -> Iterator[re.Match[str]]:
        """Tags in order.  What is in raw elements is passed over, but not in SVG: there a <title> holds markup."""
        position = 0
        while position < len(self.text):
            for match in _TOKEN.finditer(self.text, position):
                if not match[1]:
                    continue
                yield match
                raw_end = _RAW_ENDS.get(match[1].lower())
                if raw_end is not None and _FOREIGN.isdisjoint(self._stack):
                    end = raw_end.search(self.text, match.end())
                    position = end.start() if end else len(self.text)
                    break
            else:
                return

    def _leave_out(self, start: int, end: int, why: str) -> None:
        self._kept.append(self.text[self._position : start])
        self._position = end
        if why not in self.cut:
            self.cut.append(why)

    def _trim_attributes(self, match: re.Match[str]) -> None:
        if match.start() < self._position:
            return  # the whole tag is left out already
        for count, attribute in enumerate(_ATTRIBUTE.finditer(self.text, match.start(2), match.end(2))):
            if count == MAX_ATTRIBUTES:
                self._leave_out(attribute.start(), match.end(2), ATTRIBUTES)
                return

    def _end_tag(self, name: str, match: re.Match[str]) -> None:
        if self._hidden and self._hidden[-1] == name:
            self._hidden.pop()
            self._leave_out(match.start(), match.end(), NESTING)
        else:
            self._close(name)

    def _open(self, name: str, match: re.Match[str]) -> None:
        stack = self._stack
        self._close_for(name)
        if name in ("html", "body"):
            self._roots += 1
            if self._roots > _MAX_ROOT_TAGS:
                self._leave_out(match.start(), match.end(), ATTRIBUTES)
            return
        if self._lost:
            self._open_again()
        too_deep = len(stack) >= MAX_DEPTH
        if name in _FORMATTING and not too_deep and not self._start_formatting(name, match[2]):
            self._leave_out(match.start(), match.end(), NESTING)
            return
        if too_deep:
            self._hidden.append(name)
            self._leave_out(match.start(), match.end(), NESTING)
            return
        stack.append(name)
        if name in _MARKERS:
            self._formatting.append(("", ""))

    def _close_for(self, name: str) -> None:
        """End what cannot hold a new element of this name."""
        stack = self._stack
        if name in _INSIDE_TABLES and not _FOREIGN.isdisjoint(stack):
            return  # no parts of a table here, just elements with such names
        if closes := _CLOSED_BY.get(name):
            kept = len(stack)
            for place in range(kept - 1, max(-1, kept - _SEARCH_DEPTH - 1), -1):
                if stack[place] in closes:
                    kept = place
                elif stack[place] in _SPECIAL:
                    break
            while len(stack) > kept:
                self._pop()
        if name in _CLOSED_IF_LAST and stack and stack[-1] in _CLOSED_IF_LAST[name]:
            self._pop()
        if name in _ONE_AT_A_TIME:
            self._close(name)

    def _start_formatting(self, name: str, attributes: str) -> bool:
        """False: too many are open, this one is left out.  Of equal ones the parser keeps three."""
        entry = (name, attributes)
        alike: list[int] = []
        open_here = 0
        for place in range(len(self._formatting) - 1, -1, -1):
            other = self._formatting[place]
            if not other[0]:
                break
            open_here += 1
            if other == entry:
                alike.append(place)
        if len(alike) >= 3:
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
                while len(stack) > place and not formatting:
                    self._pop()
                return
            if stack[place] in barriers:
                return

    def _open_again(self) -> None:
        """The parser opens lost formatting again, before any text, and so nests what follows deeper."""
        names = {name for name, _ in self._formatting[-MAX_FORMATTING:]}
        self._stack.extend(name for name in reversed(self._lost) if name in names)
        self._lost.clear()

    def _pop(self) -> None:
        name = self._stack.pop()
        if name in _MARKERS:
            while self._formatting and self._formatting.pop()[0]:
                pass
        elif name in _FORMATTING:
            self._lost.append(name)

    def _end_formatting(self, name: str) -> None:
        for place in range(len(self._formatting) - 1, -1, -1):
            other = self._formatting[place][0]
            if other == name:
                del self._formatting[place]
            if other == name or not other:
                return
