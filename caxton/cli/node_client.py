"""The node as the command line asks it: blocking calls, each with a deadline of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from caxton.client import AsyncClient, Reply
from caxton.errors import Timeout
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    Event,
    NodeView,
)

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
        self._client = AsyncClient(url, patience_s=patience_s)

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
        """Close the connections."""
        self._runner.run(self._client.aclose())
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
        return [
            agent
            for agent in self._run(self._client.agents())
            if state in (None, agent.state)
            and (capability is None or capability.lower() in agent.capabilities)
        ]

    def agent(self, name_or_id: str) -> AgentView:
        """One agent.

        Raises:
            AgentNotFound: there is none.
        """
        return self._run(self._client.agent(quote(name_or_id, safe="")))

    def conversations(self, limit: int) -> list[ConversationView]:
        """At most ``limit`` conversations, the newest activity first."""
        return self._run(self._client.conversations(limit))

    def conversation(self, conversation_id: str) -> ConversationDetail:
        """One conversation with its messages.

        Raises:
            ConversationNotFound: there is none.
        """
        return self._run(self._client.conversation(conversation_id))

    def node(self) -> NodeView:
        """The node at one glance."""
        return self._run(self._client.node())

    def send(self, content: str, options: Mapping[str, Any]) -> Ack:
        """Send a message; it is in the journal when this returns."""
        return self._run(self._client.send(content, **options))

    def request(self, content: str, options: Mapping[str, Any], timeout_ms: int) -> Reply:
        """Send a message and wait for its reply.

        Raises:
            Timeout: none came in time.
        """
        asking = self._client.request(content, **options, timeout_ms=timeout_ms)
        return self._run(asking, timeout_ms / 1_000 + SLACK_S)

    def events(self, after: int | None, idle_s: float) -> Iterator[Event | None]:
        """Events as they come; None whenever ``idle_s`` seconds passed without one."""
        following = self._client.events(after)
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
