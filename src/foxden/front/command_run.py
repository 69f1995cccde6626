"""`foxden run`: an unmodified program in a `plugin` process.  Help, and the options that the quick reader leaves.

Runs in: command.  Trusts: its command line.
Flow: words → click, by the table of run_options → RunOptions → run_words.execute.
Source: interface.md "Command".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from foxden.errors import PolicyError
from foxden.front.options import common_options, settings_of
from foxden.front.run_options import OPTIONS, Option, options_of
from foxden.front.run_words import execute, failed

_HELP = """Run an unmodified program in a sandbox of its own.

It sees the system's programs and libraries, a private /tmp and home, no network, and of your files those that you
name: a file that is a whole word of its command line, and what --read and --write give.  What it was refused is told
when it ends, with the option that would allow it.

\b
  foxden run -- python3 job.py data.csv
  foxden run --write out --timeout 60 -- make -C project

Exit codes: the program's own; 124 timed out, 125 foxden itself failed or the sandbox could not be had, 126 cannot be
executed, 127 not found, 128+n ended by signal n.
"""


def _checked(option: Option) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if option.check is None or value in (None, ()):
            return value
        try:
            return tuple(option.check(option.name, each) for each in value) if option.many else option.check(
                option.name, value
            )
        except PolicyError as error:
            context.exit(failed(error))

    return check


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = click.option(
            option.name, option.field, metavar=option.metavar or None, is_flag=option.check is None,
            multiple=option.many, callback=_checked(option), help=option.help,
        )(function)  # fmt: skip
    return function


@click.command(
    "run", short_help="Run a program in a sandbox.", help=_HELP,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)  # fmt: skip
@_with_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="-- PROGRAM ARG…")
@common_options
@click.pass_context
def command(context: click.Context, /, arguments: tuple[str, ...], **given: Any) -> int:
    common = {name: given.pop(name) for name in ("profile", "prefs", "log", "level", "allow_partial", "report",
                                                 "as_json", "debug")}  # fmt: skip
    settings = settings_of(context, common)
    given |= {"allow_partial": settings.allow_partial, "report": settings.report, "as_json": settings.as_json}
    try:
        said = {"debug": settings.debug, "level": settings.level, "prefs": settings.prefs}
        options = options_of({**given, **said}, arguments)
    except PolicyError as error:
        return failed(error, debug=settings.debug)
    return execute(options)
