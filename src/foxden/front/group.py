"""The command's group: finds the subcommand, runs it, and turns whatever ends it into lines and an exit code.

Runs in: command; the process becomes the parent of a den.  Trusts: its command line.
Flow: words → group → module of the subcommand, imported only now → its function → exit code.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from foxden import __version__
from foxden.front import failures
from foxden.front.failures import Failure
from foxden.front.options import Settings, common_options, warn_of_build_settings
from foxden.front.terminal import make_streams_lenient, say

# name → the module that has it, as `command`.  In the order of --help.
COMMANDS = {
    "open": "command_open",
    "fetch": "command_fetch",
    "run": "command_run",
    "ps": "command_ps",
    "support": "command_support",
    "policy": "command_policy",
    "demo": "command_demo",
}
LATER = ("decode", "prefs", "serve")


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"foxden.front.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            _refuse(args[0], ctx)
        return super().resolve_command(ctx, args)


def _refuse(word: str, ctx: click.Context) -> NoReturn:
    """No such command: say what was meant, as far as that can be known."""
    from difflib import get_close_matches

    if word in LATER:
        raise click.UsageError(f"`foxden {word}` comes in a later version", ctx)
    if word.startswith("-"):
        raise click.NoSuchOption(word, ctx=ctx)
    close = get_close_matches(word, COMMANDS, 1)
    if "://" in word or "." in word or "/" in word:
        close = [f"open {word}"]
    meant = f"; did you mean `foxden {close[0]}`?" if close else ""
    raise click.UsageError(f"expected a command ({', '.join(COMMANDS)}), got {word!r}{meant}", ctx)


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The options above may also come after the command.  Exit codes: 0 done, 1 failed, 2 wrong usage, "
    "3 sandbox not available, 130 Ctrl-C; run: those of its program, see `foxden run --help`.",
)  # fmt: skip
@click.version_option(__version__, "-V", "--version", message="foxden %(version)s")
@common_options
@click.pass_context
def group(context: click.Context, /, **common: Any) -> None:
    """Firefox's process model: open pages, fetch URLs and run programs in sandboxed processes.

    A trusted parent, children that reach what their policy says and no more, and one process that owns the network.
    """
    context.obj = Settings(**common)
    warn_of_build_settings()
    if context.invoked_subcommand is None:
        say(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    make_streams_lenient()
    failures.stop_on_signals()
    context: list[click.Context] = []
    try:
        code = _run(list(arguments), context)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except click.UsageError as error:
        return failures.report(_usage(error, of_run=arguments[:1] == ["run"]))
    except click.ClickException as error:
        return failures.report(Failure(failures.FAILED, error.format_message()))
    except (Exception, KeyboardInterrupt, failures.Stopped) as error:
        return _ended_by(error, debug=bool(context and isinstance(context[0].obj, Settings) and context[0].obj.debug))


def _run(arguments: list[str], kept: list[click.Context]) -> int:
    try:
        context = group.make_context("foxden", arguments)
        kept.append(context)
        with context:
            result = group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return result if isinstance(result, int) else 0


def _ended_by(error: BaseException, *, debug: bool) -> int:
    failure = failures.failure_of(error)
    code = failures.report(failure, error=error if debug else None)
    # What is still buffered for a reader who has gone, or who pressed Ctrl-C, must not fail at exit.
    if not failure.error or isinstance(error, OSError):
        failures.let_go_of_stdout()
    return code


def _usage(error: click.UsageError, *, of_run: bool) -> Failure:
    where = error.ctx.command_path if error.ctx is not None else "foxden"
    text = error.format_message().rstrip(".")
    # Of `run`, 2 may be the program's own.
    code = failures.RUN_FAILED if of_run or where == "foxden run" else failures.USAGE
    return Failure(code, text[:1].lower() + text[1:], f"`{where} --help` lists what there is")
