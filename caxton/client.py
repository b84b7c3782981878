"""Clients of a running node: ``Client`` blocks, ``AsyncClient`` is for asyncio.

::

    with Client("http://127.0.0.1:7878") as client:
        reply = client.request("mean of price in sales.csv", capability="data-analysis")
        print(reply.text)

Errors are the classes of ``caxton.errors``, as the node raised them. When no node answers it is
``NodeUnreachable``, at once if this client never reached one. A node that answered before and
does not now restarts: messages are then sent again, under the same id so that none is sent twice,
until ``retry`` seconds have passed.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

from caxton.api.calls import Calls
from caxton.api.drafts import Body, Fields, Reply, draft
from caxton.api.exchange import Answer, Call, Pause, Steps
from caxton.api.following import Following
from caxton.api.health import Health, Readiness
from caxton.api.transport import (
    async_stream,
    checked_url,
    client_settings,
    http_answer,
    http_request,
    stream,
    transport_failure,
)
from caxton.errors import CaxtonError, NodeUnreachable
from caxton.message import Message, Performative
from caxton.registry_client import AsyncRegistryClient, RegistryClient
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
    from caxton.memory_client import AsyncMemoryClient, MemoryClient

__all__ = ["AsyncClient", "Client", "Reply", "draft"]

R = TypeVar("R")

TIMEOUT_S: Final = 30.0
RETRY_S: Final = 30.0
REPLY_MS: Final = 30_000


class Client:
    """A blocking client; may be used by several threads.

    Args:
        url: base URL of the node.
        timeout: how long a call may take, in seconds.
        retry: how long sending is repeated while the node restarts, in seconds; at most
            ``timeout``.

    Raises:
        ValidationError: ``url`` is no URL of a node.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_S, retry: float = RETRY_S) -> None:
        import httpx2

        self.url = checked_url(url)
        self._calls = Calls(self.url, timeout_s=timeout, retry_s=retry)
        self._http = httpx2.Client(**client_settings(self.url))
        self.registry = RegistryClient(self._calls, self._run)
        """Agents' orders, capabilities, routes and client identities."""

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
        """Close the connections. Event iterators end."""
        self._http.close()

    @functools.cached_property
    def memory(self) -> MemoryClient:
        """What the node remembers."""
        from caxton.memory_client import MemoryClient

        return MemoryClient(self._calls, self._run, lambda c: stream(self._http, c, self.url))

    def _run(self, steps: Steps[R]) -> R:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    answer = self._exchange(step)
                except CaxtonError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def _exchange(self, call: Call) -> Answer:
        import httpx2

        if self._http.is_closed:
            raise NodeUnreachable(url=self.url, reason="this client is closed")
        try:
            return http_answer(self._http.request(call.method, call.path, **http_request(call)))
        except httpx2.RequestError as error:
            raise transport_failure(error, self.url, call.timeout_s) from error

    def send(self, content: bytes | str = b"", **fields: Unpack[Fields]) -> Ack:
        """Send a message and wait until it is accepted.

        Args:
            content: what to say.
            fields: the arguments of ``draft``: ``to`` or ``capability``, ``performative``
                (INFORM when not given), ``conversation_id``, ``options`` and so on.

        Raises:
            CaxtonError: it was not accepted, as far as the node could say.
        """
        fields.setdefault("performative", Performative.INFORM)
        body = draft(content, **fields)
        return self._run(self._calls.send(body))

    def send_many(self, messages: Iterable[Body | Message]) -> list[Ack | CaxtonError]:
        """Send messages, in chunks of up to 1,000; one outcome for each, in order.

        Args:
            messages: as ``draft`` or ``make_message`` make them.

        Raises:
            NodeUnreachable: no node answers, and nothing was sent.
        """
        return self._run(self._calls.send_many(messages))

    def request(
        self, content: bytes | str = b"", *, timeout_ms: int = REPLY_MS, **fields: Unpack[Fields]
    ) -> Reply:
        """Send a message and wait for its reply, at most ``timeout_ms`` (1,000 to 300,000).

        A FAILURE or REFUSE is a reply too, no error. The other arguments are those of ``draft``;
        the act is REQUEST when not given.

        Raises:
            Timeout: accepted, and no reply in time; its fields name message and conversation.
            CaxtonError: it was not accepted.
        """
        body = draft(content, **fields)
        return self._run(self._calls.request(body, timeout_ms))

    def agents(self, *, state: str | None = None, capability: str | None = None) -> list[AgentView]:
        """All agents, by name; only those in a state, or that offer a capability."""
        return self._run(self._calls.agents(state, capability))

    def agent(self, name_or_id: str) -> AgentView:
        """One agent. Raises AgentNotFound."""
        return self._run(self._calls.agent(name_or_id))

    def conversations(self, limit: int = 50) -> list[ConversationView]:
        """At most ``limit`` conversations, the newest activity first."""
        return self._run(self._calls.conversations(limit))

    def conversation(
        self, conversation_id: bytes | str, limit: int | None = None, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its newest messages in order, at most 1,000.

        Args:
            conversation_id: which.
            limit: messages at most.
            before: only messages before this sequence number: ``before`` of the reply before.

        Raises:
            ConversationNotFound: there is none.
        """
        return self._run(self._calls.conversation(conversation_id, limit, before))

    def dead_letters(self, limit: int = 50) -> list[DeadLetterView]:
        """At most ``limit`` dead letters, the latest first."""
        return self._run(self._calls.dead_letters(limit))

    def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One dead letter with its message and traceback. Raises DeadLetterNotFound."""
        return self._run(self._calls.dead_letter(letter_id))

    def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Have its message handled once more. Raises DeadLetterNotFound."""
        return self._run(self._calls.retry_dead_letter(letter_id))

    def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Remove it for good. Raises DeadLetterNotFound."""
        return self._run(self._calls.discard_dead_letter(letter_id))

    def node(self) -> NodeView:
        """The node at one glance."""
        return self._run(self._calls.node())

    def health(self) -> Health:
        """Whether the API's process lives."""
        return self._run(self._calls.health())

    def ready(self) -> Readiness:
        """Whether the node takes messages, and what stands against it."""
        return self._run(self._calls.ready())

    def events(self, after: int | None = None, types: Sequence[str] = ()) -> Iterator[Event]:
        """Follow what happens on the node; ends when the client is closed.

        A lost connection is taken up again where it was lost.

        Args:
            after: only events with greater ids; None for all that are kept, then new ones.
            types: only events whose type begins with one of these.

        Raises:
            NodeUnreachable: no node answers, or none again within ``retry`` seconds.
        """
        import httpx2

        following = Following(self._calls, after, types)
        while not self._http.is_closed:
            call = following.call()
            try:
                with self._http.stream(call.method, call.path, **http_request(call)) as response:
                    if not following.opened(response.status_code):
                        response.read()
                        following.refused(http_answer(response))
                    for one in httpx2.EventSource(response):
                        event = following.take(one.event, one.data, one.id)
                        if event is not None:
                            yield event
                pause = following.ended()
            except (httpx2.RequestError, httpx2.StreamError) as error:
                if self._http.is_closed:
                    return
                pause = following.lost(transport_failure(error, self.url, call.timeout_s))
            time.sleep(pause)


class AsyncClient:
    """A client for asyncio; its methods are those of ``Client``.

    Args:
        url: base URL of the node.
        timeout: how long a call may take, in seconds.
        retry: how long sending is repeated while the node restarts, in seconds; at most
            ``timeout``.

    Raises:
        ValidationError: ``url`` is no URL of a node.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_S, retry: float = RETRY_S) -> None:
        import httpx2

        self.url = checked_url(url)
        self._calls = Calls(self.url, timeout_s=timeout, retry_s=retry)
        self._http = httpx2.AsyncClient(**client_settings(self.url))
        self.registry = AsyncRegistryClient(self._calls, self._run)
        """Agents' orders, capabilities, routes and client identities."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Event iterators end."""
        await self._http.aclose()

    @functools.cached_property
    def memory(self) -> AsyncMemoryClient:
        """What the node remembers."""
        from caxton.memory_client import AsyncMemoryClient

        return AsyncMemoryClient(
            self._calls, self._run, lambda c: async_stream(self._http, c, self.url)
        )

    async def _run(self, steps: Steps[R]) -> R:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send(None)
                    continue
                try:
                    answer = await self._exchange(step)
                except CaxtonError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    async def _exchange(self, call: Call) -> Answer:
        import httpx2

        if self._http.is_closed:
            raise NodeUnreachable(url=self.url, reason="this client is closed")
        try:
            return http_answer(
                await self._http.request(call.method, call.path, **http_request(call))
            )
        except httpx2.RequestError as error:
            raise transport_failure(error, self.url, call.timeout_s) from error

    async def send(self, content: bytes | str = b"", **fields: Unpack[Fields]) -> Ack:
        """Send a message and wait until it is accepted, as ``Client.send``."""
        fields.setdefault("performative", Performative.INFORM)
        body = draft(content, **fields)
        return await self._run(self._calls.send(body))

    async def send_many(self, messages: Iterable[Body | Message]) -> list[Ack | CaxtonError]:
        """Send messages in chunks, as ``Client.send_many``."""
        return await self._run(self._calls.send_many(messages))

    async def request(
        self, content: bytes | str = b"", *, timeout_ms: int = REPLY_MS, **fields: Unpack[Fields]
    ) -> Reply:
        """Send a message and wait for its reply, as ``Client.request``."""
        body = draft(content, **fields)
        return await self._run(self._calls.request(body, timeout_ms))

    async def agents(
        self, *, state: str | None = None, capability: str | None = None
    ) -> list[AgentView]:
        """All agents, by name; only those in a state, or that offer a capability."""
        return await self._run(self._calls.agents(state, capability))

    async def agent(self, name_or_id: str) -> AgentView:
        """One agent. Raises AgentNotFound."""
        return await self._run(self._calls.agent(name_or_id))

    async def conversations(self, limit: int = 50) -> list[ConversationView]:
        """At most ``limit`` conversations, the newest activity first."""
        return await self._run(self._calls.conversations(limit))

    async def conversation(
        self, conversation_id: bytes | str, limit: int | None = None, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its newest messages in order, at most 1,000.

        Args:
            conversation_id: which.
            limit: messages at most.
            before: only messages before this sequence number: ``before`` of the reply before.

        Raises:
            ConversationNotFound: there is none.
        """
        return await self._run(self._calls.conversation(conversation_id, limit, before))

    async def dead_letters(self, limit: int = 50) -> list[DeadLetterView]:
        """At most ``limit`` dead letters, the latest first."""
        return await self._run(self._calls.dead_letters(limit))

    async def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One dead letter with its message and traceback. Raises DeadLetterNotFound."""
        return await self._run(self._calls.dead_letter(letter_id))

    async def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Have its message handled once more. Raises DeadLetterNotFound."""
        return await self._run(self._calls.retry_dead_letter(letter_id))

    async def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Remove it for good. Raises DeadLetterNotFound."""
        return await self._run(self._calls.discard_dead_letter(letter_id))

    async def node(self) -> NodeView:
        """The node at one glance."""
        return await self._run(self._calls.node())

    async def health(self) -> Health:
        """Whether the API's process lives."""
        return await self._run(self._calls.health())

    async def ready(self) -> Readiness:
        """Whether the node takes messages, and what stands against it."""
        return await self._run(self._calls.ready())

    async def events(
        self, after: int | None = None, types: Sequence[str] = ()
    ) -> AsyncIterator[Event]:
        """Follow what happens on the node, as ``Client.events``."""
        import httpx2

        following = Following(self._calls, after, types)
        while not self._http.is_closed:
            call = following.call()
            try:
                async with self._http.stream(
                    call.method, call.path, **http_request(call)
                ) as response:
                    if not following.opened(response.status_code):
                        await response.aread()
                        following.refused(http_answer(response))
                    async for one in httpx2.EventSource(response):
                        event = following.take(one.event, one.data, one.id)
                        if event is not None:
                            yield event
                pause = following.ended()
            except (httpx2.RequestError, httpx2.StreamError) as error:
                if self._http.is_closed:
                    return
                pause = following.lost(transport_failure(error, self.url, call.timeout_s))
            await asyncio.sleep(pause)
