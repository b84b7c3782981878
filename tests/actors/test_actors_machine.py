"""A model of mailbox, failure, restart and stop, run against random histories."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pykka
from actors_support import Bench, Boom, cell_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors import Actor, ActorRef, MailboxFull, MailboxSpec, RestartPolicy
from actors.future import Future

SENDERS = st.integers(0, 2)
KINDS = st.sampled_from(["fine", "fine", "fine", "boom", "exit"])


class Message(NamedTuple):
    """What the machine sends: unique by sender and number."""

    sender: int
    number: int
    kind: str


class Subject(Actor):
    """Writes down each handling, then does what the message says."""

    def __init__(self, handled: list[Message]) -> None:
        super().__init__()
        self.handled = handled

    def on_receive(self, message: Message) -> Message:
        self.handled.append(message)
        if message.kind == "boom":
            raise Boom(message)
        if message.kind == "exit":
            raise SystemExit
        return message


class MailboxMachine(RuleBasedStateMachine):
    """No message vanishes, none is handled twice unasked, and each sender's keep their order."""

    @initialize(
        capacity=st.sampled_from([1, 3, 1_000]),
        overflow=st.sampled_from(["fail", "drop_new", "drop_old", "spill"]),
        policy=st.one_of(
            st.none(),
            st.builds(
                RestartPolicy,
                restart=st.sampled_from(["permanent", "transient", "temporary"]),
                intensity=st.integers(0, 4),
                period_s=st.just(10.0),
                min_backoff_s=st.just(1.0),
                max_backoff_s=st.just(4.0),
                random_factor=st.just(0.0),
                max_redeliveries=st.integers(0, 2),
            ),
        ),
        throughput=st.integers(1, 4),
    )
    def start(
        self, capacity: int, overflow: Any, policy: RestartPolicy | None, throughput: int
    ) -> None:
        self.bench = Bench(throughput)
        self.policy = policy
        self.handled: list[Message] = []
        self.spilled: list[Message] = []
        self.told: list[Message] = []
        self.asked: dict[Message, Future[Any]] = {}
        self.numbers = Counter[int]()
        self.stops: list[Future[Any]] = []
        spec = MailboxSpec(
            capacity,
            overflow,
            (lambda envelope: self.spilled.append(envelope.message))
            if overflow == "spill"
            else None,
        )
        self.spec = spec
        self.ref: ActorRef[Any] = self.bench.system.spawn(
            Subject, self.handled, mailbox=spec, restart=policy
        )

    def message(self, sender: int, kind: str) -> Message:
        self.numbers[sender] += 1
        return Message(sender, self.numbers[sender], kind)

    @rule(sender=SENDERS, kind=KINDS)
    def tell(self, sender: int, kind: str) -> None:
        message = self.message(sender, kind)
        try:
            self.ref.tell(message)
        except pykka.ActorDeadError:
            assert not self.ref.is_alive()
        else:
            self.told.append(message)

    @rule(sender=SENDERS, kind=KINDS)
    def ask(self, sender: int, kind: str) -> None:
        message = self.message(sender, kind)
        self.asked[message] = self.ref.ask(message, block=False)

    @rule()
    def turn(self) -> None:
        self.bench.dispatcher.step()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.dispatcher.advance(seconds)

    @precondition(lambda self: len(self.stops) < 2)
    @rule()
    def stop(self) -> None:
        self.stops.append(self.ref.stop(block=False))

    @precondition(lambda self: bool(self.numbers) and not self.stops)
    @rule()
    def stop_now(self) -> None:
        if sum(self.numbers.values()) > 6:
            cell_of(self.ref).stop_now()

    @invariant()
    def nothing_is_both_done_and_dead(self) -> None:
        if not hasattr(self, "bench"):
            return
        dead = Counter(self.bench.dead())
        assert all(count == 1 for count in dead.values())
        again = self.policy.max_redeliveries if self.policy else 0
        for message, times in Counter(self.handled).items():
            assert times <= 1 + (again if message.kind == "boom" else 0)
            if message.kind == "fine":
                assert message not in dead

    @invariant()
    def each_sender_keeps_its_order(self) -> None:
        if not hasattr(self, "bench"):
            return
        for sender in range(3):
            mine = [message.number for message in self.handled if message.sender == sender]
            assert mine == sorted(mine)

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        for _ in range(200):
            self.bench.dispatcher.advance(20.0)
            if not cell_of(self.ref).depth:
                break
        handled = set(self.handled)
        dead = set(self.bench.dead())
        spilled = set(self.spilled)
        for message in self.told:
            if message.kind == "fine":
                assert (message in handled) + (message in dead) + (message in spilled) == 1
            else:
                assert (message in dead) + (message in spilled) == 1
        assert not spilled & (handled | dead)
        for message, future in self.asked.items():
            if message in spilled:
                continue
            try:
                answer = future.get(timeout=0)
            except Boom:
                assert message.kind == "boom"
                assert message in handled
                assert message not in dead
            except MailboxFull:
                assert message in dead
                assert message not in handled
            except pykka.ActorDeadError:
                assert not self.ref.is_alive()
                assert message not in handled or message.kind == "exit"
            else:
                assert answer == message
                assert message in handled
        for stopped in self.stops:
            assert stopped.get(timeout=0) in (True, False)
            assert not self.ref.is_alive()
        kinds = self.bench.kinds()
        assert kinds.count("stopped") == (not self.ref.is_alive())
        assert (len(self.bench.system) == 0) == (not self.ref.is_alive())


TestMailboxMachine = MailboxMachine.TestCase
TestMailboxMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
