"""The journal against a model: whatever is committed, marked, pruned and reopened."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from caxton.errors import ForeignFolder, StorageFull
from caxton.storage.environment import Environment
from caxton.storage.journal import Journal
from caxton.storage.records import DeadRecord

MAP = 64 * 1024 * 1024


def opened(path: Path, **more: Any) -> Journal:
    return Journal(path, disk=False, map_bytes=MAP, **more)


def dead(sequence: int, raw: bytes = b"m") -> DeadRecord:
    return DeadRecord(sequence, "AGENT_FAILED", "why", 1, 0, raw)


class JournalMachine(RuleBasedStateMachine):
    """Appends, marks, commits, crashes; the model knows what a reopened journal must say."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.journal = opened(self.folder, keep=50)
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
        self.journal._env.close()
        self.journal = opened(self.folder, keep=50)
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


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestJournalModel = JournalMachine.TestCase


def test_old_records_are_pruned_and_pending_ones_stay(tmp_path: Path) -> None:
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


def test_dead_letters_are_kept_up_to_their_limit(tmp_path: Path) -> None:
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


def test_a_full_store_writes_nothing_of_the_batch(tmp_path: Path) -> None:
    """StorageFull leaves the journal as it was before the batch."""
    journal = Journal(tmp_path / "j", disk=True, map_bytes=16 * 1024 * 1024)
    journal.append(b"good")
    journal.commit(journal.seal(1))
    journal.append(b"x" * 20 * 1024 * 1024)
    batch = journal.seal(1)
    with pytest.raises(StorageFull, match="map is full"):
        journal.commit(batch)
    assert journal.newest(5) == [b"good"]
    journal.close()


def test_snapshots_and_history_come_back(tmp_path: Path) -> None:
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


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    """A folder that a later version made is left alone."""
    env = Environment(tmp_path / "e", ("t",), map_bytes=MAP)
    with env.lmdb.begin(write=True) as txn:
        txn.put(b"version", b"99", db=env.tables["schema"])
    env.close()
    with pytest.raises(ForeignFolder, match="schema version 99"):
        Environment(tmp_path / "e", ("t",), map_bytes=MAP)
