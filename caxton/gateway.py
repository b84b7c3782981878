"""The gateway: takes messages from clients into the shards and brings their replies back.

Stateless but for what is under way. The REST app, the Python ``Node`` and the benchmarks use it.
It implements ``caxton.api.entry.Entry``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from caxton.agents.directory import Directory, client_identity
from caxton.errors import (
    CaxtonError,
    ContentNotFound,
    DeadLetterNotFound,
    NodeNotReady,
    Timeout,
)
from caxton.links.questions import Questions
from caxton.links.submitter import Outcome, Submitter
from caxton.links.wire import Acked, Answer, Notice, Refused, Replies, shard_of
from caxton.memory.client import Memory
from caxton.message import Message, Performative, decode, encode, now_ms
from caxton.moments import format_time
from caxton.registry_desk import RegistryDesk
from caxton.tools.catalog import ToolCatalog
from caxton.types import format_id
from caxton.views import (
    PAGE,
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    NodeView,
    ShardView,
    ToolView,
)

__all__ = ["EventLog", "Gateway", "ShardPort"]

ACK_TIMEOUT_S = 30.0
"""How long a submission may wait for its acknowledgement, a restart of its shard included."""
EVENTS_KEPT = 1_000
SUBSCRIBER_QUEUE = 1_000


class ShardPort:
    """The gateway's side of one shard."""

    def __init__(self, number: int, send: Callable[[msgspec.Struct], None]) -> None:
        self.number = number
        self.send = send
        self.submitter = Submitter(send)
        self.questions = Questions(send, f"shard {number}")


class EventLog:
    """Recent events, and who follows them. Bounded everywhere: a slow follower is cut."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._next = 1
        self._followers: set[asyncio.Queue[Event | None]] = set()

    def add(self, kind: str, subject: str, text: str) -> None:
        """Something happened."""
        event = Event(self._next, format_time(now_ms()), kind, subject, text)
        self._next += 1
        self._events.append(event)
        for queue in list(self._followers):
            if queue.full():
                self._followers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    async def follow(self, after: int | None) -> AsyncIterator[Event]:
        """Kept events later than ``after`` (all of them when None), then new ones."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(SUBSCRIBER_QUEUE)
        known = list(self._events)
        self._followers.add(queue)
        try:
            for event in known:
                if after is None or event.id > after:
                    yield event
            while True:
                following = await queue.get()
                if following is None:
                    return
                yield following
        finally:
            self._followers.discard(queue)


class _Outcomes:
    """Collects the outcomes of one call."""

    __slots__ = ("done", "left", "messages", "results", "shards")

    def __init__(self, messages: Sequence[Message], shards: list[int]) -> None:
        self.messages = messages
        self.shards = shards
        self.results: list[Ack | CaxtonError | None] = [None] * len(messages)
        self.left = len(messages)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, index: int, outcome: Outcome | CaxtonError) -> None:
        """One message has its outcome."""
        if isinstance(outcome, Outcome):
            message = self.messages[index]
            self.results[index] = Ack(
                format_id(message.message_id),
                format_id(message.conversation_id),
                "disk" if outcome.disk else "process",
                self.shards[index],
                outcome.duplicate,
            )
        else:
            self.results[index] = outcome
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


class Gateway:
    """See the module.

    Args:
        directory: who is there; kept current by its owner.
        max_content: largest content of a message, in bytes.
        status: the node at one glance, from the counters of its shards.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        max_content: int,
        status: Callable[[Sequence[ShardView], int], Awaitable[NodeView]],
    ) -> None:
        self.directory = directory
        self.identity = client_identity(directory.node_id)
        self.max_content = max_content
        self.log = EventLog()
        self.ports: dict[int, ShardPort] = {}
        self.registry = RegistryDesk(directory, self._ask_one, self.agents)
        self.catalog = ToolCatalog.live()
        """The tools of the node; kept current by its owner."""
        self.read_content: Callable[[str], bytes | None] = lambda name: None
        """Reads a large result by its hash; set by its owner."""
        self.memory: Memory | None = None
        """The memory of the node, on behalf of an operator; None where it has none. Set by its
        owner."""
        self._status = status
        self._waiting: dict[bytes, asyncio.Future[Message]] = {}

    # --- the links ---------------------------------------------------------------------------

    def attach(self, number: int, send: Callable[[msgspec.Struct], None]) -> ShardPort:
        """Connect a shard."""
        port = self.ports[number] = ShardPort(number, send)
        return port

    def receive(self, number: int, sentence: Any) -> None:
        """A shard said something."""
        port = self.ports[number]
        kind = type(sentence)
        if kind is Acked:
            port.submitter.acked(sentence)
        elif kind is Replies:
            for raw in sentence.messages:
                self._replied(decode(raw))
        elif kind is Refused:
            port.submitter.refused(sentence)
        elif kind is Answer:
            port.questions.answered(sentence)
        elif kind is Notice and sentence.name == "event":
            self.log.add(*sentence.value)

    def replaced(self, number: int) -> None:
        """A shard's process is a new one: what it had not answered goes out again."""
        port = self.ports[number]
        port.questions.lost()
        port.submitter.resend()

    def _replied(self, message: Message) -> None:
        if message.performative is Performative.AGREE or message.in_reply_to is None:
            return
        future = self._waiting.get(message.in_reply_to)
        if future is not None and not future.done():
            future.set_result(message)

    # --- messages ----------------------------------------------------------------------------

    async def submit(self, messages: Sequence[Message]) -> list[Ack | CaxtonError]:
        """Have messages journaled; one outcome for each, in order."""
        return await self._submit(messages, wait=False, timeout_s=ACK_TIMEOUT_S)

    async def _submit(
        self, messages: Sequence[Message], *, wait: bool, timeout_s: float
    ) -> list[Ack | CaxtonError]:
        if not messages:
            return []
        count = self.directory.shards
        shards = [shard_of(message.conversation_id, count) for message in messages]
        outcomes = _Outcomes(messages, shards)
        for number in set(shards):
            indexes = [index for index, shard in enumerate(shards) if shard == number]
            try:
                self.ports[number].submitter.submit(
                    [encode(messages[index]) for index in indexes],
                    outcomes.settle,
                    wait=wait,
                    indexes=indexes,
                )
            except CaxtonError as error:
                for index in indexes:
                    outcomes.settle(index, error)
        try:
            async with asyncio.timeout(timeout_s):
                await outcomes.done
        except TimeoutError:
            pass
        return [
            result if result is not None else NodeNotReady(part=f"shard {shards[index]}")
            for index, result in enumerate(outcomes.results)
        ]

    async def request(self, message: Message, timeout_ms: int) -> tuple[Ack, Message]:
        """Submit a message and wait for its reply.

        Raises:
            Timeout: accepted, but no reply within ``timeout_ms``; its fields name the message.
            CaxtonError: the message was refused.
        """
        key = message.reply_with or message.message_id
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Message] = loop.create_future()
        self._waiting[key] = future
        deadline = loop.time() + timeout_ms / 1_000
        try:
            outcome = (await self._submit([message], wait=True, timeout_s=timeout_ms / 1_000))[0]
            if isinstance(outcome, CaxtonError):
                raise outcome
            async with asyncio.timeout_at(deadline):
                return outcome, await future
        except TimeoutError:
            raise Timeout(
                what="reply",
                timeout_ms=timeout_ms,
                message_id=format_id(message.message_id),
                conversation_id=format_id(message.conversation_id),
            ) from None
        finally:
            self._waiting.pop(key, None)

    # --- questions ---------------------------------------------------------------------------

    def agent_id(self, name_or_id: str, field: str = "receiver") -> bytes:
        """The id of an agent's name or id text."""
        return self.directory.resolve(name_or_id, field)

    def agent_name(self, agent_id: bytes) -> str:
        """The name of an agent, or its id as text."""
        return self.directory.name(agent_id)

    async def _ask_one(self, shard: int, name: str, arguments: dict[str, Any]) -> Any:
        port = self.ports.get(shard)
        if port is None:
            raise NodeNotReady(part=f"shard {shard}")
        return await port.questions.ask(name, arguments)

    async def _ask_all(self, name: str, arguments: dict[str, Any]) -> list[Any]:
        """Ask every shard; those that do not answer are left out, all failing is an error."""
        answers = await asyncio.gather(
            *(port.questions.ask(name, arguments) for port in self.ports.values()),
            return_exceptions=True,
        )
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CaxtonError):
                raise answer
        if not good and answers:
            raise NodeNotReady(part="every shard")
        return good

    async def agents(self) -> list[AgentView]:
        """All agents, by name."""
        parts = await self._ask_all("agents", {})
        views = [msgspec.convert(one, AgentView) for part in parts for one in part]
        return sorted(views, key=lambda view: view.name.lower())

    async def conversations(self, limit: int) -> list[ConversationView]:
        """Conversations, the newest activity first."""
        parts = await self._ask_all("conversations", {"limit": limit})
        views = [msgspec.convert(one, ConversationView) for part in parts for one in part]
        return sorted(views, key=lambda view: view.last_activity, reverse=True)[:limit]

    async def conversation(
        self, conversation_id: bytes, limit: int = PAGE, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its newest messages, or those before a sequence number."""
        port = self.ports[shard_of(conversation_id, self.directory.shards)]
        answer = await port.questions.ask(
            "conversation", {"id": format_id(conversation_id), "limit": limit, "before": before}
        )
        return msgspec.convert(answer, ConversationDetail)

    async def dead_letters(self, limit: int) -> list[DeadLetterView]:
        """Dead letters, the latest first."""
        parts = await self._ask_all("dead_letters", {"limit": limit})
        views = [msgspec.convert(one, DeadLetterView) for part in parts for one in part]
        return sorted(views, key=lambda view: view.at, reverse=True)[:limit]

    async def _of_letter(self, question: str, letter_id: str) -> Any:
        shard, _, sequence = letter_id.partition("-")
        port = self.ports.get(int(shard)) if shard.isascii() and shard.isdigit() else None
        if port is None or not (sequence.isascii() and sequence.isdigit()):
            raise DeadLetterNotFound(letter=letter_id)
        return await port.questions.ask(question, {"sequence": int(sequence)})

    async def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One dead letter."""
        return msgspec.convert(await self._of_letter("dead_letter", letter_id), DeadLetterDetail)

    async def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Have its message handled once more."""
        letter = (await self.dead_letter(letter_id)).letter
        await self.registry.audit("dead_letter.retried", letter.id, letter.message_id)
        found = await self._of_letter("dead_letter_retry", letter_id)
        return msgspec.convert(found, DeadLetterView)

    async def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Remove it for good."""
        letter = (await self.dead_letter(letter_id)).letter
        await self.registry.audit("dead_letter.discarded", letter.id, letter.message_id)
        found = await self._of_letter("dead_letter_discard", letter_id)
        return msgspec.convert(found, DeadLetterView)

    def tools(self) -> list[ToolView]:
        """The tools that agents may list, by name."""
        return self.catalog.views()

    async def content(self, name: str) -> bytes:
        """A large result by its hash.

        Raises:
            ContentNotFound: none is kept under it.
        """
        found = await asyncio.to_thread(self.read_content, name)
        if found is None:
            raise ContentNotFound(content=name)
        return found

    async def status(self) -> NodeView:
        """The node at one glance."""
        try:
            parts = await self._ask_all("stats", {})
        except NodeNotReady:
            parts = []
        views = [msgspec.convert(part, ShardView) for part in parts]
        return await self._status(
            sorted(views, key=lambda view: view.shard), len(self.directory.agents)
        )

    def events(self, after: int | None) -> AsyncIterator[Event]:
        """Recent events later than ``after``, then live ones."""
        return self.log.follow(after)
