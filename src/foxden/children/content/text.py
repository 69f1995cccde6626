"""The readable text of a page: what a person would read on it, line by line.

Runs in: content child; pure.  Trusts: nothing; no recursion, and no more text than the limit.
Flow: lexbor tree → walk (enters and leaves elements) → `_Lines` (white space, gaps, lists, cells) → str.
Source: WHATWG HTML, "Rendering" (which elements are blocks) and `innerText`; CSS 2 section 16.6 (white space).
"""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from foxden.children.content.guard import element_names

# Elements that have lines of their own, and how they stand apart: 1 on a new line, 2 after an empty one.
_OWN_LINE = element_names(
    "address article aside body caption center dd details dialog dir div dt figcaption footer form header hgroup html "
    "legend li main nav option optgroup search section summary tr"
)
_APART = element_names(
    "blockquote dl fieldset figure h1 h2 h3 h4 h5 h6 hr listing menu ol p plaintext pre table textarea ul xmp"
)
_GAPS: dict[str, int] = {**dict.fromkeys(_OWN_LINE, 1), **dict.fromkeys(_APART, 2)}
# Not shown: by the style sheet of every browser, or because there is nothing in it to read.
_NOT_SHOWN = element_names(
    "annotation annotation-xml area audio base canvas datalist head iframe link meta noembed noframes param rp script "
    "source style svg template title track video -comment"
)
_HIDDEN = "[hidden], dialog:not([open]), " + ", ".join(
    f'[style*="{rule}" i]' for rule in ("display:none", "display: none", "visibility:hidden", "visibility: hidden")
)
_VERBATIM = frozenset({"pre", "listing", "plaintext", "textarea", "xmp"})
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_ACTIVE = _OWN_LINE | _APART | {"br", "td", "th", "q", "img", "input"}  # all others only hold text
_INDENTS = {"dd": 4, "blockquote": 4}
_WIDEST_INDENT = 32  # deeper levels stay there: indents alone must not fill the limit
_LONGEST_ALT = 512
_LONGEST_ROW = 4096  # a row that is longer goes on in lines: each of its cells copies what the row has so far
_PERMALINKS = frozenset("¶§#")  # manuals put them at each heading; their style sheets show them under the mouse alone
_SPACE = "\t\n\f\r "
_SPACES = re.compile(rf"[{_SPACE}]+")


class _Lines:
    """Text as lines.  Inline text is collapsed as CSS does; blocks ask for gaps, of which the widest is kept."""

    def __init__(self, limit: int) -> None:
        self.lines: list[str] = []
        self.room = limit  # characters; below zero: full
        self.indent = 0
        self._marker = ""
        self._line: list[str] = []
        self._space = False
        self._gap = 0
        self._fresh = False  # inside an item or a cell that has nothing yet: its first block needs no gap

    def inline(self, data: str) -> None:
        # str.split knows more white space than CSS does, but in ASCII that is control characters alone.
        words = " ".join(data.split()) if data.isascii() else _SPACES.sub(" ", data).strip(" ")
        if not words:
            self._space = self._space or bool(data)
            return
        self._put(words, spaced=self._space or data[0] in _SPACE)
        self._space = data[-1] in _SPACE

    def _put(self, words: str, *, spaced: bool = False) -> None:
        if not self._line:
            self._begin_line()
        elif spaced and self._line[-1] != "\t":
            self._line.append(" ")
        self._line.append(words)
        self.room -= len(words) + 1

    def verbatim(self, data: str) -> None:
        for count, part in enumerate(data.replace("\r\n", "\n").split("\n")):
            if count:
                self._keep_line()
            if part:
                self._put(part)
            if self.room < 0:
                return

    def _keep_line(self) -> None:
        """End a line as it is, even an empty one."""
        if not self._line:
            self._flush_gap()
            self.room -= 1
        self.lines.append("".join(self._line))
        self._line = []

    def _begin_line(self) -> None:
        self._flush_gap()
        self._fresh = False
        margin = " " * (min(self.indent, _WIDEST_INDENT) - len(self._marker)) + self._marker
        self._marker = ""
        self._line.append(margin)
        self.room -= len(margin)

    def _flush_gap(self) -> None:
        if self._gap > 1 and self.lines and self.lines[-1]:
            self.lines.append("")
        self._gap = 0

    def end_line(self, gap: int) -> None:
        """What follows is on another line; with 2, after an empty one."""
        self._space = False
        if self._line:
            if self._line[-1] == "\t":
                return  # the first block of a table's cell stays in its row
            self._finish_line()
        if not self._fresh:
            self._gap = max(self._gap, gap)

    def _finish_line(self) -> None:
        line = "".join(self._line).rstrip("\t ")
        self._line = []
        if line:
            self.lines.append(line)

    def break_line(self) -> None:
        """<br>: two of them are an empty line, more are no more."""
        was_empty = not self._line
        self.end_line(1)
        if was_empty and self.lines:
            self._gap = 2

    def start_item(self, marker: str, width: int) -> int:
        """Begin what has an indent of its own.  Returns what `end_item` wants."""
        self.end_line(1)
        self.indent += width
        self._marker = marker
        self._fresh = bool(marker)
        return len(self.lines)

    def end_item(self, began: int, width: int) -> None:
        self.end_line(1)
        self._fresh = False
        self._marker = ""
        self.indent -= width
        if self._lines_since(began) <= 1:
            self._gap = 1  # items of one line stand close, even when each is a paragraph

    def _lines_since(self, began: int) -> int:
        """Lines with text in them, as far as it takes to tell two from one: a gap may have put an empty one first."""
        return sum(1 for line in self.lines[began : began + 4] if line)

    def start_first_cell(self) -> None:
        self._fresh = True

    def start_cell(self, row_began: int) -> None:
        """Go on after a tab, where all of the row so far is one line; else on a new line."""
        if self._line:
            self._finish_line()
        lines = self._lines_since(row_began)
        if lines > 1 or (lines and len(self.lines[-1]) > _LONGEST_ROW):
            self._gap = 1
            return
        if lines:
            self._line = [self.lines.pop()]
            self._gap = 0
        else:
            self._begin_line()
        self._line.append("\t")
        self._space = False

    def end_row(self, began: int) -> None:
        if self._line:
            self._finish_line()
        if self._lines_since(began) <= 1:
            self._gap = 1

    def text(self) -> str:
        if self._line:
            self._finish_line()
        return "\n".join(self.lines)


class _List:
    """One open <ul> or <ol>: what its next item is marked with."""

    __slots__ = ("_number", "ordered")

    def __init__(self, node: LexborNode, *, ordered: bool) -> None:
        self.ordered = ordered
        self._number = _integer(node.attributes.get("start"), 1) if ordered else 0

    def marker(self, item: LexborNode) -> str:
        if not self.ordered:
            return "• "
        number = _integer(item.attributes.get("value"), self._number)
        self._number = number + 1
        return f"{number}. "


def _integer(text: str | None, default: int) -> int:
    found = re.match(r"[\t\n\f\r ]*([+-]?[0-9]{1,9})", text or "")
    return int(found[1]) if found else default


class _Walk:
    """What is open at one place of the tree."""

    def __init__(self, out: _Lines) -> None:
        self.verbatim = 0
        self._out = out
        self._lists: list[_List] = []
        self._items: list[tuple[int, int]] = []  # of open items: what start_item returned, their width
        self._rows: list[list[int]] = []  # of open rows: where they began, how many cells they have

    def enter(self, tag: str, node: LexborNode) -> None:
        out = self._out
        gap = _GAPS.get(tag)
        if gap is not None:
            nested_list = tag in _LISTS and bool(self._lists)
            out.end_line(1 if nested_list else gap)
            self._enter_block(tag, node)
        elif tag == "br":
            if self.verbatim:
                out.verbatim("\n")
            else:
                out.break_line()
        elif tag in ("td", "th"):
            self._enter_cell()
        elif tag == "q":
            out.inline("“")
        else:  # <img>, <input>
            _picture(out, tag, node)

    def _enter_block(self, tag: str, node: LexborNode) -> None:
        if tag in _VERBATIM:
            self.verbatim += 1
        elif tag in _LISTS:
            self._lists.append(_List(node, ordered=tag == "ol"))
        elif tag == "li":
            marker = self._lists[-1].marker(node) if self._lists else "• "
            self._items.append((self._out.start_item(marker, len(marker)), len(marker)))
        elif tag in _INDENTS:
            self._items.append((self._out.start_item("", _INDENTS[tag]), _INDENTS[tag]))
        elif tag == "tr":
            self._rows.append([len(self._out.lines), 0])

    def _enter_cell(self) -> None:
        if not self._rows:  # in a <math> or the like: no table's cell
            self._out.end_line(1)
            return
        row = self._rows[-1]
        if row[1]:
            self._out.start_cell(row[0])
        else:
            self._out.start_first_cell()
        row[1] += 1

    def leave(self, tag: str) -> None:
        out = self._out
        if tag == "q":
            out.inline("”")
        gap = _GAPS.get(tag)
        if gap is None:
            return
        if tag == "tr":
            out.end_row(self._rows.pop()[0])
            return
        if tag == "li" or tag in _INDENTS:
            out.end_item(*self._items.pop())
        elif tag in _VERBATIM:
            self.verbatim -= 1
        elif tag in _LISTS:
            self._lists.pop()
            gap = 1 if self._lists else gap
        out.end_line(gap)


def _picture(out: _Lines, tag: str, node: LexborNode) -> None:
    attributes = node.attributes
    if tag == "input" and (attributes.get("type") or "").lower() != "image":
        return
    alt = _SPACES.sub(" ", (attributes.get("alt") or "")[:_LONGEST_ALT]).strip()
    if alt:
        out.inline(f"[{alt}]")


def readable_text(tree: LexborHTMLParser, limit: int) -> tuple[str, bool]:
    """The text of the page, at most `limit` characters; and whether that cut it.  Cost: O(nodes)."""
    out = _Lines(limit)
    walk = _Walk(out)
    hidden = {node.mem_id for node in tree.css(_HIDDEN)}
    open_nodes: list[tuple[LexborNode, str]] = []
    node = tree.root
    while node is not None and out.room >= 0:
        tag = node.tag or ""
        if tag == "-text":
            _text(node, walk, out)
        elif tag not in _NOT_SHOWN and not (hidden and node.mem_id in hidden):
            if tag in _ACTIVE:
                walk.enter(tag, node)
            child = node.first_child
            if child is not None:
                open_nodes.append((node, tag))
                node = child
                continue
            if tag in _ACTIVE:
                walk.leave(tag)
        following = node.next
        while following is None and open_nodes:
            parent, tag = open_nodes.pop()
            if tag in _ACTIVE:
                walk.leave(tag)
            following = parent.next
        node = following
    text = out.text()
    return text[:limit], out.room < 0


def _text(node: LexborNode, walk: _Walk, out: _Lines) -> None:
    data = node.text_content or ""
    if data in _PERMALINKS and _is_permalink(node.parent):
        return
    if walk.verbatim:
        out.verbatim(data)
    else:
        out.inline(data)


def _is_permalink(parent: LexborNode | None) -> bool:
    return parent is not None and parent.tag == "a" and (parent.attributes.get("href") or "").startswith("#")
