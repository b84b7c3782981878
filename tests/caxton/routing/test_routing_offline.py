"""Agents out of service: their messages wait, by priority, bounded, over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from engine import Engine, agent_id, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caxton.errors import AgentFileInvalid
from caxton.message import DeliveryOptions, Message
from caxton.routing import delivery as delivery_module
from caxton.routing.delivery import AT_ONCE
from caxton.storage.registry import AgentRecord
from caxton.types import MessagePriority, new_id

Make = Callable[..., Engine]
PRIORITIES = tuple(MessagePriority)


class Switch:
    """Makes agents that cannot be loaded until it is on."""

    def __init__(self, engine: Engine) -> None:
        self.on = False
        self.engine = engine
        load = engine.shard.roster._load

        def guarded(record: AgentRecord) -> Any:
            if not self.on:
                raise AgentFileInvalid(file="w.md", line=1, column=1, field="python", rule="broken")
            return load(record)

        engine.shard.roster._load = guarded

    def change(self, name: str) -> None:
        """The registry tells of a change of the agent."""
        directory = self.engine.shard.directory
        record = directory.agents[agent_id(name)]
        following = AgentRecord(
            **{
                key: getattr(record, key)
                for key in record.__struct_fields__
                if key not in ("revision", "fingerprint")
            },
            revision=directory.revision + 1,
            fingerprint=str(directory.revision),
        )
        self.engine.shard.registry_changed([following])


def take_down(engine: Engine, name: str) -> Switch:
    """Put an agent out of service, as a version that cannot be loaded does."""
    switch = Switch(engine)
    engine.shard.roster.hosts[agent_id(name)].gave_up("test")
    return switch


def work(handled: list[str]) -> Callable[[Message, Any], Any]:
    def handle(message: Message, context: Any) -> Any:
        handled.append(message.text)
        return reply("done")

    return handle


async def test_messages_wait_by_priority_until_the_agent_is_back(make_engine: Make) -> None:
    """Critical before high before normal before low, and nothing is charged or lost."""
    handled: list[str] = []
    engine = make_engine({"work": work(handled)})
    switch = take_down(engine, "work")
    engine.submit(
        *(
            engine.message(
                "work", content=f"{one.name}", delivery_options=DeliveryOptions(priority=one)
            )
            for one in PRIORITIES
        )
    )
    await engine.until(lambda: len(engine.asker.acks) == 4)
    delivery = engine.shard.router.delivery
    await engine.until(lambda: delivery.loads.offline == 4)
    assert engine.shard.agents()[0].state == "failed"
    assert engine.shard.agents()[0].mailbox == 4
    switch.on = True
    switch.change("work")
    await engine.settled()
    assert handled == ["CRITICAL", "HIGH", "NORMAL", "LOW"]
    assert delivery.loads.offline == 0
    assert engine.shard.journal.dead_letters == 0


async def test_an_agent_that_is_back_lets_others_have_their_turn(make_engine: Make) -> None:
    """A thousand waiting messages are handled a part at a time, in order and each once."""
    handled: list[str] = []
    engine = make_engine({"work": work(handled)})
    switch = take_down(engine, "work")
    conversation = new_id()
    texts = [str(number) for number in range(1_000)]
    engine.submit(
        *(engine.message("work", content=one, conversation_id=conversation) for one in texts)
    )
    delivery = engine.shard.router.delivery
    await engine.until(lambda: delivery.loads.offline == 1_000)
    parts: list[int] = []

    def look() -> None:
        parts.append(len(handled) - sum(parts))
        if len(handled) < len(texts):
            asyncio.get_running_loop().call_soon(look)

    switch.on = True
    switch.change("work")
    look()
    await engine.settled()
    assert handled == texts
    assert max(parts) <= 2 * AT_ONCE


async def test_the_queue_of_an_agent_out_of_service_is_bounded(make_engine: Make) -> None:
    """One more than the limit fails with QUEUE_FULL; those that wait are not touched."""
    handled: list[str] = []
    engine = make_engine({"work": work(handled)}, limits_offline_queue=3)
    switch = take_down(engine, "work")
    conversations = [new_id() for _ in range(5)]
    engine.submit(
        *(engine.message("work", content=one.hex(), conversation_id=one) for one in conversations)
    )
    await engine.until(lambda: engine.shard.router.counters.accepted == 7)
    assert engine.shard.router.counters.dead_letters == 2
    await engine.until(lambda: engine.shard.journal.pending == 3)
    for one in conversations[3:]:
        (failure,) = [text for act, text in engine.texts(one) if act == "failure"]
        assert orjson.loads(failure)["reason"] == "QueueFull"
    switch.on = True
    switch.change("work")
    await engine.settled()
    assert handled == [one.hex() for one in conversations[:3]]


async def test_what_waits_survives_a_crash(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart it waits again, all of it, and goes to the agent when that is back."""
    monkeypatch.setattr(delivery_module, "LOOK_S", 0.01)
    handled: list[str] = []
    engine = make_engine({"work": work(handled)}, limits_offline_queue=3)
    take_down(engine, "work")
    engine.submit(*(engine.message("work", content=str(n)) for n in range(3)))
    await engine.until(lambda: len(engine.asker.acks) == 3)
    assert await engine.shard.router.commit.flush(5)
    assert handled == []
    await engine.crash()
    await engine.settled()
    assert handled == ["0", "1", "2"]


async def test_an_agent_that_is_back_without_a_word_is_found(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message looks now and then whether the agent is back."""
    monkeypatch.setattr(delivery_module, "LOOK_S", 0.01)
    handled: list[str] = []
    engine = make_engine({"work": work(handled)})
    take_down(engine, "work").on = True
    engine.submit(*(engine.message("work", content=str(n)) for n in range(50)))
    await engine.until(lambda: len(engine.asker.acks) == 50)
    await asyncio.sleep(0.05)
    assert handled == []
    engine.shard.roster.apply(engine.shard.directory.agents.values())
    await engine.settled()
    assert handled == [str(n) for n in range(50)]


async def test_the_messages_of_a_removed_agent_have_no_receiver(make_engine: Make) -> None:
    """They become dead letters with AGENT_NOT_FOUND when the agent is removed."""
    engine = make_engine({"work": work([])})
    take_down(engine, "work")
    engine.submit(*(engine.message("work") for _ in range(3)))
    await engine.until(lambda: engine.shard.router.delivery.loads.offline == 3)
    record = engine.shard.directory.agents[agent_id("work")]
    gone = {key: getattr(record, key) for key in record.__struct_fields__}
    gone |= {"revision": 99, "removed": True}
    engine.shard.registry_changed([AgentRecord(**gone)])
    await engine.settled()
    assert {one.reason for one in engine.shard.dead_letters.newest(9)} == {"AGENT_NOT_FOUND"}


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.integers(0, 2), st.sampled_from(PRIORITIES), st.booleans()),
            st.sampled_from(["down", "up"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_order_holds_whatever_the_priorities_and_however_often_it_is_away(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """Each conversation stays in order over outages, priorities and slow messages."""

    async def run() -> None:
        handled: list[tuple[int, int]] = []

        def handle(message: Message, context: Any) -> Any:
            number, conversation, slow = map(int, message.text.split())

            async def later() -> Any:
                await asyncio.sleep(0.001)
                handled.append((conversation, number))
                return ()

            if slow:
                return later()
            handled.append((conversation, number))
            return ()

        engine = Engine(tmp_path_factory.mktemp("away"), {"work": handle})
        switch = Switch(engine)
        switch.on = True
        conversations = [new_id() for _ in range(3)]
        sent: list[tuple[int, int]] = []
        for number, step in enumerate(steps):
            host = engine.shard.roster.hosts[agent_id("work")]
            if step == "down":
                if host.state.value == "running":
                    host.gave_up("test")
                    await host.end()
            elif step == "up":
                if host.state.value == "failed":
                    switch.change("work")
            else:
                key, priority, slow = step
                sent.append((key, number))
                engine.submit(
                    engine.message(
                        "work",
                        content=f"{number} {key} {int(slow)}",
                        conversation_id=conversations[key],
                        delivery_options=DeliveryOptions(priority=priority),
                    )
                )
                await asyncio.sleep(0)
        if engine.shard.roster.hosts[agent_id("work")].state.value == "failed":
            switch.change("work")
        await engine.settled()
        for key in range(3):
            assert [one for one in handled if one[0] == key] == [
                one for one in sent if one[0] == key
            ]
        await engine.stop()

    asyncio.run(run())
