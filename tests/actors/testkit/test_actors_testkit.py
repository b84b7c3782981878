"""Laws of the test kit itself."""

from __future__ import annotations

import threading

import pytest
from actors_support import Boom, Recorder

from actors import ActorSystem
from actors.testkit import ManualClock, Probe, ProbeLog, SyncDispatcher


def test_a_manual_clock_moves_only_forward_and_only_when_told() -> None:
    """now changes by what advance was given, which may not be negative."""
    clock = ManualClock(5.0)
    assert clock.now() == clock.now() == 5.0
    clock.advance(1.5)
    assert clock.now() == 6.5
    with pytest.raises(ValueError, match="seconds: -1 given"):
        clock.advance(-1)


def test_turns_run_one_by_one_in_order() -> None:
    """Nothing runs before step; each step is one turn of at most the throughput."""
    dispatcher = SyncDispatcher(throughput=2)
    system = ActorSystem("t", clock=dispatcher.clock, dispatcher=dispatcher)
    seen: list[object] = []
    one, two = (system.spawn(Recorder, seen) for _ in range(2))
    for number in range(3):
        one.tell(number)
        two.tell(-number)
    assert seen == []
    assert dispatcher.ready == 2
    assert dispatcher.step()
    assert seen == [0, 1]
    assert dispatcher.run() == 3
    assert seen == [0, 1, 0, -1, 2, -2]
    assert not dispatcher.step()


def test_timers_run_at_their_own_moment() -> None:
    """advance runs timers in the order of their times and shows each its own time."""
    dispatcher = SyncDispatcher()
    seen: list[tuple[str, float]] = []

    def timer(name: str) -> None:
        seen.append((name, dispatcher.clock.now()))

    dispatcher.call_later(2, lambda: timer("late"))
    dispatcher.call_later(1, lambda: timer("early"))
    dispatcher.call_later(1, lambda: dispatcher.call_later(0.5, lambda: timer("nested")))
    assert dispatcher.timers == 3
    assert dispatcher.advance(1.75) == 3
    assert seen == [("early", 1.0), ("nested", 1.5)]
    assert dispatcher.clock.now() == 1.75
    assert dispatcher.advance(1) == 1
    assert seen[-1] == ("late", 2.0)


def test_a_runaway_is_stopped() -> None:
    """Turns that never end raise instead of hanging the test."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", dispatcher=dispatcher)

    def again(message: object) -> None:
        ref.tell(message)

    ref, _ = Probe.of(system, again)
    ref.tell("again")
    with pytest.raises(RuntimeError, match="50 turns ran and 1 wait"):
        dispatcher.run(limit=50)


def test_the_dispatcher_knows_its_thread() -> None:
    """Only the thread that made the dispatcher is its own."""
    dispatcher = SyncDispatcher()
    assert dispatcher.owns_thread()
    other: list[bool] = []
    thread = threading.Thread(target=lambda: other.append(dispatcher.owns_thread()))
    thread.start()
    thread.join()
    assert other == [False]


def test_a_probe_waits_for_another_thread() -> None:
    """wait blocks until enough came and says what is missing at its deadline."""
    log = ProbeLog()
    threading.Thread(target=log.add, args=("a",)).start()
    assert log.wait(1) == ["a"]
    with pytest.raises(TimeoutError, match=r"1 messages came within 0.01 s, 2 were expected"):
        log.wait(2, timeout_s=0.01)


async def test_a_probe_is_awaited_and_answers() -> None:
    """expect waits on the loop; the answer of an ask comes from the given function."""
    system = ActorSystem("t")
    ref, log = Probe.of(system, lambda message: message * 2)
    assert await ref.ask(4, block=False) == 8
    threading.Thread(target=log.add, args=("from a thread",)).start()
    assert await log.expect(2) == [4, "from a thread"]
    with pytest.raises(TimeoutError, match="2 messages came"):
        await log.expect(3, timeout_s=0.01)


async def test_a_probe_may_fail_on_purpose() -> None:
    """What the answer function raises is the actor's failure."""

    def answer(message: object) -> None:
        raise Boom(str(message))

    system = ActorSystem("t")
    ref, log = Probe.of(system, answer)
    with pytest.raises(Boom):
        await ref.ask("x", block=False)
    assert log.messages == ["x"]
