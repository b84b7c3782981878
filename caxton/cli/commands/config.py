"""``caxton config``: settings and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.config import SETTINGS, Loaded, load

__all__ = ["SettingRow", "setting_rows", "show", "validate"]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as it is in force."""

    key: str
    value: object
    origin: str
    variable: str
    allowed: str
    help: str


def setting_rows(loaded: Loaded) -> list[SettingRow]:
    """Every setting in the order of the table; secrets as ``***``."""
    rows = []
    for setting in SETTINGS:
        value = getattr(loaded.config, setting.field)
        plain = value if isinstance(value, bool | int | float) else str(value)
        rows.append(
            SettingRow(
                setting.key,
                plain,
                loaded.origins.get(setting.key, "default"),
                setting.variable,
                setting.allowed,
                setting.help,
            )
        )
    return rows


def _shown(row: SettingRow) -> str:
    if isinstance(row.value, bool):
        return str(row.value).lower()
    return str(row.value) if row.value != "" else "-"


KEY: Column[SettingRow] = Column("SETTING", lambda r: r.key, lambda _: "name")
VALUE: Column[SettingRow] = Column("VALUE", _shown, least=20)
ORIGIN: Column[SettingRow] = Column(
    "ORIGIN", lambda r: r.origin, lambda r: "dim" if r.origin == "default" else ""
)
ALLOWED: Column[SettingRow] = Column("ALLOWED", lambda r: r.allowed, lambda _: "dim", least=16)


@click.command(cls=CaxtonCommand)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    help="File; caxton.toml here otherwise.",
)
@click.option("--profile", metavar="NAME", help="As a node started with this profile.")
@click.option(
    "--origin", "--effective", "origin", is_flag=True, help="Also where each value comes from."
)
@pass_invocation
def show(invocation: Invocation, file: Path | None, profile: str | None, origin: bool) -> int:
    """Every setting with its value, as a node started here would have it."""
    flags = {"data": invocation.data, "profile": profile}
    loaded = load(file, env=invocation.env, flags=flags)
    columns = (KEY, VALUE, ORIGIN, ALLOWED) if origin else (KEY, VALUE, ALLOWED)
    invocation.output.items(setting_rows(loaded), columns, name=lambda r: r.key)
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@pass_invocation
def validate(invocation: Invocation, file: Path | None) -> int:
    """Check a configuration file, and the environment variables, without starting anything."""
    loaded = load(file, env=invocation.env, flags={"data": invocation.data})
    given = {key: origin for key, origin in loaded.origins.items() if origin != "default"}
    if invocation.output.structured:
        invocation.output.value({"valid": True, "origins": given})
    else:
        for key, origin in given.items():
            invocation.output.text(f"{key}: {origin}")
        invocation.output.talk(f"valid: {len(given)} settings are given, the others are defaults")
    return exit_codes.OK
