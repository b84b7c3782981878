"""Order within a conversation, whatever fails and comes again; and retries over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caxton.agents.behaviour import Outgoing
from caxton.errors import AgentNotResponding, ModelUnavailable
from caxton.message import DeliveryOptions, Message
from caxton.routing import delivery
from caxton.routing.retries import AT_ONCE, MAX_DELAY_S, Retries, Retrying
from caxton.types import MessagePriority, new_id

Make = Callable[..., Engine]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 0.001)


class Flaky:
    """Writes down what it handled; fails on each message as often as told."""

    def __init__(self, failures: dict[str, int], slow: set[str], *, crashes: bool = True) -> None:
        self.crashes = crashes
        self.failures = dict(failures)
        self.slow = slow
        self.handled: list[str] = []

    def __call__(self, message: Message, context: Any) -> Any:
        if message.text in self.slow:
            return self._later(message)
        return self._now(message)

    async def _later(self, message: Message) -> tuple[Outgoing, ...]:
        await asyncio.sleep(0.001)
        return self._now(message)

    def _now(self, message: Message) -> tuple[Outgoing, ...]:
        left = self.failures.get(message.text, 0)
        if left:
            self.failures[message.text] = left - 1
            if self.crashes:
                raise RuntimeError(f"not yet: {message.text}")
            raise ModelUnavailable(provider="p", kind="busy", reason=f"not yet: {message.text}")
        self.handled.append(message.text)
        return reply(f"{message.text} done")


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("slow", [set(), {"0"}, {"0", "1", "2", "3"}], ids=["sync", "mix", "async"])
async def test_later_messages_wait_for_a_retry(make_engine: Make, slow: set[str]) -> None:
    """What came after a message that fails twice is handled after it, in order, once."""
    flaky = Flaky({"0": 2}, slow)
    engine = make_engine({"work": flaky})
    conversation = new_id()
    engine.submit(
        *(engine.message("work", content=str(n), conversation_id=conversation) for n in range(4))
    )
    await engine.settled()
    assert flaky.handled == ["0", "1", "2", "3"]
    assert len(engine.shard.router.delivery.retries) == 0


@pytest.mark.usefixtures("soon")
async def test_a_message_that_fails_for_good_lets_the_next_ones_pass(make_engine: Make) -> None:
    """Once a message is a dead letter, those behind it are handled, in order."""
    flaky = Flaky({"0": 99}, set())
    engine = make_engine({"work": flaky})
    conversation = new_id()
    options = DeliveryOptions(max_retries=1)
    engine.submit(
        *(
            engine.message(
                "work", content=str(n), conversation_id=conversation, delivery_options=options
            )
            for n in range(4)
        )
    )
    await engine.settled()
    assert flaky.handled == ["1", "2", "3"]
    assert engine.shard.journal.dead_letters == 1


@pytest.mark.usefixtures("soon")
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    failures=st.dictionaries(st.integers(0, 11), st.integers(0, 3), max_size=6),
    slow=st.sets(st.integers(0, 11)),
    bursts=st.lists(st.integers(1, 9), min_size=3, max_size=6),
    window=st.sampled_from([1, 2, 5, 1_000]),
    concurrency=st.sampled_from([1, 2, 8]),
    priorities=st.lists(st.sampled_from(MessagePriority), min_size=1, max_size=5),
)
def test_order_holds_in_every_conversation(
    tmp_path_factory: pytest.TempPathFactory,
    failures: dict[int, int],
    slow: set[int],
    bursts: list[int],
    window: int,
    concurrency: int,
    priorities: list[MessagePriority],
) -> None:
    """Whatever fails, however often and at whatever speed, for agents with much room and little:
    each conversation stays in order, and each message is handled once."""

    async def run(folder: Path) -> None:
        flaky = Flaky(
            {str(n): times for n, times in failures.items()}, {str(n) for n in slow}, crashes=False
        )
        engine = Engine(folder, {"work": flaky}, concurrency=concurrency, limits_agent_queue=window)
        conversations = [new_id(), new_id(), new_id()]
        number = 0
        for burst in bursts:
            batch = []
            for _ in range(burst):
                batch.append(
                    engine.message(
                        "work",
                        content=str(number),
                        conversation_id=conversations[number % 3],
                        delivery_options=DeliveryOptions(
                            max_retries=10, priority=priorities[number % len(priorities)]
                        ),
                    )
                )
                number += 1
            engine.submit(*batch)
            await asyncio.sleep(0.002)
        await engine.settled()
        for remainder in range(3):
            mine = [int(text) for text in flaky.handled if int(text) % 3 == remainder]
            assert mine == list(range(remainder, number, 3))
        await engine.stop()

    asyncio.run(run(tmp_path_factory.mktemp("order")))


async def test_a_retry_survives_a_crash_with_its_count_and_its_due_time(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart a retry comes when it was due, with its attempts, before what is behind."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 0.3)
    counts: list[tuple[str, int]] = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        counts.append((message.text, context.delivery_count))
        if message.text == "0" and context.delivery_count < 3:
            raise RuntimeError("not yet")
        return reply("done")

    engine = make_engine({"work": work})
    conversation = new_id()
    for text in ("0", "1"):
        engine.submit(engine.message("work", content=text, conversation_id=conversation))
    await engine.until(lambda: len(engine.asker.acks) == 2 and counts)
    assert await engine.shard.router.commit.flush(5)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await engine.crash()
    await engine.settled()
    assert counts == [("0", 1), ("0", 2), ("0", 3), ("1", counts[-1][1])]
    assert loop.time() - before > 0.3
    recovered = engine.shard.journal.recover()
    assert recovered.retries == {}


async def test_a_clock_set_back_makes_no_retry_late(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A due time that a restart finds hours ahead is held to the longest delay there is."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 7_200.0)
    monkeypatch.setattr(delivery, "LONGEST_S", 0.05)
    tries = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        tries.append(context.delivery_count)
        if len(tries) == 1:
            raise RuntimeError("not yet")
        return reply("done")

    engine = make_engine({"work": work})
    engine.submit(engine.message("work", content="0"))
    await engine.until(lambda: engine.asker.acks and tries)
    assert await engine.shard.router.commit.flush(5)
    await engine.crash()
    await engine.settled()
    assert tries == [1, 2]


def test_delays_grow_to_a_bound() -> None:
    """Each delay is about twice the one before, up to the longest."""
    retries = Retries(Retrying(100), lambda accepted, agent_id: None)
    for attempts, expected in ((1, 0.1), (2, 0.2), (4, 0.8), (30, MAX_DELAY_S)):
        assert expected * 0.79 < retries.delay_s(attempts) < expected * 1.21


@pytest.mark.usefixtures("soon")
async def test_a_long_lane_that_goes_on_lets_others_have_their_turn(make_engine: Make) -> None:
    """What stood behind a retry is handled a part at a time, in order and each once."""
    handled: list[str] = []
    failed: list[str] = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        if message.text == "0" and not failed:
            failed.append(message.text)
            raise AgentNotResponding(agent="work", state="away")
        handled.append(message.text)
        return ()

    engine = make_engine({"work": work})
    conversation = new_id()
    texts = [str(number) for number in range(700)]
    parts: list[int] = []

    def look() -> None:
        parts.append(len(handled) - sum(parts))
        if len(handled) < len(texts):
            asyncio.get_running_loop().call_soon(look)

    engine.submit(
        *(engine.message("work", content=one, conversation_id=conversation) for one in texts)
    )
    look()
    await engine.settled()
    assert handled == texts
    assert max(parts) <= 2 * AT_ONCE
