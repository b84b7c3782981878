"""The registry of a running node, through both Python clients."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_node_inside import config

from caxton import Config, Node
from caxton.client import AsyncClient, Client
from caxton.errors import (
    AgentNotFound,
    CapabilityNotFound,
    ClientNotFound,
    InvalidState,
    NotAuthorized,
    ValidationError,
)
from caxton.message import make_message
from caxton.types import parse_id


async def _state(client: AsyncClient, name: str, wanted: str) -> None:
    async with asyncio.timeout(20):
        while (await client.agent(name)).state != wanted:
            await asyncio.sleep(0.01)


async def _exercise(settings: Config) -> None:
    """Everything an operator can do, on a node of any shape."""
    async with Node(settings, api=True) as node, AsyncClient(node.url) as client:
        registry = client.registry
        async with asyncio.timeout(20):
            while len(await registry.routes()) < 4:
                await asyncio.sleep(0.01)
        route = (await registry.routes())[0]
        assert (route.agent, route.hops) == ("Counter", 0)
        counting = await registry.capability("counting")
        assert (counting.strategy, counting.default) == ("sticky", True)
        assert [one.able for one in counting.providers] == [True]
        with pytest.raises(CapabilityNotFound, match="counting"):
            await registry.capability("countin")

        changed = await registry.set_strategy("counting", "round_robin")
        assert (changed.strategy, changed.default) == ("round_robin", False)
        with pytest.raises(ValidationError, match="strategy"):
            await registry.set_strategy("counting", "best")

        assert (await registry.order("Echo", "drain")).state in ("draining", "stopped")
        await _state(client, "Echo", "stopped")
        async with asyncio.timeout(20):
            while "Echo" in [one.agent for one in await registry.routes()]:
                await asyncio.sleep(0.01)
        with pytest.raises(InvalidState):
            await registry.order("Echo", "stop")
        with pytest.raises(AgentNotFound):
            await registry.order("Nobody", "stop")

        web = await registry.register("web", {"team": "shop"})
        sender = parse_id(web.id, "id")
        sent = make_message("inform", sender=sender, receiver=node.gateway.agent_id("Counter"))
        assert (await client.send_many([sent]))[0].message_id  # type: ignore[union-attr]  # an ack
        assert [one.name for one in await registry.clients()] == ["web"]
        with pytest.raises(ValidationError, match="metadata"):
            await registry.register("web", {"x" * 300: ""})
        gone = await registry.register("gone")
        await registry.deregister("gone")
        with pytest.raises(ClientNotFound):
            await registry.client("gone")
        refused = make_message(
            "inform", sender=parse_id(gone.id, "id"), receiver=node.gateway.agent_id("Counter")
        )
        async with asyncio.timeout(20):
            while not isinstance((await client.send_many([refused]))[0], NotAuthorized):
                refused = make_message("inform", sender=refused.sender, receiver=refused.receiver)
                await asyncio.sleep(0.01)

    async with Node(settings, api=True) as node, AsyncClient(node.url) as client:
        registry = client.registry
        assert (await client.agent("Echo")).state == "stopped"
        assert (await registry.capability("counting")).strategy == "round_robin"
        assert (await registry.client("web")).metadata == {"team": "shop"}
        assert (await registry.order("Echo", "start")).state == "running"
        assert (await client.request("back", to="Echo")).text == "back"


async def test_a_node_in_one_process_keeps_what_it_was_told(tmp_path: Path) -> None:
    """Orders, strategies and clients outlive the node."""
    await _exercise(config(tmp_path))


@pytest.mark.process
async def test_every_process_follows_the_registry(tmp_path: Path) -> None:
    """The same with two shards and a gateway, each a process."""
    await _exercise(config(tmp_path, shards=2))


async def test_the_blocking_client_asks_the_same(tmp_path: Path) -> None:
    """Each method of one client is there in the other."""
    async with Node(config(tmp_path), api=True) as node:

        def ask() -> None:
            with Client(node.url) as client:
                registry = client.registry
                assert registry.order("Echo", "drain").name == "Echo"
                assert registry.set_strategy("echo", "priority").strategy == "priority"
                assert registry.set_strategy("echo", None).default
                assert {one.name for one in registry.capabilities()} >= {"echo", "counting"}
                assert registry.capability("echo").providers[0].agent == "Echo"
                assert registry.register("web").name == registry.client("web").name
                assert [one.name for one in registry.clients()] == ["web"]
                assert registry.deregister("web").name == "web"
                assert isinstance(registry.routes(), list)

        await asyncio.to_thread(ask)


ILL = """---
name: Ill
python: ill:Ill
capabilities: [illness]
---
Fails each time.
"""
ILL_CODE = """
from caxton import Agent


class Ill(Agent):
    def handle(self, message, context):
        raise RuntimeError("ill")
"""


async def test_breakers_are_seen_and_reset(tmp_path: Path) -> None:
    """Through the REST API, by both clients."""
    settings = config(tmp_path, breaker_threshold=1)
    (settings.agents / "Ill.md").write_text(ILL)
    (settings.agents / "ill.py").write_text(ILL_CODE)
    async with Node(settings, api=True) as node, AsyncClient(node.url) as client:
        assert await client.registry.breakers() == []
        await client.send("x", to="Ill")
        async with asyncio.timeout(20):
            while "open" not in [one.state for one in await client.registry.breakers()]:
                await asyncio.sleep(0.01)
        (seen,) = await client.registry.breakers()
        assert (seen.agent, seen.failures) == ("Ill", 1)
        assert "RuntimeError: ill" in seen.reason
        assert seen.until > seen.since
        assert [one.state for one in await client.registry.reset_breaker("Ill")] == ["open"]
        assert await client.registry.reset_breaker("Echo") == []
        with pytest.raises(AgentNotFound):
            await client.registry.reset_breaker("no such agent")

        def blocking() -> None:
            with Client(node.url) as other:
                assert other.registry.breakers()[0].agent == "Ill"
                assert other.registry.reset_breaker("Ill")[0].agent == "Ill"

        await asyncio.to_thread(blocking)
