"""``caxton memory config show|set``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.memory.config_view import MemoryConfig

__all__ = ["config"]


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    value: object
    origin: str
    allowed: str


NAME: Final[Column[_Row]] = Column("SETTING", lambda r: r.name, lambda _: "name")
VALUE: Final[Column[_Row]] = Column("VALUE", lambda r: str(r.value) or "-", least=12)
ORIGIN: Final[Column[_Row]] = Column("ORIGIN", lambda r: r.origin)
ALLOWED: Final[Column[_Row]] = Column("ALLOWED", lambda r: r.allowed, lambda _: "dim", least=16)


def _rows(found: MemoryConfig) -> list[_Row]:
    rows = [
        _Row(name, value, "set" if name in found.changed else "configuration", found.allowed[name])
        for name, value in found.settings.items()
    ]
    at_start = "at a start only"
    rows += [_Row(name, value, "configuration", at_start) for name, value in found.fixed.items()]
    return rows


def _number(text: str, given: str) -> float | None:
    if text.lower() in ("default", ""):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise click.BadParameter(f"{given} given, NAME=NUMBER or NAME=default allowed")


def _changes(given: tuple[str, ...]) -> dict[str, float | None]:
    changes: dict[str, float | None] = {}
    for one in given:
        name, sign, text = one.partition("=")
        name = name.strip().removeprefix("memory.")
        if not sign or not name:
            raise click.BadParameter(f"{one} given, NAME=NUMBER or NAME=default allowed")
        changes[name] = _number(text.strip(), one)
    return changes


@click.command(cls=CaxtonCommand)
@click.argument("action", type=click.Choice(("show", "set")), default="show")
@click.argument("settings", nargs=-1, metavar="[NAME=VALUE]...")
@pass_invocation
def config(invocation: Invocation, action: str, settings: tuple[str, ...]) -> int:
    """Show how the memory works, or set it while it runs. NAME=default undoes what was set."""
    if action == "show" and settings:
        raise click.UsageError("`show` takes no settings; `caxton memory config set NAME=VALUE`")
    if action == "set" and not settings:
        raise click.UsageError("`set` needs NAME=VALUE; `caxton memory config show` names them")
    changes = _changes(settings)
    with invocation.client() as client:
        if changes:
            found = client.memory(lambda m: m.configure(**changes))
        else:
            found = client.memory(lambda m: m.config())
    if invocation.output.structured:
        invocation.output.value(found)
    else:
        columns = (NAME, VALUE, ORIGIN, ALLOWED)
        invocation.output.items(_rows(found), columns, name=lambda r: r.name)
    return exit_codes.OK
