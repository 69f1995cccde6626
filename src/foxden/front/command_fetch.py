"""`foxden fetch`: one HTTP exchange through the socket process, with curl's letters.

Runs in: command.  Trusts: nothing of the answer; a terminal gets text only, with its controls shown.
Flow: options → Ask → Exchange → head and body → standard output, a file, or JSON.
Source: interface.md "Command"; curl(1) for what the letters mean.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from foxden.errors import NetworkError
from foxden.front.exchange import Ask, Exchange, Head
from foxden.front.failures import CommandFailed
from foxden.front.options import DAY_S, common_options, make_den, seconds, settings_of, warn_of_sandboxes_off
from foxden.front.receivers import JsonReceiver, Receiver, receiver_for

_FORM = "application/x-www-form-urlencoded"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@click.command("fetch", short_help="Make one HTTP request, with curl's options.")
@click.argument("url", metavar="URL")
@click.option("-o", "--output", metavar="F", help="Write the body to F when it is complete; - is standard output.")
@click.option("-X", "--request", "method", metavar="M", help="Method; GET, or POST with -d.")
@click.option("-H", "--header", "headers", metavar="'K: V'", multiple=True, help="A request header; may be repeated.")
@click.option("-d", "--data", metavar="DATA|@FILE", multiple=True,
              help="Send as a form, by POST.  @FILE without its newlines, @- from standard input.")
@click.option("--data-binary", metavar="DATA|@FILE", multiple=True, help="The same, with every byte as it is.")
@click.option("-i", "--include", is_flag=True, help="Print the answer's head too.")
@click.option("-L", "--location", is_flag=True, help="Follow redirects.")
@click.option("-f", "--fail", is_flag=True, help="An answer of 400 or above is an error; its body is not printed.")
@click.option("-m", "--max-time", "--timeout", "timeout", metavar="S", type=float, callback=seconds,
              default=DAY_S, help="Seconds for everything; a day by default.")
@common_options
@click.pass_context
def command(context: click.Context, /, url: str, output: str | None, include: bool, fail: bool, **rest: Any) -> None:
    """Make one HTTP exchange with URL through the socket process, and print the body.

    Like curl, it does not follow redirects without -L, and an answer of 404 is an answer: see -f.
    """
    asked = {name: rest.pop(name) for name in ("method", "headers", "data", "data_binary", "location", "timeout")}
    settings = settings_of(context, rest)
    ask = _ask(url, **asked)
    if settings.as_json and (output or include):
        raise click.UsageError("--json says it all on standard output: leave out -o and -i", context)
    with receiver_for(output, as_json=settings.as_json) as receiver, make_den(
        settings, one_page=True, warm=("network",)
    ) as den:
        warn_of_sandboxes_off(den, "socket")
        with Exchange(den, ask) as exchange:
            _receive(exchange, receiver, include=include, fail=fail)
            if isinstance(receiver, JsonReceiver):
                done = exchange.result()
                receiver.more = {"redirects": list(done.redirects), "remote": done.remote}
        receiver.finish()


def _receive(exchange: Exchange, receiver: Receiver, *, include: bool, fail: bool) -> None:
    head = exchange.head()
    if fail and head.status >= 400:
        raise _failed_answer(head)
    receiver.begin(head)
    if include:
        receiver.take(head.text().encode("latin-1", "replace"))
    for piece in exchange.pieces():
        receiver.take(piece)


def _failed_answer(head: Head) -> NetworkError:
    return NetworkError(
        f"{head.url}: the server answered {head.status}", code=f"HTTP_{head.status}", url=head.url,
        hint="without -f the answer is printed",
    )  # fmt: skip


def _ask(
    url: str,
    *,
    method: str | None,
    headers: tuple[str, ...],
    data: tuple[str, ...],
    data_binary: tuple[str, ...],
    location: bool,
    timeout: float,
) -> Ask:
    parts = [*(_data(item, as_form=True) for item in data), *(_data(item, as_form=False) for item in data_binary)]
    sent = _headers(headers)
    if parts and "content-type" not in {name.lower() for name in sent}:
        sent["Content-Type"] = _FORM
    if method is not None and (not _TOKEN.fullmatch(method) or len(method) > 32):
        raise click.BadParameter(f"expected a method such as PUT, got {method!r}", param_hint="'-X'")
    return Ask(url, method or ("POST" if parts else "GET"), sent, b"&".join(parts), location, timeout)


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for item in given:
        name, colon, value = item.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _TOKEN.fullmatch(name) or _CONTROLS.search(value):
            raise click.BadParameter(f"expected 'Name: value', got {item!r}", param_hint="'-H'")
        known = next((key for key in headers if key.lower() == name.lower()), None)
        if known is None:
            headers[name] = value
        else:
            headers[known] += ("; " if name.lower() == "cookie" else ", ") + value
    return headers


def _data(item: str, *, as_form: bool) -> bytes:
    if not item.startswith("@"):
        return item.encode("utf-8", "surrogateescape")
    try:
        if item == "@-":
            content = sys.stdin.buffer.read()
        else:
            with open(item[1:], "rb") as file:
                content = file.read()
    except OSError as error:
        raise CommandFailed(f"cannot read {item[1:]}: {error.strerror}") from None
    return content.translate(None, b"\r\n\0") if as_form else content
