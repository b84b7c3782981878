"""What a node offers to MCP clients, spoken to by the SDK's client in both eras."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from fake_entry import agent_id
from mcp_parts import ADD, FOREIGN, FakeRunner, offer, record

from caxton.agents.behaviour import ToolResult
from caxton.agents.definition import Permissions
from caxton.errors import QueueFull
from caxton.mcp import local_offer
from caxton.mcp.memory_tools import MEMORY_TOOLS
from caxton.mcp.server import CaxtonServer
from caxton.message import Performative, make_reply
from caxton.tools.catalog import ToolSpec

OPENAI = re.compile(r"[a-zA-Z0-9_-]{1,64}")
pytestmark = pytest.mark.parametrize("mode", ["auto", "legacy"])


def client(given: Any, mode: str) -> Client:
    return Client(CaxtonServer(given), mode=mode)


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def test_tools_are_those_of_the_node_and_its_agents(mode: str) -> None:
    """One for each capability, caxton_send, sandboxed tools; names fit models; hints are there."""
    async with client(offer(), mode) as mcp:
        assert mcp.server_capabilities.tools is not None
        assert mcp.server_capabilities.tools.list_changed is True
        found = {tool.name: tool for tool in (await mcp.list_tools()).tools}
    listed = ["caxton_send", "add", "ask_data-analysis", "ask_greeting", *MEMORY_TOOLS]
    assert list(found) == listed
    assert all(OPENAI.fullmatch(name) for name in found)
    assert found["add"].input_schema == ADD.input_schema
    assert found["add"].annotations.open_world_hint is False
    assert found["ask_greeting"].annotations.open_world_hint is True
    assert "Greets people" in found["ask_greeting"].description
    assert "Greeter" in found["ask_greeting"].description


@pytest.mark.parametrize(
    ("offered", "names"),
    [
        ("all", {"add", "files__read"}),
        ("none", set()),
        ("files__*", {"files__read"}),
        ("add, nothing", {"add"}),
    ],
)
async def test_the_setting_says_which_tools_are_offered(
    mode: str, offered: str, names: set[str]
) -> None:
    """Those of other servers only when they are named, and then they say what they are."""
    async with client(offer(offered=offered), mode) as mcp:
        found = {tool.name: tool for tool in (await mcp.list_tools()).tools}
        assert set(found) & {"add", "files__read"} == names
        if "files__read" in names:
            foreign = found["files__read"]
            assert "Not sandboxed" in foreign.description
            assert foreign.meta["caxton/sandboxed"] is False
            assert foreign.annotations.open_world_hint is True
            assert foreign.annotations.read_only_hint is True
        else:
            with pytest.raises(MCPError, match="Unknown tool: files__read"):
                await mcp.call_tool("files__read", {})


async def test_a_tool_is_called_with_what_is_granted(mode: str) -> None:
    """Structured where it is JSON; the policy's grants and the setting's time go with the call."""
    runner = FakeRunner()
    granted = Permissions(files={"data": "ro"})
    async with client(offer(runner=runner, permissions=granted), mode) as mcp:
        result = await mcp.call_tool("add", {"a": 1, "b": 2})
    assert (result.is_error, result.structured_content) == (False, {"sum": 3})
    assert said(result) == '{"sum":3}'
    assert runner.calls == [("add", {"a": 1, "b": 2}, {"files": {"data": "ro"}}, 20_000)]
    assert runner.owners == {":mcp"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "'a' is a required property"),
        ({"a": "x", "b": 1}, "a: 'x' is not of type 'integer'"),
        ({"a": 1, "b": 2, "c": 3}, "'c' was unexpected"),
    ],
)
async def test_wrong_arguments_are_told_and_reach_nobody(
    mode: str, arguments: dict[str, Any], told: str
) -> None:
    """A result with is_error that a model can read; the tool is not called."""
    runner = FakeRunner()
    async with client(offer(runner=runner), mode) as mcp:
        result = await mcp.call_tool("add", arguments)
    assert result.is_error is True
    assert told in said(result)
    assert runner.calls == []


async def test_a_failing_tool_says_why_and_what_was_not_granted(mode: str) -> None:
    """The tool's own code and words, and the hint at the policy when nothing was granted."""
    failed = ToolResult(False, '{"error":{"code":"no_file","message":"there is none"}}', "exit")
    async with client(offer(runner=FakeRunner(failed)), mode) as mcp:
        result = await mcp.call_tool("add", {"a": 1, "b": 2})
    assert result.is_error is True
    assert said(result).startswith("no_file: there is none")
    assert "mcp.permissions" in said(result)
    granted = offer(runner=FakeRunner(failed), permissions=Permissions(hosts=("x",)))
    async with client(granted, mode) as mcp:
        result = await mcp.call_tool("add", {"a": 1, "b": 2})
    assert "mcp.permissions" not in said(result)


async def test_an_agent_answers_and_the_conversation_goes_on(mode: str) -> None:
    """Text and JSON content, the reply's sender and ids; the given conversation is kept."""
    given = offer()
    async with client(given, mode) as mcp:
        first = await mcp.call_tool("ask_greeting", {"content": "hello"})
        conversation = first.structured_content["conversation_id"]
        assert said(first) == f"hello\nconversation_id: {conversation}"
        assert first.structured_content["performative"] == "inform"
        second = await mcp.call_tool(
            "ask_greeting", {"content": {"who": "me"}, "conversation_id": conversation}
        )
        assert second.structured_content["conversation_id"] == conversation
        assert second.structured_content["content"] == {"who": "me"}
    sent = list(given.parts.entry.taken.values())
    assert [one.capability for one in sent] == ["greeting", "greeting"]
    assert sent[1].language == "application/json"


async def test_sending_by_name(mode: str) -> None:
    """With an answer, without waiting, and to nobody."""
    async with client(offer(), mode) as mcp:
        waited = await mcp.call_tool("caxton_send", {"to": "Greeter", "content": "hi"})
        assert waited.structured_content["sender"] == "Greeter"
        arguments = {"to": "Greeter", "content": "hi", "wait": False, "performative": "inform"}
        sent = await mcp.call_tool("caxton_send", arguments)
        assert sent.structured_content["durability"] == "disk"
        nobody = await mcp.call_tool("caxton_send", {"to": "Nobody", "content": "hi"})
        assert nobody.is_error is True
        assert "AGENT_NOT_FOUND" in said(nobody)
        for wrong in ({"to": "Greeter"}, {"to": "Greeter", "content": " "},
                      {"to": "Greeter", "content": "x", "conversation_id": "y"},
                      {"to": "Greeter", "content": "x", "performative": "shout"}):  # fmt: skip
            refused = await mcp.call_tool("caxton_send", wrong)
            assert said(refused).startswith("bad_arguments: ")


async def test_what_an_agent_cannot_do_is_an_error(mode: str) -> None:
    """FAILURE and a missing answer are results with is_error that say how to go on."""
    given = offer()
    entry = given.parts.entry
    entry.answer = lambda m: make_reply(m, Performative.FAILURE, b"no", sender=agent_id("Greeter"))
    async with client(given, mode) as mcp:
        failed = await mcp.call_tool("ask_greeting", {"content": "hello"})
        assert failed.is_error is True
        assert said(failed).startswith("failure: no")
        entry.silent = True
        late = await mcp.call_tool("ask_greeting", {"content": "x", "timeout_ms": 1_000})
        assert "TIMEOUT" in said(late)
        assert "no reply within 1000 ms" in said(late)
        assert "the answer will be in the conversation" in said(late)
        entry.refusals.append(QueueFull(queue="q", depth=1, limit=1))
        full = await mcp.call_tool("ask_greeting", {"content": "x"})
        assert "QUEUE_FULL" in said(full)


async def test_progress_while_a_call_lasts(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that grow and words; nothing for a client that does not ask."""
    monkeypatch.setattr(local_offer, "TICK_S", 0.001)
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    seen: list[tuple[float, str | None]] = []

    async def note(done: float, _total: float | None, text: str | None) -> None:
        seen.append((done, text))
        if len(seen) == 3:
            runner.hold.set()

    async with client(offer(runner=runner), mode) as mcp:
        result = await mcp.call_tool("add", {"a": 1, "b": 2}, progress_callback=note)
        assert result.is_error is False
        quiet = await mcp.call_tool("add", {"a": 1, "b": 2})
        assert quiet.is_error is False
    numbers = [done for done, _ in seen]
    assert numbers == sorted(set(numbers))
    assert seen[0][1].startswith("add: 0 s of at most 20 s")


async def test_a_cancelled_call_ends_the_tool_and_the_wait(mode: str) -> None:
    """The client gives up: the tool's call is cancelled, and so is the wait for an agent."""
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    given = offer(runner=runner)
    async with client(given, mode) as mcp:
        calling = asyncio.create_task(mcp.call_tool("add", {"a": 1, "b": 2}))
        await asyncio.wait_for(runner.begun.wait(), 10)
        calling.cancel()
        await asyncio.wait_for(runner.cancelled.wait(), 10)
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (await mcp.call_tool("ask_greeting", {"content": "still here"})).is_error is False


async def test_too_many_calls_are_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a call is told to come later, and the others go on."""
    monkeypatch.setattr(local_offer, "CALLS", 1)
    runner = FakeRunner()
    runner.hold = asyncio.Event()
    async with client(offer(runner=runner), mode) as mcp:
        first = asyncio.create_task(mcp.call_tool("add", {"a": 1, "b": 2}))
        await asyncio.wait_for(runner.begun.wait(), 10)
        assert said(await mcp.call_tool("add", {"a": 1, "b": 2})).startswith("busy: ")
        runner.hold.set()
        assert (await first).is_error is False


async def test_conversations_are_resources(mode: str) -> None:
    """Listed, read, and an error for what is not there."""
    given = offer()
    async with client(given, mode) as mcp:
        await mcp.call_tool("ask_greeting", {"content": "hello"})
        (listed,) = (await mcp.list_resources()).resources
        assert listed.uri.startswith("caxton://conversations/")
        read = await mcp.read_resource(listed.uri)
        assert '"hello"' in read.contents[0].text
        templates = (await mcp.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == [
            "caxton://conversations/{conversation_id}"
        ]
        for uri in ("caxton://conversations/x", "caxton://other/1", f"{listed.uri[:-4]}0000"):
            with pytest.raises(MCPError):
                await mcp.read_resource(uri)


async def test_tools_come_and_go_with_agents(mode: str) -> None:
    """The list is made anew when the directory or the catalog changes."""
    given = offer()
    before = given.refresh()
    given.parts.directory.apply([record("Poet", 3, capabilities="[a.b, a-b]")])
    assert given.refresh() != before
    async with client(given, mode) as mcp:
        names = {tool.name for tool in (await mcp.list_tools()).tools}
        assert {"ask_a_b", "ask_a-b"} <= names
        given.parts.directory.apply([record("Poet", 4, removed=True)])
        given.parts.catalog.put("more", [ToolSpec("x.y", "", {"type": "object"}, source="more")])
        tools = (await mcp.list_tools(cache_mode="bypass")).tools
        assert "ask_a-b" not in {tool.name for tool in tools}
        assert "x_y" in {tool.name for tool in tools}
        assert (await mcp.call_tool("x_y", {})).is_error is False
    assert given.refresh() == given.refresh()


async def test_long_lists_come_in_pages(mode: str) -> None:
    """Every tool comes once; a cursor of somebody else's is refused."""
    given = offer()
    more = [ToolSpec(f"t{n:04}", "", {"type": "object"}, source="m") for n in range(700)]
    given.parts.catalog.put("m", more)
    async with client(given, mode) as mcp:
        first = await mcp.list_tools()
        assert len(first.tools) == 500
        rest = await mcp.list_tools(cursor=first.next_cursor)
        assert (len(rest.tools), rest.next_cursor) == (204 + len(MEMORY_TOOLS), None)
        with pytest.raises(MCPError, match="cursor"):
            await mcp.list_tools(cursor="x")
    assert given.schema("t0001") == {"type": "object"}
    assert given.schema("nothing") is None
    assert FOREIGN.name not in {tool.name for tool in first.tools}
