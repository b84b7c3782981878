"""Dispatchers: a loop on a thread, a pool that grows, a thread of one's own, slow turns."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pykka
import pytest
from actors_support import Boom, cell_of, until

from actors import (
    Actor,
    ActorSystem,
    BlockingActor,
    CooperativeDispatcher,
    PoolDispatcher,
    RestartPolicy,
)
from actors.dispatch.dispatcher import TurnClock
from actors.dispatch.timer_thread import TimerThread


class Where(Actor):
    """Tells the thread it runs on."""

    def on_receive(self, message: Any) -> int:
        return threading.get_ident()


class Stage(Actor):
    """Writes down what it gets and hands it on."""

    def __init__(self, name: str, seen: list[Any], following: Any = None) -> None:
        super().__init__()
        self.name = name
        self.seen = seen
        self.following = following

    def on_receive(self, message: Any) -> Any:
        self.seen.append((self.name, message))
        if message == "boom":
            raise Boom("on purpose")
        if message == "wait":
            return asyncio.sleep(0.01)
        if self.following is not None:
            self.following.hand(message)
        return None


class TestHand:
    """Messages that are handled within the turn of who hands them on."""

    async def test_idle_actors_handle_at_once_and_in_order(self) -> None:
        """A chain of stages, from outside of any turn; each message the whole way."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        seen: list[Any] = []
        last = system.spawn(Stage, "last", seen)
        first = system.spawn(Stage, "first", seen, last)
        await asyncio.sleep(0)
        for number in (1, 2):
            first.hand(number)
        assert seen == [("first", 1), ("last", 1), ("first", 2), ("last", 2)]
        assert [one.handled for one in map(cell_of, (first, last))] == [2, 2]
        assert cell_of(first).state == "idle"

    async def test_what_waits_comes_first(self) -> None:
        """A message to an actor that has one in its mailbox stands behind it."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        seen: list[Any] = []
        ref = system.spawn(Stage, "only", seen)
        await asyncio.sleep(0)
        ref.tell(1)
        ref.hand(2)
        assert seen == []
        await until(lambda: len(seen) == 2)
        ref.hand(3)
        assert [message for _, message in seen] == [1, 2, 3]

    async def test_an_actor_hands_to_itself_over_others_without_end(self) -> None:
        """Who is in its turn gets it afterwards; a chain has an end; nothing is lost."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        seen: list[Any] = []
        following = None
        for number in range(100):
            following = system.spawn(Stage, str(number), seen, following)
        ring = cell_of(following)
        await asyncio.sleep(0)
        following.hand("x")
        assert 1 <= len(seen) < 100
        await until(lambda: len(seen) == 100)
        assert ring.handled == 1

    async def test_a_failure_is_the_actors_and_not_the_senders(self) -> None:
        """It is restarted with its mailbox, and the sender goes on."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        letters: list[Any] = []
        system.dead_letters.subscribe(letters.append)
        seen: list[Any] = []
        policy = RestartPolicy(min_backoff_s=0.01, random_factor=0.0)
        ref = system.spawn(Stage, "weak", seen, restart=policy)
        await asyncio.sleep(0)
        ref.hand("boom")
        ref.hand("after")
        assert [letter.reason for letter in letters] == ["failed"]
        assert seen == [("weak", "boom")]
        await until(lambda: seen[-1] == ("weak", "after"))

    async def test_an_async_handler_goes_on_in_a_task(self) -> None:
        """What comes meanwhile waits for it."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        seen: list[Any] = []
        ref = system.spawn(Stage, "slow", seen)
        await asyncio.sleep(0)
        ref.hand("wait")
        ref.hand("next")
        assert seen == [("slow", "wait")]
        await until(lambda: len(seen) == 2)

    async def test_from_another_thread_and_to_a_pool_it_is_a_tell(self) -> None:
        """Each actor runs where it always does."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        here = threading.get_ident()
        seen: list[int] = []

        class There(Actor):
            def on_receive(self, message: Any) -> None:
                seen.append(threading.get_ident())

        ref = system.spawn(There)
        pooled = system.spawn(There, dispatcher=PoolDispatcher(2))
        await asyncio.sleep(0)
        await asyncio.to_thread(ref.hand, 1)
        await until(lambda: len(seen) == 1)
        pooled.hand(1)
        await until(lambda: len(seen) == 2)
        assert seen[0] == here
        assert seen[1] != here

    async def test_a_stopped_actor_raises_and_its_own_stop_waits_for_the_end(self) -> None:
        """As with tell."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher())
        seen: list[Any] = []

        class Ends(Actor):
            def on_receive(self, message: Any) -> None:
                seen.append(message)
                self.stop()

        ref = system.spawn(Ends)
        await asyncio.sleep(0)
        ref.hand(1)
        await until(lambda: not ref.is_alive())
        with pytest.raises(pykka.ActorDeadError):
            ref.hand(2)
        assert seen == [1]

    async def test_its_time_is_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        """Outside of a turn it is one, and a slow one is told."""
        dispatcher = CooperativeDispatcher(slow_turn_s=0.01)
        system = ActorSystem("t", dispatcher=dispatcher)

        class Busy(Actor):
            def on_receive(self, message: Any) -> None:
                ends = time.monotonic() + 0.02
                while time.monotonic() < ends:
                    pass

        ref = system.spawn(Busy)
        await asyncio.sleep(0)
        before = dispatcher.counters()
        ref.hand(1)
        after = dispatcher.counters()
        assert after.turns == before.turns + 1
        assert after.busy_s >= before.busy_s + 0.02
        assert after.longest_s >= 0.02
        assert after.slow == before.slow + 1


class TestOnThread:
    """A loop with a thread of its own."""

    def test_it_runs_turns_and_timers_and_ends(self) -> None:
        """From other threads; after close nothing runs and nothing breaks."""
        dispatcher = CooperativeDispatcher.on_thread("own")
        system = ActorSystem("t", dispatcher=dispatcher)
        ref = system.spawn(Where)
        assert ref.ask(1, timeout=5) != threading.get_ident()
        came = threading.Event()
        dispatcher.call_later(0.0, came.set)
        never = dispatcher.call_later(0.05, lambda: pytest.fail("it was cancelled"))
        never.cancel()
        assert came.wait(5)
        ref.stop(timeout=5)
        assert dispatcher.counters().turns >= 2
        assert dispatcher.close()
        assert dispatcher.close()
        dispatcher.call_later(0.0, came.set).cancel()

    async def test_a_dispatcher_of_someone_elses_loop_is_not_closed(self) -> None:
        """Close is for the thread it made."""
        dispatcher = CooperativeDispatcher()
        assert dispatcher.close()
        assert not dispatcher.loop.is_closed()

    def test_a_system_on_a_loop_stops_from_it(self) -> None:
        """A supervisor's own loop and the pool end with their system."""

        async def main() -> list[str]:
            system = ActorSystem("ends")
            assert system.internal is not system.dispatcher
            assert len(system.dispatchers()) == 2
            await system.spawn(type("B", (BlockingActor,), {})).stop(block=False)
            await system.stop(5)
            return [one.name for one in threading.enumerate() if one.name.startswith("ends")]

        assert asyncio.run(main()) == []


class TestPool:
    """Threads come as they are needed and go when they are not."""

    def test_limits_are_checked(self) -> None:
        """By name."""
        with pytest.raises(ValueError, match="max_threads"):
            PoolDispatcher(0)

    async def test_it_grows_while_actors_block_and_shrinks_after(self) -> None:
        """Ten actors that block have ten threads; idle ones end."""
        pool = PoolDispatcher(idle_s=0.02, name="pool")
        system = ActorSystem("t")
        barrier = threading.Barrier(10)

        class Meets(BlockingActor):
            def on_receive(self, message: Any) -> int:
                barrier.wait(10)
                return threading.get_ident()

        refs = [system.spawn(Meets, dispatcher=pool) for _ in range(10)]
        asked = [ref.ask(1, block=False) for ref in refs]
        assert len({await one for one in asked}) == 10
        await until(lambda: pool.threads == 0)
        assert pool.counters().turns >= 10
        assert await system.stop(5)
        assert pool.close()

    async def test_its_limit_holds(self) -> None:
        """Beyond it actors wait for a thread, and all have their turn."""
        pool = PoolDispatcher(2, name="two")
        system = ActorSystem("t")
        most = now = 0
        lock = threading.Lock()

        class Busy(BlockingActor):
            def on_receive(self, message: Any) -> None:
                nonlocal most, now
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.002)
                with lock:
                    now -= 1

        refs = [system.spawn(Busy, dispatcher=pool) for _ in range(8)]
        for one in [ref.ask(1, block=False) for ref in refs for _ in range(3)]:
            await one
        assert most == 2
        assert await system.stop(5)

    async def test_an_actor_has_one_turn_at_a_time(self) -> None:
        """Whatever the number of senders and threads."""
        system = ActorSystem("t")
        inside = 0
        clashes: list[int] = []
        count = 0

        class Alone(BlockingActor):
            def on_receive(self, message: Any) -> None:
                nonlocal inside, count
                inside += 1
                if inside != 1:
                    clashes.append(inside)
                count += 1
                inside -= 1

        ref = system.spawn(Alone, mailbox=None)
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            senders = [
                threading.Thread(target=lambda: [ref.tell(n) for n in range(100)]) for _ in range(8)
            ]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
            await until(lambda: count == 800)
        finally:
            sys.setswitchinterval(before)
        assert clashes == []
        assert await system.stop(5)

    def test_a_turn_that_fails_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """And its thread goes on."""
        pool = PoolDispatcher(1)
        done = threading.Event()

        class Broken:
            current = None

            def turn(self, throughput: int) -> None:
                raise RuntimeError("a fault of the runtime")

        class Sound(Broken):
            def turn(self, throughput: int) -> None:
                done.set()

        pool.schedule(Broken())
        pool.schedule(Sound())
        assert done.wait(5)
        assert pool.close()
        assert "a turn failed" in caplog.text


class TestPinned:
    """A thread for one actor."""

    async def test_every_turn_is_on_the_same_thread_and_it_ends(self) -> None:
        """Also over many turns; no two actors share it."""

        class Bound(BlockingActor):
            pinned = True

            def on_receive(self, message: Any) -> int:
                return threading.get_ident()

        system = ActorSystem("t")
        one, two = system.spawn(Bound), system.spawn(Bound)
        mine = {await one.ask(n, block=False) for n in range(20)}
        others = {await two.ask(n, block=False) for n in range(20)}
        assert len(mine) == len(others) == 1
        assert mine != others
        assert await system.stop(5)
        await until(lambda: not [t for t in threading.enumerate() if t.name.startswith("Bound")])


class TestSlowTurns:
    """A turn that holds up the others is told, with the actor's path."""

    async def test_the_warning_the_event_and_the_count(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Plain handlers and blocking steps of async ones."""
        system = ActorSystem("t", dispatcher=CooperativeDispatcher(slow_turn_s=0.01))
        events: list[str] = []
        system.events.subscribe(lambda event: events.append(f"{event.kind} {event.path}"))

        class Slow(Actor):
            def on_receive(self, message: Any) -> Any:
                if message == "plain":
                    time.sleep(0.02)
                    return None
                return self.later()

            async def later(self) -> None:
                await asyncio.sleep(0)
                time.sleep(0.02)

        ref = system.spawn(Slow, name="slow")
        await ref.ask("plain", block=False)
        await ref.ask("async", block=False)
        assert events.count("slow_turn /t/slow") == 2
        counters = system.dispatcher.counters()
        assert counters.slow == 2
        assert counters.longest_s >= 0.02
        assert caplog.text.count("a turn of /t/slow took") == 1
        assert await system.stop(5)

    def test_the_log_is_throttled(self, caplog: pytest.LogCaptureFixture) -> None:
        """Once a second, with how many there were."""
        caplog.set_level(logging.WARNING)
        turns = TurnClock("d")
        for now in (0.0, 0.1, 0.2, 1.5):
            turns.was_slow(object(), 0.2, now)  # type: ignore[arg-type]  # anything without a path
        assert [("2 more" in one) for one in caplog.messages] == [False, True]


class TestTimerThread:
    """Calls things later for dispatchers without a loop."""

    def test_in_order_and_never_the_cancelled(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a call raises is logged, and the next one comes."""
        now = [0.0]
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr("actors.dispatch.timer_thread.time", clock)
        timers = TimerThread()
        order: list[str] = []
        done = threading.Event()

        def fails() -> None:
            order.append("fails")
            raise RuntimeError("in a timer")

        timers.call_later(0.03, lambda: (order.append("last"), done.set()))
        timers.call_later(0.02, fails)
        timers.call_later(0.01, lambda: order.append("first"))
        timers.call_later(0.015, lambda: order.append("never")).cancel()
        now[0] = 1.0
        assert done.wait(5)
        assert order == ["first", "fails", "last"]
        assert "a timer's call failed" in caplog.text

    async def test_timers_of_a_pooled_actor(self) -> None:
        """They come from it."""
        system = ActorSystem("t")
        seen: list[Any] = []

        class Ticks(BlockingActor):
            def on_receive(self, message: Any) -> None:
                if message == "set":
                    self.timers.start_single("k", "tick", 0.01)
                else:
                    seen.append(message)

        system.spawn(Ticks).tell("set")
        await until(lambda: seen == ["tick"])
        assert await system.stop(5)


@pytest.mark.parametrize(("daemon", "ends"), [(True, True), (False, False)])
def test_a_program_lives_as_long_as_its_actors(daemon: bool, ends: bool) -> None:
    """As with pykka: an actor that is no daemon keeps the program from ending."""
    program = f"""
import threading
from actors import Actor
class Lives(Actor):
    use_daemon_thread = {daemon}
    def on_receive(self, message):
        print("handled", flush=True)
        if not {daemon}:
            self.stop()
ref = Lives.start()
if {daemon}:
    ref.ask(1, timeout=5)
else:
    threading.Timer(0.3, ref.tell, (1,)).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "handled\n"
    assert ends is daemon
