"""Group commit: one answer per message, after its commit, and none while nothing can be written."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import lmdb
import pytest

from caxton.errors import StorageBroken, StorageError, StorageFull
from caxton.storage import environment, group_commit
from caxton.storage.group_commit import GroupCommit
from caxton.storage.journal import Journal
from caxton.storage.records import Batch


class Driven:
    """A journal with its driver, and what was committed."""

    def __init__(self, folder: Path, *, disk: bool) -> None:
        self.broken: list[StorageError] = []
        self.journal = Journal(folder / "j", disk=disk, map_bytes=64 * 1024 * 1024)
        self.batches: list[Batch] = []
        self.commit = GroupCommit(
            self.journal,
            disk=disk,
            prepare=lambda batch: self.journal.next_sequence,
            committed=self.batches.append,
            clock=time.monotonic,
            broken=self.broken.append,
        )

    @property
    def messages(self) -> list[bytes]:
        """All that was committed."""
        return [raw for batch in self.batches for raw in batch.messages]


@pytest.mark.parametrize("disk", [True, False])
async def test_everything_is_committed_once_in_order(tmp_path: Path, disk: bool) -> None:
    """Whatever arrives while a commit runs is in the next one."""
    driven = Driven(tmp_path, disk=disk)
    for n in range(50):
        driven.journal.append(b"%d" % n)
        driven.commit.kick()
        if n % 7 == 0:
            await asyncio.sleep(0)
    assert await driven.commit.flush(10)
    assert driven.messages == [b"%d" % n for n in range(50)]
    assert driven.commit.commits == len([one for one in driven.batches if one])
    assert driven.commit.commit_us.count == driven.commit.commits
    await driven.commit.close(5)


async def test_batches_grow_while_a_commit_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk makes larger batches, not a longer queue of commits."""
    driven = Driven(tmp_path, disk=True)
    gate = threading.Event()
    real = driven.journal.commit

    def slow(batch: Batch) -> None:
        gate.wait(10)
        real(batch)

    monkeypatch.setattr(driven.journal, "commit", slow)
    driven.journal.append(b"first")
    driven.commit.kick()
    await asyncio.sleep(0)
    for n in range(100):
        driven.journal.append(b"%d" % n)
        driven.commit.kick()
        await asyncio.sleep(0)
    assert driven.batches == []
    gate.set()
    assert await driven.commit.flush(10)
    assert [len(batch.messages) for batch in driven.batches] == [1, 100]
    await driven.commit.close(5)


async def test_a_full_disk_stops_answers_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batch is tried again; nothing is answered meanwhile."""
    monkeypatch.setattr(group_commit, "RETRY_S", 0.001)
    driven = Driven(tmp_path, disk=False)
    real = driven.journal.commit
    failures = iter([True, True, False])

    def sometimes(batch: Batch) -> None:
        if next(failures):
            assert driven.batches == []
            raise StorageFull(store="shard-0", reason="the disk is full")
        real(batch)

    monkeypatch.setattr(driven.journal, "commit", sometimes)
    driven.journal.append(b"m")
    driven.commit.kick()
    await asyncio.sleep(0)
    assert driven.commit.failure is not None
    assert await driven.commit.flush(10)
    assert driven.commit.failure is None
    assert driven.messages == [b"m"]
    await driven.commit.close(5)


@pytest.mark.parametrize("disk", [False, True])
async def test_a_failure_of_any_kind_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: bool
) -> None:
    """What nobody foresaw does not leave the journal standing still."""
    monkeypatch.setattr(group_commit, "RETRY_S", 0.001)
    driven = Driven(tmp_path, disk=disk)
    real = driven.journal.commit
    failures = iter([True, True, False])
    told: list[str] = []

    def sometimes(batch: Batch) -> None:
        if next(failures):
            raise RuntimeError("nobody foresaw this")
        told.append(str(driven.commit.failure))
        real(batch)

    monkeypatch.setattr(driven.journal, "commit", sometimes)
    driven.journal.append(b"m")
    assert await driven.commit.flush(10)
    assert "nobody foresaw this" in told[0]
    assert driven.commit.failure is None
    assert driven.messages == [b"m"]
    await driven.commit.close(5)


async def test_what_is_owed_during_a_commit_goes_out_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duplicate that comes while the disk works is answered, though nothing more is written."""
    driven = Driven(tmp_path, disk=True)
    gate = threading.Event()
    real = driven.journal.commit

    def slow(batch: Batch) -> None:
        gate.wait(20)
        real(batch)

    monkeypatch.setattr(driven.journal, "commit", slow)
    driven.journal.append(b"m")
    driven.commit.kick()
    await asyncio.sleep(0)
    driven.commit.kick()
    gate.set()
    async with asyncio.timeout(10):
        while len(driven.batches) < 2:
            await asyncio.sleep(0.001)
    assert driven.commit.commits == 1
    await driven.commit.close(5)


async def test_a_flush_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that never answers does not hold up a stop for ever."""
    driven = Driven(tmp_path, disk=True)
    gate = threading.Event()
    monkeypatch.setattr(driven.journal, "commit", lambda batch: gate.wait(20))
    driven.journal.append(b"m")
    assert not await driven.commit.flush(0.01)
    gate.set()
    assert await driven.commit.flush(5)
    await driven.commit.close(5)


async def test_what_is_owed_without_a_write_goes_out(tmp_path: Path) -> None:
    """Duplicates have nothing to write, and are answered all the same."""
    driven = Driven(tmp_path, disk=True)
    driven.commit.kick()
    assert await driven.commit.flush(5)
    assert len(driven.batches) == 1
    assert driven.commit.commits == 0
    await driven.commit.close(5)
    owed = len(driven.batches)
    driven.commit.kick()
    await asyncio.sleep(0)
    assert len(driven.batches) == owed


async def test_the_page_cache_is_flushed_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `process` durability the disk has it a moment later."""
    monkeypatch.setattr(group_commit, "SYNC_S", 0.001)
    driven = Driven(tmp_path, disk=False)
    synced = threading.Event()
    monkeypatch.setattr(driven.journal, "sync", synced.set)
    driven.journal.append(b"m")
    driven.commit.kick()
    assert await asyncio.to_thread(synced.wait, 10)
    await driven.commit.close(5)


@pytest.mark.parametrize("disk", [True, False])
async def test_a_full_map_grows_and_the_batch_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: bool
) -> None:
    """Without a failure, and without a word to those who wait."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1024 * 1024)
    driven = Driven(tmp_path, disk=disk)
    for n in range(40):
        driven.journal.append(b"%d" % n + b"x" * 100_000)
        driven.commit.kick()
        assert await driven.commit.flush(10)
        assert driven.commit.failure is None
    assert len(driven.messages) == 40
    assert driven.commit.commits == 40
    assert len(driven.journal.newest(100)) == 40
    await driven.commit.close(5)


async def test_a_map_that_cannot_grow_is_a_full_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch waits, and is written when there is room again."""
    driven = Driven(tmp_path, disk=False)
    real, full = driven.journal.commit, True

    def commit(batch: Batch) -> None:
        if full:
            raise StorageFull(store="j", reason="its map is full")
        real(batch)

    def grow() -> bool:
        raise StorageError(store="j", reason="no memory")

    monkeypatch.setattr(driven.journal, "commit", commit)
    monkeypatch.setattr(driven.journal, "grow", grow)
    monkeypatch.setattr(group_commit, "RETRY_S", 0.01)
    driven.journal.append(b"kept")
    driven.commit.kick()
    assert not await driven.commit.flush(0.05)
    assert isinstance(driven.commit.failure, StorageFull)
    assert "cannot grow" in caplog.text
    full = False
    assert await driven.commit.flush(10)
    assert driven.messages == [b"kept"]
    await driven.commit.close(5)


async def test_a_broken_store_is_opened_again_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged, and the process is told to end."""
    driven = Driven(tmp_path, disk=False)

    class Panic:
        def begin(self, *, write: bool) -> None:
            raise lmdb.PanicError("mdb_txn_begin: MDB_PANIC")

    with monkeypatch.context() as patched:
        patched.setattr(driven.journal._env, "lmdb", Panic())
        driven.journal.append(b"kept")
        driven.commit.kick()
        assert not await driven.commit.flush(0.05)
    assert [type(one) for one in driven.broken] == [StorageBroken]
    assert driven.batches == []
    assert await driven.commit.flush(10)
    await driven.commit.close(5)


def test_a_process_ends_with_the_code_of_an_input_output_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And says why, before it does."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    group_commit.end_process(StorageBroken(store="shard-0", reason="MDB_PANIC"))
    assert codes == [os.EX_IOERR]
    assert "opened again: MDB_PANIC" in caplog.text
