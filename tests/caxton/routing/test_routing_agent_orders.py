"""Draining, stopping and starting agents on a real shard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from engine import Engine, agent_id, reply

from caxton.agents.behaviour import Outgoing
from caxton.agents.keeper import Keeper
from caxton.agents.lifecycle import AgentState
from caxton.errors import AgentNotFound, InvalidState, ModelUnavailable, NodeNotReady
from caxton.message import Message
from caxton.storage.registry import Registry
from caxton.types import format_id, new_id

Make = Callable[..., Engine]


def echo(message: Message, context: Any) -> tuple[Outgoing, ...]:
    return reply(message.text)


def keep(engine: Engine) -> Keeper:
    """Give the engine's shard a keeper, as shard 0 of a node has one."""
    registry = Registry(engine.folder / f"registry-{len(list(engine.folder.iterdir()))}")
    keeper = Keeper(
        registry, engine.shard.directory, lambda: None, lambda *words: engine.events.append(words)
    )
    engine.shard.keeper = keeper
    return keeper


def state(engine: Engine, name: str) -> str:
    return next(one.state for one in engine.shard.agents() if one.name == name)


async def order(engine: Engine, name: str, action: str) -> Any:
    return await engine.shard.answer("agent_order", {"id": agent_id(name), "action": action})


async def test_a_drained_agent_finishes_what_it_has_and_stops(make_engine: Make) -> None:
    """Messages it had are answered; capabilities pass it over; it comes back when started."""
    hold = asyncio.Event()

    async def slow(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await hold.wait()
        return reply(message.text)

    engine = make_engine({"work-a": slow, "work-b": echo})
    keep(engine)
    conversation = new_id()
    for text in "123":
        engine.submit(engine.message("work-a", content=text, conversation_id=conversation))
    host = engine.shard.roster.hosts[agent_id("work-a")]
    await engine.until(lambda: host.depth == 3)
    view = await order(engine, "work-a", "drain")
    assert view["state"] == "draining"
    with pytest.raises(InvalidState, match="from draining to draining"):
        await order(engine, "work-a", "drain")
    assert engine.shard.directory.providers("work") == [agent_id("work-b")]
    hold.set()
    await engine.until(lambda: state(engine, "work-a") == "stopped")
    assert (host.handled, host.depth) == (3, 0)
    with pytest.raises(InvalidState, match="from stopped to draining"):
        await order(engine, "work-a", "stop")
    assert (await order(engine, "work-a", "start"))["state"] == "running"
    assert host.handled == 3
    asked = engine.message("work-a", content="4", conversation_id=conversation)
    engine.submit(asked, wait=True)
    await engine.until(lambda: any(one.text == "4" for one in engine.asker.replies))
    await engine.settled()

    def told() -> list[str]:
        return [words[2] for words in engine.events if words[0] == "agent.state"]

    await engine.until(lambda: told()[-1:] == ["stopped → running"])
    assert told()[-3:] == ["running → draining", "draining → stopped", "stopped → running"]


async def test_a_stopped_agent_leaves_its_work_for_later(make_engine: Make) -> None:
    """Stopping does not wait; what was under way is handled after the start, once."""
    started = asyncio.Event()
    hold = [True]
    seen: list[str] = []

    async def slow(message: Message, context: Any) -> tuple[Outgoing, ...]:
        started.set()
        while hold[0]:
            await asyncio.sleep(0.005)
        seen.append(message.text)
        return reply(message.text)

    engine = make_engine({"work": slow}, retry_delay_ms=100)
    keep(engine)
    engine.submit(engine.message("work", content="x"))
    await started.wait()
    await order(engine, "work", "stop")
    await engine.until(lambda: state(engine, "work") == "stopped")
    assert seen == []
    hold[0] = False
    await order(engine, "work", "start")
    await engine.settled()
    assert seen == ["x"]


async def test_stopped_stays_stopped_over_a_crash(make_engine: Make) -> None:
    """What the operator wanted is there before anything is done."""
    engine = make_engine({"work": echo})
    keep(engine)
    await order(engine, "work", "stop")
    await engine.until(lambda: state(engine, "work") == "stopped")
    stored = engine.shard.directory.states[agent_id("work")]
    assert stored.stopped
    await engine.crash()
    engine.shard.directory.own = None
    engine.shard.directory.take([stored])
    engine.shard.roster.hosts.clear()
    engine.shard.start_agents()
    assert state(engine, "work") == "stopped"
    with pytest.raises(NodeNotReady):
        await order(engine, "work", "start")
    assert state(engine, "work") == "stopped"
    keep(engine)
    assert (await order(engine, "work", "start"))["state"] == "running"


async def test_an_order_that_cannot_be_followed_changes_nothing(make_engine: Make) -> None:
    """Unknown agents and impossible moves are errors; the agent goes on."""
    engine = make_engine({"work": echo})
    keep(engine)
    with pytest.raises(AgentNotFound, match=format_id(agent_id("nobody"))):
        await order(engine, "nobody", "drain")
    with pytest.raises(InvalidState, match="from running to loaded"):
        await order(engine, "work", "start")
    assert state(engine, "work") == "running"
    asked = engine.message("work", content="y")
    engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)


async def test_an_agent_that_hangs_has_failed_until_it_goes_on(make_engine: Make) -> None:
    """Out of its capability while all it may do at once is stuck; back when some of it ends."""
    hold = asyncio.Event()

    async def slow(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await hold.wait()
        return ()

    engine = make_engine({"work-a": slow, "work-b": echo})
    keep(engine)
    for _ in range(8):
        engine.submit(engine.message("work-a", act="inform"))
    host = engine.shard.roster.hosts[agent_id("work-a")]
    await engine.until(lambda: len(host.under_way) == 8)
    now = asyncio.get_running_loop().time()
    host.check(now + 5, stuck_s=10)
    assert host.state is AgentState.RUNNING
    host.check(now + 11, stuck_s=10)
    assert (host.state, host.reason) == (
        AgentState.FAILED, "8 of 8 messages under way for 11 s",
    )  # fmt: skip
    assert engine.shard.directory.providers("work") == [agent_id("work-b")]
    host.check(now + 12, stuck_s=10)
    assert host.state is AgentState.FAILED
    hold.set()
    await engine.until(lambda: not host.under_way)
    host.check(now + 13, stuck_s=10)
    assert host.state is AgentState.RUNNING
    await engine.settled()
    assert host.handled == 8


async def test_a_failed_agent_is_tried_again_later_and_later(make_engine: Make) -> None:
    """Twice the interval each time; it is in service once its code loads."""
    broken = [False]
    engine = make_engine({"work": echo})
    keep(engine)
    host = engine.shard.roster.hosts[agent_id("work")]
    loaded = host._load

    def load(record: Any) -> Any:
        if broken[0]:
            raise ModelUnavailable(provider="p", kind="auth", reason="no")
        return loaded(record)

    host._load = load
    broken[0] = True
    host.gave_up("too often")
    await host.end()
    tried = []
    for second in range(100):
        before = host.since, host.retried
        engine.shard.roster.retry_failed(float(second), 10.0)
        if (host.since, host.retried) != before and host.retried > before[1]:
            tried.append(second)
        if len(tried) == 3:
            broken[0] = False
        if host.state is AgentState.RUNNING:
            break
    assert tried[:3] == [10, 31, 72]
    host.check(0.0, 10.0)
    assert host.retried == 0 or host.state is AgentState.FAILED
