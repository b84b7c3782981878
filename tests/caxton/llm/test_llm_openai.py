"""The OpenAI-compatible provider, against a stub that speaks the protocol."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub_llm import Fault, Reply, StubLlm

from caxton.config import Secret
from caxton.errors import ModelUnavailable
from caxton.llm.openai import OpenAIProvider
from caxton.llm.provider import (
    ChatMessage,
    Delta,
    Done,
    ProviderSettings,
    Request,
    ToolCall,
    Usage,
    fold,
)
from caxton.tools.catalog import ToolCatalog

KEY = "sk-test-1234567890"
ASKED = Request((ChatMessage("system", "be short"), ChatMessage("user", "hi")), model="m1")


class Waits:
    """Sleeps by the book: keeps how long it was asked to wait, and moves the clock."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def provider(
    stub: StubLlm, waits: Waits | None = None, *, key: str = "", model: str = "", **more: Any
) -> OpenAIProvider:
    waits = waits or Waits()
    settings = ProviderSettings(
        base_url="http://stub/v1/", api_key=Secret(key), model=model, **more
    )
    return OpenAIProvider(
        settings,
        transport=stub.transport(),
        sleep=waits.sleep,
        clock=lambda: waits.now,
        jitter=lambda: 0.5,
    )


async def failure(made: OpenAIProvider, request: Request = ASKED) -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as failed:
        await fold(made.stream(request))
    await made.aclose()
    return failed.value


async def test_text_comes_in_pieces_and_as_a_whole() -> None:
    """Deltas in order, then one Done with text, usage and model."""
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    stub = StubLlm(Reply("Hello, world. ünï", usage=usage))
    made = provider(stub)
    parts = [part async for part in made.stream(ASKED)]
    await made.aclose()
    assert "".join(part.text for part in parts[:-1]) == "Hello, world. ünï"
    assert all(isinstance(part, Delta) for part in parts[:-1])
    assert parts[-1] == Done("Hello, world. ünï", (), "stop", Usage(7, 3, 2), "stub-1")
    assert Usage(7, 3).total == 10


async def test_what_is_sent() -> None:
    """Messages, tools, settings and the schema arrive as the protocol has them."""
    stub = StubLlm("ok")
    made = provider(stub, model="default")
    call = ToolCall("c1", "csv_parser", '{"path": "x"}')
    tool = ToolCatalog.builtin().get("csv_parser")
    assert tool is not None
    messages = (
        ChatMessage("user", "q"),
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", "42", tool_call_id="c1", name="csv_parser"),
    )
    request = Request(
        messages, (tool,), temperature=0.5, max_tokens=9, json_schema={"type": "object"},
        agent_name="Secretary", question="private",
    )  # fmt: skip
    await fold(made.stream(request))
    await made.aclose()
    (body,) = stub.requests
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("default", 0.5, 9)
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"path": "x"}'
    assert body["messages"][2] == {"role": "tool", "content": "42", "tool_call_id": "c1"}
    assert body["tools"][0]["function"]["parameters"] == tool.input_schema
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["stream_options"] == {"include_usage": True}
    assert "Secretary" not in json.dumps(body)
    assert "private" not in json.dumps(body)


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_are_put_together(stream: bool) -> None:
    """From their deltas, or from a server that does not stream."""
    calls = [("a", {"x": "long enough to be cut"}), ("b", "{}")]
    made = provider(StubLlm(Reply("so", calls, stream=stream)))
    done = await fold(made.stream(ASKED))
    await made.aclose()
    assert done.tool_calls == (
        ToolCall("c0", "a", '{"x": "long enough to be cut"}'), ToolCall("c1", "b", "{}"),
    )  # fmt: skip
    assert (done.text, done.finish_reason) == ("so", "tool_calls")


async def test_without_usage_tokens_are_estimated() -> None:
    """And marked so."""
    made = provider(StubLlm(Reply("four", usage=None)))
    done = await fold(made.stream(ASKED))
    await made.aclose()
    assert done.usage.estimated
    assert done.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({}, [0.5, 1.0]),
        ({"retry-after": "3"}, [3.0, 3.0]),
        ({"retry-after": "soon"}, [0.5, 1.0]),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 408])
async def test_passing_failures_are_tried_again(
    status: int, headers: dict[str, str], waits: list[float]
) -> None:
    """After what the server says, or after growing pauses."""
    clock = Waits()
    fault = Fault(status, headers)
    made = provider(StubLlm(fault, fault, "ok"), clock)
    assert (await fold(made.stream(ASKED))).text == "ok"
    await made.aclose()
    assert clock.slept == waits


async def test_a_date_in_retry_after_is_understood() -> None:
    """RFC 9110 allows both forms; one in the past means now."""
    clock = Waits()
    past = email.utils.formatdate(time.time() - 100, usegmt=True)
    made = provider(StubLlm(Fault(503, {"retry-after": past}), "ok"), clock)
    await fold(made.stream(ASKED))
    await made.aclose()
    assert clock.slept == [0.0]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "auth"), (403, "auth"), (400, "request"), (404, "request")]
)
async def test_lasting_failures_are_told_at_once(status: int, kind: str) -> None:
    """What waiting does not mend is not tried again."""
    clock = Waits()
    error = await failure(provider(StubLlm(Fault(status)), clock))
    assert (error.fields["kind"], clock.slept) == (kind, [])
    assert f"HTTP {status}" in str(error)


async def test_attempts_and_pauses_are_bounded() -> None:
    """Three attempts; a pause beyond the deadline or 20 s is not made."""
    clock = Waits()
    stub = StubLlm(Fault(500))
    error = await failure(provider(stub, clock))
    assert (len(stub.requests), error.fields["kind"]) == (3, "server")
    assert "overloaded" in str(error)
    for headers, timeout in (({"retry-after": "30"}, 60_000), ({"retry-after": "5"}, 4_000)):
        clock = Waits()
        await failure(provider(StubLlm(Fault(429, headers)), clock, timeout_ms=timeout))
        assert clock.slept == []


async def test_the_key_is_sent_and_never_shown() -> None:
    """Not by an error, though the server repeats it, and not by the settings."""
    made = provider(StubLlm("ok", key=KEY), key=KEY)
    assert (await fold(made.stream(ASKED))).text == "ok"
    await made.aclose()
    error = await failure(provider(StubLlm("ok", key="other"), key=KEY))
    shown = f"{error} {error.fields} {error!r} {error.__cause__!r}"
    assert KEY not in shown
    told = Fault(400, body=json.dumps({"error": {"message": f"bad {KEY}"}}))
    assert KEY not in str(await failure(provider(StubLlm(told), key=KEY)))
    assert KEY not in repr(ProviderSettings(api_key=Secret(KEY)))


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[1]",
        "{}",
        '{"choices": []}',
        '{"choices": [{"message": "x"}]}',
        '{"choices": 3}',
    ],
)
async def test_an_answer_that_is_none_is_a_bad_response(body: str) -> None:
    """A proxy's page, an empty object: one kind of error, and no second attempt."""
    stub = StubLlm(Fault(200, body=body))
    error = await failure(provider(stub))
    assert (error.fields["kind"], len(stub.requests)) == ("bad_response", 1)


@pytest.mark.parametrize("body", ['{"error": "loading"}', '{"error": {"message": "loading"}}'])
async def test_an_error_with_status_200_is_a_server_error(body: str) -> None:
    """Some servers report their failures so."""
    error = await failure(provider(StubLlm(Fault(200, body=body))))
    assert error.fields["kind"] == "server"
    assert "loading" in str(error)


@pytest.mark.parametrize(
    "lines",
    [
        ["data: {broken"],
        ["data: [1]"],
        ["data: [DONE]"],
        [": only a comment"],
        ["event: x"],
        ['data: {"choices": [{"delta": "x"}]}'],
    ],
)
async def test_garbage_in_a_stream_is_a_bad_response(lines: list[str]) -> None:
    """Whatever the events, the outcome is the one error."""
    fault = Fault(200, body="\n\n".join([*lines, ""]), content_type="text/event-stream")
    assert (await failure(provider(StubLlm(fault)))).fields["kind"] == "bad_response"


async def test_odd_deltas_are_put_up_with() -> None:
    """Missing indexes, repeated names, arguments as an object, null contents."""
    chunks = [
        {"choices": [{"delta": {"content": None, "tool_calls": None}}]},
        {
            "choices": [
                {"delta": {"tool_calls": [{"function": {"name": "a", "arguments": {"x": 1}}}]}}
            ]
        },
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "a"}}, 3]}}]},
        {
            "choices": [{"delta": {"tool_calls": [{"index": 1, "id": "z"}]}}],
            "usage": {"prompt_tokens": -1},
        },
    ]
    body = "".join(f"data:{json.dumps(chunk)}\n\n" for chunk in chunks)
    fault = Fault(200, body=body, content_type="text/event-stream")
    made = provider(StubLlm(fault))
    done = await fold(made.stream(ASKED))
    await made.aclose()
    assert done.tool_calls == (ToolCall("call_0", "a", '{"x": 1}'),)
    assert done.usage == Usage(0, 0)


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server cannot fill the memory."""
    monkeypatch.setattr("caxton.llm.openai.MAX_ANSWER", 10)
    error = await failure(provider(StubLlm("x" * 50)))
    assert "more than 10 characters" in str(error)


class Broken(httpx2.AsyncBaseTransport):
    """A network that fails as told, before or in the middle of an answer."""

    def __init__(self, error: Callable[[], Exception], after: bytes | None = None) -> None:
        self.error = error
        self.after = after
        self.requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        if self.after is None:
            raise self.error()
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, stream=_Stream(self)
        )


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self.broken.after is not None
        yield self.broken.after
        raise self.broken.error()


HELLO = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'


@pytest.mark.parametrize(
    ("error", "kind", "after", "requests"),
    [
        (lambda: httpx2.ConnectError("refused"), "network", None, 3),
        (lambda: httpx2.ReadTimeout("slow"), "timeout", None, 3),
        (lambda: httpx2.ReadError("cut"), "network", HELLO, 1),
        (lambda: httpx2.ReadError("cut"), "network", b": wait\n\n", 3),
        (lambda: httpx2.TooManyRedirects("round"), "request", None, 1),
    ],
)
async def test_network_failures_are_tried_again_until_the_first_token(
    error: Callable[[], Exception], kind: str, after: bytes | None, requests: int
) -> None:
    """What was already heard is never asked for twice."""
    network = Broken(error, after)
    clock = Waits()
    made = OpenAIProvider(
        ProviderSettings(base_url="http://stub/v1"), transport=network, sleep=clock.sleep,
        clock=lambda: clock.now, jitter=lambda: 0.5,
    )  # fmt: skip
    heard: list[Any] = []

    async def listen() -> None:
        async for part in made.stream(ASKED):
            heard.append(part)  # noqa: PERF401 - it is kept also when the stream fails

    with pytest.raises(ModelUnavailable) as failed:
        await listen()
    await made.aclose()
    assert (failed.value.fields["kind"], network.requests) == (kind, requests)
    assert heard == ([Delta("Hel")] if after == HELLO else [])


async def test_a_call_has_a_deadline() -> None:
    """A server that says nothing is given up on."""

    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await asyncio.Event().wait()
            raise AssertionError

    made = OpenAIProvider(
        ProviderSettings(base_url="http://stub", timeout_ms=5), transport=Silent()
    )
    error = await failure(made)
    assert error.fields["kind"] == "timeout"
    assert "5 ms" in str(error)


async def test_without_a_model_the_first_listed_one_is_asked() -> None:
    """A local server lists what it has; nobody needs to name its only model."""
    stub = StubLlm("ok")
    settings = ProviderSettings(base_url="http://stub/v1")
    made = OpenAIProvider(settings, transport=stub.transport())
    await fold(made.stream(Request((ChatMessage("user", "x"),))))
    await made.aclose()
    assert stub.requests[0]["model"] == "stub"


async def test_without_a_model_and_without_a_list_nothing_is_asked() -> None:
    """The error says which setting is missing."""
    made = OpenAIProvider(ProviderSettings(base_url="http://127.0.0.1:1/v1"))
    error = await failure(made, Request((ChatMessage("user", "x"),)))
    assert "llm.model" in str(error)


async def test_over_a_real_port() -> None:
    """The same through a socket."""
    stub = StubLlm(Reply("", [("a", {})]), key=KEY)
    async with stub.serving() as url:
        made = OpenAIProvider(ProviderSettings(base_url=url, api_key=Secret(KEY)))
        done = await fold(made.stream(ASKED))
        await made.aclose()
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"{url}/models")).json()["data"][0]["id"] == "stub"
    assert done.tool_calls[0].name == "a"


async def test_an_address_that_is_none_is_an_error_of_the_request() -> None:
    """A wrong base URL is told, not tried again."""
    made = OpenAIProvider(ProviderSettings(base_url="ftp://x"))
    error = await failure(made)
    assert error.fields["kind"] in ("request", "network")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab{}", max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "content", "tool_calls", "function", "name", "arguments", "index",
             "usage", "prompt_tokens", "error", "message", "finish_reason", "id", "model"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(st.one_of(VALUES.map(json.dumps), st.text('{}[]:a1"', max_size=10)), max_size=5))
def test_any_stream_ends_in_an_answer_or_the_one_error(events: list[str]) -> None:
    """Whatever a server says, nothing but Done or ModelUnavailable comes of it."""
    body = "".join(f"data: {event}\n\n" for event in events).encode()
    headers = {"content-type": "text/event-stream"}
    network = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=body))
    clock = Waits()
    made = OpenAIProvider(
        ProviderSettings(base_url="http://stub"), transport=network, sleep=clock.sleep,
        clock=lambda: clock.now,
    )  # fmt: skip

    async def outcome() -> Done | ModelUnavailable:
        try:
            return await fold(made.stream(ASKED))
        except ModelUnavailable as error:
            return error
        finally:
            await made.aclose()

    assert isinstance(asyncio.run(outcome()), Done | ModelUnavailable)
