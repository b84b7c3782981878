"""``caxton breaker``: the circuit breakers of agents that failed."""

from __future__ import annotations

from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.registry_views import BreakerView

__all__ = ["ls", "reset"]

_STYLES: Final = {"open": "fail", "half-open": "warn", "closed": "ok"}
COLUMNS: Final[tuple[Column[BreakerView], ...]] = (
    Column("AGENT", lambda b: b.agent, lambda _: "name", least=16),
    Column("SHARD", lambda b: str(b.shard), right=True, drop=3),
    Column("STATE", lambda b: b.state, lambda b: _STYLES.get(b.state, "dim")),
    Column("FAILURES", lambda b: str(b.failures), right=True),
    Column("SLOW", lambda b: str(b.slow), right=True, drop=2),
    Column("UNTIL", lambda b: b.until[11:19], drop=1),
    Column("REASON", lambda b: b.reason),
)


@click.command(cls=CaxtonCommand)
@pass_invocation
def ls(invocation: Invocation) -> int:
    """Agents that failed, and whether messages go through to them."""
    with invocation.client() as client:
        found = client.registry(lambda r: r.breakers())
    invocation.output.items(found, COLUMNS, name=lambda b: b.agent, empty="no agent has failed")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("agent", metavar="AGENT")
@pass_invocation
def reset(invocation: Invocation, agent: str) -> int:
    """Let messages through to AGENT again, at once."""
    with invocation.client() as client:
        found = client.registry(lambda r: r.reset_breaker(agent))
    output = invocation.output
    if output.structured:
        output.value(found)
    elif output.format == "name":
        output.text(agent)
    else:
        states = ", ".join(f"{one.state} at shard {one.shard}" for one in found)
        output.text(f"{agent}: reset, was {states}" if found else f"{agent}: has no breaker")
    return exit_codes.OK
