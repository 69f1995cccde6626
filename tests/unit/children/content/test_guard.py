"""The guard: pages that would be slow or large are tamed, ordinary ones are not touched."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode
from tests.support.servers import python_docs_directory

from foxden.children.content import guard
from foxden.children.content.guard import tame

LARGE = " " * (64 << 10)  # makes a page large enough to be looked at


def depth_of(html: str) -> int:
    def ancestors(node: LexborNode | None) -> int:
        count = 0
        while node is not None:
            node, count = node.parent, count + 1
        return count

    nodes = LexborHTMLParser(html).css("*")
    return max(ancestors(node) for node in nodes[:: max(1, len(nodes) // 2000)])


def count_elements(html: str) -> int:
    return len(LexborHTMLParser(html).css("*"))


@pytest.mark.parametrize(
    "page",
    [
        "<p>small",
        LARGE + "<!doctype html><html><head><title><b></title></head><body><div><p>x</div><ul><li>a<li>b</ul></body>",
        LARGE + "<dl><dt>a<dd>b</dl><select><option>c</select></p><br><img src='>'><!-- <div> --><?x <div ><!y>",
        LARGE + "<table><tr><td>a<td>b<tr><td><b>c<table><td>x</table></table>",
        LARGE + "<p><a name=1>x<p><a name=2>y" * 2000,  # old pages never end these
        LARGE + "<script>if (a<b && '<div>') x('<i>')</script>" * 2000,
        LARGE + "<svg><title><g/></title></svg><h1>a<h2>b<h3>c</h3>" * 1000,
        LARGE + "<td><div></td></div>" * 3,
        LARGE + "<b><p>x</b>y</p>" * 1000,
        LARGE + "<object><b>x</object>" * 1000,
    ],
    ids=range(10),
)  # fmt: skip
def test_page_that_does_no_harm_is_left_alone(page: str) -> None:
    assert tame(page) == guard.Tamed(page)


@pytest.mark.parametrize(
    "page", ["library/functions.html", "library/stdtypes.html", "library/os.html", "glossary.html"]
)
def test_manual_is_left_alone(page: str) -> None:
    directory = python_docs_directory()
    if directory is None or not (directory / page).exists():
        pytest.skip(f"the Python documentation in HTML is not installed: no {page}")
    text = (directory / page).read_text()
    assert tame(text).cut == ()
    scan = guard._Scan(text)  # also when the quick look were not enough
    scan.run()
    assert scan.result() == text


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<span>", "<b>", "<ul><li>", "<div><p>", "<div></span>", "<div><!</div>", "<DIV title='</div>'>",
     "<div><!-- </div> -->", "<div><script></div></script>", "<svg>", "<q>", "<td><div></td>", "<table><tr><td>",
     "<span><div></span></div>", "<font color=red><p></font>", "<template>", "<object>", "<a><div></a>",
     "<font><button><u></p>", "<svg><tbody><tr><mi>"],
)  # fmt: skip
def test_nesting_is_bounded_however_it_is_written(unit: str) -> None:
    assert depth_of(tame(unit * 5000).text) <= guard.MAX_DEPTH * 2 + 8


def test_text_survives_where_nesting_is_cut() -> None:
    tamed = tame("<div>x" * 3000 + "</div>y" * 3000)
    assert tamed.cut == (guard.NESTING,)
    assert LexborHTMLParser(tamed.text).text() == "x" * 3000 + "y" * 3000


def test_page_nests_again_after_a_part_that_was_too_deep() -> None:
    tamed = tame("<main>" + "<div>" * 3000 + "</div>" * 3000 + "</main><section><b>x</b></section>")
    assert tamed.text.endswith("</main><section><b>x</b></section>")


def test_outer_end_tag_ends_what_was_left_out() -> None:
    tamed = tame("<div>" * 480 + "<main>" + "<div>" * 2000 + "</main><section>x</section>")
    assert tamed.text.endswith("</main><section>x</section>")


def test_endless_formatting_does_not_multiply_elements() -> None:
    page = "<div>" + "".join(f"<b id={number}>" for number in range(1000)) + "</div><div>x" * 1000
    assert count_elements(tame(page).text) < 2000 * (guard.MAX_FORMATTING + 2)


def test_elements_that_formatting_multiplies_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_NODES", 10_000)
    page = "<div>" + "".join(f"<b id={number}>" for number in range(50)) + "</div><div>x</div>" * 2000
    tamed = tame(page)
    assert guard.NODES in tamed.cut
    assert count_elements(tamed.text) < 12_000


def test_equal_formatting_is_opened_again_three_times_at_most() -> None:
    page = LARGE + "<b>" * 400 + "<p>x" * 2000
    assert guard.NODES not in tame(page).cut


def test_document_ends_at_its_number_of_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_TAGS", 2000)
    tamed = tame("<br>" * 3000)
    assert tamed == guard.Tamed("<br>" * 2000, (guard.NODES,))


def test_attributes_end_at_their_number() -> None:
    many = " ".join(f"a{number}='>'" for number in range(10_000))
    tamed = tame(f"<p {many}>x</p ><p>y{LARGE}")
    tree = LexborHTMLParser(tamed.text)
    assert tamed.cut == (guard.ATTRIBUTES,)
    assert len(tree.css("p")[0].attributes) == guard.MAX_ATTRIBUTES
    assert [node.text().strip() for node in tree.css("p")] == ["x", "y"]


def test_one_long_attribute_is_no_harm() -> None:
    page = f"<p title='{'x' * 100_000}'>y</p>"
    assert tame(page) == guard.Tamed(page)


def test_attributes_of_a_tag_that_is_left_out_go_with_it() -> None:
    many = " ".join(f"a{number}" for number in range(1000))
    tamed = tame(LARGE + "<div>" * 600 + f"<div {many}>x")
    assert tamed == guard.Tamed(LARGE + "<div>" * 512 + "x", (guard.NESTING,))


def test_root_tags_are_merged_only_so_often() -> None:
    tamed = tame("".join(f"<html a{number}>" for number in range(20_000)))
    assert len(LexborHTMLParser(tamed.text).root.attributes) <= 32


@pytest.mark.parametrize(
    "unit", ["<", "<a ", "<!--", '<a b="', "<a b='", "<script>", "<title>", "<!", "</", "</ ", "="]
)
def test_scan_takes_linear_time(unit: str) -> None:
    text = unit * ((2 << 20) // len(unit))
    tame(text)  # the suite's own time limit is the assertion: quadratic would be hours
