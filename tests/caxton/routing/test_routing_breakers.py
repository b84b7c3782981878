"""Circuit breakers: the actor of one alone, and in a running shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from engine import Engine, agent_id, reply

from actors import ActorSystem
from caxton.errors import (
    AgentFailed,
    AgentOffline,
    BudgetSpent,
    CaxtonError,
    ModelUnavailable,
    ToolFailed,
    ValidationError,
)
from caxton.message import DeliveryOptions, Message
from caxton.routing.breakers import Breakers, Circuit, CircuitState, works
from caxton.types import new_id

Make = Callable[..., Engine]

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED
TARGET = new_id()


class Rig:
    """Breakers by hand, with a clock of the test."""

    def __init__(self) -> None:
        self.now = 1_000
        self.moves: list[tuple[CircuitState, int]] = []
        self.system = ActorSystem("breakers")
        self.breakers = Breakers(
            self.system, lambda: self.now, threshold=3, timeout_ms=40, changed=self._moved
        )

    def _moved(self, circuit: Circuit) -> None:
        self.moves.append((circuit.state, circuit.until and circuit.until - self.now))

    @property
    def circuit(self) -> Circuit:
        return self.breakers.circuits()[0]

    async def fail(self, times: int = 1, **how: Any) -> None:
        for _ in range(times):
            self.breakers.failed(TARGET, "it broke", **how)
        await asyncio.sleep(0.002)

    async def until(self, state: CircuitState) -> None:
        async with asyncio.timeout(5):
            while self.circuit.state is not state:
                await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.system.stop(1)


async def test_it_opens_after_failures_in_a_row(rig: Rig) -> None:
    """A success in between starts the count anew; slow handling counts."""
    await rig.fail(2)
    rig.breakers.succeeded(TARGET)
    await rig.fail(2)
    assert rig.moves == []
    assert rig.breakers.room(TARGET, 8) == 8
    await rig.fail(1, slow=True)
    assert rig.moves == [(OPEN, 40)]
    assert (rig.circuit.failures, rig.circuit.slow, rig.circuit.reason) == (3, 1, "it broke")
    assert rig.breakers.room(TARGET, 8) == 0
    assert rig.circuit.until == 1_040
    assert 0 < rig.breakers.left_s(TARGET) <= 0.04
    assert (rig.breakers.open, rig.breakers.opened, len(rig.breakers)) == (1, 1, 1)


async def test_the_probe_decides(rig: Rig) -> None:
    """Twice as long each time it fails, up to five minutes; then a success closes it."""
    await rig.fail(3)
    await rig.until(HALF_OPEN)
    assert rig.breakers.room(TARGET, 8) == 1
    await rig.fail()
    await rig.until(HALF_OPEN)
    await rig.fail()
    assert rig.moves == [(OPEN, 40), (HALF_OPEN, 0), (OPEN, 80), (HALF_OPEN, 0), (OPEN, 160)]
    await rig.until(HALF_OPEN)
    rig.circuit.opened = 30
    await rig.fail()
    assert rig.moves[-1] == (OPEN, 300_000)
    assert rig.breakers.reset(TARGET)
    await rig.until(CLOSED)
    assert rig.circuit.opened == 0
    assert rig.breakers.room(TARGET, 8) == 8


async def test_what_was_under_way_does_not_count(rig: Rig) -> None:
    """Neither a failure nor a success of a delivery from before it opened changes an open one."""
    await rig.fail(6)
    rig.breakers.succeeded(TARGET)
    await asyncio.sleep(0.002)
    assert rig.moves == [(OPEN, 40)]
    await rig.until(HALF_OPEN)
    rig.breakers.succeeded(TARGET)
    await rig.until(CLOSED)
    await rig.fail(2)
    assert rig.circuit.state is CLOSED


async def test_it_goes_on_after_its_actor_was_restarted(rig: Rig) -> None:
    """What it knows is not lost with the actor, and its time goes on."""
    await rig.fail(3)
    circuit, ref = rig.breakers._known[TARGET]
    circuit.probes = 0
    ref.tell(None)
    await rig.until(HALF_OPEN)
    assert circuit.failures == 3
    rig.breakers.forget(TARGET)
    assert rig.breakers.circuits() == []
    assert not rig.breakers.reset(TARGET)
    assert rig.breakers.left_s(TARGET) == 0


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (AgentFailed(agent="a", attempts=1, reason="x"), False),
        (ModelUnavailable(provider="p", reason="x"), False),
        (ValidationError(field="f", value="v", allowed="a"), True),
        (ToolFailed(tool="t", reason="x"), True),
        (AgentOffline(agent="a", state="stopped"), None),
        (BudgetSpent(agent="a", limit="l", used="u"), None),
    ],
    ids=lambda one: one.code if isinstance(one, CaxtonError) else str(one),
)
def test_whose_fault_a_failure_is(error: CaxtonError, verdict: bool | None) -> None:
    """A permanent failure is one of the message; some say nothing of the agent."""
    assert works(error) is verdict


class Patient:
    """An agent that fails while it is ill."""

    def __init__(self) -> None:
        self.ill = True
        self.seen: list[str] = []

    def __call__(self, message: Message, context: Any) -> Any:
        self.seen.append(message.text)
        if self.ill:
            raise RuntimeError("ill")
        return reply("well")


async def test_an_agent_that_fails_is_left_alone(make_engine: Make) -> None:
    """While it is open nothing reaches the agent; the probe finds it well and all is handled."""
    patient = Patient()
    engine = make_engine({"work": patient}, breaker_threshold=3, retry_delay_ms=100)
    breakers = engine.shard.router.breakers
    breakers.timeout_ms = 400
    first = [engine.message("work", content=str(n)) for n in range(3)]
    engine.submit(*first)
    await engine.until(lambda: breakers.open)
    seen = len(patient.seen)
    more = [engine.message("work", content=f"later {n}") for n in range(5)]
    engine.submit(*more)
    await engine.until(lambda: len(engine.asker.acks) == 8)
    assert engine.shard.router.delivery.loads.health(agent_id("work")) == 0.0
    patient.ill = False
    await asyncio.sleep(0.1)
    assert len(patient.seen) == seen
    await engine.settled()
    assert len(set(patient.seen)) == 8
    assert engine.shard.journal.dead_letters == 0
    assert not breakers.open
    kinds = [kind for kind, subject, _ in engine.events if subject == "work"]
    assert [one for one in kinds if one.startswith("breaker")] == [
        "breaker.open", "breaker.half-open", "breaker.closed",
    ]  # fmt: skip


async def test_tries_are_used_up_while_it_is_open(make_engine: Make) -> None:
    """The sender learns that the breaker was open, when that outlasts its message's tries."""
    patient = Patient()
    engine = make_engine({"work": patient}, breaker_threshold=1, retry_delay_ms=100)
    engine.shard.router.breakers.timeout_ms = 100
    engine.submit(engine.message("work", delivery_options=DeliveryOptions(max_retries=1)))
    await engine.until(lambda: engine.shard.router.breakers.open)
    engine.shard.router.breakers.circuits()[0].opened = 20
    late = engine.message("work", delivery_options=DeliveryOptions(timeout_ms=1_000))
    engine.submit(late)
    await engine.until(lambda: len(engine.asker.acks) == 2)
    await engine.until(lambda: len(engine.texts(late.conversation_id)) == 2, 20)
    act, text = engine.texts(late.conversation_id)[-1]
    assert act == "failure"
    assert orjson.loads(text)["reason"] in {"Timeout", "CircuitBreakerOpen"}
    await engine.settled()


async def test_a_capability_goes_to_who_works(make_engine: Make) -> None:
    """What comes while a provider's breaker is open is done by another one."""
    patient = Patient()
    engine = make_engine(
        {"work-ill": patient, "work-well": lambda message, context: reply("done")},
        breaker_threshold=1,
        capability_strategy="priority",
    )
    engine.submit(engine.message("work-ill", delivery_options=DeliveryOptions(max_retries=1)))
    await engine.until(lambda: engine.shard.router.breakers.open)
    seen = len(patient.seen)
    several = [engine.message(capability="work") for _ in range(4)]
    engine.submit(*several)
    await engine.until(lambda: len(engine.asker.acks) == 5)
    await engine.until(
        lambda: all(("inform", "done") in engine.texts(one.conversation_id) for one in several)
    )
    assert len(patient.seen) == seen
    assert engine.shard.router.breakers.reset(agent_id("work-ill"))
    patient.ill = False
    await engine.settled()


async def test_slow_handling_counts(make_engine: Make) -> None:
    """An answer that took too long is an answer, and counts for the breaker."""

    async def work(message: Message, context: Any) -> Any:
        await asyncio.sleep(0.03)
        return reply("at last")

    engine = make_engine({"work": work}, breaker_threshold=2)
    engine.shard.router.delivery._slow_s = 0.02
    several = [engine.message("work") for _ in range(2)]
    engine.submit(*several)
    await engine.settled()
    await engine.until(lambda: engine.shard.router.breakers.open)
    circuit = engine.shard.router.breakers.circuits()[0]
    assert circuit.slow == 2
    assert "longer than 0.02 s" in circuit.reason
    assert ("inform", "at last") in engine.texts(several[0].conversation_id)
