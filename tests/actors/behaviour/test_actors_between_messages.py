"""What an actor can do between messages: behaviours, stash, timers, pipes, late answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from actors_support import Bench, Boom, until

from actors import (
    Actor,
    ActorSystem,
    AskTimeout,
    BlockingActor,
    CooperativeDispatcher,
    MailboxSpec,
    NoLoop,
    Piped,
    ReceiveTimeout,
    RestartPolicy,
    StashFull,
    Terminated,
)
from actors.future import Future
from actors.testkit import ManualClock

AGAIN = RestartPolicy(min_backoff_s=1.0, max_backoff_s=1.0, random_factor=0.0)


class Doer(Actor):
    """Calls what it is told with itself; writes down the rest."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        if message == "boom":
            raise Boom
        self.seen.append(message)
        return message


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A system on the synchronous dispatcher."""
    return Bench()


@pytest.fixture
def seen() -> list[Any]:
    """What a Doer wrote down."""
    return []


class TestBecome:
    """Handlers change, and a restart begins anew."""

    def test_become_replaces_and_unbecome_goes_back(self, bench: Bench, seen: list[Any]) -> None:
        """The latest handler takes the messages; with discard_old=False they are a stack."""
        ref = bench.spawn(Doer, seen)
        told: list[str] = []
        ref.tell(lambda actor: actor.become(lambda message: told.append(f"one {message}")))
        ref.tell("a")
        bench.dispatcher.run()
        actor = ref._cell.actor
        actor.become(lambda message: told.append(f"two {message}"), discard_old=False)
        ref.tell("b")
        bench.dispatcher.run()
        actor.unbecome()
        ref.tell("c")
        bench.dispatcher.run()
        actor.unbecome()
        actor.unbecome()
        ref.tell("d")
        bench.dispatcher.run()
        assert (told, seen) == (["one a", "two b", "one c"], ["d"])

    def test_a_restart_begins_with_the_class_again(self, bench: Bench, seen: list[Any]) -> None:
        """A new instance knows nothing of the old one's behaviours."""
        ref = bench.spawn(Doer, seen, restart=AGAIN)

        def fail(message: Any) -> None:
            raise Boom

        ref.tell(lambda actor: actor.become(fail))
        ref.tell("x")
        ref.tell("y")
        bench.dispatcher.advance(1)
        assert seen == ["y"]


class TestStash:
    """Messages put aside come back in order, before newer ones."""

    def test_asks_put_aside_are_answered_at_last(self, bench: Bench, seen: list[Any]) -> None:
        """The asker waits until its message is handled."""
        ref = bench.spawn(Doer, seen)
        open_ = False

        def gate(message: Any) -> Any:
            actor = ref._cell.actor
            if message == "open":
                actor.unbecome()
                actor.unstash_all()
                return None
            return actor.stash()

        ref.tell(lambda actor: actor.become(gate))
        asked = [ref.ask(text, block=False) for text in ("a", "b")]
        bench.dispatcher.run()
        with pytest.raises(pykka.Timeout):
            asked[0].get(timeout=0)
        assert bench.system.counters().stashed == 2
        ref.tell("open")
        ref.tell("c")
        bench.dispatcher.run()
        assert [one.get(timeout=0) for one in asked] == ["a", "b"]
        assert seen == ["a", "b", "c"]
        assert open_ is False

    def test_its_capacity_is_told(self, bench: Bench, seen: list[Any]) -> None:
        """StashFull in the handler, with path and capacity."""
        ref = bench.system.spawn(Doer, seen, mailbox=MailboxSpec(stash=1), name="s")
        ref.tell(lambda actor: actor.stash())
        asked = ref.ask(lambda actor: actor.stash(), block=False)
        bench.dispatcher.run()
        with pytest.raises(StashFull, match="/bench/s holds 1"):
            asked.get(timeout=0)

    def test_nothing_in_handling_is_nothing_to_stash(self, bench: Bench, seen: list[Any]) -> None:
        """Outside a handler it says so; twice in one handler too."""
        ref = bench.spawn(Doer, seen)
        with pytest.raises(RuntimeError, match="in handling"):
            ref._cell.actor.stash()

        def twice(actor: Doer) -> None:
            actor.stash()
            with pytest.raises(RuntimeError, match="in handling"):
                actor.stash()

        ref.tell(twice)
        bench.dispatcher.run()
        assert len(ref._cell.extras().stash) == 1

    def test_a_stop_makes_dead_letters_of_it(self, bench: Bench, seen: list[Any]) -> None:
        """Nothing put aside vanishes."""
        ref = bench.spawn(Doer, seen)
        aside = [lambda actor: actor.stash() for _ in range(2)]
        for message in aside:
            ref.tell(message)
        ref.stop(block=False)
        bench.dispatcher.run()
        assert bench.dead() == aside


class TestTimers:
    """Keyed, on the system's clock, gone with the instance."""

    def test_once_and_again(self, bench: Bench, seen: list[Any]) -> None:
        """A single timer comes once; a periodic one after each interval, or first sooner."""
        ref = bench.spawn(Doer, seen)

        def start(actor: Doer) -> None:
            actor.timers.start_single("one", "once", 2.0)
            actor.timers.start_periodic("two", "again", 3.0, first_s=1.0)
            assert actor.timers.keys() == ["one", "two"]
            assert len(actor.timers) == 2
            assert actor.timers.is_active("one")

        ref.tell(start)
        bench.dispatcher.advance(8.0)
        assert seen == ["again", "once", "again", "again"]
        assert not ref._cell.actor.timers.is_active("one")

    def test_a_key_has_one_timer_and_late_ticks_are_dropped(
        self, bench: Bench, seen: list[Any]
    ) -> None:
        """Replaced or cancelled, even when its tick is in the mailbox already."""
        ref = bench.spawn(Doer, seen)
        ref.tell(lambda actor: actor.timers.start_single("k", "old", 1.0))
        bench.dispatcher.run()
        bench.clock.advance(1.0)
        timers = ref._cell.actor.timers
        timers.start_single("k", "new", 1.0)
        bench.dispatcher.run()
        assert seen == []
        bench.dispatcher.advance(1.0)
        assert seen == ["new"]
        timers.start_single("k", "never", 1.0)
        assert timers.cancel("k")
        assert not timers.cancel("k")
        bench.dispatcher.advance(5.0)
        assert seen == ["new"]

    def test_a_slow_actor_gets_fewer_ticks(self, bench: Bench, seen: list[Any]) -> None:
        """One tick at most is in the mailbox."""
        ref = bench.spawn(Doer, seen)
        ref.tell(lambda actor: actor.timers.start_periodic("k", "tick", 1.0))
        bench.dispatcher.run()
        bench.clock.advance(10.0)
        bench.dispatcher.run()
        assert seen == ["tick"]

    def test_they_end_with_the_instance(self, bench: Bench, seen: list[Any]) -> None:
        """A restart and a stop cancel them; ticks of the dead are no dead letters."""
        ref = bench.spawn(Doer, seen, restart=AGAIN)
        ref.tell(lambda actor: actor.timers.start_periodic("k", "tick", 0.5))
        ref.tell("boom")
        bench.dispatcher.advance(5.0)
        assert seen == []
        ref.tell(lambda actor: actor.timers.start_single("k", "tick", 0.5))
        bench.dispatcher.run()
        ref.stop(block=False)
        bench.dispatcher.advance(5.0)
        assert (seen, bench.dead()) == ([], ["boom"])
        assert bench.dispatcher.timers == 0

    @pytest.mark.parametrize(
        ("call", "field"),
        [
            (lambda timers: timers.start_single("k", "x", -1), "delay_s"),
            (lambda timers: timers.start_periodic("k", "x", 0), "interval_s"),
            (lambda timers: timers.start_periodic("k", "x", 1, first_s=-1), "first_s"),
        ],
    )
    def test_times_out_of_range_are_refused(
        self, bench: Bench, seen: list[Any], call: Any, field: str
    ) -> None:
        """By name."""
        with pytest.raises(ValueError, match=field):
            call(bench.spawn(Doer, seen)._cell.actor.timers)

    async def test_a_manual_clock_moves_a_real_loop(self, seen: list[Any]) -> None:
        """A system on a loop takes its timers from the clock it was given."""
        clock = ManualClock()
        system = ActorSystem("t", clock=clock, dispatcher=CooperativeDispatcher(clock=clock))
        ref = system.spawn(Doer, seen)
        ref.tell(lambda actor: actor.timers.start_single("k", "due", 60.0))
        await ref.ask("set", block=False)
        assert clock.timers == 1
        clock.advance(60.0)
        await until(lambda: seen == ["set", "due"])
        assert await system.stop(5)


class TestReceiveTimeout:
    """Idleness is told, again and again, until it is switched off."""

    def test_after_idleness_only(self, bench: Bench, seen: list[Any]) -> None:
        """A message puts it off."""
        ref = bench.spawn(Doer, seen)
        ref.tell(lambda actor: actor.set_receive_timeout(10.0))
        bench.dispatcher.advance(8.0)
        ref.tell("busy")
        bench.dispatcher.advance(8.0)
        assert seen == ["busy"]
        bench.dispatcher.advance(2.0)
        bench.dispatcher.advance(10.0)
        assert seen == ["busy", ReceiveTimeout(10.0), ReceiveTimeout(10.0)]
        ref.tell(lambda actor: actor.set_receive_timeout(None))
        bench.dispatcher.advance(60.0)
        assert len(seen) == 3
        with pytest.raises(ValueError, match="seconds"):
            ref._cell.actor.set_receive_timeout(0)

    def test_it_ends_with_the_instance(self, bench: Bench, seen: list[Any]) -> None:
        """A stopped actor is told nothing, and keeps no timer."""
        ref = bench.spawn(Doer, seen)
        ref.tell(lambda actor: actor.set_receive_timeout(1.0))
        bench.dispatcher.run()
        ref.stop(block=False)
        bench.dispatcher.advance(5.0)
        assert (seen, bench.dispatcher.timers) == ([], 0)


class TestPipe:
    """Results come as messages."""

    async def test_values_errors_and_mapped_ones(self, seen: list[Any]) -> None:
        """A coroutine, an asyncio future, a future of ours; what the mapper raises comes too."""
        system = ActorSystem("t")
        ref = system.spawn(Doer, seen)
        loop = asyncio.get_running_loop()
        plain: asyncio.Future[int] = loop.create_future()
        plain.set_result(2)
        ours = Future[int]()
        ours.set(3)
        failed = Future[int]()
        failed.set_exception((Boom, Boom("no"), None))

        async def one() -> int:
            return 1

        async def raises() -> None:
            raise Boom("async")

        async def cancelled() -> None:
            raise asyncio.CancelledError

        def pipe(actor: Doer) -> None:
            actor.pipe_to_self(one())
            actor.pipe_to_self(plain, lambda value, error: ("mapped", value, error))
            actor.pipe_to_self(ours)
            actor.pipe_to_self(failed)
            actor.pipe_to_self(raises())
            actor.pipe_to_self(cancelled())
            actor.pipe_to_self(one(), lambda value, error: 1 / 0)

        ref.tell(pipe)
        await until(lambda: len(seen) == 7)
        assert Piped(1) in seen
        assert ("mapped", 2, None) in seen
        assert Piped(3) in seen
        errors = [type(one.error) for one in seen if isinstance(one, Piped) and one.error]
        assert sorted(kind.__name__ for kind in errors) == [
            "Boom", "Boom", "CancelledError", "ZeroDivisionError",
        ]  # fmt: skip
        assert await system.stop(5)

    async def test_a_restart_takes_back_what_is_under_way(self, seen: list[Any]) -> None:
        """Tasks are cancelled; a future that is set later is a dead letter."""
        system = ActorSystem("t")
        letters: list[Any] = []
        system.dead_letters.subscribe(lambda letter: letters.append(letter.reason))
        ref = system.spawn(Doer, seen, restart=RestartPolicy(min_backoff_s=0.0))
        late = Future[int]()
        ended = asyncio.Event()

        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        def pipe(actor: Doer) -> None:
            actor.pipe_to_self(forever())
            actor.pipe_to_self(late)

        ref.tell(pipe)
        await asyncio.sleep(0.01)
        ref.tell("boom")
        async with asyncio.timeout(5):
            await ended.wait()
        await ref.ask("back", block=False)
        late.set(1)
        await ref.ask("after", block=False)
        assert seen == ["back", "after"]
        assert letters == ["failed", "stale"]
        assert await system.stop(5)

    async def test_without_a_loop_there_is_no_pipe(self, seen: list[Any]) -> None:
        """A blocking actor is told so; the coroutine is closed."""
        system = ActorSystem("t")
        ref = system.spawn(type("Blocking", (Doer, BlockingActor), {}), seen)

        async def one() -> int:
            return 1

        with pytest.raises(NoLoop, match="CooperativeDispatcher"):
            await ref.ask(lambda actor: actor.pipe_to_self(one()), block=False)
        assert await system.stop(5)


class TestDeferredReply:
    """An ask can be answered later, once."""

    def test_later_once_and_too_late(self, bench: Bench, seen: list[Any]) -> None:
        """A second answer and one after the deadline are counted and dropped."""
        ref = bench.spawn(Doer, seen)
        kept: list[Any] = []
        asked = ref.ask(lambda actor: kept.append(actor.defer_reply()), block=False)
        failing = ref.ask(lambda actor: kept.append(actor.defer_reply()), block=False)
        timed = ref.ask(lambda actor: kept.append(actor.defer_reply()), block=False, timeout=1.0)
        bench.dispatcher.run()
        with pytest.raises(pykka.Timeout):
            asked.get(timeout=0)
        assert kept[0].reply("at last")
        assert not kept[0].reply("again")
        assert kept[1].fail(Boom("sorry"))
        bench.dispatcher.advance(2.0)
        assert not kept[2].reply("late")
        assert asked.get(timeout=0) == "at last"
        with pytest.raises(Boom, match="sorry"):
            failing.get(timeout=0)
        with pytest.raises(AskTimeout):
            timed.get(timeout=0)
        assert bench.system.counts.late_replies == 2

    def test_dropped_it_fails_its_asker(self, bench: Bench, seen: list[Any]) -> None:
        """Nobody waits for an answer that cannot come; for a tell there is none to give."""
        ref = bench.spawn(Doer, seen)
        asked = ref.ask(lambda actor: actor.defer_reply() and None, block=False)
        ref.tell(lambda actor: seen.append(actor.defer_reply().reply(1)))
        bench.dispatcher.run()
        with pytest.raises(pykka.ActorDeadError, match="unanswered"):
            asked.get(timeout=0)
        assert seen == [True]


class TestWatching:
    """What concerns the watcher; the rest is in the supervision suite and the model."""

    def test_news_that_are_taken_back_do_not_come(self, bench: Bench, seen: list[Any]) -> None:
        """Unwatched while the news are in the mailbox, and watched anew."""
        watcher, target = bench.spawn(Doer, seen), bench.spawn(Doer, [])
        watcher.tell(lambda actor: (actor.watch(target), actor.watch(target)))
        bench.dispatcher.run()
        target._cell.stop_now()
        watcher._cell.actor.unwatch(target)
        bench.dispatcher.run()
        assert seen == []
        watcher.tell(lambda actor: actor.watch(target))
        bench.dispatcher.run()
        assert seen == [Terminated(target, "stopped")]
        watcher._cell.actor.unwatch(target)

    def test_a_dead_watcher_is_not_kept_by_its_target(self, bench: Bench, seen: list[Any]) -> None:
        """Its watches end with it."""
        watcher, target = bench.spawn(Doer, seen), bench.spawn(Doer, [])
        watcher.tell(lambda actor: actor.watch(target))
        bench.dispatcher.run()
        assert len(target._cell.extras().watchers) == 1
        watcher.stop(block=False)
        bench.dispatcher.run()
        assert not target._cell.extras().watchers

    def test_a_watcher_that_raises_hurts_nobody(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """system.watch: its callback's failure is logged, the others are told; cancel is silent."""
        target = bench.spawn(Doer, [])
        told: list[Any] = []

        def fails(terminated: Terminated) -> None:
            raise Boom("in the callback")

        bench.system.watch(target, fails)
        bench.system.watch(target, told.append)
        silent = bench.system.watch(target, told.append)
        silent.cancel()
        silent.cancel()
        target.stop(block=False)
        bench.dispatcher.run()
        assert told == [Terminated(target, "stopped")]
        assert "in the callback" in caplog.text
        assert not silent.active
