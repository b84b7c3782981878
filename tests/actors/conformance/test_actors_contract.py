"""pykka's contract of actors, refs, proxies and the registry, one sentence a test.

The suite passes on ``pykka.ThreadingActor``, which shows that it asks for what pykka promises, and
on each kind of ours.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import pykka
import pytest
from actors_kinds import TIMEOUT, Kind
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr


class Boom(Exception):
    """What handlers raise."""


class Part:
    """Something that proxies may look into."""

    pykka_traversable = True

    def __init__(self) -> None:
        self.number = 3
        self.deeper = Deeper()

    def double(self, value: int) -> int:
        return value * 2


class Deeper:
    """One step further."""

    pykka_traversable = True

    def __init__(self) -> None:
        self.text = "deep"


class Sample:
    """Methods of an actor: state, hooks that are written down, handlers."""

    class_attribute = "of the class"

    def __init__(self, start: int = 0, *, log: list[Any] | None = None) -> None:
        super().__init__()
        self.total = start
        self.log: list[Any] = [] if log is None else log
        self.part = Part()
        self.plain = object()
        self._private = "hidden"

    def on_start(self) -> None:
        self.log.append("on_start")

    def on_stop(self) -> None:
        self.log.append("on_stop")

    def on_failure(self, *info: Any) -> None:
        self.log.append(("on_failure", info[0], str(info[1])))

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise Boom("on purpose")
        self.log.append(message)
        return message

    def add(self, amount: int, *, twice: bool = False) -> int:
        self.total += amount * (2 if twice else 1)
        return self.total

    def fail(self) -> None:
        raise Boom("in a method")

    def me(self) -> Any:
        return self.actor_ref  # type: ignore[attr-defined]  # of the actor it is mixed into

    def thread(self) -> int:
        return threading.get_ident()


@pytest.fixture
def ref(kind: Kind) -> Any:
    """A started actor."""
    return kind.start(kind.make(Sample))


def settle(ref: Any) -> None:
    """What was told before has been handled."""
    ref.ask("settled", timeout=TIMEOUT)


class TestStart:
    """``start`` makes, registers and runs an actor."""

    def test_arguments_go_to_the_constructor(self, kind: Kind) -> None:
        """Positional and keyword arguments of start are the constructor's."""
        log: list[Any] = []
        ref = kind.start(kind.make(Sample), 5, log=log)
        assert ref.proxy().total.get(timeout=TIMEOUT) == 5
        assert log[0] == "on_start"

    def test_a_constructor_that_raises_raises_at_start(self, kind: Kind) -> None:
        """Nothing is registered then."""

        class Broken:
            def __init__(self) -> None:
                super().__init__()
                raise Boom

        with pytest.raises(Boom):
            kind.start(kind.make(Broken))
        assert pykka.ActorRegistry.get_all() == []

    def test_on_start_comes_before_the_first_message(self, kind: Kind) -> None:
        """And in the actor's own context, which is not the caller's."""
        log: list[Any] = []
        threads: list[int] = []

        class Notes(Sample):
            def on_start(self) -> None:
                super().on_start()
                threads.append(threading.get_ident())

        ref = kind.start(kind.make(Notes), log=log)
        ref.tell("first")
        settle(ref)
        assert log[:2] == ["on_start", "first"]
        assert threads != [threading.get_ident()]

    def test_an_on_start_that_raises_is_logged_and_stops_the_actor(
        self, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """start still gives a ref; the actor is dead soon and out of the registry."""
        gone = threading.Event()

        class Broken:
            def on_start(self) -> None:
                gone.set()
                raise Boom("at start")

        ref = kind.start(kind.make(Broken))
        assert gone.wait(TIMEOUT)
        with pytest.raises(pykka.ActorDeadError):
            ref.ask("anyone?", timeout=TIMEOUT)
        assert not ref.is_alive()
        assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None
        assert "at start" in caplog.text

    def test_urns_are_unique(self, kind: Kind) -> None:
        """Each actor has a URN that no other has, and its ref knows it."""
        cls = kind.make(Sample)
        refs = [kind.start(cls) for _ in range(10)]
        urns = {ref.actor_urn for ref in refs}
        assert len(urns) == 10
        assert all(urn.startswith("urn:uuid:") for urn in urns)
        assert refs[0].proxy().actor_urn.get(timeout=TIMEOUT) == refs[0].actor_urn

    def test_text_forms_name_class_and_urn(self, ref: Any) -> None:
        """str and repr of a ref, and str of the actor."""
        assert str(ref) == f"Sample ({ref.actor_urn})"
        assert repr(ref) == f"<ActorRef for {ref}>"

    def test_an_actor_knows_its_own_ref(self, ref: Any) -> None:
        """actor_ref inside the actor is the ref that start gave."""
        assert ref.proxy().me().get(timeout=TIMEOUT) is ref


class TestTellAndAsk:
    """Messages go into the inbox and are handled one at a time, in order."""

    def test_tell_returns_nothing_and_keeps_the_order(self, ref: Any) -> None:
        """Tells are handled in the order they were made."""
        for number in range(50):
            assert ref.tell(number) is None
        settle(ref)
        log = ref.proxy().log.get(timeout=TIMEOUT)
        assert log[1:51] == list(range(50))

    def test_ask_gives_the_answer(self, ref: Any) -> None:
        """What on_receive returns comes back."""
        assert ref.ask("hello", timeout=TIMEOUT) == "hello"
        assert ref.ask("hello", block=True, timeout=TIMEOUT) == "hello"

    def test_ask_without_blocking_gives_a_future(self, ref: Any) -> None:
        """Its get gives the answer, again and again."""
        future = ref.ask("later", block=False)
        assert isinstance(future, pykka.Future)
        assert future.get(timeout=TIMEOUT) == "later"
        assert future.get(timeout=TIMEOUT) == "later"

    def test_an_ask_that_raises_raises_at_the_asker(self, ref: Any) -> None:
        """The actor lives on, and on_failure is not called."""
        with pytest.raises(Boom, match="on purpose"):
            ref.ask("boom", timeout=TIMEOUT)
        assert ref.is_alive()
        assert ref.proxy().log.get(timeout=TIMEOUT) == ["on_start"]

    def test_an_ask_that_takes_too_long_raises_timeout(self, kind: Kind) -> None:
        """pykka.Timeout, after about the time given."""
        gate = threading.Event()

        class Slow:
            def on_receive(self, message: Any) -> None:
                gate.wait(TIMEOUT)

        ref = kind.start(kind.make(Slow))
        ref.tell("work")
        with pytest.raises(pykka.Timeout):
            ref.ask("x", timeout=0.01)
        gate.set()

    def test_an_unexpected_message_is_logged_and_answered_with_none(
        self, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An actor without on_receive warns of what it was told."""

        class Bare:
            pass

        ref = kind.start(kind.make(Bare))
        assert ref.ask("what", timeout=TIMEOUT) is None
        (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
        assert record.name == "pykka"
        assert record.getMessage() == f"Unexpected message received by {ref}: what"

    def test_proxy_messages_work_without_a_proxy(self, ref: Any) -> None:
        """The public message classes call methods, read and set attributes."""
        assert ref.ask(ProxyCall(("add",), (4,), {"twice": True}), timeout=TIMEOUT) == 8
        ref.tell(ProxySetAttr(("total",), 20))
        assert ref.ask(ProxyGetAttr(("total",)), timeout=TIMEOUT) == 20


class TestStop:
    """Stopping comes after what is in the inbox; after it the actor is dead."""

    def test_stop_handles_what_came_before(self, kind: Kind) -> None:
        """Then on_stop runs, and stop says True."""
        log: list[Any] = []
        ref = kind.start(kind.make(Sample), log=log)
        for number in range(5):
            ref.tell(number)
        assert ref.stop(timeout=TIMEOUT) is True
        assert log == ["on_start", 0, 1, 2, 3, 4, "on_stop"]

    def test_stop_of_the_dead_is_false(self, ref: Any) -> None:
        """Blocking or not."""
        assert ref.stop(timeout=TIMEOUT) is True
        assert ref.stop(timeout=TIMEOUT) is False
        assert ref.stop(block=False).get(timeout=TIMEOUT) is False

    def test_stop_without_blocking_gives_a_future(self, ref: Any) -> None:
        """Its value is what the blocking form returns."""
        future = ref.stop(block=False)
        assert future.get(timeout=TIMEOUT) is True
        assert not ref.is_alive()

    def test_the_dead_take_no_messages(self, ref: Any) -> None:
        """tell and a blocking ask raise ActorDeadError; a future has it."""
        ref.stop(timeout=TIMEOUT)
        assert ref.is_alive() is False
        with pytest.raises(pykka.ActorDeadError, match=r"Sample \(urn:uuid:.*\) not found"):
            ref.tell("x")
        with pytest.raises(pykka.ActorDeadError):
            ref.ask("x")
        with pytest.raises(pykka.ActorDeadError):
            ref.ask("x", block=False).get(timeout=TIMEOUT)

    def test_asks_behind_a_stop_fail_with_actor_dead(self, kind: Kind) -> None:
        """What was asked after the stop is answered with ActorDeadError."""
        gate = threading.Event()

        class Held:
            def on_receive(self, message: Any) -> None:
                gate.wait(TIMEOUT)

        ref = kind.start(kind.make(Held))
        ref.tell("hold")
        stopped = ref.stop(block=False)
        behind = ref.ask("behind", block=False)
        gate.set()
        assert stopped.get(timeout=TIMEOUT) is True
        with pytest.raises(pykka.ActorDeadError):
            behind.get(timeout=TIMEOUT)

    def test_an_actor_stops_itself_after_what_is_there(self, kind: Kind) -> None:
        """self.stop() is as ref.stop(block=False)."""
        log: list[Any] = []

        class Leaver(Sample):
            def on_receive(self, message: Any) -> Any:
                if message == "leave":
                    self.stop()  # type: ignore[attr-defined]  # of the actor it is mixed into
                return super().on_receive(message)

        ref = kind.start(kind.make(Leaver), log=log)
        ref.tell("leave")
        ref.stop(timeout=TIMEOUT)
        assert log == ["on_start", "leave", "on_stop"]

    def test_an_on_stop_that_raises_is_logged(
        self, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The actor stops all the same."""

        class Broken:
            def on_stop(self) -> None:
                raise Boom("at stop")

        ref = kind.start(kind.make(Broken))
        ref.stop(timeout=TIMEOUT)
        assert not ref.is_alive()
        assert "at stop" in caplog.text


class TestFailure:
    """A tell that raises ends the actor after on_failure, without on_stop."""

    def test_on_failure_gets_the_exception(self, kind: Kind) -> None:
        """Type, value and traceback, in the actor's context."""
        log: list[Any] = []
        done = threading.Event()

        class Failing(Sample):
            def on_failure(self, *info: Any) -> None:
                super().on_failure(*info)
                assert info[2] is not None
                done.set()

        ref = kind.start(kind.make(Failing), log=log)
        ref.tell("boom")
        assert done.wait(TIMEOUT)
        ref.stop(timeout=TIMEOUT)
        assert log == ["on_start", ("on_failure", Boom, "on purpose")]
        assert not ref.is_alive()

    def test_an_on_failure_that_raises_is_logged(
        self, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        """And the actor is dead all the same."""
        done = threading.Event()

        class Failing(Sample):
            def on_failure(self, *info: Any) -> None:
                done.set()
                raise Boom("in the hook")

        ref = kind.start(kind.make(Failing))
        ref.tell("boom")
        assert done.wait(TIMEOUT)
        ref.stop(timeout=TIMEOUT)
        assert "on purpose" in caplog.text


class TestProxy:
    """A proxy turns attribute access into messages."""

    def test_methods_give_futures(self, ref: Any) -> None:
        """Arguments of both kinds go along; what a method raises is raised by get."""
        proxy = ref.proxy()
        assert proxy.add(2).get(timeout=TIMEOUT) == 2
        assert proxy.add(2, twice=True).get(timeout=TIMEOUT) == 6
        with pytest.raises(Boom, match="in a method"):
            proxy.fail().get(timeout=TIMEOUT)
        assert ref.is_alive()

    def test_attributes_give_futures_and_can_be_set(self, ref: Any) -> None:
        """Setting waits until it is done."""
        proxy = ref.proxy()
        assert proxy.total.get(timeout=TIMEOUT) == 0
        proxy.total = 7
        assert proxy.total.get(timeout=TIMEOUT) == 7
        assert proxy.class_attribute.get(timeout=TIMEOUT) == "of the class"

    def test_deferred_calls_are_tells(self, ref: Any) -> None:
        """defer returns nothing and does the call."""
        proxy = ref.proxy()
        assert proxy.add.defer(5) is None
        assert proxy.total.get(timeout=TIMEOUT) == 5

    def test_traversable_attributes_are_looked_into(self, ref: Any) -> None:
        """Attributes and methods of traversable parts, several steps deep."""
        proxy = ref.proxy()
        assert proxy.part.number.get(timeout=TIMEOUT) == 3
        assert proxy.part.double(21).get(timeout=TIMEOUT) == 42
        assert proxy.part.deeper.text.get(timeout=TIMEOUT) == "deep"
        proxy.part.deeper.text = "set"
        assert proxy.part.deeper.text.get(timeout=TIMEOUT) == "set"

    def test_private_and_unknown_attributes_are_not_there(self, ref: Any) -> None:
        """AttributeError at the proxy, without a message."""
        proxy = ref.proxy()
        for name in ("_private", "nothing"):
            with pytest.raises(AttributeError):
                getattr(proxy, name)

    def test_attributes_made_later_are_found(self, ref: Any) -> None:
        """A proxy sees what was set after it was made."""
        proxy = ref.proxy()
        proxy.fresh = 1
        assert proxy.fresh.get(timeout=TIMEOUT) == 1

    def test_a_proxy_knows_its_ref_and_is_equal_by_it(self, ref: Any) -> None:
        """Two proxies of an actor are equal and hash alike."""
        one, other = ref.proxy(), ref.proxy()
        assert one.actor_ref is ref
        assert one == other
        assert hash(one) == hash(other)
        assert {"add", "total", "part"} <= set(dir(one))
        assert "ActorProxy for Sample" in repr(one)

    def test_the_dead_have_no_proxy(self, ref: Any) -> None:
        """ActorDeadError when it is made."""
        ref.stop(timeout=TIMEOUT)
        with pytest.raises(pykka.ActorDeadError):
            ref.proxy()

    def test_a_proxy_of_the_stopped_fails_at_get(self, ref: Any) -> None:
        """A proxy made before the stop gives futures that fail."""
        proxy = ref.proxy()
        ref.stop(timeout=TIMEOUT)
        with pytest.raises(pykka.ActorDeadError):
            proxy.add(1).get(timeout=TIMEOUT)

    def test_proxies_may_be_handed_to_other_actors(self, kind: Kind, ref: Any) -> None:
        """An actor calls another through a proxy it was given."""

        class Caller:
            def __init__(self, other: Any) -> None:
                super().__init__()
                self.other = other

            def pass_on(self, amount: int) -> Any:
                return self.other.add(amount)

        caller = kind.start(kind.make(Caller), ref.proxy()).proxy()
        assert caller.pass_on(3).get(timeout=TIMEOUT).get(timeout=TIMEOUT) == 3

    def test_mock_like_callables_are_methods(self, kind: Kind) -> None:
        """An attribute that can be called is called through the proxy."""

        class Holder:
            def __init__(self) -> None:
                super().__init__()
                self.upper = str.upper

        proxy = kind.start(kind.make(Holder)).proxy()
        assert proxy.upper("text").get(timeout=TIMEOUT) == "TEXT"


class TestRegistry:
    """The registry knows all actors that were started and have not stopped."""

    def test_actors_are_found_by_everything(self, kind: Kind) -> None:
        """All, by class and its superclasses, by class name, by urn."""
        cls = kind.make(Sample)
        child = type("Child", (cls,), {})
        one, two = kind.start(cls), kind.start(child)
        registry = pykka.ActorRegistry
        assert registry.get_all() == [one, two]
        assert registry.get_by_class(cls) == [one, two]
        assert registry.get_by_class(child) == [two]
        assert registry.get_by_class_name("Child") == [two]
        assert registry.get_by_class_name("Nobody") == []
        assert registry.get_by_urn(one.actor_urn) is one
        assert registry.get_by_urn("urn:uuid:nobody") is None

    def test_the_stopped_are_not(self, ref: Any) -> None:
        """Stopping takes an actor out."""
        ref.stop(timeout=TIMEOUT)
        assert pykka.ActorRegistry.get_all() == []

    def test_broadcast_reaches_all_or_a_class(self, kind: Kind) -> None:
        """By class or by its name."""
        first, second = kind.make(Sample), type("Other", (kind.make(Sample),), {})
        one, two = kind.start(first), kind.start(second)
        registry = pykka.ActorRegistry
        registry.broadcast("all")
        registry.broadcast("by class", target_class=second)
        registry.broadcast("by name", target_class="Sample")
        for ref in (one, two):
            settle(ref)
        assert one.proxy().log.get(timeout=TIMEOUT)[1:3] == ["all", "by name"]
        assert two.proxy().log.get(timeout=TIMEOUT)[1:3] == ["all", "by class"]

    def test_stop_all_goes_backwards(self, kind: Kind) -> None:
        """Blocking, the last started stops first."""
        order: list[int] = []

        class Member:
            def __init__(self, number: int) -> None:
                super().__init__()
                self.number = number

            def on_stop(self) -> None:
                order.append(self.number)

        cls = kind.make(Member)
        for number in range(5):
            kind.start(cls, number)
        assert pykka.ActorRegistry.stop_all(timeout=TIMEOUT) == [True] * 5
        assert order == [4, 3, 2, 1, 0]

    def test_stop_all_without_blocking_gives_futures(self, kind: Kind) -> None:
        """One for each actor."""
        for _ in range(3):
            kind.start(kind.make(Sample))
        futures = pykka.ActorRegistry.stop_all(block=False)
        assert [one.get(timeout=TIMEOUT) for one in futures] == [True] * 3


class TestRecords:
    """The log records that pykka's users know, on the logger they know."""

    def test_start_and_stop(self, kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
        """Registered, Starting; Unregistered, Stopped: all at DEBUG."""
        caplog.set_level(logging.DEBUG, "pykka")
        ref = kind.start(kind.make(Sample))
        ref.stop(timeout=TIMEOUT)
        said = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "pykka"]
        assert said == [
            ("DEBUG", f"Registered {ref}"),
            ("DEBUG", f"Starting {ref}"),
            ("DEBUG", f"Unregistered {ref}"),
            ("DEBUG", f"Stopped {ref}"),
        ]

    def test_an_ask_that_raises(self, ref: Any, caplog: pytest.LogCaptureFixture) -> None:
        """INFO, with the traceback."""
        caplog.set_level(logging.INFO, "pykka")
        with pytest.raises(Boom):
            ref.ask("boom", timeout=TIMEOUT)
        (record,) = [one for one in caplog.records if one.levelno == logging.INFO]
        assert record.getMessage() == f"Exception returned from {ref} to caller:"
        assert record.exc_info is not None
        assert record.exc_info[0] is Boom

    def test_a_tell_that_raises(self, ref: Any, caplog: pytest.LogCaptureFixture) -> None:
        """ERROR, with the traceback."""
        ref.tell("boom")
        ref.stop(timeout=TIMEOUT)
        (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert record.name == "pykka"
        assert record.getMessage() == f"Unhandled exception in {ref}:"
        assert record.exc_info is not None
        assert record.exc_info[0] is Boom

    def test_the_thread_dump(self, ref: Any, caplog: pytest.LogCaptureFixture) -> None:
        """pykka.debug shows every thread at CRITICAL, ours among them."""
        from pykka.debug import log_thread_tracebacks

        settle(ref)
        log_thread_tracebacks()
        said = [one.getMessage() for one in caplog.records if one.levelno == logging.CRITICAL]
        assert any("MainThread" in text for text in said)
        assert len(said) >= 2
