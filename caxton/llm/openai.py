"""Any server that speaks the OpenAI chat-completions protocol, over httpx2.

Streams server-sent events, puts tool calls together from their deltas, takes usage from the server.
A call that fails before its first token is tried again, after the time the server names or with
jittered exponential back-off; after the first token never, because the answer was already heard.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from caxton.config import Secret
from caxton.errors import ModelUnavailable
from caxton.llm.provider import (
    RETRYABLE,
    ChatMessage,
    Delta,
    Done,
    FailureKind,
    ProviderSettings,
    Request,
    ToolCall,
    Usage,
    estimate_tokens,
    unavailable,
)

if TYPE_CHECKING:
    import httpx2

__all__ = ["OpenAIProvider"]

BASE_URL: Final = "https://api.openai.com/v1"
HOSTED_MODEL: Final = "gpt-4o-mini"
"""Asked for when neither a base URL nor a model is set."""
LIST_S: Final = 5.0
ATTEMPTS: Final = 3
BACKOFF_S: Final = 0.5
MAX_WAIT_S: Final = 20.0
"""A server that wants a longer pause is given up on."""
MAX_ANSWER: Final = 4 * 1024 * 1024
"""Characters of one answer, text and arguments."""


class OpenAIProvider:
    """A chat-completions server.

    Args:
        settings: base URL, key, default model, timeout of one call.
        transport: stands in for the network, in tests.
        sleep: waits between attempts.
        clock: seconds that only grow.
        jitter: a number from 0 to 1 for each wait.
    """

    name = "openai"
    capabilities = frozenset({"stream", "tools", "json_schema"})

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._client: httpx2.AsyncClient | None = None
        self._default = settings.model

    async def _first_model(self) -> str:
        """The model to ask when none is named: a local server lists what it has."""
        if not self._settings.base_url:
            return HOSTED_MODEL
        import httpx2

        try:
            response = await self._opened().get("models", timeout=LIST_S)
            listed = response.json()["data"]
            return str(listed[0]["id"])
        except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            reason = "no model is named and the server lists none: set llm.model"
            raise unavailable(self.name, "request", reason) from error

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2

            settings = self._settings
            key = settings.api_key
            secret = key.reveal() if isinstance(key, Secret) else key
            headers = {"Authorization": f"Bearer {secret}"} if secret else {}
            seconds = settings.timeout_ms / 1_000
            self._client = httpx2.AsyncClient(
                base_url=(settings.base_url or BASE_URL).rstrip("/") + "/",
                headers=headers,
                timeout=httpx2.Timeout(seconds, connect=min(10.0, seconds)),
                limits=httpx2.Limits(max_connections=64, max_keepalive_connections=16),
                transport=self._transport,
            )
        return self._client

    async def stream(self, request: Request) -> AsyncIterator[Delta | Done]:
        """Answer ``request``; see ``Provider.stream``."""
        if not request.model and not self._default:
            self._default = await self._first_model()
        deadline = self._clock() + self._settings.timeout_ms / 1_000
        attempt = 1
        while True:
            started = False
            parts = self._attempt(request)
            try:
                while True:
                    # The deadline covers each wait for the server, never the caller's own time
                    # between two parts.
                    async with asyncio.timeout(max(0.0, deadline - self._clock())):
                        part = await anext(parts, None)
                    if part is None:
                        return
                    started = True
                    yield part
            except TimeoutError as error:
                reason = f"no answer within {self._settings.timeout_ms} ms"
                raise unavailable(self.name, "timeout", reason) from error
            except ModelUnavailable as error:
                kind = str(error.fields["kind"])
                wait = self._wait(error, attempt)
                too_late = self._clock() + wait >= deadline or wait > MAX_WAIT_S
                if started or kind not in RETRYABLE or attempt >= ATTEMPTS or too_late:
                    raise
            finally:
                await parts.aclose()
            attempt += 1
            await self._sleep(wait)

    def _wait(self, error: ModelUnavailable, attempt: int) -> float:
        after = error.fields.get("retry_after_ms")
        if isinstance(after, int):
            return after / 1_000
        return BACKOFF_S * float(2 ** (attempt - 1)) * (0.5 + self._jitter())

    async def _attempt(self, request: Request) -> AsyncGenerator[Delta | Done, None]:
        import httpx2

        client = self._opened()
        answer = _Answer(self.name, request)
        try:
            async with client.stream("POST", "chat/completions", json=self._body(request)) as got:
                if got.status_code >= 400:
                    raise self._refused(got, (await got.aread())[:2_000])
                if "text/event-stream" in got.headers.get("content-type", ""):
                    async for line in got.aiter_lines():
                        data = line.removeprefix("data:").strip() if line[:5] == "data:" else ""
                        if data == "[DONE]":
                            break
                        if data:
                            text = answer.chunk(self._decoded(data))
                            if text:
                                yield Delta(text)
                else:
                    # The server does not know `stream` and answers in one piece.
                    text = answer.whole(self._decoded(await got.aread()))
                    if text:
                        yield Delta(text)
        except httpx2.TimeoutException as error:
            raise unavailable(self.name, "timeout", type(error).__name__) from error
        except httpx2.TransportError as error:
            reason = f"{type(error).__name__} at {self._settings.base_url or BASE_URL}"
            raise unavailable(self.name, "network", reason) from error
        except (httpx2.InvalidURL, httpx2.HTTPError) as error:
            raise unavailable(self.name, "request", type(error).__name__) from error
        yield answer.done()

    def _decoded(self, data: str | bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise unavailable(self.name, "bad_response", "the answer is not JSON") from error
        if not isinstance(value, dict):
            raise unavailable(self.name, "bad_response", "the answer is no JSON object")
        if "error" in value and not value.get("choices"):
            raise unavailable(self.name, "server", _message_of(value))
        return value

    def _refused(self, got: httpx2.Response, body: bytes) -> ModelUnavailable:
        status = got.status_code
        kind: FailureKind = (
            "auth" if status in (401, 403)
            else "rate" if status == 429
            else "timeout" if status == 408
            else "server" if status >= 500
            else "request"
        )  # fmt: skip
        try:
            told = _message_of(json.loads(body))
        except (ValueError, RecursionError):
            told = ""
        key = self._settings.api_key
        secret = key.reveal() if isinstance(key, Secret) else key
        if kind == "auth" or (secret and secret in told):
            # Servers repeat parts of the key in these.
            told = ""
        reason = f"HTTP {status}{f': {told}' if told else ''}"
        return unavailable(
            self.name, kind, reason, _retry_after(got.headers.get("retry-after", ""))
        )

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model or self._default,
            "messages": [_message(one) for one in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.input_schema,
                    },
                }
                for tool in request.tools
            ]
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": request.json_schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def aclose(self) -> None:
        """Close connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


class _Answer:
    """One answer, put together from its chunks."""

    def __init__(self, provider: str, request: Request) -> None:
        self._provider = provider
        self._request = request
        self._text: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish = ""
        self._usage: Usage | None = None
        self._model = ""
        self._size = 0
        self._seen = False

    def chunk(self, value: dict[str, Any]) -> str:
        """Take in one event; gives its text."""
        self._about(value)
        choice = _first(value.get("choices"))
        self._finish = str(choice.get("finish_reason") or self._finish)
        return self._take(choice.get("delta") or {}, whole=False) if choice else ""

    def whole(self, value: dict[str, Any]) -> str:
        """Take in an answer that came in one piece; gives its text."""
        self._about(value)
        choice = _first(value.get("choices"))
        self._finish = str(choice.get("finish_reason") or "")
        return self._take(choice.get("message"), whole=True) if choice else ""

    def _about(self, value: dict[str, Any]) -> None:
        self._model = str(value.get("model") or self._model)
        usage = value.get("usage")
        if isinstance(usage, dict):
            details = usage.get("prompt_tokens_details")
            self._usage = Usage(
                _count(usage.get("prompt_tokens")),
                _count(usage.get("completion_tokens")),
                _count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
            )

    def _take(self, part: Any, *, whole: bool) -> str:
        if not isinstance(part, dict):
            raise unavailable(self._provider, "bad_response", "a choice without a message")
        self._seen = True
        content = part.get("content")
        text = content if isinstance(content, str) else ""
        self._text.append(text)
        self._grow(len(text))
        calls = part.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                given = call.get("index")
                index = position if whole or not isinstance(given, int) else given
                self._call(index, call)
        return text

    def _call(self, index: int, call: dict[str, Any]) -> None:
        known = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        known["id"] = str(call.get("id") or known["id"])
        # The name comes once; some servers repeat it in every delta.
        known["name"] = known["name"] or str(function.get("name") or "")
        arguments = function.get("arguments")
        if arguments is not None:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            known["arguments"] += text
            self._grow(len(text))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_ANSWER:
            reason = f"an answer of more than {MAX_ANSWER:,} characters"
            raise unavailable(self._provider, "bad_response", reason)

    def done(self) -> Done:
        """The end of the answer."""
        if not self._seen:
            raise unavailable(self._provider, "bad_response", "the answer holds no message")
        text = "".join(self._text)
        calls = tuple(
            ToolCall(call["id"] or f"call_{index}", call["name"], call["arguments"] or "{}")
            for index, call in sorted(self._calls.items())
            if call["name"]
        )
        usage = self._usage
        if usage is None:
            sent = [one.content for one in self._request.messages]
            usage = Usage(estimate_tokens(sent), estimate_tokens([text]), estimated=True)
        return Done(text, calls, self._finish or "stop", usage, self._model)


def _message(one: ChatMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": one.role, "content": one.content}
    if one.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in one.tool_calls
        ]
    if one.role == "tool":
        body["tool_call_id"] = one.tool_call_id
    return body


def _first(choices: Any) -> dict[str, Any]:
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _message_of(value: Any) -> str:
    error = value.get("error") if isinstance(value, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(text).split())[:200] if text else ""


def _retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
