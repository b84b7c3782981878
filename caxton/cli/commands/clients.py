"""``caxton client``: identities that send from outside of the node."""

from __future__ import annotations

from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.registry_views import ClientView

__all__ = ["ls", "register", "rm", "show"]


def _metadata(view: ClientView) -> str:
    return " ".join(f"{key}={text}" for key, text in sorted(view.metadata.items()))


COLUMNS: Final[tuple[Column[ClientView], ...]] = (
    Column("NAME", lambda c: c.name, lambda _: "name", least=16),
    Column("ID", lambda c: c.id),
    Column("METADATA", _metadata, least=10, drop=1),
    Column("UPDATED", lambda c: c.updated_at, drop=2),
)


def _one(invocation: Invocation, view: ClientView) -> int:
    output = invocation.output
    if output.structured:
        output.value(view)
    else:
        output.items([view], COLUMNS, name=lambda c: c.name, empty="")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@pass_invocation
def ls(invocation: Invocation) -> int:
    """Registered client identities, by name."""
    with invocation.client() as client:
        found = client.registry(lambda r: r.clients())
    invocation.output.items(found, COLUMNS, name=lambda c: c.name, empty="no clients")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> int:
    """One client identity; NAME may also be its id."""
    with invocation.client() as client:
        return _one(invocation, client.registry(lambda r: r.client(name)))


@click.command(cls=CaxtonCommand)
@click.argument("name")
@click.option(
    "--metadata", "pairs", metavar="KEY=TEXT", multiple=True, help="Said of it; several times."
)
@pass_invocation
def register(invocation: Invocation, name: str, pairs: tuple[str, ...]) -> int:
    """Register a client identity, or change its metadata; its id may then be a sender.

    A client reads the replies to its messages from their conversations.
    """
    metadata = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair} given, KEY=TEXT allowed", param_hint="--metadata")
        metadata[key] = text
    with invocation.client() as client:
        return _one(invocation, client.registry(lambda r: r.register(name, metadata)))


@click.command(cls=CaxtonCommand)
@click.argument("name")
@pass_invocation
def rm(invocation: Invocation, name: str) -> int:
    """Deregister a client identity: it may send no more."""
    with invocation.client() as client:
        return _one(invocation, client.registry(lambda r: r.deregister(name)))
