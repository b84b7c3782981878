"""Garbage and near-valid bodies: one typed problem, or accepted; nothing in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from fake_entry import FakeEntry
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.api.app import make_app
from caxton.errors import ERRORS
from caxton.message import FIELDS

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
GOOD: dict[str, Any] = {
    "performative": "request",
    "receiver": "Greeter",
    "content": "hi",
    "message_id": "019a5c1e-0000-7000-8000-000000000001",
    "conversation_id": "019a5c1e-0000-7000-8000-000000000002",
    "created_at": "2026-01-02T03:04:05Z",
    "language": "en",
    "delivery_options": {"priority": "high", "timeout_ms": 1_000, "max_retries": 3},
    "trace_context": {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"},
}
NEARLY_VALID = st.builds(
    lambda changes, removed: {
        key: value for key, value in (GOOD | changes).items() if key not in removed
    },
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)) | st.text(max_size=10), JSON_VALUES, max_size=3
    ),
    st.sets(st.sampled_from(sorted(GOOD)), max_size=3),
)


class Caller:
    """Sends bodies to an app without sockets, from code that is not async."""

    def __init__(self) -> None:
        self.entry = FakeEntry()
        self.app = make_app(self.entry)
        self.runner = asyncio.Runner()

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        self.entry.submissions.clear()
        return self.runner.run(self._post(path, body))

    async def _post(self, path: str, body: bytes) -> tuple[int, Any]:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"",
            "headers": headers, "scheme": "http", "root_path": "",
        }  # fmt: skip
        await self.app(scope, receive, send)
        return messages[0]["status"], orjson.loads(b"".join(one["body"] for one in messages[1:]))


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    found = Caller()
    with found.runner:
        yield found


def _holds(caller: Caller, path: str, body: bytes) -> None:
    """Either 202 and a submission, or one problem of the table and none."""
    status, answer = caller.post(path, body)
    if status == 202:
        assert len(caller.entry.submissions) <= 1
        return
    assert 400 <= status < 500
    assert ERRORS[answer["code"]].status == answer["status"] == status
    assert caller.entry.submissions == []


PATHS = pytest.mark.parametrize("path", ["/api/v1/messages", "/api/v1/messages/batch"])


@PATHS
@given(body=st.binary(max_size=200))
@settings(max_examples=150)
def test_bytes(caller: Caller, path: str, body: bytes) -> None:
    """Arbitrary bytes are one problem."""
    _holds(caller, path, body)


@PATHS
@given(body=JSON_VALUES)
@settings(max_examples=150)
def test_json(caller: Caller, path: str, body: Any) -> None:
    """Arbitrary JSON is one problem."""
    _holds(caller, path, json.dumps(body).encode())


@given(body=NEARLY_VALID)
@settings(max_examples=200)
def test_nearly_valid_messages(caller: Caller, body: Any) -> None:
    """A message with a few wrong fields is accepted whole or refused whole."""
    _holds(caller, "/api/v1/messages", json.dumps(body).encode())


@given(bodies=st.lists(NEARLY_VALID, min_size=1, max_size=5))
@settings(max_examples=150)
def test_nearly_valid_batches(caller: Caller, bodies: list[Any]) -> None:
    """Each message of a batch has its own outcome, and the good ones are submitted at once."""
    status, answer = caller.post(
        "/api/v1/messages/batch", json.dumps({"messages": bodies}).encode()
    )
    assert status == 202
    assert len(answer["items"]) == len(bodies)
    good = [one for one in answer["items"] if "error" not in one]
    assert sum(caller.entry.submissions) == len(good)
    for one in answer["items"]:
        assert "message_id" in one or one["error"]["code"] in ERRORS


@given(body=st.data())
@settings(max_examples=150)
def test_cut_and_changed_bytes(caller: Caller, body: st.DataObject) -> None:
    """A good body with bytes cut off or changed is accepted or one problem."""
    good = bytearray(orjson.dumps(GOOD))
    index = body.draw(st.integers(0, len(good) - 1))
    if body.draw(st.booleans()):
        del good[index:]
    else:
        good[index] = body.draw(st.integers(0, 255))
    _holds(caller, "/api/v1/messages", bytes(good))
