"""Where we differ from pykka on purpose, each with its reason and with pykka's way beside it."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest
from actors_kinds import TIMEOUT, Kind

from actors import Actor, ActorSystem, AskFromLoop, AskTimeout, MailboxSpec, RestartPolicy
from actors.testkit import SyncDispatcher


class Fragile:
    """Fails on ``"boom"``, exits on ``"exit"``, counts the rest."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self.seen = seen

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError("on purpose")
        if message == "exit":
            raise SystemExit
        self.seen.append(message)
        return message


def test_a_failing_tell_loses_nothing_silently() -> None:
    """pykka drops the inbox of an actor that fails; here each message is a dead letter."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", dispatcher=dispatcher)
    letters: list[Any] = []
    system.dead_letters.subscribe(lambda letter: letters.append(letter.envelope.message))
    seen: list[Any] = []
    ref = system.spawn(type("Mine", (Fragile, Actor), {}), seen)
    for message in (1, "boom", 2, 3):
        ref.tell(message)
    dispatcher.run()
    assert (seen, letters) == ([1], ["boom", 2, 3])
    theirs = type("Theirs", (Fragile, pykka.ThreadingActor), {})
    lost: list[Any] = []
    gate = threading.Event()

    class Held(theirs):  # type: ignore[misc,valid-type]  # made above
        def on_start(self) -> None:
            gate.wait(TIMEOUT)

    other = Held.start(lost)
    for message in (1, "boom", 2, 3):
        other.tell(message)
    gate.set()
    with pytest.raises(pykka.ActorDeadError):
        other.ask("anyone?", timeout=TIMEOUT)
    assert lost == [1]


def test_a_policy_restarts_and_the_ref_stays() -> None:
    """pykka's actors may not be restarted; here the mailbox goes on with a new instance."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", clock=dispatcher.clock, dispatcher=dispatcher)
    seen: list[Any] = []
    ref = system.spawn(
        type("Mine", (Fragile, Actor), {}), seen, restart=RestartPolicy(min_backoff_s=0.0)
    )
    for message in (1, "boom", 2):
        ref.tell(message)
    dispatcher.advance(1)
    assert seen == [1, 2]
    assert ref.is_alive()


def test_a_base_exception_ends_one_actor(kind: Kind) -> None:
    """pykka stops every actor of the program; here the others do not notice."""
    cls = kind.make(Fragile)
    refs = [kind.start(cls, []) for _ in range(3)]
    refs[0].tell("exit")
    with pytest.raises(pykka.ActorDeadError):
        refs[0].ask("anyone?", timeout=TIMEOUT)
    if kind.ours:
        assert [ref.is_alive() for ref in refs] == [False, True, True]
        assert refs[1].ask("still", timeout=TIMEOUT) == "still"
    else:
        for ref in refs[1:]:
            ref.stop(timeout=TIMEOUT)
        assert pykka.ActorRegistry.get_all() == []


def test_mailboxes_are_bounded() -> None:
    """pykka's inbox grows without end; here a policy says what happens at the bound."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", dispatcher=dispatcher)
    ref = system.spawn(type("Mine", (Fragile, Actor), {}), [], mailbox=MailboxSpec(capacity=2))
    for message in range(5):
        ref.tell(message)
    assert system.dead_letters.by_reason == {"mailbox_full": 3}


def test_a_blocking_ask_on_the_loop_that_answers_is_refused() -> None:
    """With a thread each it would wait; on one loop it would wait for ever, so it says so."""
    system = ActorSystem("t", dispatcher=SyncDispatcher())
    ref = system.spawn(type("Mine", (Fragile, Actor), {}), [])
    with pytest.raises(AskFromLoop, match="block=False"):
        ref.ask("x")
    with pytest.raises(AskFromLoop):
        ref.stop()


def test_the_timeout_of_an_ask_is_a_deadline() -> None:
    """pykka ignores it without blocking and handles the message all the same; here neither."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", clock=dispatcher.clock, dispatcher=dispatcher)
    seen: list[Any] = []
    ref = system.spawn(type("Mine", (Fragile, Actor), {}), seen)
    asked = ref.ask("late", block=False, timeout=1.0)
    dispatcher.clock.advance(2.0)
    dispatcher.run()
    with pytest.raises(AskTimeout) as caught:
        asked.get(timeout=0)
    assert isinstance(caught.value, pykka.Timeout)
    assert seen == []


def test_a_second_answer_to_an_ask_hurts_nobody() -> None:
    """In pykka the actor's thread would die of it; here it is counted and dropped."""
    dispatcher = SyncDispatcher()
    system = ActorSystem("t", dispatcher=dispatcher)
    ref = system.spawn(type("Mine", (Fragile, Actor), {}), [])
    asked = ref.ask("x", block=False)
    asked.set("from elsewhere")
    after = ref.ask("y", block=False)
    dispatcher.run()
    assert (asked.get(timeout=0), after.get(timeout=0)) == ("from elsewhere", "y")
    assert system.counts.late_replies == 1
