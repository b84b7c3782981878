"""What must not take an actor, its dispatcher, its system or the program with it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import pykka
import pytest
from actors_support import QUICK, Bench, Boom, Recorder, until

from actors import (
    Actor,
    ActorSystem,
    CooperativeDispatcher,
    HandlerCancelled,
    RestartPolicy,
    SystemStopped,
)
from actors.future import Future, answer, fail

SOON = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, random_factor=0.0, intensity=3)
LATE = RestartPolicy(min_backoff_s=3_600.0, max_backoff_s=3_600.0)


class Gate(Actor):
    """Answers ``"wait"`` when the gate is opened, anything else at once."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self.gate = gate

    async def on_receive(self, message: Any) -> Any:
        if message == "wait":
            await self.gate.wait()
        return message


class Cancels(Actor):
    """Awaits something that was cancelled when told ``"cancelled"``."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    async def on_receive(self, message: Any) -> Any:
        if message == "cancelled":
            gone = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone
        self.seen.append(message)
        return message


class TestAnswers:
    """An answer nobody can take is dropped; the actor and its neighbours go on."""

    def test_a_second_answer_is_dropped(self) -> None:
        """An ask that was answered elsewhere costs nobody anything."""
        bench = Bench()
        seen: list[Any] = []
        ref, other = bench.spawn(Recorder, seen), bench.spawn(Recorder, seen)
        for message in ("fine", "boom"):
            taken = ref.ask(message, block=False)
            taken.set("from elsewhere")
        beside = other.ask("beside", block=False)
        after = ref.ask("after", block=False)
        bench.dispatcher.run()
        assert taken.get(timeout=0) == "from elsewhere"
        assert beside.get(timeout=0) == "beside"
        assert after.get(timeout=0) == "after"
        assert bench.kinds() == ["started", "started"]

    def test_what_is_set_first_counts(self) -> None:
        """Setting a result twice keeps the first, be it an answer or an exception."""
        future = Future[int]()
        answer(future, 1)
        fail(future, Boom())
        assert future.get(timeout=0) == 1
        future = Future[int]()
        fail(future, Boom())
        answer(future, 1)
        with pytest.raises(Boom):
            future.get(timeout=0)

    async def test_an_asker_whose_loop_has_closed_hurts_nobody(self) -> None:
        """The actor answers an asker that is gone, and then the next one."""
        gate = asyncio.Event()
        system = ActorSystem("t")
        ref = system.spawn(Gate, gate)

        async def give_up() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await ref.ask("wait", block=False)

        asker = threading.Thread(target=lambda: asyncio.run(give_up()))
        asker.start()
        await until(lambda: not asker.is_alive())
        gate.set()
        async with asyncio.timeout(5):
            assert await ref.ask("next", block=False) == "next"
        assert await system.stop(5)

    async def test_a_wake_that_fails_for_another_reason_is_not_hidden(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only a closed loop excuses a wake that fails."""
        loop = asyncio.get_running_loop()
        future = Future[int]()
        waiting = asyncio.ensure_future(_awaited(future))
        await asyncio.sleep(0)

        def refuse(*_: Any) -> None:
            raise RuntimeError("no")

        raised: list[BaseException] = []

        def set_it() -> None:
            try:
                future.set(1)
            except RuntimeError as error:
                raised.append(error)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "call_soon_threadsafe", refuse)
            thread = threading.Thread(target=set_it)
            thread.start()
            thread.join()
        assert [str(error) for error in raised] == ["no"]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def _awaited(future: pykka.Future[Any]) -> Any:
    return await future


class TestAwaiting:
    """Derived futures are awaited without a thread of the loop's executor."""

    async def test_derived_futures_need_no_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """map, filter, join, reduce and stop are awaited on the loop alone."""
        monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread"))
        one, two, many = Future[int](), Future[int](), Future[list[int]]()
        loop = asyncio.get_running_loop()
        loop.call_soon(one.set, 1)
        loop.call_soon(two.set, 2)
        loop.call_soon(many.set, [1, 2, 3])
        assert await one.join(two).map(sum) == 3
        assert await many.filter(lambda number: number > 1) == [2, 3]
        assert await many.reduce(lambda left, right: left + right, 10) == 16
        ref = ActorSystem("t").spawn(Recorder, [])
        assert await ref.stop(block=False) is True
        assert await ref.stop(block=False) is False

    async def test_what_only_blocks_is_awaited_in_a_thread(self) -> None:
        """A hook of unknown origin and a plain pykka future are awaited all the same."""
        hooked = Future[int]()
        hooked.set_get_hook(lambda timeout: 7)
        assert await hooked == 7
        plain: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
        mine = Future[int]()
        mine.set(1)
        joined = mine.join(plain)
        threading.Thread(target=plain.set, args=(2,)).start()
        assert await joined == [1, 2]

    async def test_a_hook_that_raises_raises_at_the_await(self) -> None:
        """The exception of a blocking get reaches who awaits."""
        hooked = Future[int]()

        def boom(timeout: float | None) -> int:
            raise Boom

        hooked.set_get_hook(boom)
        with pytest.raises(Boom):
            await hooked

    def test_giving_up_on_a_stop_does_not_hold_up_the_end_of_the_program(self) -> None:
        """A program that stopped waiting for a stop ends at once."""
        program = """
import asyncio, contextlib, logging
from actors import Actor, ActorSystem, RestartPolicy
logging.disable()
class Fails(Actor):
    def on_receive(self, message):
        raise ValueError
async def main():
    policy = RestartPolicy(min_backoff_s=3600, max_backoff_s=3600)
    ref = ActorSystem("t").spawn(Fails, restart=policy)
    ref.tell(1)
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await ref.stop(block=False)
asyncio.run(main())
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


class TestCancellation:
    """What a handler awaits may be cancelled; that is a failure, not the end of the actor."""

    async def test_a_cancelled_await_is_an_ordinary_failure(self) -> None:
        """The message is a dead letter, the actor restarts, and the next message is handled."""
        system = ActorSystem("t")
        letters: list[Any] = []
        system.dead_letters.subscribe(letters.append)
        seen: list[Any] = []
        ref = system.spawn(Cancels, seen, restart=SOON)
        ref.tell("cancelled")
        ref.tell("next")
        await until(lambda: seen)
        assert seen == ["next"]
        assert ref.is_alive()
        assert [(letter.envelope.message, letter.reason) for letter in letters] == [
            ("cancelled", "failed")
        ]
        assert await system.stop(5)

    async def test_an_asker_is_told_and_not_cancelled(self) -> None:
        """The asker gets HandlerCancelled; the actor goes on without a restart."""
        system = ActorSystem("t")
        ref = system.spawn(Cancels, [])
        with pytest.raises(HandlerCancelled) as caught:
            await ref.ask("cancelled", block=False)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert await ref.ask("next", block=False) == "next"
        assert await system.stop(5)

    async def test_cancelling_the_actors_task_still_ends_it(self) -> None:
        """When the loop's owner cancels the handler's task, the actor ends as told."""
        system = ActorSystem("t")
        ref = system.spawn(Gate, asyncio.Event(), restart=SOON)
        ref.tell("wait")
        cell: Any = ref.actor_inbox
        await until(lambda: cell._task is not None)
        await asyncio.sleep(0)
        cell._task.cancel()
        await until(lambda: not ref.is_alive())


class TestSystem:
    """A system that stops has no actor left, and takes none after."""

    async def test_a_stopped_system_starts_nothing(self) -> None:
        """spawn after stop raises and names system and actor."""
        system = ActorSystem("gone")
        assert await system.stop(1)
        with pytest.raises(SystemStopped, match=r"late not started.*'gone'"):
            system.spawn(Recorder, [], name="late")
        assert len(system) == 0

    async def test_actors_started_on_the_way_out_stop_too(self) -> None:
        """What an actor starts in its on_stop is stopped before stop returns."""
        system = ActorSystem("t")

        class Heir(Actor):
            def __init__(self, generation: int) -> None:
                super().__init__()
                self.generation = generation

            def on_stop(self) -> None:
                if self.generation:
                    system.spawn(Heir, self.generation - 1)

        system.spawn(Heir, 3)
        assert await system.stop(5)
        assert len(system) == 0

    async def test_what_the_cut_off_start_is_refused(self) -> None:
        """After the deadline nothing new is started, so stop leaves nothing."""
        system = ActorSystem("t")

        class Stubborn(Gate):
            def on_stop(self) -> None:
                system.spawn(Recorder, [])

        system.spawn(Stubborn, asyncio.Event()).tell("wait")
        assert not await system.stop(0.02)
        assert len(system) == 0

    def test_a_stopped_actor_is_not_kept_by_its_ref(self) -> None:
        """Ref and cell of a stopped actor hold neither the actor nor its arguments."""
        bench = Bench()
        seen = [Boom()]
        ref = bench.spawn(Recorder, seen, restart=QUICK)
        alive = weakref.ref(ref.actor_inbox.actor)
        ref.stop(block=False)
        bench.dispatcher.run()
        gc.collect()
        assert alive() is None
        assert ref.actor_inbox.recipe is None

    async def test_a_turn_that_fails_leaves_the_others_theirs(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A fault in one turn is logged, and every other cell has its turn."""
        dispatcher = CooperativeDispatcher()
        turns: list[int] = []

        class Broken:
            def turn(self, throughput: int) -> None:
                raise Boom

        class Sound:
            def turn(self, throughput: int) -> None:
                turns.append(throughput)

        for cell in (Broken(), Sound(), Broken(), Sound()):
            dispatcher.schedule(cell)
        await until(lambda: len(turns) == 2)
        assert caplog.text.count("a turn failed") == 2

    def test_a_hook_nobody_would_await_is_refused(self) -> None:
        """An async on_failure is an error where the class is written, not a silent nothing."""

        async def work(self: Any) -> None: ...

        with pytest.raises(TypeError, match=r"Made\.on_failure: a plain function is needed"):
            type("Made", (Actor,), {"on_failure": work})
