"""``caxton storage``: look at, back up, restore and compact a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.upkeep.backup import BackupReport
from caxton.upkeep.backup import backup as back_up
from caxton.upkeep.backup import compact as make_compact
from caxton.upkeep.backup import restore as make_data
from caxton.upkeep.check import StoreReport
from caxton.upkeep.check import verify as look

__all__ = ["backup", "compact", "restore", "verify"]

COLUMNS: Final[tuple[Column[StoreReport], ...]] = (
    Column("STORE", lambda r: r.store, lambda _: "name", least=10),
    Column("BYTES", lambda r: f"{r.bytes:,}", right=True),
    Column("RECORDS", lambda r: f"{sum(r.records.values()):,}", right=True, drop=1),
    Column("MESSAGES", lambda r: f"{r.messages:,}", right=True),
    Column("PENDING", lambda r: f"{r.pending:,}", right=True),
    Column("FAULTS", lambda r: f"{len(r.faults) + r.more_faults:,}",
           lambda r: "fail" if r.faults else "ok", right=True),
)  # fmt: skip


@click.command(cls=CaxtonCommand)
@pass_invocation
def verify(invocation: Invocation) -> int:
    """Read and check every record of the data folder; its node may run.

    The exit code is 1 when something is not as it was written.
    """
    found = look(invocation.folder)
    output = invocation.output
    output.items(found, COLUMNS, name=lambda r: r.store)
    if not output.structured:
        for one in found:
            for fault in one.faults:
                output.talk(f"{one.store}: {fault}")
            if one.more_faults:
                output.talk(f"{one.store}: and {one.more_faults:,} more")
    return exit_codes.FAILED if any(one.faults for one in found) else exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("target", metavar="FOLDER", type=click.Path(path_type=Path))
@pass_invocation
def backup(invocation: Invocation, target: Path) -> int:
    """Copy the data folder's stores to the new FOLDER; its node may run."""
    report = back_up(invocation.folder.absolute(), target.absolute())
    return _said(invocation, report, f"backed up to {target}")


@click.command(cls=CaxtonCommand)
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path))
@pass_invocation
def restore(invocation: Invocation, source: Path) -> int:
    """Check the backup in FOLDER and make the data folder from it, which must be new."""
    report = make_data(source.absolute(), invocation.folder.absolute())
    return _said(invocation, report, f"restored to {invocation.folder}, as it was at {report.at}")


@click.command(cls=CaxtonCommand)
@pass_invocation
def compact(invocation: Invocation) -> int:
    """Give back the room that removed records left in the data folder; its node must be stopped."""
    report = make_compact(invocation.folder.absolute())
    freed = sum(report.before.values()) - sum(report.stores.values())
    return _said(invocation, report, f"compacted, {freed:,} bytes freed")


def _said(invocation: Invocation, report: BackupReport, text: str) -> int:
    output = invocation.output
    if output.structured:
        output.value(report)
    elif output.format == "name":
        for name in report.stores:
            output.text(name)
    else:
        total = sum(report.stores.values())
        output.text(f"{text}: {len(report.stores)} stores, {total:,} bytes")
    return exit_codes.OK
