"""`foxden demo`: real pages and programs, and hostile acts refused, before the reader's eyes.

Runs in: command.  Trusts: the machine's own documentation is served to it; children are trusted with nothing.
Flow: site and unprotected acts first → den, which locks this process → pages → processes → acts inside → verdict.
Source: interface.md "Command".
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
import msgspec

from foxden.front import demo_acts, demo_programs, demo_screen, failures
from foxden.front.demo_screen import Opened, heading
from foxden.front.options import Settings, common_options, make_den, settings_of, warn_of_sandboxes_off
from foxden.front.terminal import json_text, say, wants_colour

if TYPE_CHECKING:
    from foxden.front.demo_site import Site
    from foxden.model.records import ProcessRecord
    from foxden.parent.den import Den
    from foxden.parent.hosts import ChildHost

# Column → the process type that is started for it; web, file and socket are those that showed the pages.
_MORE_TYPES = ("gmp", "rdd", "gpu", "utility")


@click.command("demo", short_help="See foxden at work: pages, programs, hostile acts refused.")
@click.option("--keep", is_flag=True, help="Stay until Ctrl-C, to look at it from another terminal.")
@common_options
@click.pass_context
def command(context: click.Context, /, keep: bool, **common: Any) -> int:
    """Open real pages in sandboxed processes, try hostile acts inside each, then run a hostile and a useful program.

    Serves a documentation tree of this machine on loopback over https, with an authority made for the occasion.
    Nothing leaves this machine, and nothing is left behind.  Exit code 1 when an act succeeds that must not.
    """
    settings = settings_of(context, common)
    started = time.monotonic()
    from foxden.front.demo_site import Site

    with Site() as site, demo_acts.Targets(site.folder, site.canary, site.port) as targets:
        plain = demo_acts.try_unprotected(targets.values)
        (site.folder / "written.txt").unlink(missing_ok=True)
        os.environ["SSL_CERT_FILE"] = str(site.authority)  # before the den: its socket process trusts this one
        settings = msgspec.structs.replace(settings, profile=str(site.profile))
        with make_den(settings, one_page=True, warm=("network", "web")) as den:
            warn_of_sandboxes_off(den, "content", "socket", "plugin", *_MORE_TYPES)
            return _show(den, site, targets.values, plain, settings, started, keep)


def _show(
    den: Den, site: Site, targets: dict[str, str], plain: list[demo_acts.Outcome], settings: Settings,
    started: float, keep: bool,
) -> int:  # fmt: skip
    colour, quiet = wants_colour(sys.stdout), settings.as_json
    if not quiet:
        say(f"nginx on 127.0.0.1:{site.port} serves {site.root}")
        heading("Pages, each parsed by a locked process of its site", colour)
    opened = _open_pages(den, site)
    if not quiet:
        demo_screen.pages(opened, colour)
    hosts = den._run(_columns(den))
    processes = den.processes()
    if not quiet:
        _show_processes(processes, colour)
    outcomes = [*plain, *den._run(_try_all(den, hosts, targets)), *demo_acts.try_in_parent()]
    hostile, useful = demo_programs.try_hostile(den, site), demo_programs.try_useful(den, site)
    outcomes += demo_programs.outcomes(hostile, useful)
    verdict = demo_acts.verdict(outcomes)
    verdict["seconds"] = round(time.monotonic() - started, 2)
    if quiet:
        _print_json(opened, processes, outcomes, verdict)
    else:
        heading("Hostile acts, tried from inside each process", colour)
        demo_screen.acts(outcomes, colour)
        demo_screen.parent(outcomes, colour)
        heading("Programs, as `foxden run` runs them", colour)
        demo_programs.show(hostile, useful, colour)
        demo_screen.missing(processes, colour)
        demo_screen.closing(verdict, colour)
        say(f"({verdict['seconds']} s in all)")
    if keep:
        _stay(site)
    return 0 if verdict["ok"] else failures.FAILED


def _open_pages(den: Den, site: Site) -> list[Opened]:
    """Pages of two sites, then one straight from the disk, which a file process shows."""
    opened = []
    for url in (*site.urls(), str(site.root / site.pages[0])):
        began = time.monotonic()
        page = den.open(url)
        took = (time.monotonic() - began) * 1000
        opened.append(Opened(page.final_url, page.title, _pid(page.process), page.received_bytes, round(took, 1)))
    return opened


def _pid(process: Any) -> int:
    return int(process["pid"])


async def _columns(den: Den) -> dict[str, ChildHost]:
    """The processes that showed the pages, and one of each further type."""
    runtime = den._runtime
    found: dict[str, ChildHost] = {}
    for host in runtime.processes.hosts():
        column = host.remote_type.value if host.remote_type else host.row.name
        found.setdefault(column, host)
    more = await asyncio.gather(*(runtime.launch(name) for name in _MORE_TYPES))
    names: tuple[str, ...] = ("web", "file", "socket")
    columns = {name: found[name] for name in names if name in found}
    return {**columns, **dict(zip(_MORE_TYPES, more, strict=True))}


async def _try_all(den: Den, hosts: dict[str, ChildHost], targets: dict[str, str]) -> list[demo_acts.Outcome]:
    def tries(column: str, host: ChildHost) -> Any:
        async def again() -> ChildHost:
            return await den._runtime.launch(host.row.name, host.remote_type)

        return demo_acts.try_in(host, column, targets, again)

    lists = await asyncio.gather(*(tries(column, host) for column, host in hosts.items()))
    return [outcome for each in lists for outcome in each]


def _show_processes(processes: list[ProcessRecord], colour: bool) -> None:
    from foxden.front.command_ps import table

    heading("Processes (this is what `foxden ps` shows)", colour)
    for line in table(processes, width=98, colour=colour):
        say(line)


def _print_json(
    opened: list[Opened], processes: list[ProcessRecord], outcomes: list[demo_acts.Outcome], verdict: dict[str, Any]
) -> None:
    say(json_text({
        "pages": [msgspec.structs.asdict(page) for page in opened],
        "processes": [{"den": os.getpid(), **msgspec.to_builtins(process)} for process in processes],
        "acts": [msgspec.structs.asdict(outcome) for outcome in outcomes],
        "verdict": verdict,
    }))  # fmt: skip


def _stay(site: Site) -> None:
    say()
    say("Still running; Ctrl-C ends it.  In another terminal:")
    say("  foxden ps")
    say(f"  SSL_CERT_FILE={site.authority} foxden open https://localhost:{site.port}/{site.pages[0]}")
    sys.stdout.flush()
    while True:
        time.sleep(3600)
