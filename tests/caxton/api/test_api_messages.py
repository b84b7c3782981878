"""POST /api/v1/messages and /batch: strict in, typed out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest
from fake_entry import FakeEntry, agent_id
from starlette.applications import Starlette

from caxton.api.app import Limits, make_app
from caxton.errors import CircuitOpen, NodeNotReady, QueueFull, StorageFull
from caxton.message import DeliveryOptions, TraceContext
from caxton.types import format_id, new_id

MESSAGES = "/api/v1/messages"
BATCH = "/api/v1/messages/batch"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
JSON = {"Content-Type": "application/json"}


def problem_of(response: httpx2.Response) -> dict[str, Any]:
    """The problem in a response, checked for what every problem has."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"/docs/errors#{body['code']}"
    assert body["trace_id"] == response.headers["x-request-id"]
    return body


async def test_message_is_accepted_with_its_ids(http, entry) -> None:
    """A good message gets 202, its ids and the durability reached."""
    identity = format_id(new_id())
    body = {"receiver": "greeter", "content": "hi", "message_id": identity}
    response = await http.post(MESSAGES, json=body)
    assert response.status_code == 202
    taken = next(iter(entry.taken.values()))
    assert response.json() == {
        "message_id": identity,
        "conversation_id": format_id(taken.conversation_id),
        "durability": "disk",
        "shard": 0,
        "duplicate": False,
    }
    assert (taken.receiver, taken.sender) == (agent_id("Greeter"), entry.identity)
    again = await http.post(MESSAGES, json=body)
    assert again.json()["duplicate"] is True


async def test_receiver_may_be_an_id(http, entry) -> None:
    """A receiver that is an id is taken as it is."""
    receiver = new_id()
    response = await http.post(MESSAGES, json={"receiver": format_id(receiver)})
    assert response.status_code == 202
    assert next(iter(entry.taken.values())).receiver == receiver


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ([], 422, "VALIDATION_ERROR", "#"),
        ("text", 422, "VALIDATION_ERROR", "#"),
        (None, 422, "VALIDATION_ERROR", "#"),
        ({}, 422, "VALIDATION_ERROR", "#/receiver"),
        ({"receiver": "Greeter", "capability": "x"}, 422, "VALIDATION_ERROR", "#/receiver"),
        ({"receiver": ""}, 422, "VALIDATION_ERROR", "#/receiver"),
        ({"receiver": "x" * 101}, 422, "VALIDATION_ERROR", "#/receiver"),
        ({"receiver": 7}, 422, "VALIDATION_ERROR", "#/receiver"),
        ({"receiver": "Nobody"}, 404, "AGENT_NOT_FOUND", None),
        ({"receivr": "Greeter"}, 422, "VALIDATION_ERROR", "#/receivr"),
        ({"a/b~c": 1}, 422, "VALIDATION_ERROR", "#/a~1b~0c"),
        ({"x" * 300: 1}, 422, "VALIDATION_ERROR", "#/" + "x" * 40 + "…"),
        ({"performative": "x" * 300}, 422, "VALIDATION_ERROR", "#/performative"),
        ({"capability": "x", "performative": "shout"}, 422, "VALIDATION_ERROR", "#/performative"),
        ({"capability": "x", "content_base64": 1234}, 422, "VALIDATION_ERROR", "#/content_base64"),
        (
            {"capability": "x", "delivery_options": {"max_retries": 11}},
            422, "VALIDATION_ERROR", "#/delivery_options/max_retries",
        ),
        (
            {"capability": "x", "delivery_options": {"y" * 300: 11}},
            422, "VALIDATION_ERROR", "#/delivery_options/" + "y" * 40 + "…",
        ),
        ({"capability": "x", "content": "y" * 10_001}, 413, "MESSAGE_TOO_LARGE", "#/content"),
    ],
)  # fmt: skip
async def test_bad_message_is_one_problem(http, entry, body, status, code, pointer) -> None:
    """A bad message gets one problem that names the field, and nothing is taken."""
    response = await http.post(MESSAGES, content=orjson.dumps(body), headers=JSON)
    found = problem_of(response)
    assert (found["status"], found["code"]) == (status, code)
    if pointer is not None:
        assert [one["pointer"] for one in found["errors"]] == [pointer]
        assert found["errors"][0]["allowed"]
    assert entry.submissions == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"receiver": NaN}', b"[" * 60_000, b'{"a":' * 10_000, b'"\\ud800"'],
)
async def test_body_that_is_no_json(http, entry, content) -> None:
    """What is not JSON, or nested too deep, is one problem."""
    found = problem_of(await http.post(MESSAGES, content=content, headers=JSON))
    assert (found["code"], found["errors"][0]["pointer"]) == ("VALIDATION_ERROR", "#")
    assert entry.submissions == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 202),
        ({"Content-Type": "Application/JSON;charset=UTF-8"}, 202),
        ({}, 202),
    ],
)
async def test_media_type(http, headers, status) -> None:
    """Only JSON in UTF-8, uncompressed, is read."""
    response = await http.post(MESSAGES, content=b'{"capability": "x"}', headers=headers)
    assert response.status_code == status
    if status == 415:
        assert problem_of(response)["errors"][0]["in"] == "header"


async def test_declared_length_over_the_limit_is_refused_unread(http, entry) -> None:
    """Content-Length over the limit is 413 before anything is parsed."""
    content = b" " * (2 * entry.max_content + 65 * 1024)
    found = problem_of(await http.post(MESSAGES, content=content, headers=JSON))
    assert (found["status"], found["errors"][0]["value"]) == (413, len(content))


async def test_streamed_body_over_the_limit_is_refused(http, edge) -> None:
    """A body without a declared length ends at the limit too, and gives its memory back."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 8_192

    found = problem_of(await http.post(MESSAGES, content=parts(), headers=JSON))
    assert found["status"] == 413
    assert edge.buffered == 0


async def test_endless_body_is_not_drained_for_ever(entry) -> None:
    """Of a refused body only so much is taken in."""
    sent = 0
    app = make_app(entry)

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": b" " * 1_048_576, "more_body": True}

    started: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message["status"])

    headers = [(b"host", b"localhost"), (b"content-length", b"123456789012")]
    scope = {
        "type": "http", "method": "POST", "path": MESSAGES, "query_string": b"",
        "headers": headers, "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    assert started == [413]
    assert sent < 100


async def test_slow_body_has_a_deadline(entry) -> None:
    """A body that does not arrive is 408."""
    app = make_app(entry, limits=Limits(body_s=0.01))

    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    statuses: list[int] = []
    stream = never()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(stream), "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http", "method": "POST", "path": MESSAGES, "query_string": b"",
        "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    assert statuses[0] == 408


async def test_cut_body(entry) -> None:
    """A client that leaves in the middle of its body has sent nothing."""
    app = make_app(entry)
    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    scope = {
        "type": "http", "method": "POST", "path": MESSAGES, "query_string": b"",
        "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    assert (statuses[0], entry.submissions) == (422, [])


async def test_held_bodies_are_bounded(entry) -> None:
    """When bodies hold too much memory, further ones are told to come back."""
    app = make_app(entry, limits=Limits(buffered_bytes=10))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.post(MESSAGES, json={"capability": "long-enough"})
    assert (problem_of(response)["code"], response.headers["retry-after"]) == ("QUEUE_FULL", "1")


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (NodeNotReady(part="shard 0"), 503, "1"),
        (QueueFull(queue="journal", depth=1, limit=1), 429, "1"),
        (CircuitOpen(target="x", retry_after_ms=2_100), 503, "3"),
        (StorageFull(store="journal", reason="disk"), 507, "1"),
    ],
)
async def test_refusal_of_the_node_is_its_problem(http, entry, error, status, after) -> None:
    """What the node refuses comes with its status, and with Retry-After when that can help."""
    entry.refusals.append(error)
    response = await http.post(MESSAGES, json={"capability": "x"})
    assert problem_of(response)["code"] == error.code
    assert (response.status_code, response.headers["retry-after"]) == (status, after)


async def test_fault_tells_nothing_of_itself(http, entry, caplog) -> None:
    """An unknown exception is a 500 without its text; the log has it with the trace id."""
    entry.failure = RuntimeError("secret detail")
    response = await http.post(MESSAGES, json={"capability": "x"})
    found = problem_of(response)
    assert (found["status"], found["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in response.text
    (record,) = [one for one in caplog.records if one.name == "caxton.api"]
    assert record.trace_id == found["trace_id"]  # type: ignore[attr-defined]  # given as extra
    assert "secret detail" in str(record.exc_info)


# --- trace context ---------------------------------------------------------------------------


async def test_trace_of_the_request_goes_into_the_message(http, entry) -> None:
    """X-Request-Id is the trace id, and a message without a trace gets the request's."""
    headers = {"traceparent": PARENT}
    response = await http.post(MESSAGES, json={"capability": "x"}, headers=headers)
    assert response.headers["x-request-id"] == TRACE
    taken = next(iter(entry.taken.values()))
    assert taken.trace_context == TraceContext(TRACE, "b7ad6b7169203331", sampled=True)


async def test_message_without_a_trace_gets_one(http, entry) -> None:
    """It is the one of the request, so that an error report leads to it."""
    response = await http.post(MESSAGES, json={"capability": "x"})
    trace = next(iter(entry.taken.values())).trace_context
    assert trace.trace_id == response.headers["x-request-id"]
    assert not trace.sampled


async def test_trace_of_the_message_wins(http, entry) -> None:
    """A message keeps the trace it names."""
    own = "00-11111111111111111111111111111111-2222222222222222-00"
    body = {"capability": "x", "trace_context": {"traceparent": own}}
    await http.post(MESSAGES, json=body, headers={"traceparent": PARENT})
    trace = next(iter(entry.taken.values())).trace_context
    assert trace is not None
    assert trace.traceparent == own


@pytest.mark.parametrize("given", ["", "nonsense", PARENT.upper(), f"00-{'0' * 32}-1-01"])
async def test_bad_traceparent_starts_a_new_trace(http, entry, given) -> None:
    """A traceparent that does not parse is as good as none (W3C Trace Context)."""
    headers = {"traceparent": given}
    response = await http.post(MESSAGES, json={"capability": "x"}, headers=headers)
    assert len(response.headers["x-request-id"]) == 32
    trace = next(iter(entry.taken.values())).trace_context
    assert trace.trace_id == response.headers["x-request-id"]
    assert trace.trace_id != TRACE


# --- waiting for the reply -------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["1", "1s", "30s", "300", "1000ms", "1500ms", "300000ms"])
async def test_wait_returns_the_reply(http, wait) -> None:
    """With ``wait`` the reply comes back beside the ack, with names."""
    response = await http.post(
        MESSAGES, params={"wait": wait}, json={"receiver": "Greeter", "content": "hi"}
    )
    assert response.status_code == 200
    body = response.json()
    assert body["durability"] == "disk"
    assert body["reply"]["content"] == "hi"
    assert body["reply"]["in_reply_to"] == body["message_id"]
    assert (body["reply"]["sender_name"], body["reply"]["receiver_name"]) == ("Greeter", "client")


@pytest.mark.parametrize(
    "wait", ["", "0", "0s", "301", "301s", "999ms", "300001ms", "1m", "-1", "030", "²", "٣", "1.5s"]
)
async def test_wait_out_of_range(http, entry, wait) -> None:
    """A wait that is not 1 s to 300 s is refused before the message is read."""
    response = await http.post(MESSAGES, params={"wait": wait}, json={"capability": "x"})
    found = problem_of(response)
    error = found["errors"][0]
    assert (error["in"], error["parameter"], entry.submissions) == ("query", "wait", [])


async def test_no_reply_in_time_names_the_message(http, entry) -> None:
    """504 carries the ids, so that the reply can be looked for later."""
    entry.silent = True
    response = await http.post(MESSAGES, params={"wait": "1s"}, json={"capability": "x"})
    found = problem_of(response)
    (taken,) = entry.taken.values()
    assert (found["status"], found["code"]) == (504, "TIMEOUT")
    assert found["message_id"] == format_id(taken.message_id)
    assert found["conversation_id"] == format_id(taken.conversation_id)


async def test_waiting_requests_are_bounded(entry) -> None:
    """When too many requests wait, the next is refused and nothing of it is sent."""
    app = make_app(entry, limits=Limits(waiting=0))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.post(MESSAGES, params={"wait": "1s"}, json={"capability": "x"})
    assert (problem_of(response)["code"], entry.submissions) == ("QUEUE_FULL", [])


async def test_stopping_server_ends_waiting_requests(http, entry, edge) -> None:
    """A request that waits when the server stops gets NODE_NOT_READY with its ids."""
    entry.hold = asyncio.Event()
    asking = asyncio.ensure_future(
        http.post(MESSAGES, params={"wait": "30s"}, json={"capability": "x"})
    )
    await asyncio.wait_for(entry.asked.wait(), 5)
    edge.close(0.0)
    found = problem_of(await asyncio.wait_for(asking, 5))
    assert (found["code"], "message_id" in found, edge.waiting) == ("NODE_NOT_READY", True, 0)


async def test_client_that_leaves_is_waited_for_no_longer(app: Starlette, entry) -> None:
    """When the client is gone its slot is free again."""
    entry.hold = asyncio.Event()
    body: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"capability": "x"}', "more_body": False}
    ]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await entry.asked.wait()
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        pass

    scope = {
        "type": "http", "method": "POST", "path": MESSAGES, "query_string": b"wait=300s",
        "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": "",
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 5)
    assert app.state.edge.waiting == 0


# --- batches ---------------------------------------------------------------------------------


async def test_batch_of_1000_is_one_submission(http, entry) -> None:
    """1,000 messages go to the node in one call, and come back in order."""
    ids = [format_id(new_id()) for _ in range(1_000)]
    body = {"messages": [{"capability": "x", "message_id": one} for one in ids]}
    response = await http.post(BATCH, json=body)
    assert response.status_code == 202
    assert [one["message_id"] for one in response.json()["items"]] == ids
    assert entry.submissions == [1_000]


async def test_batch_has_one_outcome_for_each(http, entry) -> None:
    """Bad messages of a batch get problems in their places; the others are sent."""
    entry.refusals.append(NodeNotReady(part="shard 1"))
    body = {"messages": [{"capability": "x"}, {}, {"receiver": "Greeter"}, {"receiver": "No"}]}
    items = (await http.post(BATCH, json=body)).json()["items"]
    assert [one.get("error", {}).get("code") for one in items] == [
        "NODE_NOT_READY", "VALIDATION_ERROR", None, "AGENT_NOT_FOUND",
    ]  # fmt: skip
    assert items[1]["error"]["errors"][0]["pointer"] == "#/messages/1/receiver"
    assert len(entry.taken) == 1


async def test_batch_of_bad_messages_reaches_nobody(http, entry) -> None:
    """A batch without a good message is not submitted."""
    response = await http.post(BATCH, json={"messages": [{}, 7]})
    assert (response.status_code, len(response.json()["items"])) == (202, 2)
    assert entry.submissions == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ({}, "#/messages"),
        ({"messages": None}, "#/messages"),
        ({"messages": {}}, "#/messages"),
        ({"messages": []}, "#/messages"),
        ({"messages": [{}] * 1_001}, "#/messages"),
        ({"messages": [{}], "more": 1}, "#/more"),
    ],
)
async def test_bad_batch_is_one_problem(http, entry, body, pointer) -> None:
    """What is no batch is refused whole."""
    found = problem_of(await http.post(BATCH, json=body))
    assert (found["status"], found["errors"][0]["pointer"]) == (422, pointer)
    assert entry.submissions == []


async def test_batch_takes_the_trace_of_the_request(http, entry: FakeEntry) -> None:
    """Messages of a batch belong to the request's trace."""
    body = {"messages": [{"capability": "x"}, {"capability": "y"}]}
    await http.post(BATCH, json=body, headers={"traceparent": PARENT})
    traces = [one.trace_context for one in entry.taken.values()]
    assert [one.trace_id for one in traces if one] == [TRACE, TRACE]


async def test_what_a_message_does_not_say_is_the_node_s(entry) -> None:
    """Timeout and retries by the settings; what it says counts first."""
    app = make_app(entry, options=DeliveryOptions(timeout_ms=5_000, max_retries=7))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
    ) as http:
        await http.post(MESSAGES, json={"capability": "x"})
        own = {"timeout_ms": 9_000, "require_receipt": True}
        await http.post(MESSAGES, json={"capability": "x", "delivery_options": own})
    first, second = (one.delivery_options for one in entry.taken.values())
    assert (first.timeout_ms, first.max_retries) == (5_000, 7)
    assert (second.timeout_ms, second.max_retries, second.require_receipt) == (9_000, 7, True)


async def test_metrics_that_are_turned_off_are_not_there(entry) -> None:
    """And the answer says which setting that was."""
    app = make_app(entry, metrics=False)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
    ) as http:
        response = await http.get("/metrics")
    assert response.status_code == 404
    assert "metrics.enabled" in response.json()["detail"]
