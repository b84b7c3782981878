"""``caxton monitor``: watch a node in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient

__all__ = ["monitor"]


@click.command(cls=CaxtonCommand)
@click.option("--once", is_flag=True, help="Print one picture and end.")
@click.option("--ascii", "plain", is_flag=True, help="No characters beyond ASCII.")
@click.option(
    "--view",
    type=click.Choice(("overview", "agents", "conversations", "processes")),
    default="overview",
    show_default=True,
    help="What to show first.",
)
@pass_invocation
def monitor(invocation: Invocation, once: bool, plain: bool, view: str) -> int:
    """Watch the node live: processes, agents ranked by trouble, rates, latencies, events.

    Keys: 1 overview, 2 agents, 3 conversations, 4 processes, s sort, / filter, q quit. It goes on
    through a restart of the node. With --once one picture, with --json one snapshot.
    """
    from caxton.cli.commands.events import recent
    from caxton.monitor.app import Monitor
    from caxton.monitor.feed import read_snapshot
    from caxton.monitor.screen import Screen

    output = invocation.output
    if output.structured:
        with invocation.client() as client:
            output.value(read_snapshot(client))
        return exit_codes.OK

    def connect() -> NodeClient:
        return invocation.client(5.0)

    invocation.address()
    watching = Monitor(connect, screen=Screen(view=view), plain=plain)
    if once or not sys.stdin.isatty() or not sys.stdout.isatty():
        output.render(watching.once(recent, width=output.width or 100))
        return exit_codes.OK
    return watching.run(output.console())
