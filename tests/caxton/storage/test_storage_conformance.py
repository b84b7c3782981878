"""What every store of a shard's messages must do, whatever it is made of.

A later store adds itself to ``STORES`` and passes all of it: a state machine against a model, and
one test for each promise. What only LMDB has is in test_storage_environment.py.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from caxton.storage.journal import Journal
from caxton.storage.records import DeadRecord, RetryRecord, State
from caxton.storage.retention import Retention

MAP = 64 * 1024 * 1024


@dataclass(frozen=True)
class Store:
    """One kind of store."""

    open: Callable[..., Journal]
    """Opens the one at a path, with the arguments of ``Journal`` that say what is kept."""
    abandon: Callable[[Journal], None]
    """What a killed process leaves: nothing is written any more."""


STORES = {
    "lmdb-process": Store(
        partial(Journal, disk=False, map_bytes=MAP), lambda journal: journal._env.close()
    ),
    "lmdb-disk": Store(
        partial(Journal, disk=True, map_bytes=MAP), lambda journal: journal._env.close()
    ),
}


@pytest.fixture(params=list(STORES))
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[..., Journal]]:
    """Opens stores of each kind; what a test leaves open is abandoned."""
    store = STORES[request.param]
    made: list[Journal] = []

    def opening(path: Path, **more: Any) -> Journal:
        made.append(store.open(path, **more))
        return made[-1]

    yield opening
    for journal in made:
        store.abandon(journal)


def dead(sequence: int, raw: bytes = b"m") -> DeadRecord:
    return DeadRecord(sequence, "AGENT_FAILED", "why", 1, 0, raw)


class JournalMachine(RuleBasedStateMachine):
    """Appends, marks, commits, crashes; the model knows what a reopened journal must say."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = self.store.open(self.folder, keep=50)
        self.next = 1
        self.written: dict[int, bytes] = {}
        self.pending: set[int] = set()
        self.committed = 0
        self.committed_pending: set[int] = set()
        self.replay_from = 1

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 30))
    def append(self, count: int) -> None:
        for _ in range(count):
            raw = f"message {self.next}".encode()
            assert self.journal.append(raw) == self.next
            self.written[self.next] = raw
            self.pending.add(self.next)
            self.next += 1

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def mark(self, data: Any) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.pending)))
        if data.draw(st.booleans()):
            assert self.journal.mark(sequence)
        else:
            assert self.journal.bury(dead(sequence))
        assert not self.journal.mark(sequence)
        self.pending.discard(sequence)

    @rule(data=st.data())
    def commit(self, data: Any) -> None:
        self.replay_from = data.draw(st.integers(self.replay_from, self.next))
        self.journal.commit(self.journal.seal(self.replay_from))
        self.committed = self.next - 1
        self.committed_pending = set(self.pending)

    @rule()
    def crash(self) -> None:
        """What was not committed is gone; everything else is as it was."""
        self.store.abandon(self.journal)
        self.journal = self.store.open(self.folder, keep=50)
        recovered = self.journal.recover()
        assert [seq for seq, _ in recovered.pending] == sorted(self.committed_pending)
        assert all(raw == self.written[seq] for seq, raw in recovered.pending)
        replay = [seq for seq, _ in recovered.replay]
        assert replay == list(range(self.replay_from, self.committed + 1))
        self.next = self.committed + 1
        self.pending = set(self.committed_pending)
        self.written = {k: v for k, v in self.written.items() if k <= self.committed}
        self.replay_from = min(self.replay_from, self.next)

    @invariant()
    def reads(self) -> None:
        """What is pending or newer than the kept window can be read by its number."""
        journal = self.journal
        assert journal.next_sequence == self.next
        assert journal.pending == len(self.pending)
        for sequence in self.pending:
            assert journal.is_pending(sequence)
            assert journal.read(sequence) == self.written[sequence]
        for sequence in range(max(1, self.next - 20), self.next):
            assert journal.read(sequence) == self.written[sequence]
        assert journal.read(self.next) is None
        newest = journal.newest(5)
        assert newest == [self.written[n] for n in range(max(1, self.committed - 4),
                                                         self.committed + 1)]  # fmt: skip


@pytest.mark.parametrize("name", list(STORES))
def test_a_store_does_as_its_model(name: str) -> None:
    """Whatever comes in which order."""
    machine = type(f"Machine-{name}", (JournalMachine,), {"store": STORES[name]})
    few = settings(max_examples=25, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(machine, settings=few)


def test_old_records_are_pruned_and_pending_ones_stay(
    tmp_path: Path, opened: Callable[..., Journal]
) -> None:
    """History is bounded; a message that waits is not history."""
    journal = opened(tmp_path / "j", keep=100)
    first = journal.append(b"waits")
    journal.commit(journal.seal(1))
    for _ in range(200):
        for _ in range(10):
            journal.mark(journal.append(b"x"))
        journal.commit(journal.seal(journal.next_sequence))
    assert journal.read(first) == b"waits"
    assert journal.mark(first)
    for _ in range(60):
        journal.mark(journal.append(b"x"))
        journal.commit(journal.seal(journal.next_sequence))
    assert journal.first_kept > first
    assert journal.next_sequence - journal.first_kept < 100 + 64 * 10
    journal.close()


def test_dead_letters_are_kept_up_to_their_limit(
    tmp_path: Path, opened: Callable[..., Journal]
) -> None:
    """The oldest go first; each has its message and reason."""
    journal = opened(tmp_path / "j", dead_limit=3)
    for n in range(5):
        journal.bury(dead(journal.append(b"m%d" % n), b"m%d" % n))
        journal.commit(journal.seal(journal.next_sequence))
    assert journal.dead_letters == 3
    assert journal.dead(1) is None
    kept = journal.dead(5)
    assert kept is not None
    assert (kept.message, kept.reason) == (b"m4", "AGENT_FAILED")
    journal.close()
    again = opened(tmp_path / "j", dead_limit=3)
    assert again.dead_letters == 3
    again.close()


def test_snapshots_and_history_come_back(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """What a batch says of conversations is what is read."""
    journal = opened(tmp_path / "j")
    batch = journal.open
    batch.conversations += [(b"a" * 16, b"one"), (b"b" * 16, b"two")]
    batch.history += [
        (b"a" * 16 + b"\0\0\0\0", b"12345678"),
        (b"a" * 16 + b"\0\0\0\1", b"abcdefgh"),
    ]
    journal.commit(journal.seal(1))
    assert journal.conversation(b"a" * 16) == b"one"
    assert journal.conversation(b"c" * 16) is None
    assert journal.conversations(1) == [(b"b" * 16, b"two")]
    assert journal.history(b"a" * 16) == [b"12345678", b"abcdefgh"]
    assert journal.history(b"b" * 16) == []
    journal.close()


def test_old_messages_go_by_age(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """By the time of their commit; what is pending stays however old it is."""
    now = [1_000_000]
    journal = opened(tmp_path / "j", keep=Retention(1_000, age_ms=5_000), now_ms=lambda: now[0])
    for _ in range(10):
        journal.mark(journal.append(b"old"))
        journal.commit(journal.seal(journal.next_sequence))
    waits = journal.append(b"waits")
    journal.commit(journal.seal(journal.next_sequence))
    assert journal.first_kept == 1
    now[0] += 6_000
    journal.mark(journal.append(b"new"))
    journal.commit(journal.seal(journal.next_sequence))
    assert journal.first_kept == waits
    assert journal.read(1) is None
    assert journal.read(waits) == b"waits"
    now[0] += 6_000
    journal.mark(waits)
    for _ in range(3):
        journal.mark(journal.append(b"newest"))
        journal.commit(journal.seal(journal.next_sequence))
    assert journal.first_kept == waits + 2
    assert journal.newest(10) == [b"newest"] * 3


def test_old_messages_go_by_size(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """The log stays about as large as it may be, and what was removed is written over."""
    journal = opened(tmp_path / "j", keep=Retention(1_000_000, log_bytes=2_000_000))
    for _ in range(200):
        journal.mark(journal.append(b"x" * 50_000))
        journal.commit(journal.seal(journal.next_sequence))
    assert 20 < journal.next_sequence - journal.first_kept < 60
    assert journal.used_bytes < 6_000_000
    assert journal.read(journal.next_sequence - 1) == b"x" * 50_000


def test_a_run_that_ended_in_good_order_says_so(
    tmp_path: Path, opened: Callable[..., Journal]
) -> None:
    """So that only what a crash cut short is suspected."""
    journal = opened(tmp_path / "j")
    journal.append(b"waits")
    journal.note_trial(1)
    journal.commit(journal.seal(1))
    again = opened(tmp_path / "k")
    assert not again.recover().died
    journal.close()
    reopened = opened(tmp_path / "j")
    recovered = reopened.recover()
    assert not recovered.died
    assert recovered.trial == 0
    assert [raw for _, raw in recovered.pending] == [b"waits"]


def test_what_was_on_trial_outlives_a_crash(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """One alone or how many together, as of the last commit; that there is none costs no commit;
    and states of versions that knew no groups are read."""
    journal = opened(tmp_path / "j")
    journal.append(b"waits")
    journal.note_trial(0, 64)
    batch = journal.seal(1)
    # A note of the next batch is not of the one that is written.
    journal.note_trial(1)
    journal.commit(batch)
    journal._env.close()
    journal = opened(tmp_path / "j")
    recovered = journal.recover()
    assert (recovered.died, recovered.trial, recovered.group) == (True, 0, 64)
    journal.note_trial(1)
    assert journal.open
    journal.commit(journal.seal(1))
    journal._env.close()
    journal = opened(tmp_path / "j")
    recovered = journal.recover()
    assert (recovered.died, recovered.trial, recovered.group) == (True, 1, 0)
    journal.note_trial(0)
    assert not journal.open
    journal.mark(1)
    journal.commit(journal.seal(2))
    journal._env.close()
    recovered = opened(tmp_path / "j").recover()
    assert (recovered.died, recovered.trial, recovered.group) == (True, 0, 0)
    before = msgspec.msgpack.encode((7, 2, 1, 5, False))
    assert msgspec.msgpack.decode(before, type=State) == State(7, 2, 1, 5)


def test_retries_outlive_a_crash(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """With their count and when they are due; they go with their message."""
    journal = opened(tmp_path / "j")
    for _ in range(2):
        journal.append(b"m")
    journal.commit(journal.seal(1))
    journal.retry(1, RetryRecord(2, 99))
    journal.retry(2, RetryRecord(1, 50))
    journal.commit(journal.seal(1))
    journal.mark(2)
    journal.commit(journal.seal(1))
    journal._env.close()
    assert opened(tmp_path / "j").recover().retries == {1: RetryRecord(2, 99)}


def test_forgotten_conversations_are_gone(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    """Record and history; others stay."""
    journal = opened(tmp_path / "j")
    batch = journal.open
    batch.conversations += [(b"a" * 16, b"one"), (b"b" * 16, b"two")]
    batch.history += [(b"a" * 16 + b"\0\0\0\0", b"12345678")]
    journal.commit(journal.seal(1))
    journal.open.forgotten.append(b"a" * 16)
    journal.commit(journal.seal(1))
    assert journal.conversation(b"a" * 16) is None
    assert journal.history(b"a" * 16) == []
    assert journal.conversations_from(b"", 5) == [(b"b" * 16, b"two")]
