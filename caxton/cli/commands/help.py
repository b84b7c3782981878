"""``caxton help``: help for people, the command table for programs."""

from __future__ import annotations

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.reference import command_table
from caxton.cli.tree import CaxtonCommand

__all__ = ["help_"]


@click.command("help", cls=CaxtonCommand)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@pass_invocation
@click.pass_context
def help_(ctx: click.Context, invocation: Invocation, words: tuple[str, ...]) -> int:
    """Help for a COMMAND; with --json the whole command table.

    Each command of the table says whether it only reads (``read_only``), and has its arguments,
    options and examples.
    """
    if invocation.output.structured:
        invocation.output.value(command_table())
        return exit_codes.OK
    found = ctx.find_root()
    for word in words:
        group = found.command
        if not isinstance(group, click.Group):
            break
        _, command, _ = group.resolve_command(found, [word])
        if command is not None:
            found = click.Context(command, info_name=word, parent=found)
    invocation.output.text(found.get_help())
    return exit_codes.OK
