"""Lanes, blocking senders, room that is waited for, what is handed on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pykka
import pytest
from actors_support import Bench, Recorder, until

from actors import Actor, ActorSystem, BlockingActor, MailboxFull, MailboxSpec
from actors.mailbox.fence import Fence
from actors.mailbox.lanes import Lanes


def urgency(message: Any) -> int:
    """Lane 0 for what begins with ``!``; fails on numbers."""
    return 0 if message.startswith("!") else 1


TWO = MailboxSpec(lanes=2, priority=urgency)


class TestLanes:
    """Urgent messages pass, each lane keeps its order, a stop stands behind everything."""

    def test_order(self) -> None:
        """Also for ticks, and for messages whose priority is unknown."""
        bench = Bench()
        seen: list[Any] = []
        ref = bench.system.spawn(Recorder, seen, mailbox=TWO)
        for message in ("a", "!x", 3, "b", "!y"):
            ref.tell(message)
        ref.stop(block=False)
        ref.tell("!z")
        bench.dispatcher.run()
        assert seen == ["!x", "!y", "!z", "a", 3, "b"]

    def test_a_lane_beyond_the_last_is_the_last(self) -> None:
        """And one before the first is the first."""
        lanes = Lanes(2, lambda message: message)
        from pykka._envelope import Envelope

        for number in (7, -3, 1, 0):
            lanes.append(Envelope(number))
        assert [one.message for one in lanes] == [-3, 0, 7, 1]
        assert lanes.oldest().message == 7
        lanes.extendleft([Envelope(9)])
        assert [lanes.popleft().message for _ in range(len(lanes))] == [-3, 0, 9, 1]
        assert not lanes
        for empty in (lanes.popleft, lanes.oldest):
            with pytest.raises(IndexError):
                empty()

    def test_what_the_runtime_put_is_never_dropped_as_oldest(self) -> None:
        """drop_old takes no fence and no stop: the new message goes instead."""
        bench = Bench()
        ref = bench.system.spawn(Recorder, [], mailbox=MailboxSpec(capacity=1, overflow="drop_old"))
        reached: list[int] = []
        from pykka._envelope import Envelope

        ref._cell.put_exempt(Envelope(Fence(lambda: reached.append(1))))
        ref.tell("new")
        assert bench.dead() == ["new"]
        bench.dispatcher.run()
        assert reached == [1]


class TestFence:
    """Told once, when what stood before it is dealt with."""

    def test_after_the_messages_or_with_the_end(self) -> None:
        """Handled in its order; reached too when the mailbox ends."""
        from pykka._envelope import Envelope

        bench = Bench()
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen)
        ref.tell("a")
        ref._cell.put_exempt(Envelope(Fence(lambda: seen.append("fence"))))
        ref.tell("b")
        bench.dispatcher.run()
        assert seen == ["a", "fence", "b"]
        ref.stop(block=False)
        ref._cell.put_exempt(Envelope(Fence(lambda: seen.append("end"))))
        bench.dispatcher.run()
        ref._cell.put_exempt(Envelope(Fence(lambda: seen.append("after"))))
        assert seen == ["a", "fence", "b", "end", "after"]
        assert bench.dead() == []


class Gated(BlockingActor):
    """Handles when the gate is open."""

    def __init__(self, seen: list[Any], gate: threading.Event) -> None:
        super().__init__()
        self.seen = seen
        self.gate = gate

    def on_receive(self, message: Any) -> None:
        self.gate.wait(10)
        self.seen.append(message)


class TestBlock:
    """A sending thread waits for room; an event loop does not."""

    async def test_a_thread_waits_and_goes_on(self) -> None:
        """Nothing is lost, and the order holds."""
        system = ActorSystem("t")
        seen, gate = [], threading.Event()
        spec = MailboxSpec(capacity=2, overflow="block", block_timeout_s=10)
        ref = system.spawn(Gated, seen, gate, mailbox=spec)

        def send() -> None:
            for number in range(20):
                ref.tell(number)

        sender = threading.Thread(target=send)
        sender.start()
        await until(lambda: ref._cell.depth == 2)
        assert sender.is_alive()
        gate.set()
        await until(lambda: len(seen) == 20)
        sender.join()
        assert seen == list(range(20))
        assert system.dead_letters.count == 0
        assert await system.stop(5)

    async def test_room_is_there_when_a_message_is_taken(self) -> None:
        """Not only when it, and all of its turn, has been handled."""
        system = ActorSystem("t")
        steps = threading.Semaphore(0)
        seen: list[Any] = []

        class Stepwise(BlockingActor):
            def on_receive(self, message: Any) -> None:
                steps.acquire(timeout=10)
                seen.append(message)

        ref = system.spawn(Stepwise, mailbox=MailboxSpec(capacity=1, overflow="block"))
        ref.tell(0)
        await until(lambda: ref._cell.current is not None)
        ref.tell(1)
        sender = threading.Thread(target=ref.tell, args=(2,))
        sender.start()
        await until(lambda: ref._cell.extras().room and ref._cell.extras().room.waiting)
        steps.release()
        await until(lambda: not sender.is_alive())
        assert seen == [0]
        steps.release(2)
        await until(lambda: seen == [0, 1, 2])
        assert await system.stop(5)

    async def test_room_is_there_when_an_async_handler_begins(self) -> None:
        """The same, for who waits on a loop."""
        system = ActorSystem("t")
        steps = asyncio.Semaphore(0)

        class Stepwise(Actor):
            async def on_receive(self, _message: Any) -> None:
                await steps.acquire()

        ref = system.spawn(Stepwise, mailbox=MailboxSpec(capacity=1))
        ref.tell(0)
        await until(lambda: ref._cell.current is not None)
        ref.tell(1)
        waiting = asyncio.ensure_future(ref.tell_when_room(2))
        await until(lambda: ref._cell.extras().room and ref._cell.extras().room.futures)
        steps.release()
        await asyncio.wait_for(waiting, 5)
        assert ref._cell.depth == 1
        steps.release()
        steps.release()
        assert await system.stop(5)

    async def test_it_does_not_wait_for_ever(self) -> None:
        """After the time, and at once on a loop, it is as fail."""
        system = ActorSystem("t")
        seen, gate = [], threading.Event()
        spec = MailboxSpec(capacity=1, overflow="block", block_timeout_s=0.02)
        ref = system.spawn(Gated, seen, gate, mailbox=spec)
        ref.tell(0)
        await until(lambda: ref._cell.current is not None)
        ref.tell(1)
        ref.tell("from the loop")
        await asyncio.to_thread(ref.tell, "from a thread")
        assert system.dead_letters.by_reason == {"mailbox_full": 2}
        gate.set()
        assert await system.stop(5)
        assert seen == [0, 1]

    async def test_a_stop_wakes_who_waits(self) -> None:
        """Its message is a dead letter of a stopped actor."""
        system = ActorSystem("t")
        gate = threading.Event()
        spec = MailboxSpec(capacity=1, overflow="block", block_timeout_s=10)
        ref = system.spawn(Gated, [], gate, mailbox=spec)
        for number in range(2):
            ref.tell(number)
            await until(lambda: ref._cell.current is not None)
        waits = asyncio.ensure_future(asyncio.to_thread(ref.tell, "waits"))
        await until(lambda: ref._cell._extras is not None and ref._cell._extras.room is not None)
        ref._cell.kill()
        async with asyncio.timeout(5):
            await waits
        gate.set()
        assert system.dead_letters.by_reason["stopped"] + system.dead_letters.by_reason[
            "killed"
        ] >= 2  # fmt: skip
        await system.stop(5)


class TestRoom:
    """tell_when_room waits without blocking."""

    async def test_it_waits_for_room(self) -> None:
        """Until the actor has taken something."""
        system = ActorSystem("t")
        gate = asyncio.Event()
        seen: list[Any] = []

        class Held(Actor):
            async def on_receive(self, message: Any) -> None:
                await gate.wait()
                seen.append(message)

        ref = system.spawn(Held, mailbox=MailboxSpec(capacity=1))
        for number in range(2):
            await ref.tell_when_room(number)
            await asyncio.sleep(0)
        with pytest.raises(MailboxFull):
            await ref.tell_when_room("no", timeout_s=0.02)
        waits = asyncio.ensure_future(ref.tell_when_room(2, timeout_s=5))
        await asyncio.sleep(0)
        gate.set()
        await waits
        await until(lambda: seen == [0, 1, 2])
        await ref.stop(block=False)
        with pytest.raises(pykka.ActorDeadError):
            await ref.tell_when_room("dead")
        assert await system.stop(5)


class TestLeftovers:
    """What is left at the end goes to who asked for it."""

    def test_stash_and_mailbox_in_order_and_not_as_dead_letters(self) -> None:
        """Asks too: who takes them answers them. What the taker refuses is dead after all."""
        bench = Bench()
        taken: list[Any] = []

        def take(envelope: Any) -> None:
            if envelope.message == "refused":
                raise ValueError("not this")
            taken.append(envelope.message)

        class Shy(Recorder):
            def on_receive(self, message: Any) -> Any:
                if message == "aside":
                    return self.stash()
                return super().on_receive(message)

        ref = bench.system.spawn(Shy, [], leftovers=take)
        ref.tell("aside")
        bench.dispatcher.run()
        ref.stop(block=False)
        for message in ("x", "refused", "y"):
            ref.tell(message)
        bench.dispatcher.run()
        assert taken == ["aside", "x", "y"]
        assert bench.dead() == ["refused"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("capacity", 0), ("throughput", 65), ("lanes", 17), ("stash", -1),
        ("block_timeout_s", -1), ("lanes", 2), ("overflow", "spill"),
    ],
)  # fmt: skip
def test_specs_out_of_range_are_refused(field: str, value: Any) -> None:
    """By the name of the field."""
    with pytest.raises(ValueError, match=r"capacity|throughput|lanes|stash|block|priority|spill"):
        MailboxSpec(**{field: value})
