"""The node as the command line asks it: blocking calls, each with a deadline of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from caxton.api.drafts import Fields
from caxton.client import AsyncClient, Reply
from caxton.errors import Timeout
from caxton.registry_client import AsyncRegistryClient
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    NodeView,
)

if TYPE_CHECKING:
    from caxton.memory_client import AsyncMemoryClient

__all__ = ["NodeClient"]

T = TypeVar("T")

SLACK_S: Final = 5.0
"""Past the time the node may wait for a reply: it says itself that none came."""


class NodeClient:
    """A blocking client of one node. A context manager; belongs to one thread.

    Args:
        url: base URL of the node.
        timeout_s: seconds that a call may take.
        patience_s: seconds of these in which a node that does not answer is asked again.
    """

    def __init__(self, url: str, *, timeout_s: float, patience_s: float = 0.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._runner = asyncio.Runner()
        self._following: list[Generator[Event | None, None, None]] = []
        self._client = AsyncClient(url, timeout=max(timeout_s, patience_s), retry=patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; iterators of events end."""
        for following in self._following:
            following.close()
        self._runner.run(self._client.close())
        self._runner.close()

    def _run(self, call: Awaitable[T], timeout_s: float | None = None) -> T:
        limit_s = self._timeout_s if timeout_s is None else timeout_s

        async def work() -> T:
            try:
                async with asyncio.timeout(limit_s):
                    return await call
            except TimeoutError:
                raise Timeout(
                    what=f"answer from {self.url}", timeout_ms=round(limit_s * 1_000)
                ) from None

        return self._runner.run(work())

    def agents(self, state: str | None = None, capability: str | None = None) -> list[AgentView]:
        """All agents, or those in a state and with a capability."""
        return self._run(self._client.agents(state=state, capability=capability))

    def agent(self, name_or_id: str) -> AgentView:
        """One agent.

        Raises:
            AgentNotFound: there is none.
        """
        return self._run(self._client.agent(name_or_id))

    def conversations(self, limit: int) -> list[ConversationView]:
        """At most ``limit`` conversations, the newest activity first."""
        return self._run(self._client.conversations(limit))

    def conversation(
        self, conversation_id: str, limit: int | None = None, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its newest messages, or those before a sequence number.

        Raises:
            ConversationNotFound: there is none.
        """
        return self._run(self._client.conversation(conversation_id, limit, before))

    def dead_letters(self, limit: int) -> list[DeadLetterView]:
        """At most ``limit`` dead letters, the latest first."""
        return self._run(self._client.dead_letters(limit))

    def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One dead letter.

        Raises:
            DeadLetterNotFound: there is none.
        """
        return self._run(self._client.dead_letter(letter_id))

    def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Have its message handled once more. Raises as ``dead_letter``."""
        return self._run(self._client.retry_dead_letter(letter_id))

    def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Remove it for good. Raises as ``dead_letter``."""
        return self._run(self._client.discard_dead_letter(letter_id))

    def registry(self, ask: Callable[[AsyncRegistryClient], Awaitable[T]]) -> T:
        """What ``ask`` gets of the node's registry."""
        return self._run(ask(self._client.registry))

    def memory(
        self, ask: Callable[[AsyncMemoryClient], Awaitable[T]], timeout_s: float | None = None
    ) -> T:
        """What ``ask`` gets of the node's memory, within ``timeout_s`` seconds."""
        return self._run(ask(self._client.memory), timeout_s)

    def node(self) -> NodeView:
        """The node at one glance."""
        return self._run(self._client.node())

    def send(self, content: bytes, fields: Fields) -> Ack:
        """Send a message; it is in the journal when this returns."""
        return self._run(self._client.send(content, **fields))

    def request(self, content: bytes, fields: Fields, timeout_ms: int) -> Reply:
        """Send a message and wait for its reply.

        Raises:
            Timeout: none came in time.
        """
        asking = self._client.request(content, **fields, timeout_ms=timeout_ms)
        return self._run(asking, timeout_ms / 1_000 + SLACK_S)

    def events(self, idle_s: float) -> Iterator[Event | None]:
        """Events that the node holds, then new ones; None after ``idle_s`` seconds without one."""
        following = self._follow(idle_s)
        # An interrupt between two events leaves the iterator open: ``close`` ends it in order.
        self._following.append(following)
        return following

    def _follow(self, idle_s: float) -> Generator[Event | None, None, None]:
        following = self._client.events()
        coming: asyncio.Future[Event] | None = None

        async def step() -> Event | None:
            nonlocal coming
            if coming is None:
                coming = asyncio.ensure_future(anext(following))
            done, _ = await asyncio.wait({coming}, timeout=idle_s)
            if not done:
                return None
            arrived, coming = coming, None
            try:
                return arrived.result()
            except StopAsyncIteration:
                raise EOFError from None

        async def end() -> None:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await following.aclose()  # type: ignore[attr-defined]  # an async generator

        try:
            while True:
                try:
                    yield self._runner.run(step())
                except EOFError:
                    return
        finally:
            self._runner.run(end())
