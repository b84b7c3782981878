"""``caxton events``: what happened lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.views import Event

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient

__all__ = ["event_style", "events", "recent"]

QUIET_S = 0.5
"""Recent events come at once; when nothing came for so long, they are over."""
IDLE_S = 3_600.0
RESTART_S = 30.0
"""How long a node that went away is waited for."""


def event_style(event: Event) -> str:
    """The style of an event, by its type."""
    if event.type == "dead_letter" or event.type.endswith("failed"):
        return "fail"
    return "warn" if event.type.startswith("process.") else ""


def recent(client: NodeClient) -> Iterator[Event]:
    """The events the node still holds: all that come before half a second of silence.

    Raises:
        CaxtonError: the node does not answer.
    """
    for event in client.events(QUIET_S):
        if event is None:
            return
        yield event


def _following(client: NodeClient) -> Iterator[Event]:
    return (event for event in client.events(IDLE_S) if event is not None)


@click.command(cls=CaxtonCommand)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events until Ctrl-C.")
@click.option("--type", "kind", metavar="PREFIX", help="Only types that begin so, such as agent.")
@pass_invocation
def events(invocation: Invocation, follow: bool, kind: str | None) -> int:
    """What happened lately: reloads, restarts, dead letters."""
    output = invocation.output

    def show(event: Event) -> None:
        output.line(
            (event.at[11:19], "dim"),
            (f" {event.type:<20}", event_style(event)),
            (f" {event.subject}  ", "name"),
            (event.text, ""),
        )

    with invocation.client(patience_s=RESTART_S if follow else 0.0) as client:
        found = _following(client) if follow else recent(client)
        output.stream((one for one in found if one.type.startswith(kind or "")), show)
    return exit_codes.OK
