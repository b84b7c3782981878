"""The journal of a shard: what was accepted, in order, and what became of it.

One commit is one LMDB transaction with one log record for all its messages and handled marks, so a
message costs no transaction, no flush and no tree descent of its own. The log is the truth.
Conversation snapshots ride along a few per commit; ``replay_from`` is the first sequence number
that some snapshot may not contain yet, and the log is read again from there after a crash.

Sequence numbers start at 1 and have no gaps. A message is *pending* from its acceptance until its
handled (or dead) mark is committed.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import msgspec

from caxton.errors import StorageCorrupt
from caxton.message import now_ms
from caxton.storage.environment import Environment, storage_errors
from caxton.storage.records import Batch, DeadRecord, LogRecord, Recovered, RetryRecord, State
from caxton.storage.retention import Retention

__all__ = ["Journal"]

_KEY = struct.Struct(">QQ")
_SEQ = struct.Struct(">Q")
TABLES = ("log", "meta", "pending", "conversations", "history", "dead_letters", "retries")
CACHED_RECORDS = 8
"""Decoded log records kept for reading messages one by one."""


class Journal:
    """The log of one shard.

    ``append`` and ``mark`` fill the open batch; ``seal`` closes it; ``commit`` writes it, on any
    one thread at a time, while the next batch fills.

    Args:
        path: folder of the shard's environment.
        disk: flush each commit (``disk``) or leave it in the page cache (``process``).
        map_bytes: largest size of the store.
        keep: which handled messages stay for history.
        dead_limit: dead letters kept; the oldest go first.
        now_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        disk: bool,
        map_bytes: int,
        keep: Retention | int = 1_000_000,
        dead_limit: int = 100_000,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._env = Environment(path, TABLES, map_bytes=map_bytes, sync=disk)
        self._retention = Retention(keep) if isinstance(keep, int) else keep
        self._now_ms = now_ms
        self._dead_limit = dead_limit
        self._encode = msgspec.msgpack.Encoder().encode
        self._log_decoder = msgspec.msgpack.Decoder(LogRecord)
        self._dead_decoder = msgspec.msgpack.Decoder(DeadRecord)
        raw = self._env.read("meta", b"state")
        state = msgspec.msgpack.decode(raw, type=State) if raw else State(0, 1, 1)
        self._number = state.commit
        self._replay_from = state.replay_from
        self._next = state.next_sequence
        self._last = state
        self._trial = self._group = 0
        self.unmarked: set[int] = set()
        """Numbers of the messages that are accepted and not marked."""
        self._stored: set[int] = set()
        self._retried: set[int] = set()
        self._open = Batch(self._next)
        self._sealed: Batch | None = None
        self._cached: OrderedDict[int, LogRecord] = OrderedDict()
        self.dead_letters = self._count("dead_letters")
        self.first_kept = self._first_kept()

    @property
    def name(self) -> str:
        """Name of the store, for errors."""
        return self._env.name

    @property
    def used_bytes(self) -> int:
        """Of the store's file that are in use."""
        return self._env.used_bytes

    @property
    def pending(self) -> int:
        """Messages accepted and not marked."""
        return len(self.unmarked)

    @property
    def next_sequence(self) -> int:
        """The number the next message gets."""
        return self._open.first + len(self._open.messages)

    @property
    def open(self) -> Batch:
        """The batch that is filling."""
        return self._open

    def append(self, raw: bytes) -> int:
        """Put a message into the open batch and give it its sequence number."""
        messages = self._open.messages
        sequence = self._open.first + len(messages)
        messages.append(raw)
        self.unmarked.add(sequence)
        return sequence

    def mark(self, sequence: int) -> bool:
        """Mark a message as handled in the open batch. False when it was not pending."""
        if sequence not in self.unmarked:
            return False
        self.unmarked.discard(sequence)
        self._open.handled.append(sequence)
        return True

    def bury(self, dead: DeadRecord) -> bool:
        """Mark a message as a dead letter in the open batch. False when it was not pending."""
        if not self.mark(dead.sequence):
            return False
        self._open.dead.append(dead)
        return True

    def retry(self, sequence: int, record: RetryRecord) -> None:
        """Note in the open batch that a pending message comes again."""
        self._open.retries[sequence] = record
        self._retried.add(sequence)

    def note_trial(self, sequence: int, group: int = 0) -> None:
        """Note in the open batch which message is on trial alone, or else how many are together.
        That there is none (0 and 0) is no reason for a commit."""
        self._trial, self._group = sequence, group
        self._open.noted = bool(sequence or group)

    def remove_dead(self, sequence: int) -> None:
        """Remove a dead letter in the open batch."""
        self._open.raised.append(sequence)

    def is_pending(self, sequence: int) -> bool:
        """Whether the message is accepted and not marked."""
        return sequence in self.unmarked

    def seal(self, replay_from: int) -> Batch:
        """Close the open batch and start the next.

        ``replay_from`` is the first sequence number that conversation snapshots, with those in
        this batch, may still miss.
        """
        batch = self._open
        following = batch.first + len(batch.messages)
        self._open = Batch(following)
        # The next note may be made while this batch is written, and is not of it.
        batch.trial, batch.group = self._trial, self._group
        batch.replay_from = max(self._replay_from, min(replay_from, following))
        if self._stored:
            batch.drop_pending = [seq for seq in batch.handled if seq in self._stored]
            self._stored.difference_update(batch.drop_pending)
        if self._retried:
            batch.drop_retries = [seq for seq in batch.handled if seq in self._retried]
            self._retried.difference_update(batch.drop_retries)
        pending = self.unmarked
        if pending:
            passed = range(self._replay_from, batch.replay_from)
            batch.store_pending = [seq for seq in passed if seq in pending]
            self._stored.update(batch.store_pending)
        self._replay_from = batch.replay_from
        self._sealed = batch
        return batch

    def commit(self, batch: Batch) -> None:
        """Write a sealed batch in one transaction. On an error nothing of it is written.

        Raises:
            StorageFull, StorageError: the same batch may be tried again.
        """
        number = self._number + 1
        now = self._now_ms()
        following = batch.first + len(batch.messages)
        record = self._encode(LogRecord(batch.first, batch.messages, batch.handled, now))
        self._last = State(number, following, batch.replay_from, batch.trial, group=batch.group)
        state = self._encode(self._last)
        tables = self._env.tables
        dead_letters = self.dead_letters
        with storage_errors(self.name), self._env.begin(write=True) as txn:
            txn.put(_KEY.pack(batch.first, number), record, db=tables["log"], append=True)
            for key, value in batch.conversations:
                txn.put(key, value, db=tables["conversations"])
            for key, value in batch.history:
                txn.put(key, value, db=tables["history"])
            for key in batch.forgotten:
                self._forget(txn, key)
            for sequence in batch.store_pending:
                txn.put(_SEQ.pack(sequence), b"", db=tables["pending"])
            for sequence in batch.drop_pending:
                txn.delete(_SEQ.pack(sequence), db=tables["pending"])
            for sequence, retry in batch.retries.items():
                txn.put(_SEQ.pack(sequence), self._encode(retry), db=tables["retries"])
            for sequence in batch.drop_retries:
                txn.delete(_SEQ.pack(sequence), db=tables["retries"])
            if batch.dead or batch.raised:
                dead_letters = self._write_dead(txn, batch)
            first_kept = self._retention.prune(
                txn, tables, self.first_kept, following, batch.replay_from, now
            )
            txn.put(b"state", state, db=tables["meta"])
        self._sealed = None
        self._number = number
        self.dead_letters = dead_letters
        self.first_kept = first_kept

    def grow(self) -> bool:
        """Make room after StorageFull; whether there is more. Nothing else may run meanwhile."""
        return self._env.grow()

    def _forget(self, txn: lmdb.Transaction[bytes], conversation: bytes) -> None:
        txn.delete(conversation, db=self._env.tables["conversations"])
        cursor = txn.cursor(self._env.tables["history"])
        while cursor.set_range(conversation) and bytes(cursor.key()).startswith(conversation):
            cursor.delete()

    def _write_dead(self, txn: lmdb.Transaction[bytes], batch: Batch) -> int:
        table = self._env.tables["dead_letters"]
        for sequence in batch.raised:
            txn.delete(_SEQ.pack(sequence), db=table)
        for dead in batch.dead:
            txn.put(_SEQ.pack(dead.sequence), self._encode(dead), db=table)
        count = int(txn.stat(table)["entries"])
        cursor = txn.cursor(table)
        while count > self._dead_limit and cursor.first():
            cursor.delete()
            count -= 1
        return count

    def _count(self, table: str) -> int:
        with storage_errors(self.name), self._env.begin() as reading:
            return int(reading.stat(self._env.tables[table])["entries"])

    def _first_kept(self) -> int:
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["log"])
            return int(_KEY.unpack(cursor.key())[0]) if cursor.first() else self._next

    def recover(self) -> Recovered:
        """Read what the last run left. Call once, before the first append."""
        stored: list[int] = []
        found: dict[int, bytes] = {}
        handled: set[int] = set()
        with storage_errors(self.name), self._env.begin() as reading:
            retries = {
                _SEQ.unpack(key)[0]: msgspec.msgpack.decode(value, type=RetryRecord)
                for key, value in reading.cursor(self._env.tables["retries"]).iternext()
            }
            cursor = reading.cursor(self._env.tables["pending"])
            stored = [_SEQ.unpack(key)[0] for key in cursor.iternext(values=False)]
            log = reading.cursor(self._env.tables["log"])
            if self._seek(log, self._replay_from):
                for value in log.iternext(keys=False):
                    record = self._decode(value)
                    handled.update(record.handled)
                    for offset, raw in enumerate(record.messages):
                        found[record.first + offset] = raw
        replay = [(seq, raw) for seq, raw in found.items() if seq >= self._replay_from]
        self._stored = set(stored)
        pending = []
        for sequence in stored:
            kept = found.get(sequence) or self.read(sequence)
            if kept is None:
                raise StorageCorrupt(store=self.name, reason=f"message {sequence} is missing")
            pending.append((sequence, kept))
        pending.extend((seq, raw) for seq, raw in replay if seq not in handled)
        self.unmarked.update(sequence for sequence, _ in pending)
        self._retried = set(retries)
        raw_state = self._env.read("meta", b"state")
        last = self._last
        died = raw_state is not None and not last.closed
        self._put_state(msgspec.structs.replace(last, closed=False))
        trial, group = (last.trial, last.group) if died else (0, 0)
        return Recovered(pending, replay, retries, trial, group, died)

    def newest(self, count: int) -> list[bytes]:
        """The newest ``count`` messages that are kept, oldest first."""
        parts: list[list[bytes]] = []
        left = count
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["log"])
            if cursor.last():
                for value in cursor.iterprev(keys=False):
                    messages = self._decode(value).messages
                    parts.append(messages[-left:])
                    left -= len(messages)
                    if left <= 0:
                        break
        return [raw for part in reversed(parts) for raw in part]

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Every committed message that is kept with its number, in order. For a journal that
        nothing writes to meanwhile."""
        with storage_errors(self.name), self._env.begin() as reading:
            for value in reading.cursor(self._env.tables["log"]).iternext(keys=False):
                record = self._decode(value)
                yield from enumerate(record.messages, record.first)

    def _decode(self, value: bytes) -> LogRecord:
        try:
            return self._log_decoder.decode(value)
        except msgspec.DecodeError as error:
            raise StorageCorrupt(store=self.name, reason=str(error)) from error

    @staticmethod
    def _seek(cursor: lmdb.Cursor, sequence: int) -> bool:
        """Move to the record that holds ``sequence``, or to the first after it."""
        if cursor.set_range(_KEY.pack(sequence + 1, 0)):
            return bool(cursor.prev()) or bool(cursor.first())
        return bool(cursor.last())

    def read(self, sequence: int) -> bytes | None:
        """One message by its number, committed or not; None when it is not kept."""
        sealed = self._sealed
        for batch in (self._open, sealed):
            if batch is not None and 0 <= sequence - batch.first < len(batch.messages):
                return batch.messages[sequence - batch.first]
        for record in self._cached.values():
            if 0 <= sequence - record.first < len(record.messages):
                return record.messages[sequence - record.first]
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["log"])
            if not self._seek(cursor, sequence):
                return None
            record = self._decode(cursor.value())
        offset = sequence - record.first
        if not 0 <= offset < len(record.messages):
            return None
        # Waiting messages and histories are read in order, and a record holds many.
        self._cached[record.first] = record
        if len(self._cached) > CACHED_RECORDS:
            self._cached.popitem(last=False)
        return record.messages[offset]

    def conversation(self, key: bytes) -> bytes | None:
        """The snapshot of a conversation."""
        return self._env.read("conversations", key)

    def history(self, conversation: bytes) -> list[bytes]:
        """The full chunks of packed sequence numbers of a conversation, in order."""
        found = []
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["history"])
            if cursor.set_range(conversation):
                for key, value in cursor.iternext():
                    if not key.startswith(conversation):
                        break
                    found.append(value)
        return found

    def conversations(self, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` snapshots, those with the latest ids first."""
        found = []
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["conversations"])
            if cursor.last():
                for item in cursor.iterprev():
                    found.append(item)
                    if len(found) >= limit:
                        break
        return found

    def conversations_from(self, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` snapshots whose ids are ``key`` or later, in order."""
        found = []
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["conversations"])
            if cursor.set_range(key):
                for item in cursor.iternext():
                    found.append(item)
                    if len(found) >= limit:
                        break
        return found

    def dead(self, sequence: int) -> DeadRecord | None:
        """The dead letter with this number, if it is one."""
        sealed = self._sealed
        if sequence in self._open.raised or (sealed is not None and sequence in sealed.raised):
            return None
        raw = self._env.read("dead_letters", _SEQ.pack(sequence))
        return None if raw is None else self._dead_decoder.decode(raw)

    def dead_newest(self, limit: int) -> list[DeadRecord]:
        """At most ``limit`` dead letters, the latest first."""
        found: list[DeadRecord] = []
        removed = set(self._open.raised)
        if self._sealed is not None:
            removed.update(self._sealed.raised)
        with storage_errors(self.name), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables["dead_letters"])
            if cursor.last():
                for value in cursor.iterprev(keys=False):
                    record = self._dead_decoder.decode(value)
                    if record.sequence not in removed:
                        found.append(record)
                    if len(found) >= limit:
                        break
        return found

    def sync(self) -> None:
        """Flush what the page cache holds (for ``process`` durability)."""
        with storage_errors(self.name):
            self._env.lmdb.sync(True)

    def close(self) -> None:
        """Say that this run ended in good order, flush and close."""
        if self._env.read("meta", b"state") is not None:
            self._put_state(msgspec.structs.replace(self._last, trial=0, group=0, closed=True))
        self.sync()
        self._env.close()

    def _put_state(self, state: State) -> None:
        with storage_errors(self.name), self._env.begin(write=True) as txn:
            txn.put(b"state", self._encode(state), db=self._env.tables["meta"])
