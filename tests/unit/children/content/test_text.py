"""Readable text: what a person would read, on small pages and on real ones."""

from __future__ import annotations

import itertools

import pytest
from selectolax.lexbor import LexborHTMLParser
from tests.support.servers import python_docs_directory

from foxden.children.content.document import show
from foxden.children.content.text import readable_text


def text_of(html: str, limit: int = 1 << 20) -> str:
    return readable_text(LexborHTMLParser(html), limit)[0]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # white space and lines
        ("  a \n\t b  ", "a b"), ("<b>a</b> <i>b</i>", "a b"), ("<b>a </b><i> b</i>", "a b"),
        ("<b>a</b><i>b</i>", "ab"),
        ("a&nbsp; b", "a\xa0 b"), ("a\u2003 b", "a\u2003 b"), ("<p>a<p> <p>b", "a\n\nb"), ("é  é", "é é"),
        ("<div>a</div><div>b</div>", "a\nb"), ("<div><div><div>a</div></div></div>b", "a\nb"),
        ("a<br>b", "a\nb"), ("a<br><br>b", "a\n\nb"), ("a<br><br><br><br>b", "a\n\nb"), ("<br>a", "a"), ("", ""),
        ("<h1>T</h1>a<h2>S</h2>b", "T\n\na\n\nS\n\nb"), ("a<hr>b", "a\n\nb"), ("<p>a</p>\n\n\n<p>b</p>", "a\n\nb"),
        ("<span> a</span>\n<span>b </span>.", "a b ."), ("a<wbr>b", "ab"), ("<q>a</q> b", "“a” b"),
        # lists
        ("<ul><li>a<li>b</ul>c", "• a\n• b\n\nc"), ("x<ul><li>a<ul><li>b</ul><li>c</ul>", "x\n\n• a\n  • b\n• c"),
        ("<ol><li>a<li>b</ol>", "1. a\n2. b"), ("<ol start=9><li>a<li>b</ol>", "9. a\n10. b"),
        ("<ol><li value=5>a<li>b</ol>", "5. a\n6. b"), ("<ol start=x><li>a</ol>", "1. a"), ("<li>a", "• a"),
        ("<ul><li><p>a</p></li><li><p>b</p></li></ul>", "• a\n• b"), ("<ul><li></li><li>a</ul>", "• a"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</ul>", "• a\n\n  b\n\n• c"), ("<ol><li>a<br>b</ol>", "1. a\n   b"),
        ("<dl><dt>t<dd>d<dt>u<dd>e</dl>", "t\n    d\nu\n    e"), ("<blockquote>a</blockquote>b", "    a\n\nb"),
        # tables
        ("<table><tr><th>a<th>b<tr><td>c<td>d</table>e", "a\tb\nc\td\n\ne"),
        ("<table><caption>C</caption><tr><td>a</table>", "C\na"),
        ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a\tb"),
        ("<table><tr><td></td><td>b</td></tr><tr><td> </td><td></td></tr></table>c", "\tb\n\nc"),
        ("<table><tr><td>a<br>b</td><td>c</td></tr><tr><td>d</table>", "a\nb\nc\nd"),
        ("<table><tr><td><table><tr><td>a<td>b</table><td>c</table>", "a\tb\tc"),
        ("<math><mtable><td>a</td><td>b</td></mtable></math>", "a\nb"),
        # verbatim
        ("<pre>a\n  b\n\n\n c</pre>d", "a\n  b\n\n\n c\n\nd"), ("<pre>\n\na\n</pre>b", "\na\n\nb"),
        ("x<pre>a<b>b</b><br>c\r\nd</pre>", "x\n\nab\nc\nd"), ("<textarea>a\n b</textarea>", "a\n b"),
        ("<ul><li>x<pre>a\n b</pre></ul>", "• x\n\n  a\n   b"),
        # what is not shown, and what is
        ("<title>t</title>a<script>s</script><style>s</style><template>t</template>", "a"),
        ("<noscript>n</noscript>", "n"), ("<div hidden>h<b>i</b></div>a", "a"), ("<p style='DISPLAY:none'>h</p>a", "a"),
        ("<p style='color:red'>h</p>", "h"), ("<dialog>no</dialog><dialog open>yes</dialog>", "yes"),
        ("<svg><text>s</text></svg>a<iframe>i</iframe><video>v</video>", "a"), ("<!-- c -->a", "a"),
        ("<ruby>漢<rp>(<rt>kan<rp>)</ruby>", "漢kan"), ("<details><summary>s</summary>d</details>", "s\nd"),
        ("<img alt='a  cat'> x <img> <img alt=''>y", "[a cat] x y"),
        ("<input type=IMAGE alt=go><input alt=no>", "[go]"),
        ("<h1>T<a href=#t>¶</a></h1>", "T"), ("<a href=/x>#</a>", "#"), ("§", "§"),
        ("<select><option>a<option>b</select>", "a\nb"), ("<frameset><frame></frameset>", ""),
    ],
)  # fmt: skip
def test_page_reads_like_this(html: str, text: str) -> None:
    assert text_of(html) == text


def test_indents_stop_growing() -> None:
    deep = text_of("<ul><li>x" * 40)
    assert max(len(line) - len(line.lstrip()) for line in deep.split("\n")) <= 32


def test_row_that_is_very_long_goes_on_in_lines() -> None:
    lines = text_of("<table><tr>" + "<td><p>" + "x" * 3000 + "<td><p>" + "y" * 3000 + "<td>z").split("\n")
    assert [len(line) for line in lines] == [6001, 1]


@pytest.mark.parametrize("html", ["<p>" + "word " * 100, "<pre>" + "x\n" * 100, "<p>x" * 100, "<br>x" * 100])
def test_text_stops_at_its_limit(html: str) -> None:
    text, cut = readable_text(LexborHTMLParser(html), 50)
    assert cut
    assert 40 <= len(text) <= 50


def test_alternative_text_is_short() -> None:
    assert len(text_of(f"<img alt='{'x' * 5000}'>")) < 600


# --- real pages -------------------------------------------------------------------------------------------------


def read_manual(page: str) -> str:
    directory = python_docs_directory()
    if directory is None or not (directory / page).exists():
        pytest.skip(f"the Python documentation in HTML is not installed: no {page}")
    path = directory / page
    return show(path.read_bytes(), content_type="text/html", url=path.as_uri()).text


def test_manual_page_of_a_module_reads_well() -> None:
    text = read_manual("library/shelve.html")
    assert (
        "Example\n\nTo summarize the interface (key is a string, data is an arbitrary object):\n\nimport shelve\n\n"
        "d = shelve.open(filename)  # open -- file may get suffix added by low-level\n"
    ) in text
    assert "\n\nshelve.open(filename, flag='c', protocol=None, writeback=False)\n\n    Open a persistent" in text
    assert "\n    with shelve.open('spam') as db:\n        db['eggs'] = 'eggs'\n" in text
    assert "¶" not in text
    assert "searchbox" not in text


def test_table_of_a_manual_reads_as_a_table() -> None:
    text = read_manual("library/stdtypes.html")
    assert (
        "Operation\tResult\tNotes\nx or y\tif x is false, then y, else x\t(1)\n"
        "x and y\tif x is false, then x, else y\t(2)\n"
    ) in text
    assert '\n\n   >>> "gg" in "eggs"\n   True\n\n2. Values of n' in text


def test_list_of_a_manual_reads_as_a_list() -> None:
    text = read_manual("about.html")
    assert "• the Docutils project for creating reStructuredText and the Docutils suite;\n• Fredrik Lundh" in text
    assert "• About these documents\n  • Contributors to the Python Documentation\n" in text


@pytest.mark.parametrize("page", ["library/functions.html", "tutorial/controlflow.html", "c-api/intro.html"])
def test_no_page_of_a_manual_has_two_empty_lines_outside_code(page: str) -> None:
    lines = read_manual(page).split("\n")
    doubles = [after for line, after in itertools.pairwise(lines) if not line and not after]
    assert len(doubles) < 20  # <pre> keeps its own
