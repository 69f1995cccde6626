"""What callers and servers get wrong, end to end: class, code and hint of each error, and nothing dies of it.

Page content that is wrong is the content process's matter, wrong transport the socket process's: see their tests.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.support import den as dens
from tests.support.pki import Pki
from tests.support.servers import ScriptedServer, free_port

from foxden import Den, FoxdenError, LoadError, NetworkError, PolicyError
from foxden.model.preferences import PreferenceError

pytestmark = pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it")

PAGES: dens.Routes = {"/": dens.title_page("root"), "/long": dens.response(b"x" * (3 << 20), "text/plain")}


@pytest.fixture(scope="module")
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes(PAGES)) as server:
        yield server


@pytest.fixture(autouse=True)
def _nobody_died(den: Den, pages: ScriptedServer) -> Iterator[None]:
    """Whatever was asked, the same processes are there afterwards, and do their work."""
    den.open(f"{pages.url}/")
    before = {r.pid for r in den.processes() if r.process_type != "content"}  # idle ones of those may go
    yield
    assert den.open(f"{pages.url}/").title == "root"
    assert before <= {r.pid for r in den.processes()}


# --- URLs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ftp://127.0.0.1/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("javascript:alert(1)", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("data:text/html,x", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("about:blank", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("view-source:http://127.0.0.1/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("no-scheme-and-no-such-file", "NS_ERROR_MALFORMED_URI"),
        ("localhost:8000/x", "NS_ERROR_MALFORMED_URI"),
        ("http://", "NS_ERROR_MALFORMED_URI"),
        ("http:///", "NS_ERROR_MALFORMED_URI"),
        ("http://[::1/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1:99999/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1:-1/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1:0/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1:port/", "NS_ERROR_MALFORMED_URI"),
        ("http://user:secret@127.0.0.1/", "NS_ERROR_MALFORMED_URI"),
        ("http://exa mple/", "NS_ERROR_MALFORMED_URI"),
        ("http://exa\x01mple/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1/\x00x", "NS_ERROR_MALFORMED_URI"),
        ("http://" + "a" * 300 + ".example/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1/" + "a" * 40_000, "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1/\udcff", "NS_ERROR_MALFORMED_URI"),
        ("file://otherhost/etc/passwd", "NS_ERROR_MALFORMED_URI"),
        ("file:///etc/passwd%00.html", "NS_ERROR_MALFORMED_URI"),
    ],
)  # fmt: skip
def test_url_that_cannot_be_opened_is_refused_before_anything_is_started(den: Den, text: str, code: str) -> None:
    with pytest.raises(LoadError) as caught:
        den.open(text)
    assert caught.value.code in (code, "NS_ERROR_FILE_NOT_FOUND" if "\x00" in text else code)
    assert len(str(caught.value)) < 400, "a long URL is not repeated whole"


def test_backslash_is_a_slash_and_no_way_to_another_host(den: Den, pages: ScriptedServer) -> None:
    page = den.open(f"{pages.url}\\@evil.example/")
    assert (page.status, page.final_url) == (404, f"{pages.url}/@evil.example/")


@pytest.mark.parametrize("value", ["", None, 7, b"http://127.0.0.1/", Path("/etc/hostname")])
def test_what_is_no_text_is_no_url(den: Den, value: object) -> None:
    for ask in (den.open, den.fetch):
        with pytest.raises(FoxdenError, match="expected a URL or a path") as caught:
            ask(value)  # type: ignore[arg-type]
        assert caught.value.hint


def test_fetch_is_for_the_web_alone(den: Den, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(NetworkError) as caught:
        den.fetch((tmp_path / "a").as_uri())
    assert (caught.value.code, bool(caught.value.hint)) == ("NS_ERROR_UNKNOWN_PROTOCOL", True)


# --- requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-A": "a\r\nX-B: b"}}, {"headers": {"X-A": "a\x00"}}, {"headers": {"X A": "a"}},
        {"headers": {"": "a"}}, {"headers": {"X-A": 7}}, {"headers": {"X-A": "\udcff"}}, {"headers": {"X-A": "\u20ac"}},
        {"headers": {"X-A": "a" * 40_000}}, {"headers": {f"X-{n}": "a" for n in range(600)}},
        {"headers": {"Content-Length": "7"}}, {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"Host": "evil.example"}},
        {"method": ""}, {"method": "G ET"}, {"method": "GET\r\n"}, {"method": "A" * 100}, {"method": "CONNECT"},
        {"method": "POST", "data": bytes(65 << 20)},
    ],
    ids=lambda options: repr(options)[:40],
)  # fmt: skip
def test_request_that_may_not_be_made_is_the_callers_error(
    den: Den, pages: ScriptedServer, options: dict[str, object]
) -> None:
    before = pages.connections
    with pytest.raises(NetworkError) as caught:
        den.fetch(f"{pages.url}/", **options)  # type: ignore[arg-type]
    assert caught.value.code == "NS_ERROR_ILLEGAL_VALUE"
    assert caught.value.hint
    assert pages.connections == before


def test_headers_that_do_not_fit_a_message_are_the_callers_error(den: Den, pages: ScriptedServer) -> None:
    with pytest.raises(FoxdenError) as caught:
        den.fetch(f"{pages.url}/", headers={f"X-{n}": "a" * 30_000 for n in range(20)})
    assert isinstance(caught.value, NetworkError)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_time_limit_that_is_none_is_refused(den: Den, pages: ScriptedServer, timeout: float) -> None:
    for ask in (den.open, den.fetch):
        with pytest.raises(FoxdenError, match="timeout: expected more than 0"):
            ask(f"{pages.url}/", timeout=timeout)


@pytest.mark.parametrize("timeout", [1e9, float("inf"), 86_401])
def test_time_limit_beyond_a_day_is_as_good_as_a_day(den: Den, pages: ScriptedServer, timeout: float) -> None:
    assert den.open(f"{pages.url}/", timeout=timeout).title == "root"
    assert den.fetch(f"{pages.url}/", timeout=timeout).status == 200


def test_body_that_is_no_bytes_is_refused(den: Den, pages: ScriptedServer) -> None:
    with pytest.raises(FoxdenError, match="data: expected bytes, got str"):
        den.fetch(f"{pages.url}/", method="POST", data="text")  # type: ignore[arg-type]


# --- servers ----------------------------------------------------------------------------------------------------


def test_host_that_does_not_exist(den: Den) -> None:
    with pytest.raises(NetworkError) as caught:
        den.open("http://no-such-host.invalid/", timeout=30)
    assert (caught.value.code, caught.value.url) == ("NS_ERROR_UNKNOWN_HOST", "http://no-such-host.invalid/")
    assert caught.value.hint


def test_server_that_is_not_there(den: Den) -> None:
    with pytest.raises(NetworkError) as caught:
        den.open(f"http://127.0.0.1:{free_port()}/")
    assert caught.value.code == "NS_ERROR_CONNECTION_REFUSED"
    assert caught.value.hint


def test_port_of_another_service(den: Den) -> None:
    with pytest.raises(NetworkError) as caught:
        den.open("http://127.0.0.1:25/")
    assert caught.value.code == "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"
    assert caught.value.hint


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "255.255.255.255", "0177.1.1.1.1", "1.2.3.4.5"])
def test_address_that_nobody_can_be_at(den: Den, host: str) -> None:
    with pytest.raises((NetworkError, LoadError)) as caught:
        den.open(f"http://{host}/", timeout=10)
    assert getattr(caught.value, "code", "") in ("NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED", "NS_ERROR_MALFORMED_URI")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("valid", ""),
        ("expired", "SEC_ERROR_EXPIRED_CERTIFICATE"),
        ("wrong_name", "SSL_ERROR_BAD_CERT_DOMAIN"),
        ("unknown_authority", "SEC_ERROR_UNKNOWN_ISSUER"),
        ("self_signed", "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT"),
    ],
)
def test_certificate_is_judged_and_the_error_says_how(den: Den, pki: Pki, kind: str, code: str) -> None:
    seen: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(dens.title_page("secure"))

    with ScriptedServer(handler, tls=getattr(pki, kind)) as server:
        if not code:
            assert den.open(f"{server.url}/").title == "secure"
            return
        for ask in (den.open, den.fetch):
            with pytest.raises(NetworkError) as caught:
                ask(f"{server.url}/")
            assert caught.value.code == code
        assert not any(seen), "nothing was said to a server that nobody vouches for"


def test_plain_http_where_tls_was_asked_for(den: Den, site: Site) -> None:
    with pytest.raises(NetworkError) as caught:
        den.open(site.http.replace("http", "https") + "/")
    assert caught.value.code == "SSL_ERROR_RX_RECORD_TOO_LONG"
    assert caught.value.hint


@pytest.mark.parametrize("slow", ["head", "body"])
def test_server_that_is_too_slow(den: Den, slow: str) -> None:
    before = b"" if slow == "head" else dens.response(b"x" * 100)[:-50]
    with dens.gated(before=before) as (server, _):
        for ask in (den.open, den.fetch):
            started = time.monotonic()
            with pytest.raises(NetworkError) as caught:
                ask(f"{server.url}/", timeout=0.5)
            assert caught.value.code == "NS_ERROR_NET_TIMEOUT"
            assert time.monotonic() - started < 15


# --- files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<title>a file</title>")
    (tmp_path / "link.html").symlink_to("page.html")
    (tmp_path / "to-link.html").symlink_to(tmp_path / "link.html")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "to-proc").symlink_to("/proc/self/environ")
    (tmp_path / "to-dev").symlink_to("/dev/zero")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize("name", ["page.html", "link.html", "to-link.html", "sub/../page.html", "./page.html"])
def test_file_and_links_to_it_are_shown(den: Den, folder: Path, name: str) -> None:
    assert den.open(f"{folder}/{name}").title == "a file"
    assert den.open(f"file://{folder}/{name}").title == "a file"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.html", "NS_ERROR_FILE_NOT_FOUND"),
        ("page.html/more", "NS_ERROR_FILE_NOT_FOUND"),
        ("dangling", "NS_ERROR_FILE_NOT_FOUND"),
        ("new\nline", "NS_ERROR_FILE_NOT_FOUND"),
        ("semi;colon?query#fragment%41", "NS_ERROR_FILE_NOT_FOUND"),
        ("loop", "NS_ERROR_FILE_UNRESOLVABLE_SYMLINK"),
        ("sub", "NS_ERROR_FILE_IS_DIRECTORY"),
        ("", "NS_ERROR_FILE_IS_DIRECTORY"),
        ("fifo", "NS_ERROR_FILE_NOT_REGULAR"),
        ("n" * 300, "NS_ERROR_FILE_NAME_TOO_LONG"),
        ("d/" * 3000, "NS_ERROR_FILE_NOT_FOUND"),
        ("nul\x00byte", "NS_ERROR_FILE_ACCESS_DENIED"),
        ("not-utf-8-\udcff", "NS_ERROR_MALFORMED_URI"),
        ("to-proc", "NS_ERROR_FILE_ACCESS_DENIED"),
        ("to-dev", "NS_ERROR_FILE_ACCESS_DENIED"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_file_that_cannot_be_shown_says_why(den: Den, folder: Path, name: str, code: str) -> None:
    with pytest.raises(LoadError) as caught:
        den.open(f"{folder}/{name}")
    assert caught.value.code == code
    assert "errno" not in str(caught.value).lower()


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/1/maps", "/dev/zero", "/dev/stdin", "/sys/kernel/notes"])
def test_policy_keeps_file_pages_out_of_the_machine(den: Den, path: str) -> None:
    with pytest.raises(LoadError) as caught:
        den.open(path)
    assert caught.value.code in ("NS_ERROR_FILE_ACCESS_DENIED", "NS_ERROR_FILE_NOT_FOUND")
    assert caught.value.code == "NS_ERROR_FILE_NOT_FOUND" or caught.value.hint


def test_socket_file_is_no_page(den: Den, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen(1)
        with pytest.raises(LoadError, match="got a socket") as caught:
            den.open(str(folder / "s"))
    assert caught.value.code == "NS_ERROR_FILE_NOT_REGULAR"


@pytest.mark.needs_ordinary_user
def test_file_that_the_user_may_not_read(den: Den, folder: Path) -> None:
    (folder / "page.html").chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed" / "page.html").write_text("x")
    (folder / "closed").chmod(0)
    try:
        for name in ("page.html", "link.html", "closed/page.html"):
            with pytest.raises(LoadError, match="you may not read it") as caught:
                den.open(f"{folder}/{name}")
            assert caught.value.code == "NS_ERROR_FILE_ACCESS_DENIED"
    finally:
        (folder / "closed").chmod(0o700)


def test_profile_is_closed_to_file_pages_by_name_and_by_link(folder: Path) -> None:
    profile = folder / "profile"
    (profile / "chrome").mkdir(parents=True)
    (profile / "cookies.html").write_text("<title>secret</title>")
    (profile / "chrome" / "user.html").write_text("<title>style</title>")
    (folder / "to-cookies.html").symlink_to(profile / "cookies.html")
    (folder / "to-profile").symlink_to(profile)
    (profile / "out.html").symlink_to(folder / "page.html")
    with Den(profile=profile) as den:
        for path in ("profile/cookies.html", "to-cookies.html", "to-profile/cookies.html", "profile/out.html",
                     "profile/chrome/../cookies.html", "to-profile/../profile/cookies.html"):  # fmt: skip
            for text in (f"{folder}/{path}", f"file://{folder}/{path}"):
                with pytest.raises(LoadError, match="policy") as caught:
                    den.open(text)
                assert caught.value.code == "NS_ERROR_FILE_ACCESS_DENIED"
        assert den.open(f"{folder}/profile/chrome/user.html").title == "style"
        assert den.open(f"{folder}/page.html").title == "a file"
    with Den() as without:
        assert without.open(f"{folder}/to-cookies.html").title == "secret", "it was the profile that closed it"


# --- how a den is made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"prefs": {"no.such.pref": 1}}, PreferenceError, "no.such.pref"),
        ({"prefs": {"security.sandbox.content.levle": 1}}, PreferenceError, "levle"),
        ({"prefs": {"security.sandbox.content.level": 9}}, PreferenceError, "0 to 4"),
        ({"prefs": {"security.sandbox.content.level": "x"}}, PreferenceError, "whole number"),
        ({"prefs": {"security.sandbox.content.level": True}}, PreferenceError, "expected int"),
        ({"prefs": {"network.http.http2.enabled": "maybe"}}, PreferenceError, "true or false"),
        ({"prefs": {"foxden.content.max-document-bytes": 1}}, PreferenceError, "1024"),
        ({"level": 5}, PreferenceError, "0 to 4"),
        ({"level": -1}, PreferenceError, "0 to 4"),
        ({"allow_partial": ["landlok"]}, PolicyError, "landlok"),
        ({"allow_partial": "landlocked"}, PolicyError, "name of a layer"),
        ({"profile": "/nonexistent/profile"}, FoxdenError, "profile folder"),
        ({"profile": __file__}, FoxdenError, "profile folder"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_den_that_is_asked_for_wrongly_is_not_made(
    options: dict[str, object], error: type[FoxdenError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        Den(**options)  # type: ignore[arg-type]
    if "levle" in words:
        assert "security.sandbox.content.level" in caught.value.hint
