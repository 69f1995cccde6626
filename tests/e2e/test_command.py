"""The `foxden` command as people and scripts meet it: a process with arguments, streams, signals and an exit code.

Flow: real nginx and scripted servers → `python -m foxden …` in a process of its own → what came out, what is left.
"""

from __future__ import annotations

import array
import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import leaks
from tests.support.pki import Pki
from tests.support.servers import Nginx, ScriptedServer, free_port, read_head
from tests.support.users import needs_nginx, needs_openssl, needs_python_docs, needs_userns

HOSTILE = (
    "<title>evil \x1b]0;pwn\x07 title\n two</title><p>red \x1b[31mtext\x9b31m \u202eabc</p>"
    '<a href="https://a.example/x">a \x1b[2J link</a>'
)
LOCATIONS = """
location /slow { limit_rate 8k; alias SITE/; }
location = /to-a { return 302 /a.txt; }
location = /gone { return 404 "gone here\\n"; }
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    (folder / "page.html").write_text(
        "<title>A page</title><h1>Head</h1><p>Some text.</p><a href='/a.txt'>the file</a>", encoding="utf-8"
    )
    (folder / "hostile.html").write_text(HOSTILE, encoding="utf-8")
    (folder / "a.txt").write_text("hello text\n")
    (folder / "big.bin").write_bytes(bytes(range(256)) * 4096 * 3)
    config = LOCATIONS.replace("SITE", str(folder))
    with Nginx(folder, tls=pki.valid, config=config) as server:
        yield server


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "foxden", *arguments]


Done = subprocess.CompletedProcess[str]


def foxden(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    return subprocess.run(
        command(*arguments), env={**os.environ, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def failed(done: Done, code: int = 1) -> str:
    """The error of a command that failed as all do: one line, perhaps a hint, nothing on standard output."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert len(rest) <= 1
    assert all(line.startswith("hint: ") for line in rest)
    return first


def succeeded(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def on_terminal(*arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal gets; both output streams are it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        try:
            while select.select([ours], [], [], 30)[0]:
                seen += os.read(ours, 65_536)
        except OSError:  # EIO: the other side is closed
            pass
        finally:
            os.close(ours)
    return process.returncode, seen.decode()


def wait_until(is_so: Callable[[], Any], timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found


# --- the command itself -----------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    listed = re.findall(r"^  (\w+) ", succeeded(foxden("--help")).partition("Commands:")[2], re.MULTILINE)
    assert listed[:7] == ["open", "fetch", "run", "ps", "support", "policy", "demo"]


@pytest.mark.parametrize("name", ["open", "fetch", "run", "ps", "support", "policy", "demo"])
def test_every_command_has_help(name: str) -> None:
    assert f"Usage: foxden {name} " in succeeded(foxden(name, "--help"))


def test_without_a_command_the_help_is_shown() -> None:
    assert "Commands:" in succeeded(foxden())


def test_version_is_one_line() -> None:
    assert re.fullmatch(r"foxden \d+\.\d+\.\d+\n", succeeded(foxden("--version")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["opn"], "did you mean `foxden open`"),
        (["open"], "missing argument"),
        (["open", "a", "b"], "unexpected extra argument"),
        (["open", "--nope", "a"], "no such option"),
        (["open", "--text", "--json", "a"], "exclude each other"),
        (["open", "--pref", "nope=1", "a"], "expected the name of a preference"),
        (["open", "--pref", "nope", "a"], "NAME=VALUE"),
        (["open", "--pref", "security.sandbox.content.level=9", "a"], "expected 0 to 4"),
        (["open", "--level", "9", "a"], "expected 0 to 4"),
        (["open", "--allow-partial", "magic", "a"], "expected a layer"),
        (["open", "--log", "child:loud", "a"], "expected a level"),
        (["open", "--timeout", "0", "a"], "expected seconds"),
        (["open", "--profile", "no-such-folder", "a"], "does not exist"),
        (["fetch", "-H", "no colon", "a"], "Name: value"),
        (["fetch", "-X", "BAD METHOD", "a"], "expected a method"),
        (["support", "--types", "magic"], "expected a process type"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    assert words in failed(foxden(*arguments), code=2)


# --- open -------------------------------------------------------------------------------------------------------


@needs_nginx
@needs_userns
def test_page_is_shown_as_title_and_text(site: Nginx) -> None:
    assert succeeded(foxden("open", f"{site.http}/page.html")) == "A page\n\nHead\n\nSome text.\n\nthe file\n"


@needs_userns
def test_file_is_shown_by_the_file_process(tmp_path: Path) -> None:
    (tmp_path / "a page.html").write_text("<title>On disk</title><p>Text.</p>")
    page = json.loads(succeeded(foxden("open", "a page.html", "--json", cwd=tmp_path)))
    assert (page["title"], page["status"], page["process"]["name"]) == ("On disk", 0, "file")


@needs_nginx
@needs_userns
def test_json_of_a_page_has_every_promised_field(site: Nginx) -> None:
    page = json.loads(succeeded(foxden("--json", "open", f"{site.http}/page.html")))
    promised = {"url", "final_url", "status", "title", "text", "html", "encoding", "content_type", "links", "console",
                "timing", "process"}  # fmt: skip
    assert promised <= page.keys()
    assert page["links"] == [{"href": f"{site.http}/a.txt", "text": "the file"}]


@needs_nginx
@needs_userns
def test_links_are_printed_one_a_line(site: Nginx) -> None:
    assert succeeded(foxden("open", "--links", f"{site.http}/page.html")) == f"{site.http}/a.txt\tthe file\n"


@needs_nginx
@needs_userns
@pytest.mark.parametrize("view", ["", "--text", "--html", "--links", "--json"])
def test_page_cannot_send_controls_through_a_pipe(site: Nginx, view: str) -> None:
    text = succeeded(foxden("open", f"{site.http}/hostile.html", *([view] if view else [])))
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text) is None
    if view == "--json":
        assert json.loads(text)["title"] == "evil \x1b]0;pwn\x07 title two"


@needs_nginx
@needs_userns
def test_page_cannot_send_controls_or_bidi_to_a_terminal(site: Nginx) -> None:
    code, text = on_terminal("open", f"{site.http}/hostile.html")
    assert code == 0
    assert "evil \\x1b]0;pwn\\x07 title two" in text
    assert re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", text) is None


@needs_userns
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gopher://a.example/", "scheme 'gopher'"),
        ("http://no-such-host.invalid/", "NS_ERROR_UNKNOWN_HOST"),
        ("http://127.0.0.1:1/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
        ("/", "got a directory"),
        ("/no/such/file.html", "no such file"),
        ("no-such-thing", "expected a URL"),
        ("", "expected a URL or a path"),
        ("http://user:secret@a.example/", "without a name and password"),
    ],
)
def test_load_that_cannot_be_is_one_error_line(url: str, words: str) -> None:
    assert words in failed(foxden("open", url))


@needs_userns
def test_refused_connection_is_one_error_line() -> None:
    assert "NS_ERROR_CONNECTION_REFUSED" in failed(foxden("open", f"http://127.0.0.1:{free_port()}/"))


@needs_nginx
@needs_userns
def test_unknown_authority_is_refused_and_a_named_one_trusted(site: Nginx, pki: Pki) -> None:
    assert "SEC_ERROR_UNKNOWN_ISSUER" in failed(foxden("open", f"{site.https}/a.txt"))
    trusting = {"SSL_CERT_FILE": str(pki.authority_file)}
    assert succeeded(foxden("fetch", f"{site.https}/a.txt", env=trusting)) == "hello text\n"
    missing = foxden("fetch", f"{site.https}/a.txt", env={"SSL_CERT_FILE": "/no/such.pem"})
    assert "no file of certificate authorities" in failed(missing)


@pytest.mark.parametrize("option", ["--screenshot", "--pdf"])
def test_painting_is_refused_and_nothing_is_opened(option: str, tmp_path: Path) -> None:
    assert "later version" in failed(foxden("open", "http://127.0.0.1:1/", option, str(tmp_path / "f")))
    assert list(tmp_path.iterdir()) == []


@needs_userns
def test_report_of_a_page_to_which_nothing_was_refused_is_empty(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<title>T</title>")
    succeeded(foxden("open", "p.html", "--report", "r.jsonl", cwd=tmp_path))
    assert (tmp_path / "r.jsonl").read_text() == ""


def test_missing_sandbox_is_exit_code_3_unless_its_loss_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<title>T</title>")
    old_kernel = {"FOXDEN_TEST_NO_USERNS": "1"}
    done = foxden("open", "p.html", env=old_kernel, cwd=tmp_path)
    assert "namespaces" in failed(done, code=3)
    assert "--allow-partial" in done.stderr
    layers = "namespaces,root,network,limits,landlock"
    assert succeeded(foxden("open", "p.html", "--allow-partial", layers, env=old_kernel, cwd=tmp_path)) == "T\n\n\n"


@needs_userns
def test_switched_off_sandbox_is_said_loudly(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<title>T</title>")
    done = foxden("support", "--types", "gmp", env={"MOZ_DISABLE_GMP_SANDBOX": "1"})
    assert "SANDBOX OFF  gmp" in succeeded(done)


@needs_userns
def test_life_and_death_of_processes_are_logged_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<title>T</title>")
    done = foxden("open", "p.html", "--log", "process:3,no-such-module:5", cwd=tmp_path)
    assert done.returncode == 0
    ready, gone = done.stderr.splitlines()
    assert re.search(r"process: content file child \d+ \(file\) is ready: level 4, (FULL|PARTIAL)", ready)
    assert "is gone" in gone


def test_traceback_is_shown_with_debug_alone() -> None:
    assert "Traceback" in foxden("open", "gopher://x", "--debug").stderr
    assert "Traceback" in foxden("--debug", "open", "gopher://x").stderr


# --- fetch ------------------------------------------------------------------------------------------------------


@needs_nginx
@needs_userns
def test_fetch_prints_the_bytes_as_they_are(site: Nginx) -> None:
    done = subprocess.run(command("fetch", f"{site.http}/big.bin"), capture_output=True, timeout=60, check=True)
    assert done.stdout == bytes(range(256)) * 4096 * 3


@needs_nginx
@needs_userns
def test_include_prints_the_head_first(site: Nginx) -> None:
    head, _, body = succeeded(foxden("fetch", "-i", f"{site.http}/a.txt")).partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert "Content-Length: 11" in head
    assert body == "hello text\n"


@needs_nginx
@needs_userns
def test_redirect_is_followed_with_location_only(site: Nginx) -> None:
    assert "302 Found" in succeeded(foxden("fetch", f"{site.http}/to-a"))
    assert succeeded(foxden("fetch", "-L", f"{site.http}/to-a")) == "hello text\n"


@needs_nginx
@needs_userns
def test_answer_404_is_an_error_with_fail_only(site: Nginx) -> None:
    assert succeeded(foxden("fetch", f"{site.http}/gone")) == "gone here\n"
    assert "answered 404" in failed(foxden("fetch", "-f", f"{site.http}/gone"))


@needs_userns
def test_method_headers_and_data_reach_the_server(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"b=\r\n2")
    heads: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        head = read_head(connection)
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
        while len(head.partition(b"\r\n\r\n")[2]) < length:
            head += connection.recv(4096)
        heads.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with ScriptedServer(answer) as server:
        words = ["-d", "a=1", "-d", "@data", "-H", "X-A: x", "-H", "Cookie: c=1", "-H", "cookie: d=2"]
        assert succeeded(foxden("fetch", *words, server.url, cwd=tmp_path)) == "ok"
        assert succeeded(foxden("fetch", "-X", "PUT", "-d", "z", "-H", "content-type: a/b", server.url)) == "ok"
    posted, put = heads
    assert posted.startswith(b"POST / HTTP/1.1\r\n")
    assert posted.endswith(b"\r\n\r\na=1&b=2")
    for line in (b"X-A: x", b"Cookie: c=1; d=2", b"Content-Type: application/x-www-form-urlencoded"):
        assert line.lower() in posted.lower()
    assert put.startswith(b"PUT / ")
    assert b"a/b" in put
    assert b"urlencoded" not in put


@needs_nginx
@needs_userns
def test_json_of_a_fetch_has_text_or_base64(site: Nginx) -> None:
    text = json.loads(succeeded(foxden("fetch", "--json", f"{site.http}/a.txt")))
    assert (text["status"], text["body_bytes"]) == (200, 11)
    assert (text["body_encoding"], text["body"]) == ("text", "hello text\n")
    assert ["Content-Length", "11"] in text["headers"]
    assert text["http_version"] == "HTTP/1.1"
    binary = json.loads(succeeded(foxden("fetch", "--json", f"{site.http}/big.bin")))
    assert binary["body_encoding"] == "base64"
    assert base64.b64decode(binary["body"]) == bytes(range(256)) * 4096 * 3


@needs_nginx
@needs_userns
def test_output_file_is_whole_or_not_there(site: Nginx, tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_text("old")
    failed(foxden("fetch", "-o", str(target), "-m", "0.6", f"{site.http}/slow/big.bin"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]
    assert target.read_text() == "old"
    assert succeeded(foxden("fetch", "-o", str(target), f"{site.http}/big.bin")) == ""
    assert target.stat().st_size == 256 * 4096 * 3
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_output_that_cannot_be_written_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    assert "No such file" in failed(foxden("fetch", "-o", str(tmp_path / "no" / "f"), "http://127.0.0.1:1/"))
    assert "directory" in failed(foxden("fetch", "-o", str(tmp_path), "http://127.0.0.1:1/"))


@needs_nginx
@needs_userns
def test_binary_is_not_shown_on_a_terminal(site: Nginx) -> None:
    code, text = on_terminal("fetch", f"{site.http}/big.bin")
    assert code == 1
    assert "binary" in text
    code, text = on_terminal("fetch", f"{site.http}/hostile.html")
    assert code == 0
    assert "\\x1b[31m" in text
    assert "\x1b" not in text


@needs_userns
def test_a_reader_that_takes_nothing_holds_the_body_and_not_the_den() -> None:
    body, sent = os.urandom(1 << 20) * 24, [0]

    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        while sent[0] < len(body):
            sent[0] += connection.send(body[sent[0] : sent[0] + 65_536])

    def stands() -> bool:
        before = sent[0]
        time.sleep(0.5)
        return before == sent[0] > 0

    with ScriptedServer(answer) as server, subprocess.Popen(
        command("fetch", server.url), stdout=subprocess.PIPE
    ) as run:
        try:
            wait_until(stands)
            assert sent[0] < len(body), "nobody has taken anything, so no more is asked for"
            assert processes_of(run.pid), "the den goes on"
            assert run.stdout is not None
            assert run.stdout.read() == body
            assert run.wait(30) == 0
        finally:
            run.kill()


# --- signals, pipes ---------------------------------------------------------------------------------------------


@pytest.fixture
def downloading(site: Nginx, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """A command in the middle of its work, with its processes."""
    words = command("fetch", "-o", str(tmp_path / "big.bin"), f"{site.http}/slow/big.bin")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, wait_until(lambda: processes_of(process.pid))
        finally:
            process.kill()


def processes_of(pid: int) -> list[dict[str, Any]]:
    """The processes of the den of this pid, once its socket process is there."""
    every = json.loads(succeeded(foxden("ps", "--json")))
    own = [process for process in every if process["den"] == pid]
    return own if any(process["process_type"] == "socket" for process in own) else []


@needs_nginx
@needs_userns
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_stopped_command_leaves_no_process_and_no_file(
    downloading: tuple[subprocess.Popen[str], list[dict[str, Any]]], tmp_path: Path, number: int, code: int
) -> None:
    process, processes = downloading
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert (process.returncode, out, err) == (code, "", "")
    wait_until(lambda: not [each for each in processes if leaks.is_running(each["pid"])], timeout_s=3)
    assert list(tmp_path.iterdir()) == []


@needs_nginx
@needs_userns
def test_ps_shows_a_running_den(downloading: tuple[subprocess.Popen[str], list[dict[str, Any]]]) -> None:
    process, processes = downloading
    assert {"den", "pid", "process_type", "remote_type", "level", "enforcement", "memory_bytes", "uptime_s",
            "name"} <= processes[0].keys()  # fmt: skip
    assert processes[0]["process_type"] == "default"
    assert processes[0]["pid"] == process.pid
    layers = next(each for each in processes if each["process_type"] == "socket")["enforcement"]
    assert layers["seccomp"]["status"] == "FULL"
    assert re.search(rf"^ *{process.pid}  default ", succeeded(foxden("ps")), re.MULTILINE)


@needs_nginx
@needs_userns
def test_parent_of_a_command_is_locked(downloading: tuple[subprocess.Popen[str], list[dict[str, Any]]]) -> None:
    status = Path(f"/proc/{downloading[0].pid}/status").read_text()
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)


def _waiting_in(pipe: int) -> int:
    """Bytes that somebody wrote and nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


@needs_nginx
@needs_userns
def test_interrupt_ends_a_command_whose_output_nobody_takes(site: Nginx) -> None:
    with subprocess.Popen(
        command("fetch", f"{site.http}/big.bin"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        wait_until(lambda: _waiting_in(pipe) > fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) // 2)
        time.sleep(0.3)  # by now it waits for a pipe that is full
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


@needs_nginx
@needs_userns
@pytest.mark.parametrize("words", [["open", "--text"], ["fetch"]])
def test_reader_who_had_enough_is_no_error(site: Nginx, words: list[str]) -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        command(*words, f"{site.http}/page.html"), stdout=write, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write)
        os.close(read)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, "")


@needs_nginx
@needs_userns
def test_full_disk_under_standard_output_is_one_error_line(site: Nginx) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("open", f"{site.http}/page.html"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device\n")


# --- support, demo ----------------------------------------------------------------------------------------------


def test_ps_is_friendly_when_nothing_runs() -> None:
    # Another den of this user may well run: then there is a table.
    text = succeeded(foxden("ps"))
    assert text.startswith("No den is running.") or text.split()[0] == "PID"
    assert isinstance(json.loads(succeeded(foxden("ps", "--json"))), list)


@needs_userns
def test_support_tells_every_type_and_layer() -> None:
    report = json.loads(succeeded(foxden("support", "--json")))
    assert {"kernel", "architecture", "python", "landlock_abi", "seccomp", "types", "advice"} <= report.keys()
    types = {(each["process_type"], each["remote_type"]) for each in report["types"]}
    assert {("content", "web"), ("content", "file"), ("socket", None), ("gmp", None), ("plugin", None)} <= types
    assert [each for each in report["types"] if each["error"]] == []
    assert all(layer["status"] in ("FULL", "PARTIAL", "NONE")
               for each in report["types"] for layer in each["enforcement"].values())  # fmt: skip


def test_support_on_a_lesser_kernel_says_what_is_missing_and_what_to_do() -> None:
    lesser = {"FOXDEN_TEST_NO_USERNS": "1", "FOXDEN_TEST_LANDLOCK_ABI": "2"}
    text = succeeded(foxden("support", "--types", "gmp", env=lesser))
    assert re.search(r"^gmp +1 .*NONE.*PART", text, re.MULTILINE)
    assert "What to do" in text
    assert "--allow-partial" in text


@needs_nginx
@needs_openssl
@needs_python_docs
@needs_userns
def test_demo_opens_pages_and_no_act_succeeds() -> None:
    done = foxden("demo", "--json")
    shown = json.loads(succeeded(done))
    assert shown["verdict"]["ok"] is True
    assert shown["verdict"]["succeeded"] == 0
    assert shown["verdict"]["succeeded_unprotected"] >= 8  # or the acts would show nothing
    assert 0 < shown["verdict"]["seconds"] < 60, "nothing of it hangs"
    assert len({page["process"] for page in shown["pages"]}) == 3  # two sites and a file
    granted = {(act["act"], act["process"]) for act in shown["acts"] if act["outcome"] == "granted"}
    assert granted == {
        ("make a TCP socket", "socket"), ("connect to the web server", "socket"), ("list the home folder", "file"),
        ("find the page's commonest word", "program"),
    }  # fmt: skip
    refused = [act["result"] for act in shown["acts"] if act["process"] == "program" and act["outcome"] == "refused"]
    assert len(refused) == 4
    assert "Permission denied" in refused


@needs_nginx
@needs_openssl
@needs_python_docs
@needs_userns
def test_demo_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command("demo", "--keep"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Still running"):
                    break
            nginx = int(next(tmp_path.glob("foxden-demo-*/nginx.pid")).read_text())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        except BaseException:
            process.kill()  # leaving the block waits for its end
            raise
    assert (process.returncode, err) == (130, "")
    assert not leaks.is_running(nginx)
    assert list(tmp_path.iterdir()) == []
