"""`foxden open`: a page or a file, parsed in a content process, shown as text.

Runs in: command.  Trusts: nothing of the page; what is printed is made harmless first.
Flow: URL or path → Den.open → Page → text, HTML, links or JSON.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from foxden.front.cli import families_for
from foxden.front.failures import CommandFailed, warn
from foxden.front.options import Settings, common_options, make_den, seconds, settings_of, warn_of_sandboxes_off
from foxden.front.terminal import is_terminal, json_text, one_line, say, shown

if TYPE_CHECKING:
    from foxden.parent.answers import Page


@click.command("open", short_help="Load a page in a sandboxed content process.")
@click.argument("url", metavar="URL_OR_FILE")
@click.option("--text", "view", flag_value="text", help="Only the readable text.")
@click.option("--html", "view", flag_value="html", help="The parsed page, as HTML.")
@click.option("--links", "view", flag_value="links", help="Its links, one a line: address, tab, text.")
@click.option("--screenshot", metavar="F.png", help="Comes in a later version: nothing is painted yet.")
@click.option("--pdf", metavar="F.pdf", help="Comes in a later version: nothing is painted yet.")
@click.option("--no-js", is_flag=True, help="Do not run scripts.  This version never does, with or without it.")
@click.option("--timeout", metavar="S", type=float, default=60.0, show_default=True, callback=seconds,
              help="Seconds for everything.")  # fmt: skip
@common_options
@click.pass_context
def command(
    context: click.Context,
    /,
    url: str,
    view: str | None,
    screenshot: str | None,
    pdf: str | None,
    no_js: bool,
    timeout: float,
    **common: Any,
) -> None:
    """Load URL_OR_FILE in a content process, through the socket process, and print its title and readable text."""
    settings = settings_of(context, common)
    if view and settings.as_json:
        raise click.UsageError(f"--{view} and --json exclude each other", context)
    if screenshot or pdf:
        raise CommandFailed(
            f"{'--screenshot' if screenshot else '--pdf'}: painting comes in a later version; the page was not opened",
            hint="--text, --html, --links and --json work now",
        )
    page = _open(settings, url, timeout)
    if page.truncated:
        warn(f"cut at a bound: {', '.join(page.truncated)}")
    _print(page, "json" if settings.as_json else view or "")


def _open(settings: Settings, url: str, timeout_s: float) -> Page:
    with make_den(settings, one_page=True, warm=families_for(["open", url])) as den:
        warn_of_sandboxes_off(den, "content", "socket")
        return den.open(url, timeout=timeout_s)


def _print(page: Page, view: str) -> None:
    terminal = is_terminal(sys.stdout)
    if view == "json":
        say(json_text(page.to_dict()))
    elif view == "html":
        say(shown(page.html, on_terminal=terminal).rstrip("\n"))
    elif view == "links":
        for link in page.links:
            say(f"{one_line(link.href)}\t{one_line(link.text)}".rstrip())
    else:
        if view != "text":
            say(one_line(page.title) or one_line(page.final_url))  # as a browser's tab does
            say()
        say(shown(page.text, on_terminal=terminal).rstrip("\n"))
