"""A node in memory behind the ``Entry`` protocol: enough for the REST edge and the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from fake_memory import FakeMemory

from caxton.capability import Strategy
from caxton.errors import (
    AgentNotFound,
    CapabilityNotFound,
    CaxtonError,
    ClientNotFound,
    ContentNotFound,
    ConversationNotFound,
    DeadLetterNotFound,
    InvalidState,
    Timeout,
)
from caxton.message import Message, Performative, make_reply, to_json
from caxton.registry_desk import check_client
from caxton.registry_views import BreakerView, CapabilityView, ClientView, ProviderView, RouteView
from caxton.types import format_id, named_id, parse_id
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    MessageView,
    NodeView,
    ProcessView,
    ShardView,
    ToolsView,
    ToolView,
)

CONTENT = "ab" * 32
"""Hash of the one content that is kept."""
SPACE = bytes(range(16))
TIME = "2026-01-02T03:04:05.678Z"


def agent_id(name: str) -> bytes:
    """The id of the fake agent ``name``."""
    return named_id(SPACE, name.lower())


def agent_view(name: str, **changes: Any) -> AgentView:
    """An agent in service."""
    given: dict[str, Any] = {
        "id": format_id(agent_id(name)),
        "name": name,
        "kind": "config",
        "state": "running",
        "version": "1.0.0",
        "capabilities": (name.lower(),),
        "shard": 0,
    }
    return AgentView(**(given | changes))


def event(number: int, kind: str = "agent.reloaded") -> Event:
    """An event."""
    return Event(number, TIME, kind, "Greeter", f"number {number}")


def a_letter(number: int) -> DeadLetterView:
    """A dead letter of shard 0."""
    return DeadLetterView(
        id=f"0-{number}",
        at=TIME,
        reason="AGENT_FAILED",
        detail="agent `Greeter` failed",
        attempts=4,
        performative="request",
        sender="client",
        receiver="Greeter",
        capability="",
        message_id=format_id(SPACE),
        conversation_id=format_id(SPACE),
        size=1,
        shard=0,
    )


class FakeRegistry:
    """A registry in memory."""

    def __init__(self, entry: FakeEntry) -> None:
        self._entry = entry
        self._clients: dict[str, ClientView] = {}
        self._strategies: dict[str, str] = {}
        self.orders: list[tuple[bytes, str]] = []

    def _check(self) -> None:
        if self._entry.failure is not None:
            raise self._entry.failure

    async def order(self, agent_id: bytes, action: str) -> AgentView:
        self._check()
        self.orders.append((agent_id, action))
        for view in self._entry.views:
            if view.id == format_id(agent_id):
                if view.name == "Analyst":
                    raise InvalidState(agent=view.name, current=view.state, wanted="loaded")
                return msgspec.structs.replace(view, state="draining")
        raise AgentNotFound(agent=format_id(agent_id), near="")

    def _capability(self, name: str) -> CapabilityView:
        rows = tuple(
            ProviderView(one.name, one.id, one.version, 50, one.state, 0, 10, True)
            for one in self._entry.views
            if name in one.capabilities
        )
        strategy = self._strategies.get(name)
        return CapabilityView(name, strategy or "sticky", strategy is None, rows)

    async def capabilities(self) -> list[CapabilityView]:
        self._check()
        names = {name for one in self._entry.views for name in one.capabilities}
        return [self._capability(name) for name in sorted(names)]

    async def capability(self, name: str) -> CapabilityView:
        self._check()
        found = self._capability(name)
        if not found.providers:
            raise CapabilityNotFound(capability=name, near="")
        return found

    async def set_strategy(self, name: str, strategy: Strategy | None) -> CapabilityView:
        self._check()
        self._strategies.pop(name, None)
        if strategy is not None:
            self._strategies[name] = strategy.value
        return self._capability(name)

    async def breakers(self) -> list[BreakerView]:
        self._check()
        return [
            BreakerView(one.name, one.id, 0, "open", 3, 1, TIME, TIME, "it broke")
            for one in self._entry.views
        ]

    async def reset_breaker(self, agent_id: bytes) -> list[BreakerView]:
        return [one for one in await self.breakers() if one.agent_id == format_id(agent_id)]

    def routes(self) -> list[RouteView]:
        self._check()
        return [RouteView(one.name, one.id, format_id(SPACE), 0, 0, TIME)
                for one in self._entry.views]  # fmt: skip

    def clients(self) -> list[ClientView]:
        self._check()
        return list(self._clients.values())

    def client(self, name_or_id: str) -> ClientView:
        self._check()
        if name_or_id not in self._clients:
            raise ClientNotFound(client=name_or_id)
        return self._clients[name_or_id]

    async def register(self, name: str, metadata: Mapping[str, str]) -> ClientView:
        self._check()
        check_client(name, metadata)
        made = ClientView(format_id(agent_id(name)), name, dict(metadata), TIME, TIME)
        self._clients[name] = made
        return made

    async def deregister(self, name_or_id: str) -> ClientView:
        self._check()
        self.client(name_or_id)
        return self._clients.pop(name_or_id)


class FakeEntry:
    """Takes every message, answers requests with an echo."""

    def __init__(self, *, max_content: int = 10_000) -> None:
        self.identity = named_id(SPACE, "client:local")
        self.registry = FakeRegistry(self)
        self.remembered = FakeMemory(self._check)
        self.memory = self.remembered.memory
        self.max_content = max_content
        self.views = [
            agent_view("Analyst", capabilities=("data-analysis",), state="loaded"),
            agent_view("Greeter"),
        ]
        self.taken: dict[bytes, Message] = {}
        self.replies: list[Message] = []
        self.submissions: list[int] = []
        self.refusals: list[CaxtonError] = []
        """Outcomes of the next messages, instead of an ack."""
        self.tool_usage = ToolsView()
        self.failure: Exception | None = None
        """Raised by every call."""
        self.silent = False
        """Requests get no reply: at once a Timeout."""
        self.hold: asyncio.Event | None = None
        """Requests wait for it."""
        self.asked = asyncio.Event()
        self.state: Any = "ready"
        self.letters = {f"0-{number}": a_letter(number) for number in (3, 2, 1)}
        self.kept: list[Event] = [event(1), event(2, "process.restarted"), event(3)]
        self.live: asyncio.Queue[Event | None] | None = None
        """Events after the kept ones; None ends the stream as for a slow follower."""
        self.closed_streams = 0
        self.on_submit: Callable[[], None] = lambda: None

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def submit(self, messages: Sequence[Message]) -> list[Ack | CaxtonError]:
        self._check()
        self.submissions.append(len(messages))
        outcomes: list[Ack | CaxtonError] = []
        for message in messages:
            if self.refusals:
                outcomes.append(self.refusals.pop(0))
                continue
            duplicate = message.message_id in self.taken
            self.taken.setdefault(message.message_id, message)
            ids = format_id(message.message_id), format_id(message.conversation_id)
            outcomes.append(Ack(*ids, "disk", 0, duplicate))
        self.on_submit()
        return outcomes

    async def request(self, message: Message, timeout_ms: int) -> tuple[Ack, Message]:
        outcome = (await self.submit([message]))[0]
        if isinstance(outcome, CaxtonError):
            raise outcome
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.silent:
            raise Timeout(what="reply", timeout_ms=timeout_ms)
        return outcome, self.answer(message)

    def answer(self, message: Message) -> Message:
        """The echo of a message, kept in its conversation."""
        sender = message.receiver or agent_id("Analyst")
        reply = make_reply(message, Performative.INFORM, message.content, sender=sender)
        self.replies.append(reply)
        return reply

    def agent_id(self, name_or_id: str, field: str = "receiver") -> bytes:
        for view in self.views:
            if view.name.lower() == name_or_id.lower():
                return parse_id(view.id, field)
        if len(name_or_id) in (32, 36) and name_or_id.replace("-", "").isalnum():
            return parse_id(name_or_id, field)
        raise AgentNotFound(agent=name_or_id, near="; near: Greeter")

    def agent_name(self, agent_id: bytes) -> str:
        for view in self.views:
            if view.id == format_id(agent_id):
                return view.name
        return "client" if agent_id == self.identity else format_id(agent_id)

    async def agents(self) -> list[AgentView]:
        self._check()
        return list(self.views)

    async def conversations(self, limit: int) -> list[ConversationView]:
        self._check()
        ids = {message.conversation_id: None for message in self.taken.values()}
        return [self._view(one) for one in reversed(list(ids))][:limit]

    def _view(self, conversation_id: bytes) -> ConversationView:
        count = sum(one.conversation_id == conversation_id for one in self.taken.values())
        return ConversationView(
            format_id(conversation_id), "active", "client", ("client",), "", count, 0, TIME, TIME, 0
        )

    async def conversation(
        self, conversation_id: bytes, limit: int = 1_000, before: int = 0
    ) -> ConversationDetail:
        self._check()
        messages = [
            one
            for one in [*self.taken.values(), *self.replies]
            if one.conversation_id == conversation_id
        ]
        if not messages:
            raise ConversationNotFound(conversation=format_id(conversation_id))
        return ConversationDetail(
            self._view(conversation_id),
            tuple(
                MessageView(
                    index,
                    "handled",
                    self.agent_name(one.sender),
                    self.agent_name(one.receiver) if one.receiver else "",
                    to_json(one),
                )
                for index, one in enumerate(messages)
            ),
        )

    async def dead_letters(self, limit: int) -> list[DeadLetterView]:
        self._check()
        return list(self.letters.values())[:limit]

    async def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        self._check()
        return DeadLetterDetail(self._letter(letter_id), "Traceback", {"content": "x"})

    async def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        return await self.discard_dead_letter(letter_id)

    async def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        self._check()
        found = self._letter(letter_id)
        del self.letters[letter_id]
        return found

    def _letter(self, letter_id: str) -> DeadLetterView:
        if letter_id not in self.letters:
            raise DeadLetterNotFound(letter=letter_id)
        return self.letters[letter_id]

    async def content(self, name: str) -> bytes:
        self._check()
        if name != CONTENT:
            raise ContentNotFound(content=name)
        return b'{"large": true}'

    def tools(self) -> list[ToolView]:
        self._check()
        return [
            ToolView("csv_parser", "Reads CSV", "builtin", True, {"type": "object"}),
            ToolView("files__read", "Reads files", "mcp:files", False, {"type": "object"}),
        ]

    async def status(self) -> NodeView:
        self._check()
        return NodeView(
            id=format_id(SPACE),
            version="0.1.0",
            state=self.state,
            url="http://127.0.0.1:1",
            pid=1,
            started_at=TIME,
            uptime_ms=1_500,
            durability="disk",
            data="data",
            agents_folder="agents",
            provider="rules",
            agents=len(self.views),
            processes=(
                ProcessView("gateway", 2, "ready", restarts=3, rss_bytes=4_096, cpu_seconds=0.5),
            ),
            shards=(ShardView(0, accepted=7, commit_p99_us=2_000, pending_limit=10),),
            tools=self.tool_usage,
        )

    async def events(self, after: int | None) -> AsyncIterator[Event]:
        self._check()
        try:
            for one in self.kept:
                if after is None or one.id > after:
                    yield one
            while self.live is not None:
                following = await self.live.get()
                if following is None:
                    return
                yield following
        finally:
            self.closed_streams += 1
