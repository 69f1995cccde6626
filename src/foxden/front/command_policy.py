"""`foxden policy`: the sandboxes as rules, of every process type and every platform, without starting anything.

Runs in: command.  Trusts: its command line.
Flow: words → subcommand, imported only now → policy_view → table or JSON → exit code.
Source: interface.md "Command".
"""

from __future__ import annotations

import click

from foxden.front.terminal import say

# name → the module that has it, as `command`.  In the order of --help.
SUBCOMMANDS = {
    "show": "command_policy_show",
    "diff": "command_policy_diff",
    "why": "command_policy_why",
}


class PolicyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = SUBCOMMANDS.get(cmd_name)
        if module is None:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"foxden.front.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in SUBCOMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], SUBCOMMANDS, 1)
            meant = f"; did you mean `foxden policy {close[0]}`?" if close else ""
            raise click.UsageError(f"expected one of {', '.join(SUBCOMMANDS)}, got {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "policy", cls=PolicyGroup, invoke_without_command=True, short_help="Show the sandbox of a process type as rules."
)
@click.pass_context
def command(context: click.Context, /) -> None:
    """What the processes may do, as rules: on Linux, where foxden enforces them, and on macOS and Windows."""
    if context.invoked_subcommand is None:
        say(context.get_help())
