"""Laws of the cell: order, failure, restart, stop, and the mailbox under many threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from actors_support import QUICK, Bench, Boom, Recorder, cell_of, until
from pykka._envelope import Envelope

from actors import Actor, ActorSystem, MailboxFull, MailboxSpec, RestartPolicy
from actors.cell import Cell
from actors.future import Future
from actors.testkit import Probe


@pytest.fixture
def bench() -> Bench:
    """A system whose turns and time the test controls."""
    return Bench()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads change places as often as the interpreter can let them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class TestFailure:
    """A failing tell loses no message."""

    def test_without_a_policy_the_rest_is_dead_letters(self, bench: Bench) -> None:
        """The failing message and all that waits become dead letters, in order, and are told of."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen)
        for message in ("a", "boom", "b", "c"):
            ref.tell(message)
        waiting = ref.ask("d", block=False)
        bench.dispatcher.run()
        assert seen == ["a", "boom"]
        assert bench.dead() == ["boom", "b", "c", "d"]
        assert [letter.reason for letter in bench.letters] == ["failed", *["stopped"] * 3]
        assert "Boom: on purpose" in bench.letters[0].traceback
        assert bench.kinds() == ["started", "failed", "stopped"]
        with pytest.raises(pykka.ActorDeadError):
            waiting.get(timeout=0)

    def test_a_restart_keeps_the_mailbox_and_the_ref(self, bench: Bench) -> None:
        """After a failure a new instance handles what waited, through the same ref."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen, restart=QUICK)
        first = ref._actor_weakref()
        for message in ("a", "boom", "b"):
            ref.tell(message)
        bench.dispatcher.run()
        assert ref.is_alive()
        ref.tell("c")
        bench.dispatcher.advance(0.5)
        assert seen == ["a", "boom"]
        bench.dispatcher.advance(0.5)
        assert seen == ["a", "boom", "b", "c"]
        assert bench.dead() == ["boom"]
        assert bench.kinds() == ["started", "failed", "restarted"]
        assert ref._actor_weakref() is not first
        proxied = ref.proxy().seen
        bench.dispatcher.run()
        assert proxied.get(timeout=0) is seen

    def test_the_failing_message_is_redelivered_k_times(self, bench: Bench) -> None:
        """A failing message comes again at most k times, first in line, then is a dead letter."""
        seen: list[Any] = []
        policy = RestartPolicy(
            min_backoff_s=1, max_backoff_s=1, random_factor=0, max_redeliveries=2, intensity=9
        )
        ref = bench.spawn(Recorder, seen, restart=policy)
        for message in ("boom", "a", "boom", "b"):
            ref.tell(message)
        for _ in range(10):
            bench.dispatcher.advance(1)
        assert seen == ["boom"] * 3 + ["a"] + ["boom"] * 3 + ["b"]
        assert bench.dead() == ["boom", "boom"]
        assert all(letter.reason == "failed" for letter in bench.letters)

    def test_giving_up_buries_the_rest(self, bench: Bench) -> None:
        """Beyond the intensity the actor stops and what waits is dead letters for that reason."""
        seen: list[Any] = []
        policy = RestartPolicy(min_backoff_s=0, max_backoff_s=0, random_factor=0, intensity=1)
        ref = bench.spawn(Recorder, seen, restart=policy)
        for message in ("boom", "boom", "a"):
            ref.tell(message)
        bench.dispatcher.advance(1)
        assert not ref.is_alive()
        assert [(x.envelope.message, x.reason) for x in bench.letters] == [
            ("boom", "failed"),
            ("boom", "failed"),
            ("a", "gave_up"),
        ]
        assert bench.kinds()[-2:] == ["gave_up", "stopped"]

    def test_a_constructor_that_fails_at_the_restart_is_tried_again(self, bench: Bench) -> None:
        """A failing restart counts as a failure, backs off, and in the end gives up."""
        made: list[int] = []
        seen: list[Any] = []

        class Fragile(Recorder):
            def __init__(self, seen: list[Any], fail: range) -> None:
                super().__init__(seen)
                made.append(1)
                if len(made) in fail:
                    raise Boom("in the constructor")

        ref = bench.spawn(Fragile, seen, range(2, 3), restart=QUICK)
        ref.tell("boom")
        ref.tell("a")
        bench.dispatcher.advance(1)
        assert seen == ["boom"]
        bench.dispatcher.advance(2)
        assert seen == ["boom", "a"]
        made.clear()
        hopeless = bench.spawn(Fragile, seen, range(2, 99), restart=QUICK)
        hopeless.tell("boom")
        hopeless.tell("b")
        for _ in range(10):
            bench.dispatcher.advance(8)
        assert not hopeless.is_alive()
        assert bench.dead()[-1] == "b"
        assert bench.letters[-1].reason == "gave_up"

    def test_a_base_exception_in_a_restart_gives_up(self, bench: Bench) -> None:
        """A constructor that raises KeyboardInterrupt at a restart ends this actor and no other."""
        made: list[int] = []

        class Rude(Recorder):
            def __init__(self, seen: list[Any]) -> None:
                super().__init__(seen)
                made.append(1)
                if len(made) > 1:
                    raise KeyboardInterrupt

        ref = bench.spawn(Rude, [], restart=QUICK)
        ref.tell("boom")
        bench.dispatcher.advance(5)
        assert not ref.is_alive()
        assert bench.kinds()[-2:] == ["gave_up", "stopped"]

    @pytest.mark.parametrize("policy", [None, QUICK])
    def test_a_base_exception_stops_only_its_actor(
        self, bench: Bench, policy: RestartPolicy | None
    ) -> None:
        """KeyboardInterrupt in a handler ends that actor for good and no other."""
        seen: list[Any] = []
        bad = bench.spawn(Recorder, [], restart=policy)
        good = bench.spawn(Recorder, seen)
        bad.tell("exit")
        good.tell("a")
        bench.dispatcher.run()
        assert not bad.is_alive()
        assert good.is_alive()
        assert seen == ["a"]
        assert bench.dead() == ["exit"]

    def test_a_base_exception_in_an_ask_does_not_reach_the_asker(self, bench: Bench) -> None:
        """An ask whose handler raises KeyboardInterrupt gives ActorDeadError, not the interrupt."""
        ref = bench.spawn(Recorder, [])
        answer = ref.ask("exit", block=False)
        bench.dispatcher.run()
        with pytest.raises(pykka.ActorDeadError, match="KeyboardInterrupt"):
            answer.get(timeout=0)
        assert not ref.is_alive()

    def test_hooks_that_fail_change_nothing(self, bench: Bench) -> None:
        """on_failure and on_stop may raise anything: restart and stop go on."""

        class Clumsy(Recorder):
            def on_failure(self, *info: Any) -> None:
                raise SystemExit

            def on_stop(self) -> None:
                raise KeyboardInterrupt

        seen: list[Any] = []
        ref = bench.spawn(Clumsy, seen, restart=QUICK)
        ref.tell("boom")
        ref.tell("a")
        bench.dispatcher.advance(1)
        assert seen == ["boom", "a"]
        done = ref.stop(block=False)
        bench.dispatcher.run()
        assert done.get(timeout=0) is True
        assert not ref.is_alive()

    def test_subscribers_that_fail_change_nothing(self, bench: Bench) -> None:
        """A subscriber of events or dead letters that raises disturbs neither actors nor others."""

        def bad(_: object) -> None:
            raise Boom("in a subscriber")

        bench.system.events.subscribe(bad)
        bench.system.dead_letters.subscribe(bad)
        late: list[Any] = []
        bench.system.dead_letters.subscribe(late.append)
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen, restart=QUICK)
        ref.tell("boom")
        ref.tell("a")
        bench.dispatcher.advance(1)
        assert seen == ["boom", "a"]
        assert len(late) == 1

    def test_a_temporary_actor_is_not_restarted(self, bench: Bench) -> None:
        """A temporary actor's failure is its end."""
        ref = bench.spawn(Recorder, [], restart=RestartPolicy(restart="temporary"))
        ref.tell("boom")
        bench.dispatcher.run()
        assert not ref.is_alive()

    def test_a_cell_without_recipe_makes_nothing(self, bench: Bench) -> None:
        """A cell that was told no class says so."""
        with pytest.raises(RuntimeError, match="recipe"):
            Cell(bench.system, "x", None, None, bench.dispatcher).make()


class TestStart:
    """What a start that fails leaves behind."""

    @pytest.mark.parametrize("where", ["__init__", "on_start"])
    def test_a_failing_start_raises_at_the_caller(self, bench: Bench, where: str) -> None:
        """What the constructor or on_start raises comes to the caller; nothing stays behind."""
        refs: list[Any] = []

        class Broken(Actor):
            def __init__(self) -> None:
                super().__init__()
                refs.append(self.actor_ref)
                self.actor_ref.tell("to myself")
                if where == "__init__":
                    raise Boom(where)

            def on_start(self) -> None:
                raise Boom(where)

        with pytest.raises(Boom):
            bench.spawn(Broken)
        bench.dispatcher.run()
        assert len(bench.system) == 0
        assert not refs[0].is_alive()
        assert bench.dead() == ["to myself"]

    def test_on_start_may_tell_itself(self, bench: Bench) -> None:
        """What an actor tells itself in on_start is its first message."""
        seen: list[Any] = []

        class Eager(Recorder):
            def on_start(self) -> None:
                self.actor_ref.tell("first")

        bench.spawn(Eager, seen).tell("second")
        bench.dispatcher.run()
        assert seen == ["first", "second"]


class TestStop:
    """Stopping in good order."""

    def test_stop_is_behind_what_was_told_before(self, bench: Bench) -> None:
        """Messages before the stop are handled, those after it are dead letters."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen)
        ref.tell("a")
        done = ref.stop(block=False)
        ref.tell("b")
        late = ref.ask("c", block=False)
        again = ref.stop(block=False)
        bench.dispatcher.run()
        assert seen == ["a"]
        assert bench.dead() == ["b", "c"]
        assert done.get(timeout=0) is True
        assert again.get(timeout=0) is True
        with pytest.raises(pykka.ActorDeadError):
            late.get(timeout=0)
        assert bench.kinds() == ["started", "stopped"]

    def test_a_stop_during_the_back_off_comes_after_the_restart(self, bench: Bench) -> None:
        """What waited before the stop is still handled by the restarted actor."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen, restart=QUICK)
        ref.tell("boom")
        ref.tell("a")
        bench.dispatcher.run()
        ref.stop(block=False)
        bench.dispatcher.advance(1)
        assert seen == ["boom", "a"]
        assert not ref.is_alive()

    def test_stop_now_during_the_back_off_buries_the_mailbox(self, bench: Bench) -> None:
        """A stop that cannot wait makes dead letters of what waits, and no restart follows."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen, restart=QUICK)
        ref.tell("boom")
        ref.tell("a")
        bench.dispatcher.run()
        ref.actor_inbox.stop_now()
        ref.actor_inbox.stop_now()
        bench.dispatcher.advance(10)
        assert bench.dead() == ["boom", "a"]
        assert seen == ["boom"]
        assert bench.kinds() == ["started", "failed", "stopped"]

    def test_what_comes_after_the_end_is_buried_by_its_sender(self, bench: Bench) -> None:
        """A message or stop put into a mailbox whose actor has just stopped does not vanish."""
        ref = bench.spawn(Recorder, [])
        ref.actor_inbox.stop_now()
        ref.actor_inbox.put(Envelope("late"))
        from pykka.messages import _ActorStop

        late_stop: Future[Any] = Future()
        ref.actor_inbox.put(Envelope(_ActorStop(), reply_to=late_stop))
        assert bench.dead() == ["late"]
        assert late_stop.get(timeout=0) is None


class TestAsync:
    """Handlers that are coroutines."""

    async def test_async_and_sync_handlers_keep_the_order(self) -> None:
        """Messages are handled one at a time in order, whichever handlers await."""
        seen: list[Any] = []
        inside = 0

        class Mixed(Actor):
            def on_receive(self, message: int) -> Any:
                nonlocal inside
                assert inside == 0
                if message % 3:
                    return self.slow(message)
                seen.append(message)
                return message

            async def slow(self, message: int) -> int:
                nonlocal inside
                inside += 1
                for _ in range(message % 4):
                    await asyncio.sleep(0)
                inside -= 1
                seen.append(message)
                return message

        ref = ActorSystem("t").spawn(Mixed)
        futures = [ref.ask(number, block=False) for number in range(300)]
        assert [await future for future in futures] == list(range(300))
        assert seen == list(range(300))

    async def test_async_failures_follow_the_same_rules(self) -> None:
        """A failing coroutine restarts its actor with the mailbox kept; an ask fails its asker."""
        seen: list[Any] = []

        class Slow(Actor):
            async def on_receive(self, message: Any) -> Any:
                await asyncio.sleep(0)
                seen.append(message)
                if message == "boom":
                    raise Boom("on purpose")
                return message

        system = ActorSystem("t")
        letters: list[Any] = []
        system.dead_letters.subscribe(lambda x: letters.append(x.envelope.message))
        policy = RestartPolicy(min_backoff_s=0, max_backoff_s=0, max_redeliveries=1)
        ref = system.spawn(Slow, restart=policy)
        failing = ref.ask("boom", block=False)
        ref.tell("boom")
        assert await ref.ask("a", block=False) == "a"
        with pytest.raises(Boom):
            await failing
        assert seen == ["boom", "boom", "boom", "a"]
        assert letters == ["boom"]
        assert cell_of(ref).made == 3

    async def test_a_sync_failure_behind_an_async_message(self) -> None:
        """A plain handler that fails right after an async one fails as any other."""
        seen: list[Any] = []

        class Mixed(Actor):
            def on_receive(self, message: Any) -> Any:
                if message == "async":
                    return self.slow()
                seen.append(message)
                if message == "boom":
                    raise Boom("on purpose")
                return None

            async def slow(self) -> None:
                await asyncio.sleep(0)
                seen.append("async")

        system = ActorSystem("t")
        policy = RestartPolicy(min_backoff_s=0, max_backoff_s=0)
        ref = system.spawn(Mixed, restart=policy)
        for message in ("async", "boom", "async", "a"):
            ref.tell(message)
        await until(lambda: len(seen) == 4)
        assert seen == ["async", "boom", "async", "a"]
        assert await ref.stop(block=False)

    async def test_an_actor_that_never_awaits_starves_no_other(self) -> None:
        """A coroutine handler that keeps telling itself leaves turns to others and the loop."""
        stop = False

        class Greedy(Actor):
            async def on_receive(self, message: Any) -> None:
                if not stop:
                    self.actor_ref.tell(message)

        system = ActorSystem("t")
        system.spawn(Greedy).tell("go")
        polite, log = Probe.of(system)
        polite.tell("a")
        try:
            assert await log.expect(1) == ["a"]
        finally:
            stop = True
        assert await system.stop(5)

    async def test_stop_waits_for_the_handler_at_work(self) -> None:
        """A stop told while a coroutine handler is at work comes after it."""
        gate = asyncio.Event()
        seen: list[Any] = []

        class Slow(Actor):
            async def on_receive(self, message: Any) -> None:
                await gate.wait()
                seen.append(message)

        system = ActorSystem("t")
        ref = system.spawn(Slow)
        ref.tell("a")
        ref.tell("b")
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(system.stop(5))
        await asyncio.sleep(0)
        assert ref.is_alive()
        gate.set()
        assert await stopping
        assert seen == ["a", "b"]

    async def test_a_handler_stuck_at_the_deadline_is_cut_off(self) -> None:
        """At the deadline a coroutine handler is cancelled and its message is a dead letter."""
        cancelled = asyncio.Event()

        class Stuck(Actor):
            async def on_receive(self, message: Any) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

        system = ActorSystem("t")
        letters: list[Any] = []
        kinds: list[str] = []
        system.dead_letters.subscribe(letters.append)
        system.events.subscribe(lambda event: kinds.append(event.kind))
        ref = system.spawn(Stuck)
        waiting = ref.ask("a", block=False)
        ref.tell("b")
        await asyncio.sleep(0)
        assert await system.stop(0.01) is False
        async with asyncio.timeout(5):
            await cancelled.wait()
            with pytest.raises(pykka.ActorDeadError):
                await waiting
        await until(lambda: len(letters) == 2)
        assert sorted(x.envelope.message for x in letters) == ["a", "b"]
        assert {x.reason for x in letters} == {"stopped"}
        assert kinds == ["started", "stopped"]

    async def test_an_actor_may_stop_at_once_inside_a_coroutine(self) -> None:
        """_stop inside a coroutine handler buries the rest but lets the handler finish."""
        seen: list[Any] = []

        class Leaver(Actor):
            async def on_receive(self, message: Any) -> None:
                self._stop()
                await asyncio.sleep(0)
                seen.append(message)

        system = ActorSystem("t")
        ref = system.spawn(Leaver)
        ref.tell("a")
        ref.tell("b")
        await until(lambda: seen)
        assert seen == ["a"]
        assert system.dead_letters.count == 1

    def test_a_coroutine_without_a_loop_fails_as_a_handler(self, bench: Bench) -> None:
        """On a dispatcher without a loop an async handler is a failure, not a hang."""

        class Slow(Actor):
            async def on_receive(self, message: Any) -> None:
                """Never runs."""

        ref = bench.spawn(Slow)
        ref.tell("a")
        bench.dispatcher.run()
        assert not ref.is_alive()
        assert bench.dead() == ["a"]


class TestOverflow:
    """The bound of a mailbox and each policy beyond it."""

    def fill(self, bench: Bench, spec: MailboxSpec) -> tuple[Any, list[Any]]:
        seen: list[Any] = []
        ref = bench.system.spawn(Recorder, seen, mailbox=spec)
        for message in "abcde":
            ref.tell(message)
        return ref, seen

    @pytest.mark.parametrize("policy", ["fail", "drop_new"])
    def test_the_new_message_is_refused(self, bench: Bench, policy: Any) -> None:
        """fail and drop_new keep the oldest; the new is a dead letter and an ask MailboxFull."""
        ref, seen = self.fill(bench, MailboxSpec(capacity=3, overflow=policy))
        full = ref.ask("f", block=False)
        with pytest.raises(MailboxFull) as caught:
            full.get(timeout=0)
        assert (caught.value.code, caught.value.capacity) == ("mailbox_full", 3)
        assert ref.actor_inbox.depth == 3
        bench.dispatcher.run()
        assert seen == ["a", "b", "c"]
        assert bench.dead() == ["d", "e", "f"]
        assert ref.actor_inbox.dropped == 3
        assert bench.kinds().count("overflow") == 3

    def test_drop_old_keeps_the_newest(self, bench: Bench) -> None:
        """drop_old drops from the front; what is dropped is dead letters."""
        _, seen = self.fill(bench, MailboxSpec(capacity=3, overflow="drop_old"))
        bench.dispatcher.run()
        assert seen == ["c", "d", "e"]
        assert bench.dead() == ["a", "b"]

    def test_drop_old_never_drops_a_stop(self, bench: Bench) -> None:
        """A stop that stands first in a full mailbox stays; the new message is refused."""
        seen: list[Any] = []
        spec = MailboxSpec(capacity=1, overflow="drop_old")
        ref = bench.system.spawn(Recorder, seen, mailbox=spec)
        done = ref.stop(block=False)
        ref.tell("late")
        bench.dispatcher.run()
        assert done.get(timeout=0) is True
        assert bench.dead() == ["late"]

    def test_spill_gives_the_new_message_away(self, bench: Bench) -> None:
        """spill hands the envelope to its callback and makes no dead letter."""
        spilled: list[Any] = []
        spec = MailboxSpec(capacity=3, overflow="spill", on_spill=spilled.append)
        _, seen = self.fill(bench, spec)
        bench.dispatcher.run()
        assert seen == ["a", "b", "c"]
        assert [envelope.message for envelope in spilled] == ["d", "e"]
        assert bench.dead() == []

    def test_a_spill_that_fails_makes_a_dead_letter(self, bench: Bench) -> None:
        """What on_spill raises does not reach the sender; the message is a dead letter."""

        def bad(_: Any) -> None:
            raise Boom("no room here either")

        self.fill(bench, MailboxSpec(capacity=3, overflow="spill", on_spill=bad))
        assert bench.dead() == ["d", "e"]

    def test_a_stop_has_no_bound(self, bench: Bench) -> None:
        """A full mailbox still takes a stop."""
        ref, _ = self.fill(bench, MailboxSpec(capacity=3))
        done = ref.stop(block=False)
        bench.dispatcher.run()
        assert done.get(timeout=0) is True

    def test_the_specs_limits(self) -> None:
        """A capacity out of range or a spill without its callback is refused by name."""
        with pytest.raises(ValueError, match="capacity: 0 given"):
            MailboxSpec(capacity=0)
        with pytest.raises(ValueError, match="on_spill"):
            MailboxSpec(overflow="spill")
        with pytest.raises(ValueError, match="on_spill"):
            MailboxSpec(on_spill=print)
        with pytest.raises(ValueError, match="throughput: 65 given, 1 to 64 allowed"):
            MailboxSpec(throughput=65)

    def test_a_mailbox_may_have_longer_turns(self, bench: Bench) -> None:
        """An actor's throughput multiplies the messages of each of its turns."""
        seen: list[Any] = []
        ref = bench.system.spawn(Recorder, seen, mailbox=MailboxSpec(throughput=3))
        for message in "abcde":
            ref.tell(message)
        bench.dispatcher.step()
        assert seen == ["a", "b", "c"]
        bench.dispatcher.step()
        assert seen == ["a", "b", "c", "d", "e"]


class TestThreads:
    """Tells from many threads."""

    @pytest.mark.usefixtures("eager_threads")
    async def test_tells_from_many_threads_lose_nothing(self) -> None:
        """Each message of each thread is handled once, and each thread's in its order."""
        threads, count = 6, 2_000
        last = [-1] * threads
        handled = 0

        class Checker(Actor):
            def on_receive(self, message: tuple[int, int]) -> None:
                nonlocal handled
                thread, number = message
                assert number == last[thread] + 1
                last[thread] = number
                handled += 1

        system = ActorSystem("t")
        ref = system.spawn(Checker, mailbox=MailboxSpec(capacity=1_000_000))

        def send(thread: int) -> None:
            for number in range(count):
                ref.tell((thread, number))

        senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
        for sender in senders:
            sender.start()
        await until(lambda: handled == threads * count or not ref.is_alive(), 30)
        for sender in senders:
            sender.join()
        assert handled == threads * count

    @pytest.mark.usefixtures("eager_threads")
    async def test_bursts_into_an_idle_mailbox_lose_nothing(self) -> None:
        """A mailbox that runs empty and is dropped again and again loses no message."""
        threads, rounds = 3, 400
        seen: list[tuple[int, int]] = []
        system = ActorSystem("t")
        ref = system.spawn(Recorder, seen)
        barrier = threading.Barrier(threads)

        def send(thread: int) -> None:
            for number in range(rounds):
                barrier.wait(10)
                ref.tell((thread, number))

        senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
        for sender in senders:
            sender.start()
        await until(lambda: len(seen) == threads * rounds, 30)
        for sender in senders:
            sender.join()
        for thread in range(threads):
            assert [n for t, n in seen if t == thread] == list(range(rounds))

    def test_a_deque_dropped_under_a_sender_is_taken_back(self, bench: Bench) -> None:
        """A sender that adds to a deque which a turn has just dropped puts it back, in front."""
        seen: list[Any] = []
        ref = bench.spawn(Recorder, seen)
        cell: Cell = ref.actor_inbox
        ref.tell("a")
        dropped = cell._user
        assert dropped is not None
        bench.dispatcher.run()
        assert cell._user is None
        # Nobody else has put anything: the dropped deque becomes the mailbox again.
        dropped.append(Envelope("b"))
        cell._adopt(dropped)
        assert cell._user is dropped
        cell._adopt(dropped)
        bench.dispatcher.schedule(cell)
        bench.dispatcher.run()
        assert seen == ["a", "b"]
        # Somebody has: what is in the dropped one is older.
        ref.tell("d")
        dropped.append(Envelope("c1"))
        dropped.append(Envelope("c2"))
        cell._adopt(dropped)
        bench.dispatcher.run()
        assert seen == ["a", "b", "c1", "c2", "d"]

    def test_every_interleaving_of_a_tell_with_a_turns_end(self, bench: Bench) -> None:
        """Whatever step of a turn's end a tell falls on, its message is handled."""
        for step in range(60):
            seen: list[Any] = []
            ref = bench.spawn(Recorder, seen)
            ref.tell("a")
            self.interrupt(bench, step, lambda ref=ref: ref.tell("b"))
            bench.dispatcher.run()
            assert seen == ["a", "b"], f"told at line event {step}"

    def test_every_interleaving_of_a_tell_with_an_idle_turn(self, bench: Bench) -> None:
        """A turn that finds no mailbox, as two threads may cause it, misses no tell beside it."""
        for step in range(20):
            seen: list[Any] = []
            ref = bench.spawn(Recorder, seen)
            cell: Cell = ref.actor_inbox
            cell.scheduled = True
            bench.dispatcher.schedule(cell)
            self.interrupt(bench, step, lambda ref=ref: ref.tell("b"))
            bench.dispatcher.run()
            assert seen == ["b"], f"told at line event {step}"

    def test_every_interleaving_of_a_turn_with_a_tell(self, bench: Bench) -> None:
        """Whatever step of a tell a whole turn falls on, the message is handled."""
        for step in range(40):
            seen: list[Any] = []
            ref = bench.spawn(Recorder, seen)
            ref.tell("a")
            self.interrupt(bench, step, bench.dispatcher.run, lambda ref=ref: ref.tell("b"))
            bench.dispatcher.run()
            assert seen == ["a", "b"], f"turn at line event {step}"

    def interrupt(self, bench: Bench, step: int, other: Any, main: Any = None) -> None:
        """Run ``main``, or one turn, and at its ``step``-th line in the cell run ``other``."""
        left = step
        done = False

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal left, done
            if not frame.f_code.co_filename.endswith("cell.py"):
                return None
            if event == "line" and not done:
                left -= 1
                if left < 0:
                    done = True
                    sys.settrace(None)
                    other()
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            (main or bench.dispatcher.step)()
        finally:
            sys.settrace(before)
        if not done:
            other()

    @pytest.mark.usefixtures("eager_threads")
    async def test_tell_races_with_stop(self) -> None:
        """A message told while its actor stops is handled, a dead letter or an ActorDeadError."""
        for _ in range(30):
            system = ActorSystem("t")
            seen: list[Any] = []
            ref = system.spawn(Recorder, seen)
            refused = 0
            told = 0
            go = threading.Event()

            def send(ref: Any = ref, go: threading.Event = go) -> None:
                nonlocal refused, told
                go.wait(5)
                for number in range(100):
                    try:
                        ref.tell(number)
                    except pykka.ActorDeadError:
                        refused += 1
                    else:
                        told += 1

            sender = threading.Thread(target=send)
            sender.start()
            go.set()
            for _ in range(3):
                await asyncio.sleep(0)
            ref.stop(block=False)
            assert await system.stop(5)
            sender.join()
            assert told + refused == 100
            assert len(seen) + system.dead_letters.count == told

    @pytest.mark.usefixtures("eager_threads")
    async def test_drop_old_races_with_the_turn(self) -> None:
        """With drop_old from another thread each message is handled or a dead letter."""
        system = ActorSystem("t")
        seen: list[Any] = []
        spec = MailboxSpec(capacity=1, overflow="drop_old")
        ref = system.spawn(Recorder, seen, mailbox=spec)

        def send() -> None:
            for number in range(3_000):
                ref.tell(number)

        sender = threading.Thread(target=send)
        sender.start()
        await until(lambda: not sender.is_alive())
        sender.join()
        await until(lambda: len(seen) + system.dead_letters.count == 3_000)
        assert seen == sorted(seen)
        assert ref.is_alive()
