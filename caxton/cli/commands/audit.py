"""``caxton audit``: the audit trail of a data folder, read without its node."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import ValidationError
from caxton.moments import format_time
from caxton.storage.audit import AUDIT_EVENTS, AuditReader, AuditRecord, Verdict

__all__ = ["show", "verify"]


class AuditRow(msgspec.Struct, frozen=True):
    """A record as it is shown."""

    sequence: int
    at: str
    event: str
    subject: str
    detail: str
    hash: str


COLUMNS: Final[tuple[Column[AuditRow], ...]] = (
    Column("NUMBER", lambda a: str(a.sequence), right=True),
    Column("AT", lambda a: a.at[:19], drop=2),
    Column("EVENT", lambda a: a.event),
    Column("OF", lambda a: a.subject, lambda _: "name", least=12),
    Column("DETAIL", lambda a: a.detail, drop=1),
)


@click.command(cls=CaxtonCommand)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="At most so many.",
)
@click.option(
    "--event", metavar="NAME", type=click.Choice(tuple(AUDIT_EVENTS)), help="Only these events."
)
@pass_invocation
def show(invocation: Invocation, limit: int, event: str | None) -> int:
    """What came, changed and went: agents, clients, settings, operators' acts; the newest last."""
    reader = AuditReader(invocation.folder)
    try:
        found = reader.newest(limit, event)
    finally:
        reader.close()
    invocation.output.items(
        [_row(one) for one in found],
        COLUMNS,
        name=lambda a: str(a.sequence),
        empty="nothing has happened",
    )
    return exit_codes.OK


def _row(record: AuditRecord) -> AuditRow:
    at = format_time(record.at)
    return AuditRow(
        record.sequence, at, record.kind, record.subject, record.detail, record.hash.hex()
    )


@click.command(cls=CaxtonCommand)
@click.option("--head", metavar="HASH", help="The last hash that you kept: it must still be there.")
@pass_invocation
def verify(invocation: Invocation, head: str | None) -> int:
    """Whether every record of the audit trail is there and as it was written.

    The exit code is 1 when one is not. Keep the hash that is printed: a trail whose end was cut off
    fits together, but does not have it any more.
    """
    if head is not None and (len(head) != 64 or set(head.lower()) - set("0123456789abcdef")):
        raise ValidationError(field="--head", value=head, allowed="64 hex digits")
    reader = AuditReader(invocation.folder)
    try:
        verdict = reader.verify()
        kept = head is None or reader.has(bytes.fromhex(head))
    finally:
        reader.close()
    output = invocation.output
    good = kept and not verdict.broken_at
    if output.structured:
        output.value({**_fields(verdict), "head_found": kept})
    elif output.format == "name":
        output.text(verdict.head)
    elif verdict.broken_at:
        output.text(f"broken at record {verdict.broken_at}: {verdict.reason}")
    elif not kept:
        output.text(f"{verdict.records:,} records fit together; {head} is none of them: cut off")
    else:
        output.text(f"{verdict.records:,} records, each as it was written; head {verdict.head}")
    return exit_codes.OK if good else exit_codes.FAILED


def _fields(verdict: Verdict) -> dict[str, object]:
    return {
        "records": verdict.records,
        "head": verdict.head,
        "broken_at": verdict.broken_at,
        "reason": verdict.reason,
    }
