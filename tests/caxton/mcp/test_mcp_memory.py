"""The memory tools, spoken to by the SDK's client: those of the reference memory server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from starlette.requests import Request

sys.path += [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1]),
    str(Path(__file__).parents[1] / "memory"),
]

from fake_embedder import FakeEmbedder
from mcp_parts import offer

from caxton.mcp import memory_offer
from caxton.mcp.memory_offer import MemoryOffer, agent_of
from caxton.mcp.server import CaxtonServer
from caxton.memory.model import WORKSPACE

NAMES = [
    "create_entities", "create_relations", "add_observations", "delete_entities",
    "delete_observations", "delete_relations", "read_graph", "search_nodes", "open_nodes",
]  # fmt: skip
ADA = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
ENGINE = {"name": "Engine", "entityType": "machine", "observations": ["was never built"]}
WROTE = {"from": "Ada", "to": "Engine", "relationType": "programs"}


@pytest.fixture
async def given() -> AsyncIterator[Any]:
    """An offer whose memory has a model."""
    made = offer()
    made.parts.entry.remembered.embedder = FakeEmbedder()
    yield made
    await made.parts.entry.remembered.close()


class Caller:
    """Calls tools, each time as a client of its own: one lives within the task that opens it."""

    def __init__(self, given: Any) -> None:
        self._given = given

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        async with Client(CaxtonServer(self._given)) as client:
            return await client.call_tool(name, arguments)

    async def list_tools(self) -> Any:
        async with Client(CaxtonServer(self._given)) as client:
            return await client.list_tools()


@pytest.fixture
def mcp(given: Any) -> Caller:
    """A client of it."""
    return Caller(given)


async def _call(mcp: Caller | Client, name: str, **arguments: Any) -> Any:
    """The structured result of a call that went well, which the text says too."""
    result = await mcp.call_tool(name, arguments)
    assert result.is_error is False, result.content
    found = result.structured_content
    said = result.content[0].text
    if "message" in found:
        assert said == found["message"]
    elif name.startswith(("create_", "add_")):
        assert json.loads(said) == next(iter(found.values()))
    else:
        assert json.loads(said) == {key: found[key] for key in ("entities", "relations")}
    return found


async def test_the_tools_are_those_of_the_reference_server(mcp: Caller) -> None:
    """Names, arguments, and hints: which of them only read."""
    tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
    assert set(NAMES) <= set(tools)
    arguments = {name: list(tools[name].input_schema["properties"]) for name in NAMES}
    assert arguments == {
        "create_entities": ["entities"], "create_relations": ["relations"],
        "add_observations": ["observations"], "delete_entities": ["entityNames"],
        "delete_observations": ["deletions"], "delete_relations": ["relations"],
        "read_graph": [], "search_nodes": ["query"], "open_nodes": ["names"],
    }  # fmt: skip
    items = tools["create_entities"].input_schema["properties"]["entities"]["items"]
    assert items["required"] == ["name", "entityType", "observations"]
    items = tools["create_relations"].input_schema["properties"]["relations"]["items"]
    assert items["required"] == ["from", "to", "relationType"]
    reading = {name for name in NAMES if tools[name].annotations.read_only_hint}
    assert reading == {"read_graph", "search_nodes", "open_nodes"}
    assert tools["delete_entities"].annotations.destructive_hint is True


async def test_a_session_as_with_the_reference_server(mcp: Caller, given: Any) -> None:
    """Each tool, with the results that its clients know."""
    made = await _call(mcp, "create_entities", entities=[ADA, ENGINE])
    assert made == {"entities": [ADA, ENGINE]}
    assert await _call(mcp, "create_relations", relations=[WROTE]) == {"relations": [WROTE]}
    assert await _call(mcp, "create_relations", relations=[WROTE]) == {"relations": []}
    more = {"entityName": "Ada", "contents": ["wrote the first program", "knew Babbage"]}
    added = await _call(mcp, "add_observations", observations=[more])
    assert added == {"results": [{"entityName": "Ada", "addedObservations": ["knew Babbage"]}]}
    ada = {**ADA, "observations": [*ADA["observations"], "knew Babbage"]}
    assert await _call(mcp, "read_graph") == {"entities": [ada, ENGINE], "relations": [WROTE]}
    found = await _call(mcp, "search_nodes", query="who wrote the program?")
    assert found["entities"][0] == ada
    assert found["relations"] == [WROTE]
    opened = await _call(mcp, "open_nodes", names=["Engine", "Nobody"])
    assert opened == {"entities": [ENGINE], "relations": [WROTE]}
    gone = await _call(
        mcp, "delete_observations",
        deletions=[{"entityName": "Ada", "observations": ["knew Babbage"]}],
    )  # fmt: skip
    assert gone == {"success": True, "message": "Observations deleted successfully"}
    gone = await _call(mcp, "delete_relations", relations=[WROTE])
    assert gone["message"] == "Relations deleted successfully"
    gone = await _call(mcp, "delete_entities", entityNames=["Ada", "Engine"])
    assert gone["message"] == "Entities deleted successfully"
    assert await _call(mcp, "read_graph") == {"entities": [], "relations": []}
    scopes = {one.memory_scope for one in given.parts.entry.remembered.asked if hasattr(
        one, "entities")}  # fmt: skip
    assert scopes == {WORKSPACE.key}


async def test_what_is_known_is_kept(mcp: Caller) -> None:
    """A name again, in another case and of another type, gets what is new and is not listed."""
    await _call(mcp, "create_entities", entities=[ADA])
    again = {"name": "ADA", "entityType": "programmer", "observations": ["knew Babbage", " "]}
    assert await _call(mcp, "create_entities", entities=[again, again]) == {"entities": []}
    (ada,) = (await _call(mcp, "open_nodes", names=["ada"]))["entities"]
    assert ada == {**ADA, "observations": ["wrote the first program", "knew Babbage"]}


async def test_what_is_not_there_is_told(mcp: Caller) -> None:
    """Writes to the unknown change nothing; forgetting it says how much was there."""
    await _call(mcp, "create_entities", entities=[ADA])
    to_nobody = {**WROTE, "to": "Nobody"}
    for name, arguments in (
        ("create_relations", {"relations": [{**WROTE, "to": "Ada"}, to_nobody]}),
        ("add_observations", {"observations": [{"entityName": "Ada", "contents": ["x"]},
                                               {"entityName": "Nobody", "contents": ["x"]}]}),
    ):  # fmt: skip
        refused = await mcp.call_tool(name, arguments)
        assert refused.is_error is True
        assert "ENTITY_NOT_FOUND" in refused.content[0].text
        assert "Nobody" in refused.content[0].text
    assert await _call(mcp, "read_graph") == {"entities": [ADA], "relations": []}
    gone = await _call(mcp, "delete_relations", relations=[WROTE])
    assert gone["message"] == "Deleted 0 of 1 relations. The others are unknown."
    gone = await _call(
        mcp, "delete_observations",
        deletions=[{"entityName": "Ada", "observations": ["x"]},
                   {"entityName": "Nobody", "observations": ["x"]}],
    )  # fmt: skip
    assert gone["message"] == "Deleted 0 of 2 observations. Entities not found: Nobody"
    gone = await _call(mcp, "delete_entities", entityNames=["Ada", "Nobody"])
    assert gone["message"] == "Deleted 1 of 2 entities. Not found: Nobody"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("create_entities", {}),
        ("create_entities", {"entities": [{"name": "x"}]}),
        ("create_entities", {"entities": [{**ADA, "observations": [1]}]}),
        ("create_relations", {"relations": [{"from": "a", "to": "b"}]}),
        ("search_nodes", {"query": "x" * 10_001}),
    ],
)
async def test_wrong_arguments_are_told(mcp: Caller, name: str, arguments: dict[str, Any]) -> None:
    """In words for a model to read."""
    refused = await mcp.call_tool(name, arguments)
    assert refused.is_error is True
    assert refused.content[0].text.startswith("bad_arguments: ")


async def test_clients_that_write_at_once_lose_nothing(given: Any) -> None:
    """Four clients, each many calls at a time, on entities and relations that all of them write."""
    clients, each = 4, 25
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_write(given, number, each))
    async with Client(CaxtonServer(given)) as mcp:
        graph = await _call(mcp, "read_graph")
    entities = {one["name"]: one for one in graph["entities"]}
    expected = {f"fact {number} {index}" for number in range(clients) for index in range(each)}
    assert set(entities["shared"]["observations"]) == expected | {
        f"first of {number}" for number in range(clients)
    }
    own = {f"own {number} {index}" for number in range(clients) for index in range(each)}
    assert set(entities) == own | {"shared"}
    ends = {(one["from"], one["to"]) for one in graph["relations"]}
    assert ends == {(name, "shared") for name in own}


async def _write(given: Any, number: int, each: int) -> None:
    async with Client(CaxtonServer(given)) as mcp:
        first = {"name": "shared", "entityType": f"kind {number}",
                 "observations": [f"first of {number}"]}  # fmt: skip
        await _call(mcp, "create_entities", entities=[first])

        async def one(index: int) -> None:
            name = f"own {number} {index}"
            entity = {"name": name, "entityType": "note", "observations": []}
            await _call(mcp, "create_entities", entities=[entity])
            relation = {"from": name, "to": "shared", "relationType": "about"}
            await _call(mcp, "create_relations", relations=[relation])
            note = {"entityName": "shared", "contents": [f"fact {number} {index}"]}
            await _call(mcp, "add_observations", observations=[note])

        await asyncio.gather(*(one(index) for index in range(each)))


async def test_a_large_graph_is_cut_and_says_so(
    mcp: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beginning, and words that say where the rest is found."""
    monkeypatch.setattr(memory_offer, "READ_CHARACTERS", 2_000)
    given = [{"name": f"e{n}", "entityType": "note", "observations": ["x"]} for n in range(1_200)]
    await _call(mcp, "create_entities", entities=given[:1_000])
    await _call(mcp, "create_entities", entities=given[1_000:])
    result = await mcp.call_tool("read_graph", {})
    found = result.structured_content
    assert found["truncated"] is True
    assert 0 < len(found["entities"]) < 20
    assert "of 1200" in result.content[1].text
    whole = await mcp.call_tool("search_nodes", {"query": "e7"})
    assert whole.structured_content["entities"][0]["name"] == "e7"


async def test_a_client_may_speak_for_an_agent(given: Any) -> None:
    """By a header: it then writes where the agent does, and reads what the agent may."""
    entry = given.parts.entry

    def request(agent: str) -> Request:
        return Request({"type": "http", "headers": [(b"x-caxton-agent", agent.encode())]})

    async def report(*_: Any) -> None:
        """Nothing."""

    assert agent_of(request("Analyst")) == "Analyst"
    assert agent_of(None) == ""
    made = await given.call("create_entities", {"entities": [ADA]}, report, request("analyst"))
    assert made.is_error is False
    (key,) = entry.remembered.kept.entities
    assert key.scope.key == "agent:analyst"
    refused = await given.call("read_graph", {}, report, request("Nobody"))
    assert "AGENT_NOT_FOUND" in refused.content[0].text
    other = await given.call("read_graph", {}, report, None)
    assert other.structured_content == {"entities": [], "relations": []}


async def test_memory_tools_can_be_left_out() -> None:
    """By the setting; then they are unknown."""
    async with Client(CaxtonServer(offer(memory=False))) as mcp:
        assert not set(NAMES) & {tool.name for tool in (await mcp.list_tools()).tools}
        with pytest.raises(MCPError, match="Unknown tool"):
            await mcp.call_tool("read_graph", {})


async def test_a_type_that_changes_in_between_is_read_again(given: Any) -> None:
    """Another client was first with an entity of this name: what is new goes to that one."""
    memory = given.parts.entry.memory
    ask = memory._ask
    first = True

    async def racing(asked: Any) -> Any:
        nonlocal first
        if type(asked).__name__ == "Store" and first:
            first = False
            await memory.of(None).store("Ada", "engineer", memory_scope="workspace")
        return await ask(asked)

    memory._ask = racing
    made = await MemoryOffer(memory, "workspace").call("create_entities", {"entities": [ADA]})
    assert made.structured_content == {"entities": []}
    (entity,) = (await memory.open("Ada")).entities
    assert entity.entity_type == "engineer"
    assert [one.text for one in entity.observations] == ADA["observations"]
