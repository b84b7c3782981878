"""A shard by hand: real journal, actors and router; behaviours and origin of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from caxton.agents.behaviour import Outgoing
from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import Directory, client_identity
from caxton.capability import Strategy
from caxton.config import Config
from caxton.errors import CaxtonError
from caxton.message import Message, Performative, encode, make_message
from caxton.observe.message_log import make_message_log
from caxton.observe.tracing import OFF, Tracing
from caxton.routing.submission import Submission
from caxton.shard import Shard
from caxton.storage.registry import AgentRecord, ReloadRecord
from caxton.types import named_id, new_id

Handler = Callable[[Message, Any], Any]

NODE = new_id()
CLIENT = client_identity(NODE)


def agent_id(name: str) -> bytes:
    return named_id(NODE, name)


class Fake:
    """A behaviour that calls a function of the test."""

    def __init__(self, handler: Handler, concurrency: int = 8) -> None:
        self.handler = handler
        self.concurrency = concurrency
        self.closed = False

    async def start(self) -> None:
        """Nothing to do."""

    def handle(
        self, message: Message, context: Any
    ) -> Sequence[Outgoing] | Awaitable[Sequence[Outgoing]]:
        result: Any = self.handler(message, context)
        return result

    async def close(self) -> None:
        self.closed = True


def reply(text: str, act: Performative = Performative.INFORM) -> tuple[Outgoing, ...]:
    return (Outgoing(act, text.encode()),)


class Asker:
    """An origin that keeps what it is told."""

    def __init__(self) -> None:
        self.acks: list[int] = []
        self.duplicates: list[int] = []
        self.refusals: dict[int, CaxtonError] = {}
        self.replies: list[Message] = []

    def acked(self, references: Sequence[int], *, disk: bool) -> None:
        for position in range(0, len(references), 2):
            first, count = references[position], references[position + 1]
            self.acks.extend(range(first, first + count))

    def duplicate(self, references: Sequence[int], *, disk: bool) -> None:
        self.duplicates.extend(references)

    def refused(self, reference: int, error: CaxtonError) -> None:
        self.refusals[reference] = error

    def replied(self, raw: bytes, message: Message) -> None:
        self.replies.append(message)


class Engine:
    """One shard with agents of the test."""

    def __init__(
        self,
        folder: Path,
        agents: dict[str, Handler],
        tracing: Callable[[Directory], Tracing] = lambda directory: OFF,
        concurrency: int = 8,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.agents = agents
        self.config = Config(
            agents=folder,
            data=folder / "data",
            shards=0,
            **{"durability": "process", **settings},
        )
        self.asker = Asker()
        self.events: list[tuple[str, str, str]] = []
        self.loaded: list[Fake] = []
        self.reference = 0
        self.submitted = 0
        self.tracing = tracing
        self.concurrency = concurrency
        self.shard = self._shard()

    def _shard(self) -> Shard:
        directory = Directory(NODE, 1, Strategy(self.config.capability_strategy))
        directory.apply(
            [
                AgentRecord(
                    id=agent_id(name),
                    name=name,
                    revision=number + 1,
                    file=f"{name}.md",
                    definition=AgentDefinition(name=name, capabilities=(name.split("-")[0],)),
                    fingerprint="",
                    reload=ReloadRecord(),
                )
                for number, name in enumerate(self.agents)
            ]
        )
        shard = Shard(
            self.config,
            0,
            directory,
            None,  # type: ignore[arg-type]  # one shard has no others
            None,  # type: ignore[arg-type]  # likewise
            None,  # type: ignore[arg-type]  # likewise
            self._load,  # type: ignore[arg-type]  # a Behaviour in all but name
            lambda *words: self.events.append(words),
            self.tracing(directory),
            make_message_log(self.config, NODE, "shard-0", directory.name),
        )
        shard.start_agents()
        return shard

    def _load(self, record: AgentRecord) -> Fake:
        fake = Fake(self.agents[record.name], self.concurrency)
        self.loaded.append(fake)
        return fake

    def message(self, to: str = "", **fields: Any) -> Message:
        address = {} if "capability" in fields else {"receiver": agent_id(to)}
        act = fields.pop("act", "request")
        return make_message(act, sender=fields.pop("sender", CLIENT), **address, **fields)

    def submit(self, *messages: Message, wait: bool = False) -> int:
        """Submit messages; returns the reference of the first."""
        first = self.reference
        self.reference += len(messages)
        self.submitted += len(messages)
        raws = [encode(one) for one in messages]
        self.shard.submit(Submission(self.asker, first, wait, raws))
        return first

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Let the loop run until ``condition`` holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Everything that was submitted is answered, handled and committed."""
        asker = self.asker
        await self.until(
            lambda: len(asker.acks) + len(asker.duplicates) + len(asker.refusals) >= self.submitted
        )
        await self.until(lambda: not self.shard.journal.pending)
        assert await self.shard.router.commit.flush(10)

    def texts(self, conversation: bytes) -> list[tuple[str, str]]:
        """Act and content of the messages of a conversation, in order."""
        detail = self.shard.conversations.detail(conversation)
        return [
            (one.message["performative"], one.message.get("content", "")) for one in detail.messages
        ]

    async def crash(self) -> None:
        """Lose the process: nothing is drained; what was committed is there for the next one."""
        router = self.shard.router
        router.delivery.close()
        router.commit._closed = True
        for cell in self.shard.system.cells():
            cell.suspended = True
        for host in self.shard.roster.hosts.values():
            host.work.waiting.clear()
            for task in list(host.work.tasks):
                task.cancel()
        self.shard.journal._env.close()
        if self.shard._expire is not None:
            self.shard._expire.cancel()
        self.asker = Asker()
        self.submitted = 0
        self.shard = self._shard()
        self.shard.recover()

    async def stop(self) -> None:
        await self.shard.stop(5)
