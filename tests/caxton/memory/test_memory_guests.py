"""The memory as tools and WebAssembly agents search it."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_services import Desk, open_desk

from caxton.agents.agent_file import parse_agent_file
from caxton.tools.grants import grants_of
from caxton.tools.guest_memory import SHOWN, guest_search
from sandbox.services.request import Refusal, ServiceError

FILE = b"""---
name: own
wasm: x.wasm
permissions: {%s}
---
"""


def granted(permissions: bytes) -> str:
    """The memory that a tool of the agent may search."""
    definition = parse_agent_file(FILE % permissions, "a.md").definition
    assert definition is not None
    grants = grants_of(
        definition.granted("some_tool"),
        workspace=Path("/"),
        namespace="n",
        environment={},
        databases={},
    )
    return grants.memory


def test_an_agent_file_grants_its_own_memory() -> None:
    """To all of its tools, or to one; nobody else's, and nobody's where no agent grants it."""
    assert granted(b"memory: true") == "own"
    assert granted(b"memory: false") == ""
    assert granted(b"kv: true") == ""
    assert granted(b"tools: {some_tool: {memory: true}}") == "own"
    assert granted(b"memory: true, tools: {some_tool: {kv: true}}") == ""
    bare = grants_of(
        {"memory": True}, workspace=Path("/"), namespace="n", environment={}, databases={}
    )
    assert bare.memory == ""


async def test_a_guest_sees_the_agents_own_scope_only(desk: Desk) -> None:
    """Not what the agent shares with others; long entities by their newest observations."""
    await desk.of("shares").store("Mill", "place", ["by the river"])
    texts = [f"heron {number}" for number in range(SHOWN + 5)]
    await desk.of("shares").store("Heron", "bird", texts, memory_scope="agent")
    search = guest_search(desk)
    assert search is not None
    (found,) = await search("shares", "river heron", 10)
    assert (found["entity_name"], found["entity_type"]) == ("Heron", "bird")
    assert found["observations"] == texts[5:]
    assert 0 < found["score"] <= 1


async def test_a_guest_is_told_why_there_is_no_answer() -> None:
    """By codes that are stable."""
    assert guest_search(None) is None
    async with open_desk(None) as desk:
        search = guest_search(desk)
        assert search is not None
        for agent, query, code in (
            ("off", "x", Refusal.NOT_GRANTED),
            ("own", "x" * 10_001, Refusal.BAD_REQUEST),
        ):
            with pytest.raises(ServiceError) as caught:
                await search(agent, query, 10)
            assert caught.value.code is code
    with pytest.raises(ServiceError) as caught:
        await search("own", "x", 10)
    assert caught.value.code is Refusal.UNAVAILABLE
