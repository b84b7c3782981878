"""Capabilities on a real shard: who gets what, who takes over, and copies over a crash."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from engine import Engine, reply

from caxton.agents.behaviour import Outgoing
from caxton.errors import AgentNotResponding
from caxton.message import DeliveryOptions, Message, Performative
from caxton.types import new_id

Make = Callable[..., Engine]


class Log:
    """Who handled what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def agent(self, name: str) -> Callable[[Message, Any], tuple[Outgoing, ...]]:
        def handle(message: Message, context: Any) -> tuple[Outgoing, ...]:
            self.seen.append((name, message.text))
            return reply(name) if message.performative is Performative.REQUEST else ()

        return handle

    def agents(self, *names: str) -> dict[str, Any]:
        return {name: self.agent(name) for name in names}


async def test_a_broadcast_is_handled_once_by_every_provider(make_engine: Make) -> None:
    """One message in, one copy for each in its conversation; a receipt comes from each."""
    log = Log()
    engine = make_engine(log.agents("news-a", "news-b", "news-c"), capability_strategy="broadcast")
    told = engine.message(
        capability="news", content="x", act="inform",
        delivery_options=DeliveryOptions(require_receipt=True),
    )  # fmt: skip
    engine.submit(told, told)
    await engine.settled()
    assert Counter(log.seen) == {(name, "x"): 1 for name in ("news-a", "news-b", "news-c")}
    acts = Counter(act for act, _ in engine.texts(told.conversation_id))
    assert acts == {"inform": 4, "confirm": 3}
    asked = engine.message(capability="news", content="y")
    engine.submit(asked, wait=True)
    await engine.until(lambda: engine.asker.replies)
    assert Counter(text for _, text in log.seen) == {"x": 3, "y": 1}


async def test_a_broadcast_over_the_limit_of_participants_reaches_nobody(
    make_engine: Make,
) -> None:
    """All or none: NOT_UNDERSTOOD names the limit."""
    log = Log()
    names = [f"news-{number}" for number in range(4)]
    engine = make_engine(
        log.agents(*names), capability_strategy="broadcast", conversation_participants=4
    )
    told = engine.message(capability="news", act="inform")
    engine.submit(told)
    await engine.settled()
    assert not log.seen
    acts = engine.texts(told.conversation_id)
    assert [act for act, _ in acts] == ["inform", "not-understood"]
    assert "at most 4 are allowed" in json.loads(acts[1][1])["detail"]


@pytest.mark.parametrize("committed", [False, True])
async def test_a_crash_during_a_broadcast_loses_and_doubles_no_copy(
    make_engine: Make, committed: bool
) -> None:
    """Whether the copies were in the journal or not: in the end each provider handled its one."""
    log = Log()
    release = [False]
    tried: set[str] = set()

    def stuck(name: str) -> Callable[[Message, Any], tuple[Outgoing, ...]]:
        inner = log.agent(name)

        def handle(message: Message, context: Any) -> tuple[Outgoing, ...]:
            if not release[0]:
                tried.add(name)
                raise AgentNotResponding(agent=name, state="blocked by the test")
            return inner(message, context)

        return handle

    engine = make_engine(
        {name: stuck(name) for name in ("news-a", "news-b")}, capability_strategy="broadcast"
    )
    told = engine.message(capability="news", content="x", act="inform")
    engine.submit(told)
    if committed:
        await engine.until(lambda: len(tried) == 2)
        assert engine.shard.view().accepted == 3
        assert await engine.shard.router.commit.flush(10)
    else:
        await engine.until(lambda: engine.asker.acks)
    release[0] = True
    await engine.crash()
    await engine.settled()
    assert Counter(log.seen) == {("news-a", "x"): 1, ("news-b", "x"): 1}
    assert len(engine.texts(told.conversation_id)) == 3


async def test_a_provider_that_cannot_is_followed_by_one_that_can(make_engine: Make) -> None:
    """The message goes on at once, and the conversation stays with who took over."""
    log = Log()
    down = {"work-a"}

    def maybe(name: str) -> Callable[[Message, Any], tuple[Outgoing, ...]]:
        inner = log.agent(name)

        def handle(message: Message, context: Any) -> tuple[Outgoing, ...]:
            if name in down:
                raise AgentNotResponding(agent=name, state="draining")
            return inner(message, context)

        return handle

    engine = make_engine({name: maybe(name) for name in ("work-a", "work-b")})
    for _ in range(6):
        conversation = new_id()
        for number in range(3):
            engine.submit(
                engine.message(capability="work", content=str(number), conversation_id=conversation)
            )
            await engine.settled()
    assert Counter(log.seen) == {("work-b", str(number)): 6 for number in range(3)}
    assert engine.shard.view().dead_letters == 0


async def test_with_nobody_left_it_is_tried_again_and_then_buried(make_engine: Make) -> None:
    """Every provider is asked before the message waits for its next attempt."""
    asked: Counter[str] = Counter()

    def refuses(name: str) -> Callable[[Message, Any], tuple[Outgoing, ...]]:
        def handle(message: Message, context: Any) -> tuple[Outgoing, ...]:
            asked[name] += 1
            raise AgentNotResponding(agent=name, state="draining")

        return handle

    engine = make_engine(
        {name: refuses(name) for name in ("work-a", "work-b", "work-c")}, retry_delay_ms=100
    )
    message = engine.message(
        capability="work", delivery_options=DeliveryOptions(max_retries=1), act="inform"
    )
    engine.submit(message)
    await engine.until(lambda: engine.shard.view().dead_letters)
    assert asked == {"work-a": 2, "work-b": 2, "work-c": 2}
