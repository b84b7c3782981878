"""The calls of the REST API without any I/O: what both Python clients share.

A message's id and its conversation's id are chosen before its first try. The node recognises a
message by them, so trying again after a lost answer cannot send it twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from caxton.api.drafts import Body, Reply, complete, dump, id_text
from caxton.api.exchange import AGAIN, BACKOFF_S, Answer, Call, Exchange, Pause, Steps, rebuilt
from caxton.api.health import Health, Readiness
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    ConversationNotFound,
    DeadLetterNotFound,
    InternalError,
    NodeUnreachable,
    Timeout,
    ValidationError,
)
from caxton.message import Message
from caxton.types import AgentName, MessageBatchSize, MessageTimeoutMs
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    NodeView,
)

__all__ = ["Calls"]

T = TypeVar("T")

API: Final = "/api/v1"
LETTER: Final = re.compile(r"[0-9]{1,5}-[0-9]{1,18}")
CHUNK: Final = int(MessageBatchSize.high)
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""A chunk of a batch ends at so many bytes, or with one message that is longer."""
PAGE: Final = 1_000
WAIT_MARGIN_S: Final = 10.0
"""How much longer than the node a client waits for a reply, so that it hears of the timeout."""
NOT_FINAL: Final = frozenset({"agree"})
"""Acts that announce a reply and are none."""


class Calls(Exchange):
    """The calls one client can make."""

    def _sending_deadline(self) -> float:
        return self.clock() + min(self.retry_s, self.timeout_s)

    # --- messages ----------------------------------------------------------------------------

    def send(self, body: Body, deadline: float | None = None) -> Steps[Ack]:
        """Send one message until it is accepted."""
        data = dump(complete(body))
        limit = self._sending_deadline() if deadline is None else deadline
        return (yield from self.post(f"{API}/messages", data, Ack, limit))

    def request(self, body: Body, timeout_ms: int) -> Steps[Reply]:
        """Send one message and get its reply.

        When the node goes away in between, the message is sent again, and its reply is looked
        for in its conversation, where a reply stays that nobody was there to take.
        """
        limit = MessageTimeoutMs.parse(timeout_ms, "timeout_ms")
        body = complete(body)
        deadline = self.clock() + limit / 1_000
        call = Call(
            "POST",
            f"{API}/messages",
            {"wait": f"{limit}ms"},
            dump(body),
            limit / 1_000 + WAIT_MARGIN_S,
        )
        try:
            return Reply(self.read((yield call), dict[str, Any]))
        except CaxtonError as error:
            pause = self.pause_s(error, 0, deadline)
            if pause is None:
                raise
        yield Pause(pause)
        ack = yield from self.send(body, deadline)
        tries = 0
        while True:
            found = yield from self._reply_to(body)
            if found is not None:
                return Reply(msgspec.to_builtins(ack) | {"reply": found})
            pause = min(BACKOFF_S[0] * 2.0 ** min(tries, 20), BACKOFF_S[1])
            if self.clock() + pause >= deadline:
                raise Timeout(
                    what="reply",
                    timeout_ms=limit,
                    message_id=ack.message_id,
                    conversation_id=ack.conversation_id,
                )
            yield Pause(pause)
            tries += 1

    def _reply_to(self, body: Body) -> Steps[dict[str, Any] | None]:
        """The reply to a message, from its conversation; None when there is none yet."""
        try:
            detail = yield from self.conversation(body["conversation_id"])
        except ConversationNotFound:
            return None
        except CaxtonError as error:
            if error.code in AGAIN:
                return None
            raise
        keys = (body["message_id"], body.get("reply_with"))
        for one in detail.messages:
            message = one.message
            answers = message.get("in_reply_to")
            if answers and answers in keys and message.get("performative") not in NOT_FINAL:
                names = {"sender_name": one.sender_name, "receiver_name": one.receiver_name}
                return {**message, **names}
        return None

    def send_many(self, messages: Iterable[Body | Message]) -> Steps[list[Ack | CaxtonError]]:
        """Send messages in chunks, one outcome for each, in order."""
        encoded = [dump(complete(one)) for one in messages]
        outcomes: list[Ack | CaxtonError] = []
        for chunk in _chunks(encoded):
            try:
                outcomes += yield from self._send_chunk(chunk)
            except CaxtonError as error:
                if not outcomes and isinstance(error, NodeUnreachable):
                    raise
                outcomes += [error] * len(chunk)
                if isinstance(error, NodeUnreachable):
                    outcomes += [error] * (len(encoded) - len(outcomes))
                    break
        return outcomes

    def _send_chunk(self, chunk: Sequence[bytes]) -> Steps[list[Ack | CaxtonError]]:
        """Send one chunk; messages that a busy part of the node refused are sent again."""
        deadline = self._sending_deadline()
        outcomes: dict[int, Ack | CaxtonError] = {}
        left = list(range(len(chunk)))
        tries = 0
        while True:
            data = b'{"messages":[' + b",".join(chunk[index] for index in left) + b"]}"
            found = yield from self.post(
                f"{API}/messages/batch", data, dict[str, list[Any]], deadline
            )
            items = found.get("items", [])
            if len(items) != len(left):
                raise InternalError(reason=f"{len(left)} messages sent, {len(items)} outcomes")
            outcomes |= {index: _outcome(item) for index, item in zip(left, items, strict=True)}
            again = {
                index: error
                for index in left
                if isinstance(error := outcomes[index], CaxtonError) and error.code in AGAIN
            }
            pauses = [self.pause_s(error, tries, deadline) for error in again.values()]
            waits = [pause for pause in pauses if pause is not None]
            if not again or len(waits) < len(pauses):
                return [outcomes[index] for index in range(len(chunk))]
            yield Pause(max(waits))
            left = list(again)
            tries += 1

    # --- questions ---------------------------------------------------------------------------

    def _pages(
        self, path: str, kind: type[T], query: Mapping[str, str], limit: int | None
    ) -> Steps[list[T]]:
        found: list[T] = []
        token = ""
        while True:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            asked = {**query, "page_size": str(size)}
            if token:
                asked["page_token"] = token
            page = yield from self.get(path, dict[str, Any], asked)
            try:
                found += msgspec.convert(page["items"], list[kind])  # type: ignore[valid-type]  # a type at run time
                token = str(page["next_page_token"])
            except (msgspec.ValidationError, KeyError) as error:
                raise InternalError(reason=f"the node's answer does not fit: {error}") from error
            if not token or (limit is not None and len(found) >= limit):
                return found

    def pages(self, path: str, kind: type[T]) -> Steps[list[T]]:
        """All items of a list."""
        return (yield from self._pages(path, kind, {}, None))

    def agents(self, state: str | None, capability: str | None) -> Steps[list[AgentView]]:
        """All agents, by name."""
        given = {"state": state, "capability": capability}
        query = {key: value for key, value in given.items() if value is not None}
        return (yield from self._pages(f"{API}/agents", AgentView, query, None))

    def agent(self, name_or_id: str) -> Steps[AgentView]:
        """One agent. What cannot be a name is not asked for: it would be another path."""
        try:
            AgentName.parse(name_or_id, "agent")
        except ValidationError:
            raise AgentNotFound(agent=name_or_id, near="") from None
        return (yield from self.get(f"{API}/agents/{quote(name_or_id, safe='')}", AgentView))

    def conversations(self, limit: int) -> Steps[list[ConversationView]]:
        """Conversations, the newest activity first."""
        if limit < 1:
            raise ValidationError(field="limit", value=limit, allowed="1 or more")
        return (yield from self._pages(f"{API}/conversations", ConversationView, {}, limit))

    def conversation(
        self, conversation_id: bytes | str, limit: int | None = None, before: int = 0
    ) -> Steps[ConversationDetail]:
        """One conversation."""
        key = id_text(conversation_id, "conversation_id")
        given = {"limit": limit, "before": before or None}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        path = f"{API}/conversations/{key}"
        return (yield from self.get(f"{path}?{query}" if query else path, ConversationDetail))

    def dead_letters(self, limit: int) -> Steps[list[DeadLetterView]]:
        """Dead letters, the latest first."""
        if limit < 1:
            raise ValidationError(field="limit", value=limit, allowed="1 or more")
        return (yield from self._pages(f"{API}/dead-letters", DeadLetterView, {}, limit))

    def _letter(self, letter_id: str) -> str:
        if not LETTER.fullmatch(letter_id):
            raise DeadLetterNotFound(letter=letter_id)
        return f"{API}/dead-letters/{letter_id}"

    def dead_letter(self, letter_id: str) -> Steps[DeadLetterDetail]:
        """One dead letter."""
        return (yield from self.get(self._letter(letter_id), DeadLetterDetail))

    def retry_dead_letter(self, letter_id: str) -> Steps[DeadLetterView]:
        """Have its message handled once more."""
        path = f"{self._letter(letter_id)}/retry"
        return (yield from self.change("POST", path, DeadLetterView))

    def discard_dead_letter(self, letter_id: str) -> Steps[DeadLetterView]:
        """Remove it for good."""
        return (yield from self.change("DELETE", self._letter(letter_id), DeadLetterView))

    def node(self) -> Steps[NodeView]:
        """The node at one glance."""
        return (yield from self.get(f"{API}/node", NodeView))

    def health(self) -> Steps[Health]:
        """Whether the API's process lives."""
        return (yield from self.get("/health", Health))

    def ready(self) -> Steps[Readiness]:
        """Whether the node takes messages; one that does not is an answer too, no error."""
        answer = yield Call("GET", "/ready", timeout_s=self.timeout_s)
        if answer is not None and answer.status == 503 and answer.media == "application/json":
            answer = Answer(200, answer.media, answer.content)
        return self.read(answer, Readiness)


def _outcome(item: Mapping[str, Any]) -> Ack | CaxtonError:
    if "error" in item:
        return rebuilt(item["error"])
    return msgspec.convert(item, Ack)


def _chunks(encoded: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    start = size = 0
    for index, one in enumerate(encoded):
        if index > start and (index - start == CHUNK or size + len(one) > CHUNK_BYTES):
            yield encoded[start:index]
            start, size = index, 0
        size += len(one)
    if start < len(encoded):
        yield encoded[start:]
