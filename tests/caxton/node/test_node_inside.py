"""The node as a Python program uses it, in one process and with shards."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from caxton import Config, Node
from caxton.client import AsyncClient
from caxton.errors import (
    AddressInUse,
    AgentNotFound,
    ConfigInvalid,
    ConfigurationError,
    ForeignFolder,
    InternalError,
    NodeAlreadyRunning,
    NodeNotReady,
    StorageError,
    Timeout,
    ValidationError,
)
from caxton.gateway import EventLog
from caxton.links.wire import Query
from caxton.processes.data_folder import DataFolder
from caxton.processes.peers import answer
from caxton.serve import EXIT_ADDRESS, EXIT_CONFIG, EXIT_GAVE_UP, EXIT_STORAGE, exit_code
from caxton.types import new_id, parse_id

ROOT = Path(__file__).resolve().parents[3]

SLOW = "---\nname: Slow\npython: slow:Slow\n---\nNever answers.\n"
SLOW_CODE = """
import asyncio

from caxton import Agent


class Slow(Agent):
    async def handle(self, message, context):
        await asyncio.Event().wait()
"""


def config(folder: Path, **more: object) -> Config:
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    return Config(
        agents=folder / "examples" / "agents",
        data=folder / "data",
        workspace=folder,
        shutdown_timeout_ms=3_000,
        **{"shards": 0, "port": 0, "durability": "process", **more},  # type: ignore[arg-type]
    )


async def test_all_kinds_of_agents_answer_in_one_process(tmp_path: Path) -> None:
    """A model-less configuration agent with its tool, Python, WebAssembly; everything is listed."""
    async with Node(config(tmp_path)) as node:
        assert (await node.request("hi", to="Echo")).text == "hi"
        counted = [(await node.request("x", capability="counting")).text for _ in range(2)]
        assert counted[0] != counted[1]
        answer_ = await node.request(
            "mean of price in examples/data/sales.csv", capability="data-analysis"
        )
        assert "42.5" in answer_.text
        ack = await node.send("hello", to="Echo", conversation_id=new_id())
        assert ack.durability == "process"
        agents = {one.name: one.state for one in await node.agents()}
        assert agents == dict.fromkeys(("Counter", "DataAnalyst", "Echo", "Greeter"), "running")
        assert len(await node.conversations()) >= 4
        detail = await node.conversation(parse_id(ack.conversation_id, "c"))
        assert detail.conversation.participants[:2] == ("client", "Echo")
        view = await node.status()
        assert (view.state, view.provider, view.agents) == ("ready", "rules", 4)
        loaded = [event async for event in _take(node.events(), 4)]
        assert {event.type for event in loaded} == {"agent.loaded"}
        with pytest.raises(AgentNotFound):
            await node.request("x", to="Nobody")
        with pytest.raises(ValidationError):
            await node.request("x", to="Echo", timeout_ms=5)
        with pytest.raises(NodeAlreadyRunning, match=str(os.getpid())):
            await Node(config(tmp_path)).__aenter__()
    with pytest.raises(NodeNotReady):
        _ = Node(config(tmp_path)).gateway


async def _take(events: object, count: int) -> object:
    async for event in events:  # type: ignore[attr-defined]  # an async iterator
        yield event
        count -= 1
        if not count:
            return


async def test_a_request_without_an_answer_times_out_and_names_its_conversation(
    tmp_path: Path,
) -> None:
    """The message stays accepted, and a stop does not wait for ever."""
    settings = config(tmp_path)
    (settings.agents / "Slow.md").write_text(SLOW)
    (settings.agents / "slow.py").write_text(SLOW_CODE)
    async with Node(settings) as node:
        with pytest.raises(Timeout) as late:
            await node.request("x", to="Slow", timeout_ms=1_000)
        key = parse_id(late.value.fields["conversation_id"], "c")
        detail = await node.conversation(key)
        assert [one.state for one in detail.messages] == ["pending"]
    async with Node(settings) as node:
        detail = await node.conversation(key)
        assert [one.state for one in detail.messages] == ["pending"]


@pytest.mark.process
async def test_another_number_of_shards_loses_nothing(tmp_path: Path) -> None:
    """What is pending or can be read is so after each change."""
    settings = config(tmp_path, shards=2)
    (settings.agents / "Slow.md").write_text(SLOW)
    (settings.agents / "slow.py").write_text(SLOW_CODE)
    async with Node(settings) as node:
        waiting = [(await node.send(str(n), to="Slow")).conversation_id for n in range(6)]
        told = (await node.request("hi", to="Echo")).conversation_id
    for shards in (1, 3, 0):
        async with Node(config(tmp_path, shards=shards)) as node:
            assert sum(one.pending for one in (await node.status()).shards) == 6
            for key in waiting:
                detail = await node.conversation(parse_id(key, "c"))
                assert [one.state for one in detail.messages] == ["pending"]
            detail = await node.conversation(told)
            assert [one.state for one in detail.messages] == ["handled"] * 2
            assert (await node.request("again", to="Echo", conversation_id=told)).text == "again"
            detail = await node.conversation(told)
            told = (await node.request("hi", to="Echo")).conversation_id


async def test_a_node_in_one_process_serves_its_api(tmp_path: Path) -> None:
    """The same REST app, for embedding."""
    async with Node(config(tmp_path), api=True) as node, AsyncClient(node.url) as client:
        reply = await client.request("over http", to="Echo")
        assert reply.text == "over http"
        assert (await client.ready()).status == "ready"
        (tmp_path / "other").mkdir()
        other = config(tmp_path / "other", port=int(node.url.rpartition(":")[2]))
        with pytest.raises(AddressInUse):
            await Node(other, api=True).__aenter__()


@pytest.mark.process
async def test_two_shards_answer_and_leave_nothing_behind(tmp_path: Path) -> None:
    """Agents and conversations on either shard; no process and no socket stays."""
    settings = config(tmp_path, shards=2)
    async with Node(settings) as node:
        texts = await asyncio.gather(
            *(node.request(f"m{n}", to="Echo", timeout_ms=10_000) for n in range(20))
        )
        assert [one.text for one in texts] == [f"m{n}" for n in range(20)]
        view = await node.status()
        assert [one.name for one in view.processes] == [
            "supervisor",
            "tools",
            "shard-0",
            "shard-1",
        ]
        assert sum(one.conversations for one in view.shards) == 20
        assert all(one.accepted > 0 for one in view.shards)
    assert list((settings.data / "run").glob("*.sock")) == []


async def test_what_a_node_cannot_start_on_is_said(tmp_path: Path) -> None:
    """A missing agents folder, a host of another machine."""
    with pytest.raises(ConfigInvalid, match="agents"):
        await Node(Config(agents=tmp_path / "none", data=tmp_path / "d", shards=0)).__aenter__()
    with pytest.raises((ConfigInvalid, AddressInUse)):
        await Node(config(tmp_path, host="192.0.2.1"), api=True).__aenter__()
    with pytest.raises(ConfigInvalid, match="host"):
        await Node(config(tmp_path, host="no.such.host.invalid"), api=True).__aenter__()


def test_a_data_folder_is_private_locked_and_cleaned(tmp_path: Path) -> None:
    """Mode 0700, one owner at a time, nothing of a run stays."""
    folder = DataFolder(tmp_path / "data")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    folder.announce(pid=1, url="http://x")
    assert (folder.run / "node.json").exists()
    (folder.sockets / "old.sock").touch()
    with pytest.raises(NodeAlreadyRunning, match=str(os.getpid())):
        DataFolder(tmp_path / "data")
    folder.close()
    assert [one.name for one in folder.run.iterdir()] == ["node.lock"]
    DataFolder(tmp_path / "data").close()


def test_a_long_path_gets_a_short_folder_for_its_sockets(tmp_path: Path) -> None:
    """A Unix socket's path may have 107 bytes."""
    folder = DataFolder(tmp_path / ("x" * 120))
    assert len(os.fsencode(folder.sockets / "shard-31.sock")) <= 100
    assert stat.S_IMODE(folder.sockets.stat().st_mode) == 0o700
    folder.close()
    assert not folder.sockets.exists()


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    """Nothing is written into a folder with other files, or into a file."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(ForeignFolder, match=r"a\.jpg"):
        DataFolder(tmp_path / "photos")
    assert [one.name for one in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    (tmp_path / "file").touch()
    with pytest.raises(ForeignFolder, match="not a folder"):
        DataFolder(tmp_path / "file")


def test_exit_codes_say_why_a_node_did_not_start() -> None:
    """As in sysexits.h."""
    assert exit_code(AddressInUse(host="h", port=1)) == EXIT_ADDRESS
    assert exit_code(StorageError(store="s", reason="r")) == EXIT_STORAGE
    assert exit_code(ConfigurationError()) == EXIT_CONFIG
    assert exit_code(InternalError(reason="r")) == EXIT_GAVE_UP


async def test_a_follower_that_does_not_keep_up_is_cut() -> None:
    """Events are bounded per follower; the others go on."""
    log = EventLog()
    log.add("a", "s", "t")
    slow, fast = log.follow(None), log.follow(1)
    assert (await anext(slow)).id == 1
    waiting = asyncio.ensure_future(anext(fast))
    await asyncio.sleep(0)
    pending = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    for number in range(1_500):
        log.add("b", "s", str(number))
        if number == 0:
            assert (await waiting).text == "0"
    assert (await pending).text == "0"
    seen = [event async for event in slow]
    assert len(seen) < 1_100
    await fast.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_a_question_that_fails_is_an_answer() -> None:
    """The asker learns code and fields; a fault of ours is told as one."""

    class Responder:
        async def answer(self, name: str, arguments: dict[str, object]) -> object:
            if name == "fails":
                raise AgentNotFound(agent="x", near="")
            return arguments["missing"]

    told = await answer(Query(1, "fails", {}), Responder())
    assert told.code == "AGENT_NOT_FOUND"
    assert (await answer(Query(2, "stats", {}), Responder())).code == "INTERNAL_ERROR"
    assert (await answer(Query(3, "stats", {}), None)).code == "NODE_NOT_READY"


def test_a_port_that_is_taken_is_named() -> None:
    """The socket of another program."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = AddressInUse(host="127.0.0.1", port=port)
        assert str(port) in str(error)
