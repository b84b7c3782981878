"""``caxton events``: what happened lately."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import CaxtonError
from caxton.views import Event

if TYPE_CHECKING:
    from caxton.client import Client

__all__ = ["event_style", "events", "recent"]

QUIET_S = 0.5
"""Recent events come at once; when nothing came for so long, they are over."""


def event_style(event: Event) -> str:
    """The style of an event, by its type."""
    if event.type == "dead_letter" or event.type.endswith("failed"):
        return "fail"
    return "warn" if event.type.startswith("process.") else ""


def recent(client: Client, quiet_s: float = QUIET_S) -> Iterator[Event]:
    """The events the node still holds: all that come before ``quiet_s`` seconds of silence.

    Raises:
        CaxtonError: the node does not answer.
    """
    arrived: queue.Queue[Event | CaxtonError | None] = queue.Queue()

    def read() -> None:
        try:
            for event in client.events(after=0):
                arrived.put(event)
        except CaxtonError as error:
            arrived.put(error)
        arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            got = arrived.get(timeout=quiet_s)
        except queue.Empty:
            return
        if got is None:
            return
        if isinstance(got, CaxtonError):
            raise got
        yield got


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

    with invocation.client() as client:
        found = client.events(after=0) if follow else recent(client)
        output.stream((one for one in found if one.type.startswith(kind or "")), show)
    return exit_codes.OK
