"""``caxton agent drain``, ``stop`` and ``start``."""

from __future__ import annotations

from operator import methodcaller

import click

from caxton.cli import exit_codes
from caxton.cli.commands.agent import COLUMNS
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

__all__ = ["drain", "start", "stop"]


def _order(invocation: Invocation, names: tuple[str, ...], action: str) -> int:
    with invocation.client() as client:
        views = [client.registry(methodcaller("order", name, action)) for name in names]
    invocation.output.items(views, COLUMNS, name=lambda a: a.name, empty="no agents")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_invocation
def drain(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Have agents finish what they have and stop; new messages wait for them.

    They stay stopped over restarts of the node, until `caxton agent start`.
    """
    return _order(invocation, names, "drain")


@click.command(cls=CaxtonCommand)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_invocation
def stop(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Stop agents now; what they had comes again when they are started.

    They stay stopped over restarts of the node, until `caxton agent start`.
    """
    return _order(invocation, names, "stop")


@click.command(cls=CaxtonCommand)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_invocation
def start(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Put stopped or failed agents into service."""
    return _order(invocation, names, "start")
