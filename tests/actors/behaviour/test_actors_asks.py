"""Asks: deadlines, late answers, and actors that wait for each other."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pykka
import pytest
from actors_support import Bench, Recorder, until
from pykka._envelope import Envelope

from actors import Actor, ActorSystem, AskCycle, AskTimeout, BlockingActor
from actors.future import Future
from actors.waiting import handling, waiting_for


class Asker(Actor):
    """Asks whom it is told to and answers with the answer."""

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, list):
            return [await one for one in [ref.ask(rest, block=False) for ref, rest in message]]
        ref, rest = message if isinstance(message, tuple) else (None, message)
        return await ref.ask(rest, block=False) if ref is not None else rest


class Blocker(BlockingActor):
    """The same, blocking."""

    def on_receive(self, message: Any) -> Any:
        ref, rest = message if isinstance(message, tuple) else (None, message)
        return ref.ask(rest, timeout=20) if ref is not None else rest


class TestCycles:
    """A cycle of waits is told at once, with its chain; nothing else is."""

    @pytest.mark.parametrize("kind", [Asker, Blocker])
    async def test_a_cycle_is_told_with_its_chain(self, kind: type[Actor]) -> None:
        """One, two or three actors that wait for each other's answers."""
        system = ActorSystem("t")
        a, b, c = (system.spawn(kind, name=name) for name in "abc")
        for message, chain in (
            ((a, "x"), "/t/a -> /t/a"),
            ((b, (a, "x")), "/t/b -> /t/a -> /t/b"),
            ((b, (c, (a, "x"))), "/t/c -> /t/a -> /t/b -> /t/c"),
        ):
            with pytest.raises(AskCycle) as caught:
                await a.ask(message, block=False, timeout=10)
            # Threads decide who of them sees it; the actors are the same.
            assert set(caught.value.chain) == set(chain.split(" -> "))
            assert caught.value.chain[0] == caught.value.chain[-1]
        # Of threads that begin to wait at the same moment more than one may see it.
        assert system.counts.ask_cycles >= 3
        assert await a.ask((b, (c, "fine")), block=False) == "fine"
        assert await system.stop(5)

    async def test_waiting_for_several_at_once(self) -> None:
        """A cycle through one of several asks is found; without it all are answered."""
        system = ActorSystem("t")
        a, b, c = (system.spawn(Asker, name=name) for name in "abc")
        assert await a.ask([(b, 1), (c, (b, 2))], block=False) == [1, 2]
        with pytest.raises(AskCycle):
            await a.ask([(b, 1), (c, (a, 2))], block=False)
        assert await system.stop(5)

    async def test_an_answer_that_is_there_is_not_waited_for(self) -> None:
        """Its waiter may not have run since: its thread wakes when it may."""
        system = ActorSystem("t")
        a, b = (system.spawn(Blocker, name=name) for name in "ab")
        answered: Future[Any] = Future()
        answered.target = a._cell
        answered.set("x")
        b._cell.current = envelope = Envelope("asked before")
        b._cell.extras().waits = [(envelope, answered)]
        asked: Future[Any] = Future()
        asked.target = b._cell
        a._cell.current = Envelope("asks now")
        token = handling.set(a._cell)
        with waiting_for(asked):
            assert system.counts.ask_cycles == 0
        handling.reset(token)
        a._cell.current = b._cell.current = None
        assert await system.stop(5)

    async def test_no_false_alarm(self) -> None:
        """What is piped, or awaited by a task that outlived its message, holds up nobody."""
        system = ActorSystem("t")
        got: list[Any] = []
        tasks: list[Any] = []

        class Free(Actor):
            def __init__(self) -> None:
                super().__init__()
                self.other: Any = None

            async def on_receive(self, message: Any) -> Any:
                if message == "pipe":
                    self.pipe_to_self(
                        self.other.ask("back", block=False), lambda value, error: ("got", value)
                    )
                elif message == "task":
                    tasks.append(asyncio.ensure_future(self.background()))
                elif message == "back":
                    return await self.other.ask("ping", block=False, timeout=5)
                elif isinstance(message, tuple):
                    got.append(message[1])
                return "pong"

            async def background(self) -> None:
                await asyncio.sleep(0)
                got.append(await self.other.ask("back", block=False))

        one, two = system.spawn(Free), system.spawn(Free)
        one._cell.actor.other, two._cell.actor.other = two, one
        one.tell("pipe")
        one.tell("task")
        await until(lambda: len(got) == 2)
        assert got == ["pong", "pong"]
        assert system.counts.ask_cycles == 0
        assert await system.stop(5)


class TestDeadlines:
    """The timeout of an ask is an absolute time."""

    def test_many_asks_share_few_timers_and_leave_nothing(self) -> None:
        """Answered asks are kept by no deadline."""
        bench = Bench(throughput=64)
        ref = bench.spawn(Recorder, [], capacity=100_000)
        asked = [ref.ask(number, block=False, timeout=30.0) for number in range(10_000)]
        assert bench.dispatcher.timers <= 2
        bench.dispatcher.run()
        assert [one.get(timeout=0) for one in asked] == list(range(10_000))
        assert not any(bench.system.deadlines._buckets.values())
        bench.dispatcher.advance(60.0)
        assert bench.system.counts.expired_asks == 0

    def test_expired_asks_are_not_handled(self) -> None:
        """They fail in time, and the next message has its turn."""
        bench = Bench()
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen)
        asked = ref.ask("late", block=False, timeout=1.0)
        bench.clock.advance(1.5)
        with pytest.raises(AskTimeout, match="within 1 s"):
            asked.get(timeout=0)
        ref.tell("next")
        bench.dispatcher.run()
        assert seen == ["next"]
        assert bench.system.counts.expired_asks == 1

    async def test_an_awaited_ask_fails_in_time(self) -> None:
        """Also one that is in handling; its answer is late."""
        system = ActorSystem("t")
        gate = asyncio.Event()

        class Held(Actor):
            async def on_receive(self, message: Any) -> Any:
                await gate.wait()
                return message

        ref = system.spawn(Held)
        with pytest.raises(AskTimeout):
            await ref.ask(1, block=False, timeout=0.02)
        gate.set()
        await until(lambda: system.counts.late_replies == 1)
        assert await system.stop(5)

    async def test_a_blocking_ask_fails_in_time_and_its_answer_is_late(self) -> None:
        """From another thread, of an actor in a pool."""
        system = ActorSystem("t")
        gate = threading.Event()

        class Held(BlockingActor):
            def on_receive(self, message: Any) -> Any:
                gate.wait(10)
                return message

        ref = system.spawn(Held)
        with pytest.raises(AskTimeout):
            await asyncio.to_thread(ref.ask, 1, timeout=0.02)
        gate.set()
        await until(lambda: system.counts.late_replies == 1)
        assert system.counts.expired_asks == 1
        assert await system.stop(5)


def test_a_get_that_gave_up_leaves_nothing_behind() -> None:
    """A future that many gave up on keeps none of them."""
    future = Future[int]()
    for _ in range(10):
        with pytest.raises(pykka.Timeout):
            future.get(timeout=0)
    assert not future._callbacks
    future.set(1)
    assert future.get() == 1
