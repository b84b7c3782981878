"""WebAssembly agents in whole nodes: their state outlives everything, and they are many."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from caxton import Config, Node
from caxton.errors import CaxtonError
from caxton.storage.audit import AuditReader
from sandbox.testing import AGENTS, agent, reply, wat

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

FILE = """---
name: {name}
wasm: {module}
permissions: {{kv: true}}
limits: {{response_timeout: 2s}}
---
A guest.
"""
COUNTER = agent(
    """(if (i32.eq (call $get (i32.const 16) (i32.const 1)) (i32.const 1))
      (then (drop (call $take (i32.const 8) (i32.const 1))))
      (else (i32.store8 (i32.const 8) (i32.const 48))))
    (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
    (drop (call $put (i32.const 16) (i32.const 1) (i32.const 8) (i32.const 1)))"""
    + reply("(i32.const 8)", "(i32.const 1)"),
    imports='(import "caxton" "kv_get" (func $get (param i32 i32) (result i32)))'
    '(import "caxton" "kv_put" (func $put (param i32 i32 i32 i32) (result i32)))'
    '(import "caxton" "take" (func $take (param i32 i32) (result i32)))',
    extra='(data (i32.const 16) "n")',
)
"""Replies with how often it was called in its life and those before: ``1``, ``2``, ..."""
WITH_WASI = COUNTER.replace(
    '(import "caxton" "take"',
    '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))(import "caxton" "take"',
)
"""The same, importing WASI: it lives in a worker of its own."""


def folder_with(folder: Path, **modules: str) -> Path:
    """An agents folder with one agent for each module."""
    agents = folder / "agents"
    agents.mkdir()
    for name, text in modules.items():
        (agents / f"{name}.wasm").write_bytes(wat(text))
        (agents / f"{name}.md").write_text(FILE.format(name=name, module=f"{name}.wasm"))
    return agents


def process_of(part: str) -> psutil.Process:
    """The child of this process that is called so."""
    for child in psutil.Process().children(recursive=True):
        if f"caxton {part}" in " ".join(child.cmdline()):
            return child
    raise AssertionError(f"no process {part}")


async def count(node: Node, name: str) -> str:
    """What a counter says; a process that was killed meanwhile is waited for."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await node.request("hi", to=name, timeout_ms=20_000)).text
            except CaxtonError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("shards", [0, 1])
async def test_state_outlives_processes_and_nodes(tmp_path: Path, shards: int) -> None:
    """A count goes on over a kill of each process and over stops of the node, with both kinds of
    isolation; one agent does not see the other's keys."""
    agents = folder_with(tmp_path, Inline=COUNTER, Apart=WITH_WASI)
    config = Config(agents=agents, data=tmp_path / "data", shards=shards, watch=False)
    async with Node(config) as node:
        for number in "123":
            assert await count(node, "Inline") == number
        assert await count(node, "Apart") == "1"
        if shards:
            for number, part in zip("45", ("shard-0", "tools"), strict=True):
                os.kill(process_of(part).pid, signal.SIGKILL)
                assert await count(node, "Inline") == number
    async with Node(config) as node:
        assert await count(node, "Inline") == ("6" if shards else "4")
        assert await count(node, "Apart") == "2"


async def test_an_agent_with_wasi_has_a_process_that_ends_with_its_node(tmp_path: Path) -> None:
    """Its worker is there while it serves and gone when the node has stopped."""

    def workers() -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process().children(recursive=True)
            if "sandbox.worker" in " ".join(child.cmdline())
        ]

    agents = folder_with(tmp_path, Apart=WITH_WASI)
    config = Config(agents=agents, data=tmp_path / "data", shards=0, watch=False, tools_workers=1)
    async with Node(config) as node:
        before = workers()
        assert await count(node, "Apart") == "1"
        (own,) = [child for child in workers() if child not in before]
        os.kill(own.pid, signal.SIGKILL)
        # The message that finds its guest dead comes again, to a fresh one with the same state.
        assert await count(node, "Apart") == "2"
        alive = workers()
    _, left = await asyncio.to_thread(psutil.wait_procs, alive, 10)
    assert left == []


@pytest.mark.repeats
async def test_a_thousand_live_agents(tmp_path: Path) -> None:
    """Each is an instance of its own with its own memory, and a trap of one harms no other."""
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "echo.wasm").write_bytes(wat(AGENTS["counter"]))
    trapping = agent("(unreachable)")
    (agents / "bad.wasm").write_bytes(wat(trapping))
    plain = "---\nname: {}\nwasm: {}.wasm\n---\nOne of many.\n"
    for number in range(1_000):
        (agents / f"A{number}.md").write_text(plain.format(f"A{number}", "echo"))
    (agents / "Bad.md").write_text(plain.format("Bad", "bad"))
    config = Config(
        agents=agents, data=tmp_path / "data", shards=0, watch=False, limits_agents=2_000,
        message_retries=1, retry_delay_ms=100,
    )  # fmt: skip
    async with Node(config) as node:
        for wanted in (b"\x01\0\0\0", b"\x02\0\0\0"):
            replies = []
            for start in range(0, 1_000, 50):
                part = [
                    node.request("hi", to=f"A{n}", timeout_ms=60_000)
                    for n in range(start, start + 50)
                ]
                replies += await asyncio.gather(*part)
            assert {reply.content for reply in replies} == {wanted}
            failed = await node.request("hi", to="Bad", timeout_ms=60_000)
            assert failed.performative.value == "failure"


@pytest.mark.parametrize("shards", [0, 2])
async def test_what_they_use_and_are_refused_is_in_the_audit_trail(
    tmp_path: Path, shards: int
) -> None:
    """Of agents in the shards and of tools in their process: once, with whose it was."""
    agents = folder_with(tmp_path, Keeper=COUNTER, Denied=COUNTER)
    denied = (agents / "Denied.md").read_text()
    (agents / "Denied.md").write_text(denied.replace("kv: true", "kv: false"))
    (tmp_path / "sales.csv").write_text("price\n1\n2\n")
    (agents / "Analyst.md").write_text(
        "---\nname: Analyst\ntools: [csv_parser]\npermissions: {files: {data: ro}}\n---\nReads.\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("price\n1\n2\n")
    config = Config(
        agents=agents, data=tmp_path / "node", workspace=tmp_path, shards=shards, watch=False
    )
    wanted = {
        ("grant.used", "keeper", "kv: keys of agent/keeper"),
        ("grant.refused", "denied", "kv: keys (the key-value store is not granted; grant `kv`)"),
        (
            "grant.used",
            "analyst/csv_parser",
            f"folder: data ro {(tmp_path / 'data').resolve()}",
        ),
    }
    async with Node(config) as node:
        for _ in range(3):
            await count(node, "Keeper")
            await count(node, "Denied")
            assert "1.5" in (await node.request("mean of price in data/x.csv", to="Analyst")).text
    found = [record for record in audited(config) if record[0].startswith("grant.")]
    assert sorted(record for record in found if record in wanted) == sorted(wanted)


def audited(config: Config) -> list[tuple[str, str, str]]:
    """Kind, subject and detail of every record of the trail."""
    reader = AuditReader(config.data)
    try:
        return [(one.kind, one.subject, one.detail) for one in reader.newest(1_000)]
    finally:
        reader.close()
