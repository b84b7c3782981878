"""Server-sent events."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fake_entry import FakeEntry, event

from caxton.api.app import Limits, make_app

EVENTS = "/api/v1/events"


class Stream:
    """One open stream, read message by message."""

    def __init__(self, app: Any, headers: dict[str, str] | None = None, query: str = "") -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.left = asyncio.Event()
        self.stuck: asyncio.Event | None = None
        given = {"host": "localhost", **(headers or {})}
        scope = {
            "type": "http", "method": "GET", "path": EVENTS, "query_string": query.encode(),
            "headers": [(key.lower().encode(), value.encode()) for key, value in given.items()],
            "scheme": "http", "root_path": "",
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))
        self._body = True

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            self._body = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        self.sent.put_nowait(message)

    async def text(self) -> str:
        """The next piece of the body."""
        while True:
            message = await asyncio.wait_for(self.sent.get(), 5)
            if message["type"] == "http.response.body":
                return str(message["body"].decode())

    async def end(self) -> None:
        """Wait until the app is done with it."""
        await asyncio.wait_for(self.task, 5)


async def _whole(http: httpx2.AsyncClient, **given: Any) -> list[httpx2.ServerSentEvent]:
    response = await http.get(EVENTS, **given)
    return [one for one in httpx2.EventSource(response) if one.data]


async def test_kept_events_come_with_their_ids(http, edge) -> None:
    """A stream starts with what is kept; ids hold the epoch and the number."""
    found = await _whole(http)
    assert [one.id for one in found[:3]] == [f"{edge.epoch}-{number}" for number in (1, 2, 3)]
    assert [one.event for one in found] == [
        "agent.reloaded", "process.restarted", "agent.reloaded", "lagged",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("last", "first"), [("2", 3), ("0", 1), ("{epoch}-1", 2), ("00000000-2", 1), ("", 1)]
)
async def test_stream_resumes_after_the_last_event(http, edge, last, first) -> None:
    """Last-Event-ID goes on after it; one of another epoch starts anew."""
    headers = {"Last-Event-ID": last.format(epoch=edge.epoch)}
    found = await _whole(http, headers=headers)
    assert found[0].id == f"{edge.epoch}-{first}"


@pytest.mark.parametrize("last", ["x", "-1", "1" * 16, "abc-1", "²"])
async def test_bad_last_event_id_is_a_problem(http, last) -> None:
    """What is no id of an event is refused."""
    response = await http.get(EVENTS, headers={"Last-Event-ID": last.encode()})
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "Last-Event-ID"


async def test_types_choose(http) -> None:
    """Only events whose type begins with one of ``types`` come."""
    found = await _whole(http, params={"types": "process.,dead"})
    assert [one.event for one in found] == ["process.restarted", "lagged"]


async def test_live_events_follow_and_silence_is_filled(entry: FakeEntry) -> None:
    """Live events come as they happen; in silence a comment shows that the stream lives."""
    entry.kept, entry.live = [], asyncio.Queue()
    stream = Stream(make_app(entry, limits=Limits(heartbeat_s=0.01)))
    assert await stream.text() == "retry: 1000\n\n"
    assert await stream.text() == ":\n\n"
    entry.live.put_nowait(event(9))
    text = await stream.text()
    while text == ":\n\n":
        text = await stream.text()
    assert "event: agent.reloaded\ndata: {" in text
    stream.left.set()
    await stream.end()
    assert entry.closed_streams == 1


async def test_client_that_lags_is_told(entry: FakeEntry) -> None:
    """When the node cuts a slow follower, its last event is ``lagged``."""
    entry.kept, entry.live = [], asyncio.Queue()
    entry.live.put_nowait(None)
    stream = Stream(make_app(entry))
    await stream.end()
    await stream.text()
    assert (await stream.text()).startswith("event: lagged\n")


async def test_client_that_takes_nothing_is_cut(entry: FakeEntry) -> None:
    """A client that reads nothing loses its stream, and its slot is free."""
    app = make_app(entry, limits=Limits(slow_s=0.01))
    stream = Stream(app)
    await stream.text()
    entry.live = asyncio.Queue()
    stuck = Stream(app)
    await stuck.text()
    stuck.stuck = asyncio.Event()
    entry.live.put_nowait(event(7))
    await stuck.end()
    stream.left.set()
    await stream.end()
    assert (app.state.edge.streams, entry.closed_streams) == (0, 2)


async def test_streams_end_when_the_server_stops(entry: FakeEntry) -> None:
    """At a stop each stream is ended in order."""
    entry.kept, entry.live = [], asyncio.Queue()
    app = make_app(entry)
    stream = Stream(app)
    await stream.text()
    app.state.edge.close(1.0)
    assert await stream.text() == ": the node stops\n\n"
    await stream.end()


async def test_streams_are_bounded(entry: FakeEntry) -> None:
    """One stream too many is refused until another ends."""
    entry.live = asyncio.Queue()
    app = make_app(entry, limits=Limits(streams=1))
    first = Stream(app)
    await first.text()
    second = Stream(app)
    await second.end()
    start = second.sent.get_nowait()
    assert start["status"] == 429
    first.left.set()
    await first.end()
    assert app.state.edge.streams == 0
