"""Another number of shards: every conversation moves whole, or nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caxton import Config
from caxton.conversations.record import ConversationRecord, unpack_sequences
from caxton.errors import StorageCorrupt
from caxton.links.wire import shard_of
from caxton.message import decode, encode, make_message
from caxton.processes import resharding
from caxton.processes.resharding import MARK, reshard, reshard_node, stored_shards
from caxton.storage.journal import Journal
from caxton.storage.records import DeadRecord, RetryRecord
from caxton.types import new_id

CLIENT, AGENT = new_id(), new_id()
_record = msgspec.msgpack.Decoder(ConversationRecord).decode


def config_of(folder: Path, **more: Any) -> Config:
    return Config(agents=folder, data=folder / "data", storage_map_bytes=1 << 26, **more)


def journal_of(folder: Path, number: int) -> Journal:
    return Journal(folder / "data" / "shards" / str(number), disk=False, map_bytes=1 << 26)


def commit(journal: Journal, replay_from: int | None = None) -> None:
    journal.commit(journal.seal(journal.next_sequence if replay_from is None else replay_from))


class Old:
    """Journals of some shards with messages of every fate, and what must be found again."""

    def __init__(self, folder: Path, shards: int, fates: list[tuple[int, str]]) -> None:
        self.folder = folder
        conversations = [new_id() for _ in range(7)]
        journals = [journal_of(folder, number) for number in range(shards)]
        self.texts: dict[bytes, list[bytes]] = {}
        self.pending: set[bytes] = set()
        self.retries: dict[bytes, RetryRecord] = {}
        self.dead: dict[bytes, str] = {}
        records: dict[bytes, ConversationRecord] = {}
        for number, (which, fate) in enumerate(fates):
            key = conversations[which]
            journal = journals[shard_of(key, shards)]
            message = make_message(
                "inform", sender=CLIENT, receiver=AGENT, content=b"%d" % number, conversation_id=key
            )
            raw = encode(message)
            sequence = journal.append(raw)
            self.texts.setdefault(key, []).append(raw)
            record = records.setdefault(key, ConversationRecord.begin(message))
            record.apply(message, sequence, message.created_at)
            if fate == "handled":
                journal.mark(sequence)
            elif fate == "dead":
                journal.bury(DeadRecord(sequence, "agent_failed", "broken", 3, 1, raw, "trace"))
                self.dead[raw] = "trace"
            else:
                self.pending.add(raw)
            if fate == "retried":
                self.retries[raw] = RetryRecord(2, 1_700_000_000_000, 1, 0)
                journal.retry(sequence, self.retries[raw])
            if number % 5 == 0:
                # Snapshots are behind: what comes after them is only in the log.
                first = journal.next_sequence
                if number % 2 == 0:
                    for other, one in records.items():
                        if shard_of(other, shards) == journals.index(journal):
                            snapshot = msgspec.msgpack.encode(one)
                            journal.open.conversations.append((other, snapshot))
                    commit(journal, first)
                else:
                    commit(journal, 0)
        for journal in journals:
            commit(journal, 0)
            journal.close()
        for number in range(shards):
            # Opened and closed once, as a start without work does: what is stored stays as it is.
            journal_of(folder, number).close()

    def check(self, shards: int) -> None:
        """Everything is on its shard, once, in order, as it was."""
        assert stored_shards(self.folder / "data" / "shards") == shards
        texts: dict[bytes, list[bytes]] = {}
        pending: set[bytes] = set()
        retries: dict[bytes, RetryRecord] = {}
        dead: dict[bytes, str] = {}
        for number in range(shards):
            journal = journal_of(self.folder, number)
            recovered = journal.recover()
            assert not recovered.replay
            by_number = dict(journal.messages())
            for raw in by_number.values():
                key = decode(raw).conversation_id
                assert shard_of(key, shards) == number
                texts.setdefault(key, []).append(raw)
            pending |= {raw for _, raw in recovered.pending}
            retries |= {by_number[seq]: one for seq, one in recovered.retries.items()}
            for letter in journal.dead_newest(1_000):
                assert by_number[letter.sequence] == letter.message
                dead[letter.message] = letter.traceback
            for key, raw in journal.conversations(1_000):
                record = _record(raw)
                chunks = [seq for one in journal.history(key) for seq in unpack_sequences(one)]
                listed = chunks + record.sequences
                assert [by_number[seq] for seq in listed] == self.texts[key]
                assert record.last_sequence == listed[-1]
                assert record.messages == len(self.texts[key])
                assert record.participants == [CLIENT, AGENT]
            assert {key for key, _ in journal.conversations(1_000)} == {
                key for key in self.texts if shard_of(key, shards) == number
            }
            journal.close()
        assert texts == self.texts
        assert pending == self.pending
        assert retries == self.retries
        assert dead == self.dead


FATES = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["handled", "pending", "retried", "dead"])),
    min_size=1,
    max_size=60,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 4), st.integers(1, 4), FATES)
def test_everything_is_found_again(
    tmp_path_factory: pytest.TempPathFactory,
    stored: int,
    wanted: int,
    fates: list[tuple[int, str]],
) -> None:
    """Messages in order, what is pending, retries, dead letters, records; there and back."""
    folder = tmp_path_factory.mktemp("reshard")
    old = Old(folder, stored, fates)

    async def there_and_back() -> None:
        moved = await reshard_node(config_of(folder), bytes(16), wanted)
        assert moved == (0 if wanted == stored else len(fates))
        if wanted != stored:
            old.check(wanted)
        assert await reshard_node(config_of(folder), bytes(16), wanted) == 0
        await reshard_node(config_of(folder), bytes(16), stored)
        if wanted != stored:
            old.check(stored)

    asyncio.run(there_and_back())


async def test_long_conversations_move_with_their_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More messages than a record holds, in more than one commit."""
    monkeypatch.setattr(resharding, "BATCH", 100)
    old = Old(tmp_path, 3, [(number % 2, "handled") for number in range(1_400)])
    assert await reshard_node(config_of(tmp_path), bytes(16), 2) == 1_400
    old.check(2)


async def test_a_run_that_dies_meanwhile_leaves_the_old_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its steps; the next start does it."""
    fates = [(number % 7, ("handled", "pending")[number % 2]) for number in range(40)]
    old = Old(tmp_path, 2, fates)

    class Killed(BaseException):
        """Stands for the end of the process."""

    def die(*_: object) -> None:
        raise Killed

    steps: list[tuple[Any, str]] = [
        (resharding._Move, "_conversations"),
        (resharding, "_note"),
        (resharding, "_take_place"),
    ]
    for holder, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(holder, name, die)
            with pytest.raises(Killed):
                await reshard_node(config_of(tmp_path), bytes(16), 3)
        assert stored_shards(tmp_path / "data" / "shards") == 2
    renamed: list[Path] = []
    rename = Path.rename

    def once(path: Path, target: Path) -> Path:
        if renamed:
            raise Killed
        renamed.append(path)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", once)
        with pytest.raises(Killed):
            await reshard_node(config_of(tmp_path), bytes(16), 3)
    # As a start does before anything else.
    (tmp_path / "data" / "shards").mkdir()
    assert await reshard_node(config_of(tmp_path), bytes(16), 3) == 0
    old.check(3)
    assert sorted(one.name for one in (tmp_path / "data").iterdir()) == ["shards"]


async def test_a_dead_run_counts_as_a_death(tmp_path: Path) -> None:
    """What was pending when its process died is a suspect on its new shard too."""
    key = new_id()
    journal = journal_of(tmp_path, shard_of(key, 2))
    other = journal_of(tmp_path, 1 - shard_of(key, 2))
    message = make_message("inform", sender=CLIENT, receiver=AGENT, conversation_id=key)
    sequence = journal.append(encode(message))
    journal.note_trial(sequence)
    commit(journal)
    # Not closed in good order: no mark of it is written.
    journal._env.close()
    other.close()
    assert await reshard_node(config_of(tmp_path), bytes(16), 1) == 1
    after = journal_of(tmp_path, 0)
    assert list(after.recover().retries.values()) == [RetryRecord(0, 0, 1, 1)]
    after.close()


async def test_letters_outlive_their_messages(tmp_path: Path) -> None:
    """A dead letter whose message the log has dropped moves with a copy of it."""
    key = new_id()
    number = shard_of(key, 2)
    for one in (number, 1 - number):
        journal = Journal(
            tmp_path / "data" / "shards" / str(one), disk=False, map_bytes=1 << 26, keep=2
        )
        if one == number:
            for count in range(10):
                raw = encode(
                    make_message(
                        "inform",
                        sender=CLIENT,
                        receiver=AGENT,
                        content=b"%d" % count,
                        conversation_id=key,
                    )
                )
                sequence = journal.append(raw)
                if count:
                    journal.mark(sequence)
                else:
                    journal.bury(DeadRecord(sequence, "agent_failed", "broken", 3, 1, raw))
                commit(journal)
            assert journal.first_kept > 1
        journal.close()
    await reshard_node(config_of(tmp_path), bytes(16), 1)
    after = journal_of(tmp_path, 0)
    (letter,) = after.dead_newest(10)
    assert decode(letter.message).content == b"0"
    assert after.read(letter.sequence) == letter.message
    assert not after.recover().pending
    after.close()


def test_a_mark_that_says_nothing_is_told(tmp_path: Path) -> None:
    """Nothing is moved by guess."""
    (tmp_path / MARK).write_text("{}")
    with pytest.raises(StorageCorrupt):
        stored_shards(tmp_path)
    (tmp_path / MARK).write_text("no")
    with pytest.raises(StorageCorrupt):
        reshard(tmp_path, 2, never, never)


never: Callable[..., Any] = None  # type: ignore[assignment]  # not called
