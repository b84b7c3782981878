"""``caxton send``: say something to an agent."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import CaxtonError, MessageTooLarge, NotFound, ValidationError
from caxton.message import MAX_CONTENT, Performative, now_ms, parse_performative
from caxton.moments import format_time

if TYPE_CHECKING:
    from caxton.api.drafts import Fields, Reply

__all__ = ["read_content", "send"]

FAILURES: Final = frozenset({"failure", "refuse", "not-understood"})
DEFAULT_WAIT_S: Final = 30.0
ASKS: Final = frozenset(
    {
        Performative.REQUEST,
        Performative.REQUEST_WHEN,
        Performative.REQUEST_WHENEVER,
        Performative.QUERY_IF,
        Performative.QUERY_REF,
        Performative.CFP,
        Performative.PROPOSE,
        Performative.ACCEPT_PROPOSAL,
        Performative.SUBSCRIBE,
        Performative.PROXY,
    }
)
"""Acts that call for an answer: ``send`` waits for one unless told not to."""
COMPLETION_S: Final = 0.2
PATIENCE_S: Final = 5.0
"""A message keeps its id while it is tried again, so trying again sends nothing twice."""


def read_content(text: str) -> bytes:
    """The content that an argument stands for: text, ``@file``, or ``-`` for standard input.

    Text that begins with ``@`` is written ``@@``.

    Raises:
        NotFound: there is no such file.
        ValidationError: the file cannot be read.
        MessageTooLarge: it is over 10 MiB.
    """
    if text == "-":
        data = sys.stdin.buffer.read(MAX_CONTENT + 1)
    elif text.startswith("@@"):
        data = text[1:].encode()
    elif text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            with path.open("rb") as file:
                data = file.read(MAX_CONTENT + 1)
        except FileNotFoundError as error:
            raise NotFound(kind="file", id=str(path)) from error
        except OSError as error:
            raise ValidationError(
                field="content", value=text, allowed=f"a readable file ({error.strerror})"
            ) from error
    else:
        data = text.encode("utf-8", "surrogateescape")
    if len(data) > MAX_CONTENT:
        raise MessageTooLarge(field="content", size=f"more than {MAX_CONTENT}", limit=MAX_CONTENT)
    return data


def _complete_agent(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of agents, live; nothing when the node does not answer within 200 ms."""
    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        with invocation.client(COMPLETION_S) as client:
            agents = client.agents()
    except CaxtonError:
        return []
    return [CompletionItem(a.name) for a in agents if a.name.lower().startswith(incomplete.lower())]


@click.command(cls=CaxtonCommand)
@click.argument("content", metavar="TEXT|@FILE|-")
@click.option("--to", metavar="AGENT", help="Name or id.", shell_complete=_complete_agent)
@click.option("--capability", metavar="NAME", help="Any agent that offers this.")
@click.option(
    "-p", "--performative", default="request", show_default=True, help="The act, as FIPA names it."
)
@click.option("--conversation", metavar="ID", help="Stay in this conversation.")
@click.option("--protocol", metavar="NAME", help="The interaction protocol, such as fipa-request.")
@click.option("--in-reply-to", metavar="ID", help="The message that this one answers.")
@click.option("--parent", metavar="ID", help="The conversation that a new one branches from.")
@click.option(
    "--reply-by",
    metavar="SECONDS",
    type=click.FloatRange(0.001, 86_400),
    help="An answer is of use only so long; after that a FAILURE comes.",
)
@click.option("--wait/--no-wait", default=None, help="Wait for the reply, or only for the ack.")
@pass_invocation
def send(
    invocation: Invocation,
    content: str,
    to: str | None,
    capability: str | None,
    performative: str,
    conversation: str | None,
    protocol: str | None,
    in_reply_to: str | None,
    parent: str | None,
    reply_by: float | None,
    wait: bool | None,
) -> int:
    """Say something to an agent, and print what it answers.

    The reply's content goes to stdout, who said it to stderr. Acts that call for an answer
    (request, query-ref, cfp, ...) wait for it, at most 30 s or --timeout; the others print the
    message's id when it is acknowledged. The exit code is 1 when the reply is a FAILURE, a REFUSE
    or a NOT_UNDERSTOOD, and 8 when none came in time.
    """
    if (to is None) == (capability is None):
        given = "both" if to is not None else "neither"
        raise click.UsageError(f"{given} given, one of --to AGENT and --capability NAME allowed")
    act = parse_performative(performative)
    data = read_content(content)
    waits = act in ASKS if wait is None else wait
    fields: Fields = {
        "to": to,
        "capability": capability,
        "performative": act,
        "conversation_id": conversation,
        "protocol": protocol,
        "in_reply_to": in_reply_to,
        "parent_conversation_id": parent,
    }
    if reply_by is not None:
        fields["reply_by"] = format_time(now_ms() + round(reply_by * 1_000))
    if waits:
        return _ask(invocation, data, fields)
    return _tell(invocation, data, fields)


def _tell(invocation: Invocation, data: bytes, fields: Fields) -> int:
    with invocation.client(patience_s=PATIENCE_S) as client:
        ack = client.send(data, fields)
    output = invocation.output
    if output.structured:
        output.value(ack)
        return exit_codes.OK
    output.text(ack.message_id)
    again = "  duplicate" if ack.duplicate else ""
    output.talk(f"accepted  conversation {ack.conversation_id}  on {ack.durability}{again}")
    return exit_codes.OK


def _ask(invocation: Invocation, data: bytes, fields: Fields) -> int:
    wait_s = invocation.timeout_s or DEFAULT_WAIT_S
    if wait_s < 1.0:
        raise click.UsageError(f"--timeout: {wait_s:g} s given, 1 s to 300 s allowed for a reply")
    with invocation.client(patience_s=PATIENCE_S) as client:
        reply = client.request(data, fields, round(wait_s * 1_000))
    return show_reply(invocation, reply)


def show_reply(invocation: Invocation, reply: Reply) -> int:
    """Print a reply: its content on stdout, the rest on stderr."""
    output = invocation.output
    message = reply["reply"]
    act = str(message.get("performative", ""))
    code = exit_codes.FAILED if act in FAILURES else exit_codes.OK
    if output.structured:
        output.value(dict(reply))
        return code
    if output.format == "name":
        output.text(reply.ack.conversation_id)
        return code
    if "content_base64" in message:
        output.raw(_bytes(message["content_base64"]))
    else:
        output.text(str(message.get("content", "")))
    name = reply.sender_name or message.get("sender", "")
    output.talk(f"{act.upper()} from {name}  conversation {reply.ack.conversation_id}")
    return code


def _bytes(encoded: object) -> bytes:
    try:
        return base64.b64decode(str(encoded), validate=True)
    except binascii.Error as error:
        raise ValidationError(
            field="content_base64", value="a reply", allowed="base64 (RFC 4648)"
        ) from error
