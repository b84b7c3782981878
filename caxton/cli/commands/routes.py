"""``caxton route``: the routing table."""

from __future__ import annotations

from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.registry_views import RouteView

__all__ = ["ls"]

COLUMNS: Final[tuple[Column[RouteView], ...]] = (
    Column("AGENT", lambda r: r.agent, lambda _: "name", least=16),
    Column("AGENT ID", lambda r: r.agent_id, drop=2),
    Column("NODE", lambda r: r.node_id, drop=3),
    Column("SHARD", lambda r: str(r.shard), right=True),
    Column("HOPS", lambda r: str(r.hops), right=True),
    Column("UPDATED", lambda r: r.updated_at, drop=1),
)


@click.command(cls=CaxtonCommand)
@pass_invocation
def ls(invocation: Invocation) -> int:
    """Where the messages of each running agent go."""
    with invocation.client() as client:
        found = client.registry(lambda r: r.routes())
    invocation.output.items(found, COLUMNS, name=lambda r: r.agent, empty="no routes")
    return exit_codes.OK
