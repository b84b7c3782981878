"""A model of mailbox, stash, failure, restart and stop of one actor, run against random
histories."""

from __future__ import annotations

from typing import Any

from actors_machine_support import DIRECTIVES, Ledger, Subject, lane_of
from actors_support import Bench, cell_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors import ActorRef, MailboxSpec, RestartPolicy, Subscription, Terminated
from actors.future import Future

SENDERS = st.integers(0, 2)
KINDS = st.sampled_from(
    ["fine", "fine", "fine", "boom", "stash", "stash", "open", "resume", "halt", "exit", "quit"]
)


class MailboxMachine(RuleBasedStateMachine):
    """No message vanishes, none is handled twice unasked, and each sender's keep their order."""

    @initialize(
        capacity=st.sampled_from([1, 3, 1_000]),
        overflow=st.sampled_from(["fail", "drop_new", "drop_old", "spill", "block"]),
        lanes=st.sampled_from([1, 2]),
        stash=st.sampled_from([0, 2, 1_000]),
        leftovers=st.booleans(),
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
                directives=st.sampled_from([{}, DIRECTIVES]),
            ),
        ),
        throughput=st.integers(1, 4),
    )
    def start(
        self,
        capacity: int,
        overflow: Any,
        lanes: int,
        stash: int,
        leftovers: bool,
        policy: RestartPolicy | None,
        throughput: int,
    ) -> None:
        self.bench = Bench(throughput)
        self.policy = policy
        self.ledger = Ledger()
        self.stops: list[Future[Any]] = []
        self.watches: list[tuple[Subscription, list[Terminated], bool]] = []
        spec = MailboxSpec(
            capacity,
            overflow,
            (lambda envelope: self.ledger.spilled.append(envelope.message))
            if overflow == "spill"
            else None,
            lanes=lanes,
            priority=lane_of if lanes > 1 else None,
            stash=stash,
        )
        self.ref: ActorRef[Any] = self.bench.system.spawn(
            Subject,
            self.ledger.handled,
            mailbox=spec,
            restart=policy,
            leftovers=(lambda envelope: self.ledger.left_over.append(envelope.message))
            if leftovers
            else None,
        )

    @rule(sender=SENDERS, kind=KINDS)
    def tell(self, sender: int, kind: str) -> None:
        self.ledger.tell(self.ref, self.ledger.message(sender, kind))

    @rule(sender=SENDERS, kind=KINDS, limited=st.booleans())
    def ask(self, sender: int, kind: str, limited: bool) -> None:
        self.ledger.ask(self.ref, self.ledger.message(sender, kind), limited)

    @rule()
    def turn(self) -> None:
        self.bench.dispatcher.step()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.dispatcher.advance(seconds)

    @precondition(lambda self: len(self.watches) < 4)
    @rule(cancel=st.booleans())
    def watch(self, cancel: bool) -> None:
        told: list[Terminated] = []
        subscription = self.bench.system.watch(self.ref, told.append)
        cancelled = cancel and self.ref.is_alive()
        if cancelled:
            subscription.cancel()
        self.watches.append((subscription, told, cancelled))

    @precondition(lambda self: len(self.stops) < 2)
    @rule()
    def stop(self) -> None:
        self.stops.append(self.ref.stop(block=False))

    @precondition(lambda self: sum(self.ledger.numbers.values()) > 6)
    @rule(kill=st.booleans())
    def end_now(self, kill: bool) -> None:
        cell = cell_of(self.ref)
        if kill:
            cell.kill()
        else:
            cell.stop_now()

    @invariant()
    def nothing_is_lost_doubled_or_overtaken(self) -> None:
        if hasattr(self, "bench"):
            again, directed = 0, False
            if self.policy is not None:
                again, directed = self.policy.max_redeliveries, bool(self.policy.directives)
            self.ledger.check_now(self.bench.dead(), again, directed)

    @invariant()
    def who_watches_is_told_once_and_at_the_end(self) -> None:
        if not hasattr(self, "bench"):
            return
        ended = bool(cell_of(self.ref).ended_because)
        for _, told, cancelled in self.watches:
            assert len(told) == (ended and not cancelled)

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        last = self.ref.stop(block=False)
        for _ in range(200):
            self.bench.dispatcher.advance(20.0)
            if not self.ref.is_alive():
                break
        for stopped in [*self.stops, last]:
            assert stopped.get(timeout=0) in (True, False)
        self.who_watches_is_told_once_and_at_the_end()
        self.nothing_is_lost_doubled_or_overtaken()
        expired = self.ledger.check_end(self.bench.dead())
        kinds = self.bench.kinds()
        assert kinds.count("stopped") == 1
        counters = self.bench.system.counters()
        assert (counters.actors, counters.waiting, counters.stashed) == (0, 0, 0)
        assert counters.failures == kinds.count("failed")
        assert counters.restarts == kinds.count("restarted")
        assert counters.overflows == kinds.count("overflow")
        assert counters.expired_asks == expired
        assert sum(counters.dead_letters.values()) == len(self.bench.letters)


TestMailboxMachine = MailboxMachine.TestCase
TestMailboxMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
