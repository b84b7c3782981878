"""Another number of shards than the last run had: every conversation moves to its new shard.

Done before any shard starts, into a folder beside the old one that takes its place in one step;
a run that dies meanwhile leaves the old one as it was. What is kept of a conversation moves whole
and in order: messages, pending ones with their attempts, dead letters, state, history.
"""

from __future__ import annotations

import heapq
import logging
import os
import shutil
import sys
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import orjson

from actors import ActorSystem
from caxton.agents.directory import system_identity
from caxton.config import Config
from caxton.conversations.open import OpenConversations
from caxton.conversations.record import (
    CHUNK,
    ConversationRecord,
    history_key,
    pack_sequences,
    unpack_sequences,
)
from caxton.errors import CaxtonError, InternalError, StorageCorrupt
from caxton.links.wire import shard_of
from caxton.message import Message, decode
from caxton.routing.accepted import Accepted
from caxton.storage.journal import Journal
from caxton.storage.records import Recovered, RetryRecord

__all__ = ["Replay", "reshard", "reshard_node", "stored_shards"]

logger = logging.getLogger("caxton.storage")

BATCH = 5_000
"""Messages or conversations that one commit moves."""
MARK = "shards.json"

Replay = Callable[[Journal, Recovered], dict[bytes, ConversationRecord]]
"""The records of those conversations whose snapshots are behind a journal."""


class _Host:
    """Stands for the stages of a shard that is not there."""

    def __init__(self, config: Config, node_id: bytes) -> None:
        self.max_participants = config.conversation_participants
        self.node = system_identity(node_id)

    def now_ms(self) -> int:
        """No time passes: nothing expires meanwhile."""
        return 0

    def resolve(self, accepted: Accepted, record: ConversationRecord) -> None:
        """Never called."""
        raise InternalError(reason="a message is resolved while shards move")

    def violated(self, accepted: Accepted, error: CaxtonError) -> None:
        """Never called."""
        raise InternalError(reason="a message is answered while shards move")

    def broke(self, accepted: Accepted, error: Exception) -> None:
        """Never called."""
        raise InternalError(reason="a message is passed on while shards move") from error

    def silent(self, key: bytes, record: ConversationRecord) -> bool:
        """Nothing ends here."""
        return False

    def await_answer(self, key: bytes, deadline: int) -> None:
        """The shard that gets the conversation watches it."""


async def reshard_node(config: Config, node_id: bytes, wanted: int) -> int:
    """``reshard`` for the data folder of a node that is about to start."""
    system = ActorSystem("resharding")

    def open_journal(path: Path) -> Journal:
        return Journal(path, disk=False, map_bytes=config.storage_map_bytes, keep=sys.maxsize)

    def replay(journal: Journal, recovered: Recovered) -> dict[bytes, ConversationRecord]:
        known = OpenConversations(
            system,
            journal,
            _Host(config, node_id),
            limit=sys.maxsize,
            timeout_ms=config.conversation_timeout_ms,
        )
        for sequence, raw in recovered.replay:
            known.replay(decode(raw), sequence)
        return {state.key: state.record for state in known}

    try:
        return reshard(config.data / "shards", wanted, open_journal, replay)
    finally:
        await system.stop(5)


def stored_shards(folder: Path) -> int:
    """How many shards the journals below ``folder`` are of; 0 when there are none.

    Raises:
        StorageCorrupt: the folder says something that cannot be.
    """
    mark = folder / MARK
    if mark.exists():
        try:
            return int(orjson.loads(mark.read_bytes())["shards"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageCorrupt(store=str(mark), reason=repr(error)) from error
    numbers = [int(one.name) for one in folder.glob("*") if one.name.isdigit()]
    return max(numbers, default=-1) + 1


def _note(folder: Path, shards: int) -> None:
    fresh = folder / f"{MARK}.new"
    with fresh.open("wb") as file:
        file.write(orjson.dumps({"shards": shards}))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / MARK)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reshard(
    folder: Path, wanted: int, open_journal: Callable[[Path], Journal], replay: Replay
) -> int:
    """Have the journals below ``folder`` be those of ``wanted`` shards; returns what was moved.

    Args:
        folder: of the shards' journals; nothing may have them open.
        wanted: 1 to 32.
        open_journal: opens the journal in a folder, or makes it.
        replay: see ``Replay``.

    Raises:
        StorageError: the folder is as it was before.
    """
    fresh, aside = folder.with_name("shards.new"), folder.with_name("shards.old")
    if (fresh / MARK).exists() and not any(folder.iterdir()):
        # The last run died between the two steps of taking its place.
        _take_place(folder, fresh, aside)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    stored = stored_shards(folder)
    if stored in (0, wanted):
        _note(folder, wanted)
        return 0
    logger.warning("moving conversations from %d to %d shards", stored, wanted)
    fresh.mkdir(mode=0o700)
    move = _Move(
        [open_journal(folder / str(number)) for number in range(stored)],
        [open_journal(fresh / str(number)) for number in range(wanted)],
        replay,
    )
    try:
        moved = move.run()
    finally:
        move.close()
    _note(fresh, wanted)
    _take_place(folder, fresh, aside)
    logger.warning("moved %d messages", moved)
    return moved


def _take_place(folder: Path, fresh: Path, aside: Path) -> None:
    if any(folder.iterdir()):
        folder.rename(aside)
    else:
        folder.rmdir()
    fresh.rename(folder)
    _sync_folder(folder.parent)
    shutil.rmtree(aside)


class _Move:
    """One way of all messages and conversations from some journals into others."""

    def __init__(self, old: list[Journal], new: list[Journal], replay: Replay) -> None:
        self._old = old
        self._new = new
        self._replay = replay
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(ConversationRecord)

    def run(self) -> int:
        """Move everything; returns how many messages."""
        recovered = [journal.recover() for journal in self._old]
        numbers = [array("Q") for _ in self._old]
        moved = 0
        # The oldest first, so that the new journals forget the oldest first too. Each journal's
        # own order holds whatever the clocks said.
        for _, source, sequence, raw, message in heapq.merge(
            *(self._messages(source) for source in range(len(self._old))), key=lambda row: row[0]
        ):
            number = self._one(source, sequence, raw, message, recovered[source])
            numbers[source].append(number)
            moved += 1
        for source, journal in enumerate(self._old):
            self._old_letters(journal)
            self._conversations(journal, recovered[source], numbers[source])
        for journal in self._new:
            self._commit(journal)
        return moved

    def _messages(self, source: int) -> Iterator[tuple[int, int, int, bytes, Message]]:
        for sequence, raw in self._old[source].messages():
            message = decode(raw)
            yield message.created_at, source, sequence, raw, message

    def _home(self, conversation: bytes) -> Journal:
        return self._new[shard_of(conversation, len(self._new))]

    def _one(
        self, source: int, sequence: int, raw: bytes, message: Message, recovered: Recovered
    ) -> int:
        old, new = self._old[source], self._home(message.conversation_id)
        number = new.append(raw)
        letter = old.dead(sequence)
        if letter is not None:
            new.bury(msgspec.structs.replace(letter, sequence=number))
        elif not old.is_pending(sequence):
            new.mark(number)
        else:
            retry = recovered.retries.get(sequence)
            if recovered.died:
                before = retry or RetryRecord(0, 0)
                retry = msgspec.structs.replace(
                    before,
                    deaths=before.deaths + 1,
                    kills=before.kills + (sequence == recovered.trial),
                )
            if retry is not None:
                new.retry(number, retry)
        if len(new.open.messages) >= BATCH:
            self._commit(new)
        return number

    def _old_letters(self, journal: Journal) -> None:
        """Dead letters outlive their messages in the journal."""
        for letter in reversed(journal.dead_newest(journal.dead_letters)):
            if letter.sequence < journal.first_kept:
                new = self._home(decode(letter.message).conversation_id)
                new.bury(msgspec.structs.replace(letter, sequence=new.append(letter.message)))

    def _conversations(self, old: Journal, recovered: Recovered, numbers: array[int]) -> None:
        newer = self._replay(old, recovered)
        for key, record in self._stored(old):
            self._conversation(old, key, newer.pop(key, record), numbers)
        for key, record in newer.items():
            self._conversation(old, key, record, numbers)

    def _stored(self, old: Journal) -> Iterator[tuple[bytes, ConversationRecord]]:
        after = b""
        while rows := old.conversations_from(after, BATCH):
            for key, raw in rows:
                yield key, self._decoder.decode(raw)
            after = rows[-1][0] + b"\0"

    def _conversation(
        self, old: Journal, key: bytes, record: ConversationRecord, numbers: array[int]
    ) -> None:
        first = old.first_kept
        before = [seq for chunk in old.history(key) for seq in unpack_sequences(chunk)]
        last = before[-1] if before else 0
        before += [seq for seq in record.sequences if seq > last]
        after = [numbers[seq - first] for seq in before if seq >= first]
        new = self._home(key)
        record.chunks = 0
        while len(after) >= CHUNK:
            chunk, after = after[:CHUNK], after[CHUNK:]
            new.open.history.append((history_key(key, record.chunks), pack_sequences(chunk)))
            record.chunks += 1
            record.last_sequence = chunk[-1]
        record.sequences = after
        record.last_sequence = after[-1] if after else record.last_sequence if record.chunks else 0
        new.open.conversations.append((key, self._encode(record)))
        if len(new.open.conversations) >= BATCH:
            self._commit(new)

    @staticmethod
    def _commit(journal: Journal) -> None:
        if journal.open:
            journal.commit(journal.seal(journal.next_sequence))

    def close(self) -> None:
        """Close all journals."""
        for journal in (*self._old, *self._new):
            journal.close()
