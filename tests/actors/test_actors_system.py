"""Laws of the system and the cooperative dispatcher: names, order, deadline, fairness."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pykka
import pytest
from actors_support import QUICK, Bench, Recorder, cell_of, until

from actors import Actor, ActorSystem, MailboxSpec, RestartPolicy
from actors.dispatch.cooperative import CooperativeDispatcher
from actors.testkit import Probe


async def test_stop_is_in_reverse_order_of_start() -> None:
    """The actor started last stops first."""
    order: list[int] = []

    class Numbered(Actor):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def on_stop(self) -> None:
            order.append(self.number)

    system = ActorSystem("t")
    for number in range(5):
        system.spawn(Numbered, number)
    assert [cell.name for cell in system.cells()] == [f"Numbered-{n}" for n in range(1, 6)]
    assert await system.stop(5)
    assert order == [4, 3, 2, 1, 0]
    assert len(system) == 0
    assert await system.stop(5), "stopping nothing is done at once"


async def test_stop_lets_the_mailboxes_run_empty() -> None:
    """What was told before the stop is handled, however many turns it takes."""
    seen: list[Any] = []
    system = ActorSystem("t")
    ref = system.spawn(Recorder, seen)
    for number in range(500):
        ref.tell(number)
    assert await system.stop(5)
    assert seen == list(range(500))
    assert system.dead_letters.count == 0


async def test_stop_has_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    """At the deadline what has not stopped is stopped at once, the rest of its mail buried."""
    caplog.set_level(logging.WARNING, "actors")
    system = ActorSystem("t")

    class Waits(Recorder):
        async def on_receive(self, message: Any) -> None:
            await asyncio.Event().wait()

    ref = system.spawn(Waits, [])
    ref.tell("a")
    ref.tell("b")
    await asyncio.sleep(0)
    assert await system.stop(0.01) is False
    assert not ref.is_alive()
    assert len(system) == 0
    assert system.dead_letters.count == 2
    assert "1 actors of t did not stop in time" in caplog.text


async def test_stop_does_not_wait_for_restarts() -> None:
    """An actor that waits for its restart is ended at once, the rest of its mail buried."""
    system = ActorSystem("t")
    ref = system.spawn(Recorder, [], restart=RestartPolicy(min_backoff_s=600, max_backoff_s=600))
    ref.tell("boom")
    ref.tell("a")
    await asyncio.sleep(0)
    assert await system.stop(5) is True
    assert not ref.is_alive()
    assert len(system) == 0
    assert system.dead_letters.count == 2


async def test_names_and_paths() -> None:
    """An actor has the name it was given or one made of its class, under the system's name."""
    system = ActorSystem("shard-0")
    assert cell_of(system.spawn(Recorder, [], name="Greeter")).path == "/shard-0/Greeter"
    assert cell_of(system.spawn(Recorder, [])).path == "/shard-0/Recorder-1"


async def test_systems_keep_out_of_the_registry() -> None:
    """Only Actor.start registers; spawned actors are their system's own."""
    ref = ActorSystem("t").spawn(Recorder, [])
    assert ref not in pykka.ActorRegistry.get_all()


async def test_a_busy_actor_leaves_turns_to_others() -> None:
    """With a long mailbox before it, another actor waits for one turn, not for all messages."""
    dispatcher = CooperativeDispatcher(throughput=10)
    system = ActorSystem("t", dispatcher=dispatcher)
    seen: list[Any] = []
    busy = system.spawn(Recorder, seen)
    quiet = system.spawn(Recorder, seen)
    for number in range(100):
        busy.tell(number)
    quiet.tell("quiet")
    await until(lambda: len(seen) == 101)
    assert seen.index("quiet") == 10


async def test_the_loop_gets_its_turn() -> None:
    """After its time budget the dispatcher lets the loop go on, with cells still ready."""
    dispatcher = CooperativeDispatcher(throughput=1, budget_s=0.0)
    system = ActorSystem("t", dispatcher=dispatcher)
    seen: list[Any] = []
    ref = system.spawn(Recorder, seen)
    other = system.spawn(Recorder, seen)
    for number in range(10):
        ref.tell(number)
        other.tell(number)
    rounds = 0
    while len(seen) < 20:
        await asyncio.sleep(0)
        rounds += 1
        assert rounds <= 100
    assert rounds >= 19


async def test_timers_from_other_threads_run_on_the_loop() -> None:
    """call_later from any thread calls back on the loop's own."""
    dispatcher = CooperativeDispatcher()
    called: list[int] = []

    def callback() -> None:
        called.append(threading.get_ident())

    thread = threading.Thread(target=lambda: dispatcher.call_later(0.0, callback))
    thread.start()
    thread.join()
    dispatcher.call_later(0.0, callback)
    await until(lambda: len(called) == 2)
    assert set(called) == {threading.get_ident()}


def test_a_closed_loop_takes_no_timer_and_no_turn() -> None:
    """After its loop was closed a dispatcher raises in no thread that still tells."""

    async def make() -> tuple[CooperativeDispatcher, Any]:
        dispatcher = CooperativeDispatcher()
        return dispatcher, ActorSystem("t", dispatcher=dispatcher).spawn(Recorder, [])

    dispatcher, ref = asyncio.run(make())
    dispatcher.call_later(0.0, lambda: None)
    errors: list[BaseException] = []

    def tell() -> None:
        try:
            ref.tell("a")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    tell()
    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    assert errors == []


async def test_two_systems_on_one_dispatcher_share_its_turns() -> None:
    """Systems may share a dispatcher and still stop apart."""
    dispatcher = CooperativeDispatcher()
    one = ActorSystem("one", dispatcher=dispatcher)
    two = ActorSystem("two", dispatcher=dispatcher)
    first, first_log = Probe.of(one)
    second, second_log = Probe.of(two)
    first.tell("a")
    second.tell("b")
    await first_log.expect(1)
    await second_log.expect(1)
    assert await one.stop(5)
    second.tell("c")
    assert await second_log.expect(2) == ["b", "c"]
    assert await two.stop(5)


def test_events_tell_the_whole_life() -> None:
    """Start, failure, restart, overflow and stop are all published, in order, with the path."""
    bench = Bench()
    ref = bench.system.spawn(Recorder, [], name="a", restart=QUICK, mailbox=MailboxSpec(capacity=1))
    ref.tell("boom")
    ref.tell("too much")
    bench.dispatcher.advance(1)
    ref.stop(block=False)
    bench.dispatcher.run()
    assert bench.kinds() == ["started", "overflow", "failed", "restarted", "stopped"]
    assert {event.path for event in bench.events} == {"/bench/a"}
