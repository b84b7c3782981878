"""``caxton monitor``: watch a node in the terminal."""

from __future__ import annotations

import sys

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

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
    from caxton.monitor.app import Monitor
    from caxton.monitor.views import Screen

    output = invocation.output
    address = invocation.address()
    client = invocation.client(5.0)
    if output.structured:
        with client:
            output.value(
                {
                    "node": client.node(),
                    "agents": client.agents(),
                    "conversations": client.conversations(50),
                }
            )
        return exit_codes.OK
    screen = Screen(view=view)
    app = Monitor(address, lambda: client, screen=screen, plain=plain)
    if once or not sys.stdin.isatty() or not sys.stdout.isatty():
        with client:
            output.render(app.once(width=output.width or 100))
        return exit_codes.OK
    client.close()
    return Monitor(
        address, lambda: invocation.client(5.0), screen=screen, plain=plain
    ).run(output.console())
