"""Loads that go well, and redirects that may not: parent, real children, real servers.

Runs in: tests.  Flow: den.open or den.fetch → socket process → server → content process → what the caller gets.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.conftest import LARGE, Site
from tests.support import den as dens
from tests.support.loopback import recorder
from tests.support.servers import ScriptedServer, free_port

from foxden import AsyncDen, Den, LoadError, NetworkError
from foxden.ipc.blocking import BlockingPipe
from foxden.ipc.pipe import make_pair
from foxden.ipc.schema import Side
from foxden.model.origins import parse_url
from foxden.model.process_types import BY_NAME, RemoteType
from foxden.model.sinks import LoadSink
from foxden.parent.documents import ContentParent, Load
from foxden.parent.hosts import ChildHost
from foxden.protocols.content import PContent, PDocumentChannel

pytestmark = pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it")

PAGES: dens.Routes = {
    "/": dens.title_page("root"),
    "/other": dens.title_page("other"),
    "/relative": dens.redirect_to("other"),
    "/query": dens.redirect_to("?x=1"),
    "/query?x=1": dens.title_page("query"),
    "/307": dens.redirect_to("/308", "307 Temporary Redirect"),
    "/308": dens.redirect_to("/other", "308 Permanent Redirect"),
    "/with-fragment": dens.redirect_to("/other#there"),
    "/loop": dens.redirect_to("/loop"),
    "/to-file": dens.redirect_to("file:///etc/passwd"),
    "/to-javascript": dens.redirect_to("javascript:alert(1)"),
    "/to-user": dens.redirect_to("http://user:secret@127.0.0.1/"),
    "/to-nothing": dens.redirect_to("http://[::1/"),
}


@pytest.fixture(scope="module")
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes(PAGES)) as server:
        yield server


def by_name(server: ScriptedServer) -> str:
    """The same server under another name, which is another site."""
    return server.url.replace("127.0.0.1", "localhost")


def remote_type_of(den: Den, pid: object) -> str | None:
    (found,) = [record for record in den.processes() if record.pid == pid]
    assert found.process_type == "content"
    return found.remote_type


# --- plainly ----------------------------------------------------------------------------------------------------


def test_page_over_http_is_shown_by_a_content_process(den: Den, site: Site) -> None:
    page = den.open(f"{site.http}/index.html")
    assert (page.status, page.title, page.encoding) == (200, "Home", "windows-1252")
    assert page.text.split() == ["Hello", "next"]
    assert [link.href for link in page.links] == [f"{site.http}/next.html"]
    assert page.process["pid"] != os.getpid()
    assert remote_type_of(den, page.process["pid"]) == "web"


def test_page_over_https_comes_by_http2(den: Den, site: Site) -> None:
    page = den.open(f"{site.https}/next.html")
    assert page.title == "Next"
    assert site.server.requests()[-1].protocol == "HTTP/2.0"


def test_compressed_page_is_decompressed_in_its_process(den: Den, site: Site) -> None:
    compressed, plain = den.open(f"{site.http}/long.html"), den.open(f"{site.http}/plain/long.html")
    assert compressed.html == plain.html
    assert compressed.received_bytes < plain.received_bytes / 10


def test_long_page_comes_whole_over_the_bridge(den: Den, site: Site) -> None:
    page = den.open(f"{site.http}/plain/long.html")
    assert page.received_bytes > 1 << 20, "larger than any message"
    assert page.text.rstrip().endswith("the end")
    assert page.text.count("three") == 150_000


def test_64_mib_are_measured_without_a_byte_lost_or_changed(den: Den, site: Site) -> None:
    page = den.open(f"{site.http}/plain/large.bin", sink=LoadSink.MEASURE)
    assert (page.received_bytes, page.sha256) == (LARGE, site.large_sha256)


def test_fetch_gives_the_body_whole_or_in_pieces(den: Den, site: Site) -> None:
    whole = den.fetch(f"{site.http}/plain/long.html")
    pieces: list[bytes] = []
    piecewise = den.fetch(f"{site.http}/plain/long.html", sink=lambda piece: pieces.append(bytes(piece)))
    assert b"".join(pieces) == whole.body
    assert piecewise.body == b""
    assert len(whole.body) == whole.received_bytes == piecewise.received_bytes


def test_connection_is_used_again(den: Den, site: Site) -> None:
    for _ in range(3):
        den.fetch(f"{site.http}/next.html")
    last = site.server.requests()[-3:]
    assert len({request.connection for request in last}) == 1
    assert last[2].number_on_connection == last[0].number_on_connection + 2


# --- who shows what ---------------------------------------------------------------------------------------------


def test_one_site_has_one_process_and_another_site_another(den: Den, pages: ScriptedServer) -> None:
    first, second = den.open(f"{pages.url}/"), den.open(f"{pages.url}/other")
    other = den.open(f"{by_name(pages)}/")
    assert first.process["pid"] == second.process["pid"]
    assert first.process["pid"] != other.process["pid"]


def test_files_and_web_pages_never_share_a_process(den: Den, pages: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<title>a file</title><p>from the disk")
    shown = [den.open(f"{pages.url}/"), den.open(str(path)), den.open(f"{pages.url}/"), den.open(path.as_uri())]
    assert [page.title for page in shown] == ["root", "a file", "root", "a file"]
    web, file = ({page.process["pid"] for page in shown[start::2]} for start in (0, 1))
    assert not web & file
    assert {remote_type_of(den, pid) for pid in web} == {"web"}
    assert {remote_type_of(den, pid) for pid in file} == {"file"}


def test_redirect_to_another_site_is_shown_in_that_sites_process(pages: ScriptedServer) -> None:
    table = {"/": dens.redirect_to(f"{by_name(pages)}/other")}
    with (
        dens.make_den(prefs={"foxden.network.private-hosts": "localhost"}) as den,
        ScriptedServer(dens.routes(table)) as elsewhere,
    ):
        there = den.open(f"{by_name(pages)}/")
        page = den.open(f"{elsewhere.url}/")
        assert (page.title, page.final_url) == ("other", f"{by_name(pages)}/other")
        assert page.process["pid"] == there.process["pid"]
        assert page.process["name"] == "http://localhost"


# --- redirects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "passed"),
    [
        ("/relative", "/other", ["/relative"]),
        ("/query", "/query?x=1", ["/query"]),
        ("/307", "/other", ["/307", "/308"]),
        ("/with-fragment", "/other#there", ["/with-fragment"]),
        ("/relative#kept", "/other#kept", ["/relative"]),
    ],
)
def test_redirect_within_a_site_is_followed(
    den: Den, pages: ScriptedServer, start: str, end: str, passed: list[str]
) -> None:
    page = den.open(pages.url + start)
    assert page.final_url == pages.url + end
    assert page.redirects == tuple(pages.url + path for path in passed)


def test_redirect_that_is_not_to_be_followed_is_returned(den: Den, pages: ScriptedServer) -> None:
    reply = den.fetch(f"{pages.url}/relative", follow=False)
    assert (reply.status, reply.header("location")) == (302, "other")


def test_loop_of_redirects_ends(den: Den, pages: ScriptedServer) -> None:
    with pytest.raises(NetworkError, match="more than 20 redirects") as caught:
        den.open(f"{pages.url}/loop")
    assert caught.value.code == "NS_ERROR_REDIRECT_LOOP"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/to-file", "NS_ERROR_DOM_BAD_URI"),
        ("/to-javascript", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("/to-user", "NS_ERROR_MALFORMED_URI"),
        ("/to-nothing", "NS_ERROR_MALFORMED_URI"),
    ],
)
def test_redirect_out_of_the_web_is_refused(den: Den, pages: ScriptedServer, path: str, code: str) -> None:
    for ask in (den.open, den.fetch):
        with pytest.raises(LoadError) as caught:
            ask(pages.url + path)
        assert caught.value.code == code
    assert den.open(f"{pages.url}/relative").title == "other", "the next load is not touched by it"


def test_redirect_to_a_private_address_that_nobody_named_is_refused(den: Den, pages: ScriptedServer) -> None:
    with ScriptedServer(dens.routes({"/secret": dens.title_page("internal")})) as internal:
        table = {"/": dens.redirect_to(f"{internal.url}/secret")}
        with ScriptedServer(dens.routes(table)) as outside:
            for named in (by_name(outside), outside.url):  # also the same address: the port is another server's
                with pytest.raises(NetworkError) as caught:
                    den.open(f"{named}/")
                assert caught.value.code == "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED"
                assert caught.value.url == f"{internal.url}/secret"
            assert internal.connections == 0, "not even a connection was made"
        assert den.open(f"{internal.url}/secret").title == "internal", "named by the caller it may be reached"


# --- what a content process may ask for -------------------------------------------------------------------------


def test_content_process_gets_the_load_that_was_decided_and_no_other(den: Den) -> None:
    """The parent's actors of a real den; in the place of the content process, one that asks for what it likes."""
    ours, theirs = make_pair()
    url = "http://127.0.0.1:9/wanted"
    hostile = recorder(PContent, Side.CHILD)()
    pipe = BlockingPipe(theirs, hostile, peer="the parent")

    def give_it_work() -> ContentParent:
        from foxden.ipc.aio import AsyncPipe

        root = den._runtime.documents.make_root()
        ChildHost(1 << 20, BY_NAME["content"], RemoteType.WEB, root, level=4)
        AsyncPipe(ours, root, peer="a hostile child", on_closed=lambda why, error: None)
        root.loads[7] = Load(parse_url(url), LoadSink.DOCUMENT)
        return root

    root = dens.on_loop(den, give_it_work)

    def ask(document_id: int, asked: str) -> None:
        channel = recorder(PDocumentChannel, Side.CHILD)(hostile.events)
        hostile.construct(channel, PDocumentChannel.Construct(document_id=document_id, url=asked))

    others = [
        (7, "http://127.0.0.1:9/other"), (7, "http://127.0.0.1:10/wanted"), (7, "file:///etc/passwd"),
        (7, "http://169.254.169.254/latest"), (8, url), (1, url),
    ]  # fmt: skip
    for number, (document_id, asked) in enumerate(others):
        ask(document_id, asked)
        pipe.step()
        assert hostile.events[number] == PDocumentChannel.OnFailed(code="NS_ERROR_DOM_BAD_URI")
    assert root.loads[7].asked_for is False
    ask(7, url)
    dens.wait_until(lambda: 7 not in root.loads, "the one load that was decided to be given out")
    pipe.close()
    dens.on_loop(den, lambda: root.tree and root.tree.close)


# --- many at once -----------------------------------------------------------------------------------------------


def test_many_pages_at_once_with_an_awaited_den(pages: ScriptedServer) -> None:
    """More of one site than a content process may have documents: the rest wait for their turn."""

    async def work() -> list[str]:
        async with AsyncDen() as den:
            shown = await asyncio.gather(*(den.open(f"{pages.url}/{'other' if n % 2 else ''}") for n in range(100)))
            assert len({page.process["pid"] for page in shown}) == 1
            return [page.title for page in shown]

    assert asyncio.run(work()) == ["root", "other"] * 50


def test_process_is_not_taken_for_idle_between_its_start_and_its_first_page(pages: ScriptedServer) -> None:
    """Sites that nobody answers for get processes too, early: they must not push out the one that is wanted."""
    with dens.make_den(prefs={"dom.ipc.keepProcessesAlive.web": 1}) as den, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert den.open(f"{pages.url}/").title == "root"
            others = [pool.submit(den.open, f"http://127.0.0.{n}:{free_port()}/") for n in range(2, 8)]
            wanted = [pool.submit(den.open, f"{pages.url}/") for _ in range(2)]
            assert [load.result().title for load in wanted] == ["root"] * 2
            for load in others:
                with pytest.raises(NetworkError):
                    load.result()
        den.open(f"{by_name(pages)}/")
        dens.wait_until(lambda: len([r for r in den.processes() if r.process_type == "content"]) <= 4, "some to go")


def test_den_is_used_from_many_threads(den: Den, pages: ScriptedServer) -> None:
    def work(number: int) -> str:
        title = den.open(f"{pages.url}/").title
        return f"{title} {den.fetch(f'{pages.url}/other').status} {len(den.processes()) > 3} {number}"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [f"root 200 True {n}" for n in range(40)]
    assert threading.active_count() < 60


def test_two_dens_of_one_process_share_nothing(den: Den, pages: ScriptedServer) -> None:
    first = den.open(f"{pages.url}/")
    with Den() as other:
        second = other.open(f"{pages.url}/")
        ours, theirs = ({record.pid for record in d.processes()} for d in (den, other))
        assert ours & theirs == {os.getpid()}
        assert first.process["pid"] in ours
        assert second.process["pid"] in theirs
    assert den.open(f"{pages.url}/").process["pid"] == first.process["pid"], "the end of one is nothing to the other"
