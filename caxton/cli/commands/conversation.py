"""``caxton conversation``: who talks with whom about what."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column, clean, shorten
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import ConversationNotFound, ValidationError
from caxton.views import PAGE, ConversationDetail, ConversationView, MessageView, ProtocolView

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from caxton.cli.node_client import NodeClient

__all__ = ["columns", "ls", "reply_tree", "resolve_id", "show"]

WHOLE_ID: Final = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
PREFIX: Final = re.compile(r"[0-9a-fA-F-]{1,36}")
LEAST_PREFIX: Final = 8
SEARCHED: Final = 1_000
"""Conversations that are looked through for a prefix, the newest first."""
SHOWN: Final = 400
"""Characters of a content in the tree; ``--full`` shows all."""


def unique_prefix(ids: Sequence[str]) -> int:
    """How many characters tell these ids apart, at least 8."""
    ordered = sorted(ids)
    needed = LEAST_PREFIX
    for one, other in itertools.pairwise(ordered):
        common = 0
        while common < len(one) and one[common] == other[common : common + 1]:
            common += 1
        needed = max(needed, min(common + 1, len(one)))
    return needed


def columns(rows: Sequence[ConversationView]) -> tuple[Column[ConversationView], ...]:
    """The columns for these conversations: with little room, ids are cut to what tells them apart.

    ``conversation show`` takes such a prefix.
    """
    length = unique_prefix([row.id for row in rows])
    return (
        Column("ID", lambda c: c.id, lambda _: "name", brief=lambda c: c.id[:length]),
        Column("STATE", lambda c: c.state, lambda c: "ok" if c.state == "active" else "dim"),
        Column("PARTICIPANTS", lambda c: " ".join(c.participants), least=16),
        Column("PROTOCOL", lambda c: c.protocol or "-", drop=3),
        Column("MESSAGES", lambda c: str(c.messages), right=True),
        Column(
            "PENDING",
            lambda c: str(c.pending),
            lambda c: "warn" if c.pending else "",
            right=True,
        ),
        Column("SHARD", lambda c: str(c.shard), right=True, drop=4),
        Column("LAST ACTIVITY", lambda c: c.last_activity, drop=2, brief=_short_time),
    )


def _short_time(conversation: ConversationView) -> str:
    return conversation.last_activity[:19]


@click.command(cls=CaxtonCommand)
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="At most so many."
)
@pass_invocation
def ls(invocation: Invocation, limit: int) -> int:
    """Conversations, the newest activity first."""
    with invocation.client() as client:
        found = client.conversations(limit)
    invocation.output.items(
        found, columns(found), name=lambda c: c.id, empty="no conversations yet"
    )
    return exit_codes.OK


def resolve_id(client: NodeClient, given: str) -> str:
    """The id of a conversation, from the id itself or the beginning of it.

    Raises:
        ConversationNotFound: none of the newest 1,000 begins so.
        ValidationError: it is no id, or several begin so.
    """
    if WHOLE_ID.fullmatch(given):
        return given
    if not PREFIX.fullmatch(given):
        raise ValidationError(field="conversation", value=given, allowed="an id or its beginning")
    wanted = given.lower()
    found = [c.id for c in client.conversations(SEARCHED) if c.id.startswith(wanted)]
    if not found:
        raise ConversationNotFound(conversation=given)
    if len(found) > 1:
        raise ValidationError(
            field="conversation",
            value=given,
            allowed=f"a longer beginning, {len(found)} conversations begin so",
        )
    return found[0]


@click.command(cls=CaxtonCommand)
@click.argument("conversation", metavar="ID")
@click.option("--full", is_flag=True, help="Contents in full length.")
@click.option(
    "--limit", type=click.IntRange(1, PAGE), default=PAGE, show_default=True, help="Messages."
)
@click.option("--before", type=click.IntRange(1), help="Only messages before this sequence number.")
@pass_invocation
def show(
    invocation: Invocation, conversation: str, full: bool, limit: int, before: int | None
) -> int:
    """The newest messages of one conversation, as a tree of replies.

    ID may be the beginning of an id, as long as only one conversation begins so.
    """
    with invocation.client() as client:
        detail = client.conversation(resolve_id(client, conversation), limit, before or 0)
    output = invocation.output
    if output.format == "jsonl":
        for one in detail.messages:
            output.value(one)
    elif output.structured:
        output.value(detail)
    elif output.format == "name":
        output.text(detail.conversation.id)
    else:
        output.render(reply_tree(detail, None if full else SHOWN))
    return exit_codes.OK


def reply_tree(detail: ConversationDetail, shown: int | None) -> Tree:
    """The conversation as rich draws it: each message below the one it answers."""
    from rich.text import Text
    from rich.tree import Tree

    view = detail.conversation
    root = Tree(
        Text.assemble(
            (f"conversation {view.id}", "name"),
            f"  {view.state}  {view.messages} messages",
            (f"  {view.pending} pending" if view.pending else "", "warn"),
            (f"  {clean(view.protocol)}" if view.protocol else "", "dim"),
            (f"  branched from {view.parent}" if view.parent else "", "dim"),
        ),
        guide_style="dim",
    )
    if view.progress is not None:
        root.add(_progress(view.progress))
    if detail.before:
        root.add(Text(f"older messages: --before {detail.before}", "dim"))
    nodes: dict[str, Tree] = {}
    for one in detail.messages:
        parent = nodes.get(str(one.message.get("in_reply_to", "")), root)
        node = parent.add(_label(one, shown))
        for key in ("message_id", "reply_with"):
            if one.message.get(key):
                nodes.setdefault(str(one.message[key]), node)
    return root


def _progress(progress: ProtocolView) -> Text:
    from rich.text import Text

    runs = ", ".join(f"{clean(one)} {state}" for one, state in progress.participants.items())
    awaited = f", answer awaited until {progress.deadline}" if progress.deadline else ""
    return Text(f"{progress.name} of {clean(progress.initiator)}: {runs}{awaited}")


def _label(one: MessageView, shown: int | None) -> Text:
    from rich.text import Text

    body = one.message
    act = str(body.get("performative", "?")).upper()
    receiver = one.receiver_name or f"capability {body.get('capability', '?')}"
    head = Text.assemble(
        (act, "fail" if act in ("FAILURE", "REFUSE", "NOT-UNDERSTOOD") else "title"),
        f"  {clean(one.sender_name)} -> {clean(receiver)}",
        (f"  {str(body.get('created_at', ''))[11:23]}", "dim"),
        (f"  {one.state}" if one.state != "handled" else "", "warn"),
    )
    content = body.get("content")
    if content is None and "content_base64" in body:
        size = len(str(body["content_base64"])) * 3 // 4
        return head.append(f"\n{size:,} bytes", "dim")
    lines = [clean(line) for line in str(content or "").splitlines()]
    text = "\n".join(lines)
    return head.append(f"\n{text if shown is None else shorten(text, shown)}") if text else head
