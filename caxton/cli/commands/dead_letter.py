"""``caxton dead-letter``: messages that could not be handled, and what to do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column, clean
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import CaxtonError
from caxton.views import DeadLetterDetail, DeadLetterView

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient

__all__ = ["COLUMNS", "discard", "ls", "retry", "show"]

MOST: Final = 100_000
"""Dead letters that ``--all`` takes at once."""

COLUMNS: Final[tuple[Column[DeadLetterView], ...]] = (
    Column("ID", lambda d: d.id, lambda _: "name"),
    Column("AT", lambda d: d.at, drop=2, brief=lambda d: d.at[:19]),
    Column("REASON", lambda d: d.reason, lambda _: "fail"),
    Column("ACT", lambda d: d.performative, drop=4),
    Column("FROM", lambda d: d.sender, drop=3),
    Column("TO", lambda d: d.receiver or f"capability {d.capability}", least=8),
    Column("TRIES", lambda d: str(d.attempts), right=True),
    Column("DETAIL", lambda d: d.detail, least=20),
)


@click.command(cls=CaxtonCommand)
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="At most so many."
)
@pass_invocation
def ls(invocation: Invocation, limit: int) -> int:
    """Messages that could not be handled, the latest first."""
    with invocation.client() as client:
        found = client.dead_letters(limit)
    invocation.output.items(found, COLUMNS, name=lambda d: d.id, empty="no dead letters")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("letter", metavar="ID")
@pass_invocation
def show(invocation: Invocation, letter: str) -> int:
    """Why a message could not be handled, with its content and traceback."""
    with invocation.client() as client:
        detail = client.dead_letter(letter)
    output = invocation.output
    if output.structured:
        output.value(detail)
    elif output.format == "name":
        output.text(detail.letter.id)
    else:
        output.text(describe(detail))
    return exit_codes.OK


def describe(detail: DeadLetterDetail) -> str:
    """A dead letter as text."""
    letter = detail.letter
    rows = [
        ("id", letter.id),
        ("at", letter.at),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("tries", str(letter.attempts)),
        ("act", letter.performative),
        ("from", letter.sender),
        ("to", letter.receiver or f"capability {letter.capability}"),
        ("message", letter.message_id),
        ("conversation", letter.conversation_id),
    ]
    lines = [f"{name:<13} {clean(text)}" for name, text in rows]
    content = detail.message.get("content")
    if content is None:
        lines.append(f"{'content':<13} {letter.size:,} bytes")
    else:
        lines += ["", *(clean(line) for line in str(content).splitlines())]
    if detail.traceback:
        lines += ["", *(clean(line) for line in detail.traceback.splitlines())]
    return "\n".join(lines)


def _wanted(client: NodeClient, letters: Sequence[str], every: bool, reason: str) -> list[str]:
    if bool(letters) == every:
        raise click.UsageError("Give one or more ids, or --all.")
    if not every:
        return list(letters)
    return [one.id for one in client.dead_letters(MOST) if reason in ("", one.reason)]


def _each(
    invocation: Invocation, ids: Sequence[str], step: Callable[[str], DeadLetterView], done: str
) -> int:
    """Do ``step`` for each id; the first failure decides the exit code, the others are done."""
    output = invocation.output
    failed: CaxtonError | None = None
    views = []
    for one in ids:
        try:
            views.append(step(one))
        except CaxtonError as error:
            failed = failed or error
    output.items(views, COLUMNS, name=lambda d: d.id, empty=f"nothing was {done}")
    if failed is not None:
        raise failed
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("letters", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option("--reason", default="", metavar="CODE", help="With --all: only those of this code.")
@pass_invocation
def retry(invocation: Invocation, letters: tuple[str, ...], every: bool, reason: str) -> int:
    """Have dead letters handled once more, as if they came now; shows them as they were."""
    with invocation.client() as client:
        ids = _wanted(client, letters, every, reason)
        return _each(invocation, ids[::-1], client.retry_dead_letter, "tried again")


@click.command(cls=CaxtonCommand)
@click.argument("letters", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them; needs --yes.")
@click.option("--reason", default="", metavar="CODE", help="With --all: only those of this code.")
@click.option("--yes", is_flag=True, help="Without asking.")
@pass_invocation
def discard(
    invocation: Invocation, letters: tuple[str, ...], every: bool, reason: str, yes: bool
) -> int:
    """Remove dead letters for good; shows them as they were."""
    if every and not yes:
        raise click.UsageError("Discarding all of them is for good: add --yes.")
    with invocation.client() as client:
        ids = _wanted(client, letters, every, reason)
        return _each(invocation, ids, client.discard_dead_letter, "discarded")
