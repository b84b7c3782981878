"""Clients of a running node over its REST API: ``Client`` blocks, ``AsyncClient`` awaits.

A message's id is chosen here before the first try. When the connection breaks, or a part of the
node restarts, the same message goes out again under the same id, and the node recognises it: trying
again never sends twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
import orjson

from caxton.errors import (
    CaxtonError,
    InternalError,
    NodeUnreachable,
    ValidationError,
    error_from_code,
)
from caxton.message import Performative
from caxton.types import MessageBatchSize, MessageTimeoutMs, format_id, new_id
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    Event,
    NodeView,
)

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncClient", "Client", "Reply"]

T = TypeVar("T")

PATIENCE_S = 15.0
"""How long a request is tried again while the node restarts a part of itself."""
_FIRST_DELAY_S = 0.1
_MOST_DELAY_S = 2.0
_BATCH = int(MessageBatchSize.high)


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request."""

    ack: Ack
    performative: str
    content: str
    sender_name: str
    message: dict[str, Any]
    """The JSON form of the reply."""

    @property
    def good(self) -> bool:
        """Whether it is an answer and not a FAILURE, REFUSE or NOT_UNDERSTOOD."""
        return self.performative not in ("failure", "refuse", "not-understood")


def _error(status: int, content: bytes) -> CaxtonError:
    """The error that a problem document tells of."""
    try:
        body = orjson.loads(content)
        fields = dict(body.get("fields") or {})
        for name in ("message_id", "conversation_id"):
            if name in body:
                fields[name] = body[name]
        return error_from_code(str(body["code"]), fields)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return InternalError(reason=f"HTTP status {status} without a problem document")


def _message(
    content: object,
    to: str | None,
    capability: str | None,
    performative: Performative | str,
    conversation_id: str | None,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    if (to is None) == (capability is None):
        given = "both" if to is not None else "neither"
        raise ValidationError(field="to", value=given, allowed="one of to and capability")
    act = performative.value if isinstance(performative, Performative) else performative
    body: dict[str, Any] = {
        "message_id": format_id(new_id()),
        "performative": act,
        "content": content.decode() if isinstance(content, bytes) else content,
    }
    if to is not None:
        body["receiver"] = to
    if capability is not None:
        body["capability"] = capability
    if conversation_id is not None:
        body["conversation_id"] = conversation_id
    if options:
        body["delivery_options"] = dict(options)
    return body


def _reply(body: dict[str, Any]) -> Reply:
    message = body.pop("reply")
    return Reply(
        ack=msgspec.convert(body, Ack),
        performative=message["performative"],
        content=message.get("content", ""),
        sender_name=message.get("sender_name", ""),
        message=message,
    )


class AsyncClient:
    """Talks to a node at ``url``. An async context manager.

    Args:
        url: such as ``http://127.0.0.1:8080``.
        patience_s: how long a request is tried again while the node does not answer; 0 for once.
        transport: an httpx2 transport, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        import httpx2

        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            transport=transport,
            timeout=httpx2.Timeout(30.0, connect=5.0),
            limits=httpx2.Limits(max_connections=100),
            trust_env=False,
        )
        self._broken = (httpx2.TransportError,)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        timeout_s: float = 30.0,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        deadline = time.monotonic() + self._patience_s
        delay = _FIRST_DELAY_S
        content = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        while True:
            failure: CaxtonError
            try:
                response = await self._http.request(
                    method, path, content=content, headers=headers, params=query, timeout=timeout_s
                )
                if response.is_success:
                    return orjson.loads(response.content)
                failure = _error(response.status_code, response.content)
                again = failure.retryable and response.status_code in (429, 503)
            except self._broken as error:
                failure = NodeUnreachable(url=self.url, reason=str(error) or type(error).__name__)
                again = True
            left = deadline - time.monotonic()
            if not again or left <= 0:
                raise failure
            await asyncio.sleep(min(left, delay * random.uniform(0.5, 1.0)))
            delay = min(_MOST_DELAY_S, delay * 2)

    async def send(
        self,
        content: object,
        *,
        to: str | None = None,
        capability: str | None = None,
        performative: Performative | str = Performative.INFORM,
        conversation_id: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Ack:
        """Send a message; returns once it is journaled.

        Args:
            content: text, or what is sent as JSON.
            to: the agent's name or id; or
            capability: what the receiver must be able to do.
            performative: the act.
            conversation_id: the conversation to stay in.
            options: ``priority``, ``timeout_ms``, ``require_receipt``, ``max_retries``.

        Raises:
            CaxtonError: it was refused, or no node answered.
        """
        body = _message(content, to, capability, performative, conversation_id, options)
        return msgspec.convert(await self._call("POST", "/api/v1/messages", body=body), Ack)

    async def request(
        self,
        content: object,
        *,
        to: str | None = None,
        capability: str | None = None,
        performative: Performative | str = Performative.REQUEST,
        conversation_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_ms: int = 30_000,
    ) -> Reply:
        """Send a message and wait at most ``timeout_ms`` for its reply.

        Raises:
            Timeout: it was accepted and no reply came; its fields name the conversation.
            CaxtonError: it was refused, or no node answered.
        """
        MessageTimeoutMs.parse(timeout_ms, "timeout_ms")
        body = _message(content, to, capability, performative, conversation_id, options)
        answer = await self._call(
            "POST",
            "/api/v1/messages",
            body=body,
            timeout_s=timeout_ms / 1_000 + 10,
            query={"wait": f"{timeout_ms}ms"},
        )
        return _reply(answer)

    async def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Ack | CaxtonError]:
        """Send messages in their JSON form, 1,000 to a request; one outcome each, in order."""
        bodies = [
            dict(one) if "message_id" in one else {"message_id": format_id(new_id()), **one}
            for one in messages
        ]
        outcomes: list[Ack | CaxtonError] = []
        for start in range(0, len(bodies), _BATCH):
            part = {"messages": bodies[start : start + _BATCH]}
            answer = await self._call("POST", "/api/v1/messages/batch", body=part, timeout_s=60)
            for item in answer["items"]:
                problem = item.get("error")
                outcomes.append(
                    msgspec.convert(item, Ack)
                    if problem is None
                    else error_from_code(problem["code"], dict(problem.get("fields") or {}))
                )
        return outcomes

    async def _pages(self, path: str, kind: type[T], limit: int | None) -> list[T]:
        found: list[T] = []
        token = ""
        while limit is None or len(found) < limit:
            size = 1_000 if limit is None else min(1_000, limit - len(found))
            query = {"page_size": str(size)} | ({"page_token": token} if token else {})
            answer = await self._call("GET", path, query=query)
            found += [msgspec.convert(item, kind) for item in answer["items"]]
            token = answer["next_page_token"]
            if not token:
                break
        return found

    async def agents(self) -> list[AgentView]:
        """All agents."""
        return await self._pages("/api/v1/agents", AgentView, None)

    async def agent(self, name_or_id: str) -> AgentView:
        """One agent. Raises AgentNotFound."""
        return msgspec.convert(await self._call("GET", f"/api/v1/agents/{name_or_id}"), AgentView)

    async def conversations(self, limit: int = 50) -> list[ConversationView]:
        """Conversations, the newest activity first."""
        return await self._pages("/api/v1/conversations", ConversationView, limit)

    async def conversation(self, conversation_id: str) -> ConversationDetail:
        """One conversation with its messages. Raises ConversationNotFound."""
        answer = await self._call("GET", f"/api/v1/conversations/{conversation_id}")
        return msgspec.convert(answer, ConversationDetail)

    async def node(self) -> NodeView:
        """The node at one glance."""
        return msgspec.convert(await self._call("GET", "/api/v1/node"), NodeView)

    async def health(self) -> bool:
        """Whether the node's gateway lives."""
        try:
            return bool((await self._call("GET", "/health"))["status"] == "healthy")
        except NodeUnreachable:
            return False

    async def ready(self) -> bool:
        """Whether the node takes messages."""
        try:
            return bool((await self._call("GET", "/ready"))["status"] == "ready")
        except CaxtonError:
            return False

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Recent events later than ``after``, then live ones, until the node ends the stream."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        try:
            async with self._http.stream(
                "GET", "/api/v1/events", headers=headers, timeout=None
            ) as response:
                if not response.is_success:
                    raise _error(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line.startswith("data: {") and len(line) > len("data: {}"):
                        yield msgspec.json.decode(line[6:], type=Event)
        except self._broken as error:
            raise NodeUnreachable(url=self.url, reason=str(error)) from error


class Client:
    """``AsyncClient`` for code without an event loop: the same methods, blocking.

    It runs a loop of its own, so it must not be used where a loop runs.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, patience_s=patience_s)
        self.url = self._client.url

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

    def _run(self, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        async def work() -> T:
            return await call(*args, **kwargs)

        return self._runner.run(work())

    def send(self, content: object, **options: Any) -> Ack:
        """Send a message; see ``AsyncClient.send``."""
        return self._run(self._client.send, content, **options)

    def request(self, content: object, **options: Any) -> Reply:
        """Send a message and wait for its reply; see ``AsyncClient.request``."""
        return self._run(self._client.request, content, **options)

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Ack | CaxtonError]:
        """Send many messages; see ``AsyncClient.send_many``."""
        return self._run(self._client.send_many, messages)

    def agents(self) -> list[AgentView]:
        """All agents."""
        return self._run(self._client.agents)

    def agent(self, name_or_id: str) -> AgentView:
        """One agent. Raises AgentNotFound."""
        return self._run(self._client.agent, name_or_id)

    def conversations(self, limit: int = 50) -> list[ConversationView]:
        """Conversations, the newest activity first."""
        return self._run(self._client.conversations, limit)

    def conversation(self, conversation_id: str) -> ConversationDetail:
        """One conversation with its messages. Raises ConversationNotFound."""
        return self._run(self._client.conversation, conversation_id)

    def node(self) -> NodeView:
        """The node at one glance."""
        return self._run(self._client.node)

    def health(self) -> bool:
        """Whether the node's gateway lives."""
        return self._run(self._client.health)

    def ready(self) -> bool:
        """Whether the node takes messages."""
        return self._run(self._client.ready)

    def events(self, after: int | None = None) -> Iterator[Event]:
        """Recent events later than ``after``, then live ones."""
        following = self._client.events(after)
        try:
            while True:
                try:
                    yield self._run(anext, following)
                except StopAsyncIteration:
                    return
        finally:
            self._run(following.aclose)  # type: ignore[attr-defined]  # an async generator
