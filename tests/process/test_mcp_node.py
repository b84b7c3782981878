"""A node and MCP as users have both: clients over HTTP and stdio, servers as tools of agents."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from conftest_process import CAXTON, RunningNode, lives, serving_llm, until
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

Start = Callable[..., RunningNode]

SERVER = Path(__file__).parents[1] / "mcp" / "mcp_files_server.py"
SECRET = "the-key-of-the-files-server"
TOKEN = "t0ken-of-this-node"
HELPER = """---
name: Helper
tools: [mcp__files__add, "files__pid"]
capabilities: [helping]
---
Use your tools.
"""


def said(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


def servers_file(folder: Path) -> str:
    path = folder / ".mcp.json"
    server = {
        "command": sys.executable, "args": [str(SERVER)],
        "env": {"SECRET": "${FILES_KEY}", "MARK": str(folder / "mark")},
    }  # fmt: skip
    path.write_text(json.dumps({"mcpServers": {"files": server}}))
    return str(path)


async def test_clients_over_http_and_stdio(start_node: Start) -> None:
    """Lists, a tool, an agent, wrong arguments, progress, a token; stdout is the protocol only."""
    node = await asyncio.to_thread(start_node, "--shards", "2", CAXTON_MCP_TOKEN=TOKEN)
    async with httpx2.AsyncClient() as http:
        refused = await http.post(f"{node.url}/mcp", json={})
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="caxton"'
    key = httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    bridge = StdioServerParameters(
        command=CAXTON[0],
        args=[*CAXTON[1:], "--data", str(node.data), "mcp", "serve", "--stdio"],
        env={"CAXTON_MCP_TOKEN": TOKEN, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=str(node.folder),
    )
    async with key:
        for target in (streamable_http_client(f"{node.url}/mcp", http_client=key), bridge):
            async with Client(target) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert {"caxton_send", "csv_parser", "ask_echo", "ask_counting"} <= set(names)
                seen: list[str | None] = []

                async def note(_done: float, _of: Any, text: Any, seen: Any = seen) -> None:
                    seen.append(text)

                echoed = await client.call_tool(
                    "ask_echo", {"content": "over MCP"}, progress_callback=note
                )
                assert said(echoed).startswith("over MCP\nconversation_id: ")
                assert seen
                file = {"path": "examples/data/sales.csv", "operation": "describe"}
                ungranted = await client.call_tool("csv_parser", file)
                assert ungranted.is_error is True
                assert "mcp.permissions" in said(ungranted)
                wrong = await client.call_tool("csv_parser", {"path": 1})
                assert "bad_arguments" in said(wrong)
                conversation = echoed.structured_content["conversation_id"]
                read = await client.read_resource(f"caxton://conversations/{conversation}")
                assert "over MCP" in read.contents[0].text
    del node.environment["CAXTON_MCP_TOKEN"]
    without = await asyncio.to_thread(node.caxton, "mcp", "serve", "--stdio", code=7)
    assert without.stdout == ""
    assert "token" in without.stderr
    assert await asyncio.to_thread(node.end) == 0


async def test_a_policy_grants_folders(start_node: Start, tmp_path: Path) -> None:
    """What the file of `mcp.permissions` grants is there for tools that a client calls."""
    (tmp_path / "mcp.yaml").write_text("permissions:\n  files: {examples/data: ro}\n")
    node = await asyncio.to_thread(
        start_node, "--shards", "1", "--workspace", str(tmp_path), CAXTON_MCP_PERMISSIONS="mcp.yaml"
    )
    async with Client(f"{node.url}/mcp") as client:
        file = {"path": "examples/data/sales.csv", "operation": "count"}
        counted = await client.call_tool("csv_parser", file)
        assert (counted.is_error, "mcp.permissions" in said(counted)) == (False, False)
        assert counted.structured_content is not None
    assert await asyncio.to_thread(node.end) == 0


async def test_an_agent_uses_another_server_that_is_killed_and_comes_back(
    start_node: Start, tmp_path: Path
) -> None:
    """Tools of a child reach agents of another process, marked as what they are; SIGKILL ends the
    child, a new one serves the next call; nothing shows the key; nothing is left at the end."""
    from stub_llm import Reply

    replies = [
        Reply(calls=[("files__add", {"a": 2, "b": 40})]), "It is 42.",
        Reply(calls=[("files__pid", {})]), "Done.",
        Reply(calls=[("files__add", {"a": 1, "b": 1})]), "It is 2.",
    ]  # fmt: skip
    with serving_llm(*replies) as (url, requests):
        node = await asyncio.to_thread(
            start_node, "--shards", "2",
            CAXTON_MCP_SERVERS=servers_file(tmp_path), FILES_KEY=SECRET,
            OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-secret-1234", CAXTON_MCP_TOOLS="files__wait",
        )  # fmt: skip
        (node.agents / "Helper.md").write_text(HELPER)

        def shown() -> dict[str, Any]:
            return dict(json.loads(node.caxton("mcp", "ls", "--json").stdout))

        await asyncio.to_thread(
            until,
            lambda: shown()["servers"][0]["state"] == "connected",
            "the server to connect",
            60,
        )
        listed = shown()
        tool = next(one for one in listed["tools"] if one["name"] == "files__add")
        assert (tool["sandboxed"], tool["source"]) == (False, "mcp:files")
        assert listed["servers"][0]["sandboxed"] is False
        assert "not sandboxed" in node.caxton("mcp", "ls").stdout
        assert "not sandboxed" in node.caxton("status").stdout
        doctor = json.loads(node.caxton("doctor", "mcp", "--json").stdout)
        assert "not sandboxed" in json.dumps(doctor)
        await asyncio.to_thread(
            until, lambda: "Helper" in node.caxton("agent", "ls", "-o", "name").stdout, "the agent"
        )

        def ask(text: str) -> str:
            done = node.caxton("send", "--to", "Helper", text)
            return done.stdout

        assert "It is 42." in await asyncio.to_thread(ask, "2 and 40?")
        offered = {one["function"]["name"] for one in requests[0]["tools"]}  # type: ignore[index]
        assert offered == {"files__add", "files__pid"}
        assert requests[1]["messages"][-1]["content"] == "42"  # type: ignore[index]
        await asyncio.to_thread(ask, "which process?")
        child = psutil.Process(int(requests[3]["messages"][-1]["content"]))  # type: ignore[index]
        assert str(SERVER) in child.cmdline()
        os.kill(child.pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not lives(child), "the child to be gone")
        await asyncio.to_thread(
            until,
            lambda: (
                shown()["servers"][0]["restarts"] >= 1
                and shown()["servers"][0]["state"] == "connected"
            ),
            "the server to come back",
            60,
        )
        assert "It is 2." in await asyncio.to_thread(ask, "1 and 1?")
        assert requests[5]["messages"][-1]["content"] == "2"  # type: ignore[index]
        async with Client(f"{node.url}/mcp") as client:
            names = [one.name for one in (await client.list_tools()).tools]
            assert "files__add" not in names
            assert "ask_helping" in names
            waiting = next(one for one in (await client.list_tools()).tools if "wait" in one.name)
            assert "Not sandboxed" in str(waiting.description)
            calling = asyncio.create_task(client.call_tool(waiting.name, {"seconds": 600}))
            mark = tmp_path / "mark"
            await asyncio.to_thread(
                until, lambda: mark.exists() and "begun" in mark.read_text(), "the call to begin"
            )
            calling.cancel()
            await asyncio.to_thread(
                until, lambda: "cancelled" in mark.read_text(), "the call to be cancelled"
            )
            with pytest.raises(asyncio.CancelledError):
                await calling
        family = node.family()
        assert await asyncio.to_thread(node.end) == 0
        assert not [one for one in family if lives(one)]
    logs = "".join(path.read_text() for path in (node.data / "logs").glob("*.log"))
    assert "MCP server files is connected" in logs
    assert SECRET not in logs


def test_a_wrong_file_of_servers_keeps_the_node_from_starting(tmp_path: Path) -> None:
    """The error names the file, the server and the key, and no value."""
    path = tmp_path / ".mcp.json"
    path.write_text('{"mcpServers": {"files": {"command": "x", "env": {"K": "${NOT_SET_HERE}"}}}}')
    (tmp_path / "agents").mkdir()
    import subprocess

    done = subprocess.run(
        [*CAXTON, "serve", "--agents", str(tmp_path / "agents"), "--port", "0"],
        cwd=tmp_path, env={**os.environ, "CAXTON_MCP_SERVERS": str(path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "files.env.K: the variable NOT_SET_HERE is not set" in done.stderr
