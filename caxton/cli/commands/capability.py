"""``caxton capability``: what agents offer, and how one of them is chosen."""

from __future__ import annotations

from typing import Final

import click

from caxton.capability import Strategy
from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.registry_views import CapabilityView, ProviderView

__all__ = ["ls", "set_", "show"]

DEFAULT: Final = "default"


def _able(view: CapabilityView) -> str:
    return f"{sum(one.able for one in view.providers)}/{len(view.providers)}"


def _style(view: CapabilityView) -> str:
    return "" if any(one.able for one in view.providers) else "fail"


COLUMNS: Final[tuple[Column[CapabilityView], ...]] = (
    Column("NAME", lambda c: c.name, lambda _: "name", least=16),
    Column("STRATEGY", lambda c: c.strategy),
    Column("SET", lambda c: "default" if c.default else "yes", drop=1),
    Column("ABLE", _able, _style, right=True),
    Column("PROVIDERS", lambda c: ",".join(one.agent for one in c.providers), least=12, drop=2),
)

PROVIDERS: Final[tuple[Column[ProviderView], ...]] = (
    Column("AGENT", lambda p: p.agent, lambda _: "name", least=16),
    Column("VERSION", lambda p: p.version),
    Column("PRIORITY", lambda p: str(p.priority), right=True),
    Column("STATE", lambda p: p.state, lambda p: "ok" if p.able else "warn"),
    Column("MAILBOX", lambda p: f"{p.mailbox}/{p.mailbox_limit}", right=True, drop=1),
)


@click.command(cls=CaxtonCommand)
@pass_invocation
def ls(invocation: Invocation) -> int:
    """Every capability, how a provider is chosen, and how many of them are able now."""
    with invocation.client() as client:
        found = client.registry(lambda r: r.capabilities())
    invocation.output.items(found, COLUMNS, name=lambda c: c.name, empty="no capabilities")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> int:
    """The providers of one capability, the highest priority first."""
    with invocation.client() as client:
        view = client.registry(lambda r: r.capability(name))
    output = invocation.output
    if output.structured:
        output.value(view)
        return exit_codes.OK
    output.talk(f"{view.name}  {view.strategy}{' (the default)' if view.default else ''}")
    output.items(list(view.providers), PROVIDERS, name=lambda p: p.agent, empty="no providers")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@click.option(
    "--strategy",
    type=click.Choice([*(one.value for one in Strategy), DEFAULT]),
    required=True,
    help="How a provider is chosen; `default` for the node's setting.",
)
@pass_invocation
def set_(invocation: Invocation, name: str, strategy: str) -> int:
    """Choose providers of a capability in another way, from now on and over restarts."""
    wanted = None if strategy == DEFAULT else strategy
    with invocation.client() as client:
        view = client.registry(lambda r: r.set_strategy(name, wanted))
    invocation.output.items([view], COLUMNS, name=lambda c: c.name, empty="")
    return exit_codes.OK
