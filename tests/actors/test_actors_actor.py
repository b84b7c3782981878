"""Laws of the pykka contract: refs, asks, proxies, futures, hooks and the registry."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from actors_support import Boom, Recorder, until

from actors import Actor, ActorRef, ActorSystem, AskFromLoop
from actors.future import Future
from actors.testkit import Probe


class Ledger:
    """An object that proxies may look into."""

    pykka_traversable = True

    def __init__(self) -> None:
        self.lines = 3


class Account(Actor):
    """A pykka actor with state, a nested traversable and methods."""

    def __init__(self, balance: int = 0) -> None:
        super().__init__()
        self.balance = balance
        self.ledger = Ledger()
        self.trace: list[str] = []

    def on_start(self) -> None:
        self.trace.append("start")

    def on_stop(self) -> None:
        self.trace.append("stop")

    def on_failure(self, *info: Any) -> None:
        self.trace.append(f"failure {info[0].__name__}")

    def add(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    async def add_later(self, amount: int) -> int:
        await asyncio.sleep(0)
        return self.add(amount)

    def fail(self) -> None:
        raise Boom("on purpose")

    def on_receive(self, message: Any) -> Any:
        if message == "trace":
            return self.trace
        if message == "boom":
            raise Boom("on purpose")
        return message


@pytest.fixture
def started() -> Iterator[list[ActorRef[Any]]]:
    """Refs that are stopped after the test."""
    refs: list[ActorRef[Any]] = []
    yield refs
    for ref in refs:
        ref.stop(timeout=5)


class TestFromAnotherThread:
    """The default system lives on a thread of its own, as pykka's actors do."""

    def test_ask_blocks_until_the_answer(self, started: list[ActorRef[Any]]) -> None:
        """A blocking ask from another thread returns the handler's answer."""
        ref = Account.start()
        started.append(ref)
        assert ref.ask("hello", timeout=5) == "hello"

    def test_start_registers_and_stop_unregisters(self) -> None:
        """An actor is in the registry by class and urn from its start to its stop."""
        ref = Account.start()
        assert ref in pykka.ActorRegistry.get_by_class(Account)
        assert [other for other in [pykka.ActorRegistry.get_by_urn(ref.actor_urn)] if other is ref]
        assert ref.stop(timeout=5) is True
        assert ref not in pykka.ActorRegistry.get_all()
        assert not ref.is_alive()

    def test_registry_broadcast_and_stop_all_reach_it(self) -> None:
        """What the registry does to pykka's actors it does to these."""
        ref = Account.start()
        pykka.ActorRegistry.broadcast("x", target_class=Account)
        assert all(pykka.ActorRegistry.stop_all(timeout=5))
        assert not ref.is_alive()

    def test_proxy_calls_reads_and_writes(self, started: list[ActorRef[Any]]) -> None:
        """A proxy calls methods, reads and sets attributes, also nested ones, and defers."""
        ref = Account.start(10)
        started.append(ref)
        proxy: Any = ref.proxy()
        assert proxy.add(5).get(timeout=5) == 15
        assert proxy.balance.get(timeout=5) == 15
        proxy.balance = 100
        assert proxy.balance.get(timeout=5) == 100
        assert proxy.ledger.lines.get(timeout=5) == 3
        proxy.add.defer(1)
        assert proxy.balance.get(timeout=5) == 101

    def test_proxy_method_may_be_async(self, started: list[ActorRef[Any]]) -> None:
        """A proxy call of a coroutine function gives the awaited result."""
        ref = Account.start(1)
        started.append(ref)
        proxy: Any = ref.proxy()
        assert proxy.add_later(2).get(timeout=5) == 3

    def test_a_failing_ask_fails_its_asker_only(self, started: list[ActorRef[Any]]) -> None:
        """An ask that raises raises at the asker, and the actor lives on."""
        ref = Account.start()
        started.append(ref)
        with pytest.raises(Boom):
            ref.ask("boom", timeout=5)
        proxy: Any = ref.proxy()
        with pytest.raises(Boom):
            proxy.fail().get(timeout=5)
        assert ref.ask("trace", timeout=5) == ["start"]

    def test_hooks_run_in_order(self) -> None:
        """on_start comes before and on_stop after all messages."""
        trace: list[str] = []

        class Hooked(Actor):
            def on_start(self) -> None:
                trace.append("start")

            def on_receive(self, message: Any) -> None:
                trace.append(message)

            def on_stop(self) -> None:
                trace.append("stop")

        ref = Hooked.start()
        for message in "abc":
            ref.tell(message)
        ref.stop(timeout=5)
        assert trace == ["start", "a", "b", "c", "stop"]

    def test_a_failing_tell_runs_on_failure_and_stops(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without a policy a failing tell stops the actor after on_failure, not on_stop."""
        caplog.set_level(logging.CRITICAL)
        trace: list[str] = []
        done = threading.Event()

        class Failing(Actor):
            def on_receive(self, message: Any) -> None:
                raise Boom(message)

            def on_failure(self, *info: Any) -> None:
                trace.append(str(info[1]))
                done.set()

            def on_stop(self) -> None:
                trace.append("stop")

        ref = Failing.start()
        ref.tell("x")
        assert done.wait(5)
        assert ref.stop(timeout=5) in (True, False)
        assert trace == ["x"]
        assert not ref.is_alive()

    def test_stop_of_the_dead_is_false_and_tell_raises(self) -> None:
        """A dead actor says so: stop gives False, tell and ask raise ActorDeadError."""
        ref = Account.start()
        ref.stop(timeout=5)
        assert ref.stop(timeout=5) is False
        assert ref.stop(block=False).get(timeout=5) is False
        with pytest.raises(pykka.ActorDeadError):
            ref.tell("x")
        with pytest.raises(pykka.ActorDeadError):
            ref.ask("x", timeout=5)
        with pytest.raises(pykka.ActorDeadError):
            ref.proxy()

    def test_stop_without_blocking_gives_a_future(self) -> None:
        """stop(block=False) gives a future of whether the actor was alive, as pykka's does."""
        ref = Account.start()
        assert ref.stop(block=False).get(timeout=5) is True

    def test_an_actor_may_stop_itself(self) -> None:
        """self.stop() stops the actor after what is in its mailbox."""
        seen: list[Any] = []

        class Leaver(Actor):
            def on_receive(self, message: Any) -> None:
                seen.append(message)
                if message == "leave":
                    self.stop()

        ref = Leaver.start()
        ref.tell("leave")
        assert ref.stop(timeout=5) in (True, False)
        assert not ref.is_alive()
        assert seen == ["leave"]

    def test_ask_times_out(self, started: list[ActorRef[Any]]) -> None:
        """A blocking ask whose answer does not come in time raises pykka's Timeout."""
        gate = threading.Event()

        class Slow(Actor):
            async def on_receive(self, message: Any) -> None:
                while not gate.is_set():
                    await asyncio.sleep(0.001)

        ref = Slow.start()
        started.append(ref)
        with pytest.raises(pykka.Timeout):
            ref.ask("x", timeout=0.01)
        gate.set()

    def test_futures_compose(self, started: list[ActorRef[Any]]) -> None:
        """map, filter, join and reduce of pykka's futures work on ours."""
        ref = Account.start()
        started.append(ref)
        one = ref.ask(1, block=False)
        two = ref.ask(2, block=False)
        assert one.map(lambda x: x + 1).get(timeout=5) == 2
        assert one.join(two).get(timeout=5) == [1, 2]
        assert ref.ask([1, 2, 3], block=False).filter(lambda x: x > 1).get(timeout=5) == [2, 3]
        assert pykka.get_all([one, two], timeout=5) == [1, 2]


class TestOnTheLoop:
    """The system that lives on the running loop."""

    async def test_an_ask_future_is_awaited(self) -> None:
        """Awaiting the future of an ask gives the answer without blocking the loop."""
        system = ActorSystem("t")
        ref = system.spawn(Account)
        assert await ref.ask("hello", block=False) == "hello"
        with pytest.raises(Boom):
            await ref.ask("boom", block=False)

    async def test_a_derived_future_is_awaited(self) -> None:
        """A future made by map, and that of stop, can be awaited on the actor's own loop."""
        system = ActorSystem("t")
        ref = system.spawn(Account)
        async with asyncio.timeout(5):
            assert await ref.ask(1, block=False).map(lambda x: x + 1) == 2
            assert await ref.stop(block=False) is True

    async def test_a_blocking_ask_or_stop_is_refused(self) -> None:
        """A blocking ask or stop on the loop that must answer raises AskFromLoop at once."""
        system = ActorSystem("t")
        ref = system.spawn(Account, name="a")
        with pytest.raises(AskFromLoop) as caught:
            ref.ask("hello")
        assert caught.value.code == "ask_from_loop"
        assert caught.value.path == "/t/a"
        with pytest.raises(AskFromLoop):
            ref.stop()
        assert ref.is_alive()

    async def test_a_future_set_before_it_is_awaited(self) -> None:
        """A future that has its value already gives it at once."""
        future: Future[int] = Future()
        future.set(3)
        assert await future == 3

    async def test_a_cancelled_await_leaves_the_future_usable(self) -> None:
        """Who stops waiting for a future disturbs neither it nor the next who waits."""
        future: Future[int] = Future()

        async def wait() -> int:
            return await future

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        future.set(4)
        assert await wait() == 4

    async def test_a_future_set_by_a_thread_wakes_the_loop(self) -> None:
        """A value set on another thread reaches the coroutine that waits on the loop."""
        future: Future[int] = Future()
        thread = threading.Thread(target=lambda: future.set(5))
        loop = asyncio.get_running_loop()
        loop.call_soon(thread.start)
        async with asyncio.timeout(5):
            assert await future == 5
        thread.join()

    async def test_the_ref_outlives_restarts_and_names_its_actor(self) -> None:
        """A ref shows class, urn and stays equal to the actor's own."""
        system = ActorSystem("t")
        ref = system.spawn(Account, name="a")
        assert ref.path == "/t/a"
        assert uuid.UUID(ref.actor_urn)
        assert ref.actor_urn != system.spawn(Account).actor_urn
        assert "Account" in str(ref)
        assert ref.actor_class is Account

    async def test_an_actor_made_by_hand_is_refused(self) -> None:
        """An actor is made by start or spawn; calling the class says how."""
        with pytest.raises(RuntimeError, match=r"Account is made by its start\(\)"):
            Account()

    async def test_a_constructor_that_forgets_super_is_refused(self) -> None:
        """An actor that did not call super().__init__() is refused and leaves no trace."""

        class Forgetful(Actor):
            def __init__(self) -> None:
                pass

        system = ActorSystem("t")
        with pytest.raises(TypeError, match="did not call super"):
            system.spawn(Forgetful)
        assert len(system) == 0

    async def test_a_foreign_inbox_is_refused(self) -> None:
        """A ref of something that has no cell says so."""

        class Foreign(pykka.ThreadingActor):
            pass

        with pytest.raises(TypeError, match="has no cell"):
            ActorRef(Foreign())

    async def test_unexpected_messages_are_logged_by_pykka(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An actor without on_receive logs what it was told, as pykka's does."""
        system = ActorSystem("t")
        ref = system.spawn(Actor)
        assert await ref.ask("what", block=False) is None
        assert "Unexpected message" in caplog.text

    async def test_ten_thousand_actors_share_the_thread(self) -> None:
        """Actors take no thread: ten thousand of them answer on the loop's one."""
        before = threading.active_count()
        system = ActorSystem("t")
        seen: list[int] = []
        refs = [system.spawn(Recorder, seen) for _ in range(10_000)]
        for number, ref in enumerate(refs):
            ref.tell(number)
        await until(lambda: len(seen) == 10_000)
        assert seen == list(range(10_000))
        assert threading.active_count() == before
        del refs
        gc.collect()

    async def test_the_inbox_is_drained_by_its_dispatcher_only(self) -> None:
        """The cell is the pykka inbox: it tells whether it is empty and gives nothing out."""
        system = ActorSystem("t")
        ref = system.spawn(Probe, None)
        inbox = ref.actor_inbox
        assert inbox.empty()
        with pytest.raises(IndexError):
            inbox.get()
        assert Probe._create_actor_inbox() is None
        actor = ref._actor_weakref()
        assert actor is not None
        actor._start_actor_loop()
        actor._stop()
        assert not ref.is_alive()
