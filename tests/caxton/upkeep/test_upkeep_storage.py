"""Verify, backup, restore and compaction of a data folder that a node wrote."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

from caxton import Config, Node
from caxton.errors import ForeignFolder, NodeAlreadyRunning, StorageCorrupt, StorageError
from caxton.processes.data_folder import DataFolder
from caxton.storage.records import LogRecord
from caxton.upkeep import backup as backups
from caxton.upkeep.backup import backup, compact, restore
from caxton.upkeep.check import MOST, verify

AGENT = """---
name: Echo
python: echo:Echo
capabilities: [echo]
---
Says it again.
"""
CODE = """
from caxton import Agent


class Echo(Agent):
    def handle(self, message, context):
        return message.text
"""


def config(root: Path, data: str = "data", shards: int = 0) -> Config:
    agents = root / "agents"
    agents.mkdir(exist_ok=True)
    (agents / "Echo.md").write_text(AGENT)
    (agents / "echo.py").write_text(CODE)
    return Config(agents=agents, data=root / data, shards=shards, durability="process")


async def fill(settings: Config, count: int = 20) -> None:
    async with Node(settings) as node:
        for n in range(count):
            assert (await node.request(str(n), to="Echo")).text == str(n)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of a stopped node."""
    root = tmp_path_factory.mktemp("written")
    asyncio.run(fill(config(root)))
    return root / "data"


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(written, tmp_path / "data"))


def test_what_a_node_wrote_is_whole(data: Path) -> None:
    """Every table is read; nothing pends after a stop in good order."""
    registry, state, content, shard = verify(data)
    stores = [one.store for one in (registry, state, content, shard)]
    assert stores == ["registry", "state", "content", "shards/0"]
    assert registry.faults == state.faults == content.faults == shard.faults == []
    assert shard.messages == 40
    assert shard.pending == 0
    assert shard.records["log"] > 0
    assert registry.records["agents"] == 1
    assert shard.bytes > 4_096
    with pytest.raises(ForeignFolder, match="no stores"):
        verify(data / "run")


def tamper(data: Path, table: str, work: Callable[[lmdb.Transaction], None]) -> None:
    store = "registry" if table in ("agents", "audit") else "shards/0"
    with lmdb.open(str(data / store), max_dbs=16) as environment:
        found = environment.open_db(table.encode())
        with environment.begin(write=True, db=found) as txn:
            work(txn)


def garble(txn: lmdb.Transaction) -> None:
    key = next((key for key, _ in txn.cursor()), bytes(16))
    txn.put(key, b"\xc1garbled")


def remove_record(txn: lmdb.Transaction) -> None:
    keys = [key for key, _ in txn.cursor()]
    txn.delete(keys[1])


def garble_message(txn: lmdb.Transaction) -> None:
    for key, value in txn.cursor():
        record = msgspec.msgpack.decode(value, type=LogRecord)
        if record.messages:
            record.messages[0] = b"\xc1"
            txn.put(key, msgspec.msgpack.encode(record))
            return


@pytest.mark.parametrize(
    ("table", "work", "fault"),
    [
        ("conversations", garble, "conversations"),
        ("agents", garble, "agents"),
        ("audit", garble, "audit: broken at record 1"),
        ("log", garble, "log"),
        ("log", remove_record, "follows"),
        ("log", garble_message, "message 1"),
        ("pending", lambda txn: txn.put((999).to_bytes(8, "big"), b""), "999 is not in the log"),
        ("history", lambda txn: txn.put(b"k", b"seven b"), "not a multiple of 8"),
        ("meta", lambda txn: txn.delete(b"state"), "no state"),
    ],
)
def test_damage_is_found(
    data: Path, table: str, work: Callable[[lmdb.Transaction], Any], fault: str
) -> None:
    """In whichever table; the fault names the record."""
    tamper(data, table, work)
    faults = [text for one in verify(data) for text in one.faults]
    assert faults
    assert any(fault in text for text in faults), faults


def test_many_faults_are_counted(data: Path) -> None:
    """Some are told in words."""

    def work(txn: lmdb.Transaction) -> None:
        for n in range(30):
            txn.put(bytes([n]) * 16, b"\xc1")

    tamper(data, "conversations", work)
    shard = verify(data)[3]
    assert (len(shard.faults), shard.more_faults) == (MOST, 10)


def test_a_file_that_is_no_store(data: Path) -> None:
    """It is a fault of that store; the others are looked at."""
    (data / "shards" / "0" / "data.mdb").write_bytes(b"no store" * 2_000)
    registry, *_, shard = verify(data)
    assert registry.faults == []
    assert len(shard.faults) == 1


def test_a_backup_is_restored(data: Path, tmp_path: Path) -> None:
    """Into a new folder; what is there already is left alone, and a damaged backup refused."""
    kept = tmp_path / "kept"
    report = backup(data, kept)
    assert set(report.stores) == {"registry", "state", "content", "shards/0"}
    assert (kept / "shards" / "0" / "data.mdb").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ForeignFolder, match="there already"):
        backup(data, kept)
    with pytest.raises(ForeignFolder, match="not empty"):
        restore(kept, data)
    with pytest.raises(ForeignFolder, match="no backup"):
        restore(data, tmp_path / "new")
    assert restore(kept, tmp_path / "new").at == report.at
    assert [one.faults for one in verify(tmp_path / "new")] == [[]] * 4
    tamper(kept, "conversations", garble)
    with pytest.raises(StorageCorrupt, match="conversations"):
        restore(kept, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_moments_of_all_stores_are_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that cannot see them together gets an error, and no half backup."""
    monkeypatch.setattr(backups, "TOGETHER_S", -1.0)
    monkeypatch.setattr(backups, "TRIES", 3)
    with pytest.raises(StorageError, match="too busy"):
        backup(data, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_compaction_gives_room_back(data: Path) -> None:
    """Everything is there afterwards; a folder whose node runs is refused."""

    def fatten(txn: lmdb.Transaction) -> None:
        for n in range(500):
            txn.put(b"x%d" % n, bytes(8_000))
        for n in range(500):
            txn.delete(b"x%d" % n)

    tamper(data, "history", fatten)
    before = verify(data)
    report = compact(data)
    after = verify(data)
    assert report.stores["shards/0"] < report.before["shards/0"] / 2
    assert [one.records for one in after] == [one.records for one in before]
    assert [one.faults for one in after] == [[]] * 4
    folder = DataFolder(data)
    with pytest.raises(NodeAlreadyRunning):
        compact(data)
    folder.close()


@pytest.mark.process
@pytest.mark.timeout(120)
async def test_a_running_node_is_backed_up_and_its_backup_runs(tmp_path: Path) -> None:
    """With several shards under load: the backup is whole, and a node goes on from it."""
    settings = config(tmp_path, shards=2)
    stop = asyncio.Event()
    async with Node(settings) as node:

        async def load() -> int:
            count = 0
            while not stop.is_set():
                await asyncio.gather(*(node.request(str(n), to="Echo") for n in range(20)))
                count += 20
            return count

        task = asyncio.get_running_loop().create_task(load())
        await node.request("first", to="Echo")
        for n in range(3):
            # LMDB opens a store once in a process, and this one runs the node.
            command = ("-m", "caxton.cli.main", "storage", "backup", str(tmp_path / f"kept-{n}"))
            copying = await asyncio.create_subprocess_exec(
                sys.executable, *command, "--data", str(settings.data)
            )
            assert await copying.wait() == 0
        stop.set()
        assert await task > 0
    for n in range(3):
        found = verify(tmp_path / f"kept-{n}")
        assert [one.faults for one in found] == [[]] * 5
    restore(tmp_path / "kept-2", tmp_path / "again")
    async with Node(config(tmp_path, "again", shards=2)) as node:
        assert (await node.request("and now?", to="Echo")).text == "and now?"
        assert sum(one.messages for one in await node.conversations(1_000)) > 2
