"""All services together: who answers, what is unavailable, and what is told to the audit trail."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.grant_events import GrantEvent, OnGrant, given
from sandbox.grants import FolderGrant, Grants
from sandbox.services.answerer import HostServices
from sandbox.services.database import DatabaseService
from sandbox.services.http import HttpService
from sandbox.services.request import Answerer, HostRequest, Refusal, Service, ServiceError

GRANTED = Grants(kv="mine", memory="notes")


def request(
    service: Service,
    key: bytes = b"",
    body: bytes = b"",
    grants: Grants = GRANTED,
    wall_s: float = 30,
) -> HostRequest:
    """One question."""
    return HostRequest(service, key, body, grants, time.monotonic() + wall_s)


async def ask(
    answerer: Answerer, *args: Any, heard: OnGrant = lambda _: None, **more: Any
) -> bytes | None:
    """The answer to one question."""
    return await answerer.answer(request(*args, **more), heard)


async def refusal(answerer: Answerer, *args: Any, **more: Any) -> Refusal:
    """Why one question has no answer."""
    with pytest.raises(ServiceError) as error:
        await ask(answerer, *args, **more)
    return error.value.code


async def test_what_is_not_there_is_unavailable() -> None:
    """Each service, and the audit trail hears of it."""
    events: list[GrantEvent] = []
    services = HostServices()
    for service in Service:
        code = await refusal(services, service, b"a", b"{}", heard=events.append)
        assert code is Refusal.UNAVAILABLE
    assert [event.allowed for event in events] == [False] * len(Service)
    assert {event.kind for event in events} == {"kv", "host", "database", "memory"}


async def test_what_is_not_granted_is_refused() -> None:
    """Although the services are there."""

    async def search(_part: str, _query: str, _limit: int) -> list[dict[str, Any]]:
        raise AssertionError("not granted")

    events: list[GrantEvent] = []
    services = HostServices(http=HttpService(), database=DatabaseService(), memory=search)
    bodies = {
        Service.HTTP: b'{"url": "https://a.test/"}',
        Service.QUERY: b'{"database": "a", "sql": "SELECT 1"}',
        Service.MEMORY_SEARCH: b'{"query": "a"}',
    }
    for service, body in bodies.items():
        code = await refusal(services, service, b"a", body, Grants(), heard=events.append)
        assert code is Refusal.NOT_GRANTED
    assert len(events) == len(bodies)
    assert not any(event.allowed for event in events)
    await services.close()


async def test_memory_is_searched_in_the_granted_part() -> None:
    """With a bounded number of results, by the call's deadline."""
    asked: list[tuple[str, str, int]] = []

    async def search(part: str, query: str, limit: int) -> list[dict[str, Any]]:
        asked.append((part, query, limit))
        if query == "never":
            await asyncio.Event().wait()
        return [{"name": f"n{n}", "score": 1.0} for n in range(limit + 5)]

    services = HostServices(memory=search)
    answer = await ask(services, Service.MEMORY_SEARCH, b"", b'{"query": "tea", "limit": 2}')
    assert answer is not None
    assert [one["name"] for one in json.loads(answer)["results"]] == ["n0", "n1"]
    assert asked == [("notes", "tea", 2)]
    never = b'{"query": "never"}'
    assert (
        await refusal(services, Service.MEMORY_SEARCH, b"", never, wall_s=0.05) is Refusal.TIMEOUT
    )
    for body in (b"{}", b'{"query": " "}', b'{"query": "a", "limit": 101}', b'{"query": 1}'):
        code = await refusal(services, Service.MEMORY_SEARCH, b"", body)
        assert code is Refusal.BAD_REQUEST


def test_folders_and_variables_are_told_without_values(tmp_path: Path) -> None:
    """What a guest has from its start."""
    grants = Grants(
        folders=(FolderGrant(tmp_path, "data", write=True),), env=(("TOKEN", "hunter2"),)
    )
    events = list(given(grants))
    assert [(event.kind, event.allowed) for event in events] == [("folder", True), ("env", True)]
    assert events[0].what == f"data rw {tmp_path}"
    assert "hunter2" not in repr(events) + repr(grants)


def test_an_event_is_one_short_line() -> None:
    """Whatever a guest put into a name."""
    event = GrantEvent("database", "a\nallowed=True" + "x" * 999, allowed=False)
    assert event.what.isprintable()
    assert len(event.what) <= 300
