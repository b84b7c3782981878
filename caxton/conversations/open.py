"""The open conversations of a shard: found, opened, snapshotted, passivated, ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from actors import ActorSystem, MailboxSpec
from caxton.conversations.conversation import Conversation, ConversationHost, OpenConversation
from caxton.conversations.record import (
    CHUNK,
    ConversationRecord,
    history_key,
    pack_sequences,
    unpack_sequences,
)
from caxton.message import Message
from caxton.storage.journal import Journal
from caxton.storage.records import Batch

__all__ = ["LAG", "OpenConversations"]

SNAPSHOTS = 64
"""Due snapshots that one commit carries at most; a tenth of what is changed when that is more."""
LAG = 20_000
"""Messages that snapshots may be behind the journal: a start reads as many again. A conversation
that gets messages all the time is written once in so many messages, not once in each commit."""
SWEPT = 200
"""Stored conversations that are looked at in one go, for those that nothing is kept of."""
MAILBOX = 1_000_000
"""A conversation's mailbox is bounded by the shard's limit of pending messages, not by itself."""


class OpenConversations:
    """Conversation actors by id.

    Args:
        system: where the actors live.
        journal: where snapshots are.
        host: the stages before and after.
        limit: conversations kept in memory; the idlest others are passivated.
        timeout_ms: idle time after which a conversation has ended.
        lag: messages that snapshots may be behind the journal.
    """

    def __init__(
        self,
        system: ActorSystem,
        journal: Journal,
        host: ConversationHost,
        *,
        limit: int,
        timeout_ms: int,
        lag: int = LAG,
    ) -> None:
        self._system = system
        self._journal = journal
        self._host = host
        self._limit = limit
        self._lag = lag
        self._changed_limit = min(lag, max(1, limit // 4))
        """What has changed cannot be passivated."""
        self.timeout_ms = timeout_ms
        self.known: dict[bytes, OpenConversation] = {}
        """The open ones by id."""
        self.due: dict[bytes, int] = {}
        """Conversation to the first sequence number its snapshot misses, in rising order."""
        self._settled = 0
        self._rested = 0
        """What changed before these is to be written, however little else happens."""
        self.opened = 0
        """Conversations that were begun."""
        self.unfinished = False
        """Whether the last commit had no room for all snapshots that were due."""
        self._deadlines: list[tuple[int, bytes]] = []
        self._forgotten: dict[bytes, None] = {}
        self._swept = b""
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(ConversationRecord)
        self._mailbox = MailboxSpec(capacity=MAILBOX)

    def __len__(self) -> int:
        return len(self.known)

    def __iter__(self) -> Iterator[OpenConversation]:
        return iter(self.known.values())

    def peek(self, key: bytes) -> ConversationRecord | None:
        """The record of a conversation, open or stored, without opening it."""
        found = self.known.get(key)
        if found is not None:
            return found.record
        raw = self._journal.conversation(key)
        return None if raw is None else self._decoder.decode(raw)

    def stored(self, limit: int) -> list[tuple[bytes, ConversationRecord]]:
        """Stored snapshots of conversations that are not open."""
        return [
            (key, self._decoder.decode(raw))
            for key, raw in self._journal.conversations(limit)
            if key not in self.known
        ]

    def sequences(self, key: bytes, record: ConversationRecord) -> list[int]:
        """The sequence numbers of all messages of a conversation, in order."""
        found = [seq for chunk in self._journal.history(key) for seq in unpack_sequences(chunk)]
        known = found[-1] if found else 0
        return found + [seq for seq in record.sequences if seq > known]

    def get(self, message: Message) -> OpenConversation:
        """The conversation of ``message``, opened when it is not."""
        return self.known.get(message.conversation_id) or self.open(message)

    def open(self, message: Message) -> OpenConversation:
        """Open the conversation of ``message``, stored or new."""
        key = message.conversation_id
        record = self.peek(key)
        if record is None:
            record = ConversationRecord.begin(message)
            self.opened += 1
        return self._open_one(key, record)

    def _open_one(self, key: bytes, record: ConversationRecord) -> OpenConversation:
        if len(self.known) >= self._limit:
            self._passivate()
        self._forgotten.pop(key, None)
        state = OpenConversation(key, record)
        if record.progress is not None:
            state.deadline = record.progress.deadline
        state.ref = self._system.spawn(Conversation, state, self._host, mailbox=self._mailbox)
        state.hand = state.ref.hand
        self.known[key] = state
        heapq.heappush(self._deadlines, (self._host.now_ms() + self.timeout_ms, key))
        return state

    def replay(self, message: Message, sequence: int) -> None:
        """Bring a record up to date with a journaled message, after a start."""
        state = self.get(message)
        if sequence > state.record.last_sequence:
            error = state.take(message, sequence, message.created_at, self._host)
            if error is not None:
                if state.refused is None:
                    state.refused = {}
                state.refused[sequence] = error
        self.touched(state, sequence)

    def touched(self, state: OpenConversation, sequence: int) -> None:
        """``state`` gets the message ``sequence``, which its snapshot does not have."""
        self.due.setdefault(state.key, sequence)

    def snapshot(self, batch: Batch) -> int:
        """Put due snapshots into ``batch``; returns the first sequence number still missing."""
        due = self.due
        following = self._journal.next_sequence
        edge = max(following - self._lag, self._rested)
        over = len(due) - self._changed_limit
        room = max(SNAPSHOTS, len(due) // 10)
        done: list[bytes] = []
        self.unfinished = False
        for key, missing in due.items():
            if missing >= edge and len(done) >= over:
                break
            state = self.known[key]
            # A message in the mailbox is journaled but not yet in the record.
            if state.told:
                break
            if len(done) == room:
                self.unfinished = True
                break
            done.append(key)
            self._write(state, batch)
        for key in done:
            del due[key]
        while self._forgotten and len(batch.forgotten) < SNAPSHOTS:
            batch.forgotten.append(self._forgotten.popitem()[0])
        return next(iter(due.values()), following)

    def settle(self) -> bool:
        """Have written what has changed and then rested since the call before the last one.

        Call now and then; True when there is something to commit.
        """
        self._rested, self._settled = self._settled, self._journal.next_sequence
        return next(iter(self.due.values()), self._rested) < self._rested

    def _write(self, state: OpenConversation, batch: Batch) -> None:
        record = state.record
        while len(record.sequences) >= CHUNK:
            chunk, record.sequences = record.sequences[:CHUNK], record.sequences[CHUNK:]
            batch.history.append((history_key(state.key, record.chunks), pack_sequences(chunk)))
            record.chunks += 1
        batch.conversations.append((state.key, self._encode(record)))

    def expire(self) -> int:
        """End conversations that were idle too long; returns how many. Call now and then."""
        now = self._host.now_ms()
        ended = 0
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            _, key = heapq.heappop(deadlines)
            state = self.known.get(key)
            if state is None:
                continue
            deadline = state.record.last_activity + self.timeout_ms
            busy = state.told or key in self.due
            if deadline > now or busy or self._host.silent(key, state.record):
                heapq.heappush(deadlines, (max(deadline, now + 1_000), key))
                continue
            self._close(key)
            ended += 1
        return ended

    def sweep(self) -> int:
        """Find ended conversations of which the journal keeps no message any more.

        Looks at some stored ones each time; the next commits remove what was found, which is
        also how many are waiting for that.
        """
        rows = self._journal.conversations_from(self._swept, SWEPT)
        self._swept = rows[-1][0] + b"\0" if len(rows) == SWEPT else b""
        for key, raw in rows:
            record = self._decoder.decode(raw)
            if key in self.known or not self.ended(record):
                continue
            gone = record.last_sequence < self._journal.first_kept
            if not self._host.silent(key, record) and gone:
                self._forgotten[key] = None
        return len(self._forgotten)

    def take_up(self) -> Iterator[int]:
        """After a start: watch the deadlines of stored conversations, some in each step."""
        start = b""
        while True:
            rows = self._journal.conversations_from(start, SWEPT)
            for key, raw in rows:
                progress = None if key in self.known else self._decoder.decode(raw).progress
                if progress is not None and progress.deadline:
                    self._host.await_answer(key, progress.deadline)
            yield len(rows)
            if len(rows) < SWEPT:
                return
            start = rows[-1][0] + b"\0"

    def ended(self, record: ConversationRecord) -> bool:
        """Whether a conversation has been idle for longer than its timeout. A subscription that
        is under way may be."""
        if record.last_activity + self.timeout_ms > self._host.now_ms():
            return False
        progress = record.progress
        return progress is None or progress.over or not progress.lasting

    def _passivate(self) -> None:
        """Make room: the conversations opened longest ago that have nothing to do."""
        idle = (key for key, state in self.known.items() if not state.told and key not in self.due)
        for key in [key for key, _ in zip(idle, range(max(1, self._limit // 100)), strict=False)]:
            self._close(key)

    def _close(self, key: bytes) -> None:
        state = self.known.pop(key)
        if state.ref is not None:
            state.ref.stop(block=False)
