"""The memory's store is verified, backed up, restored and compacted with the others."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import lmdb
import numpy as np
import pytest

from caxton.cli.main import main
from caxton.config import Config
from caxton.memory.backend import Change, ModelInfo, PutEntity, PutRelation, Selection
from caxton.memory.embedded.reader import Reader
from caxton.memory.embedded.store import Store
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Observation, Relation
from caxton.memory.tuning import Tuning
from caxton.processes.data_folder import DataFolder
from caxton.storage.registry import Registry
from caxton.upkeep.backup import backup, compact, restore
from caxton.upkeep.check import stores, verify

COUNT = 60


async def fill(data: Path) -> None:
    store = Store(data / "memory" / "store", map_bytes=1 << 28, words=str.split)
    store.use_model(ModelInfo("stub", 8, "00"))
    vectors = np.eye(8, dtype=np.float32)
    changes: list[Change] = []
    for n in range(COUNT):
        seen = (Observation(f"what {n} is " * 50, n),)
        changes.append(PutEntity(Entity(WORKSPACE, f"n{n}", "thing", seen), vectors[:2]))
    await store.write(changes)
    relations = [Relation(WORKSPACE, f"n{n}", f"n{n + 1}", "before") for n in range(COUNT - 1)]
    await store.write([PutRelation(one) for one in relations])
    await store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a memory."""
    folder = tmp_path / "data"
    DataFolder(folder).close()
    asyncio.run(fill(folder))
    return folder


def faults(data: Path) -> list[str]:
    return [text for one in verify(data) for text in one.faults]


def remove(data: Path, table: bytes, at: int = 0) -> None:
    """Take one row out of a table, behind the store's back."""
    with lmdb.open(str(data / "memory" / "store"), max_dbs=16) as environment:
        handle = environment.open_db(table, create=False)
        with environment.begin(write=True) as txn:
            key = list(txn.cursor(handle))[at][0]
            txn.delete(key, db=handle)


def test_it_is_one_of_the_stores(data: Path) -> None:
    """It is listed, read, and whole."""
    assert stores(data) == ["memory/store"]
    (report,) = verify(data)
    assert report.faults == []
    assert report.records["entities"] == COUNT
    assert report.records["out"] == report.records["into"] == COUNT - 1


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (b"into", r"out \w+: into has no row of it"),
        (b"out", r"into \w+: out has no row of it"),
        (b"names", r"entities 1: names has no row of it"),
        (b"entities", r"names: entity 1 has no row in entities"),
        (b"vectors", r"names: entity 1 has not its 2 vectors"),
        (b"words", r"names: entity 1 has no row in words"),
        (b"counts", r"counts \w+: nothing noted, 60 found"),
        (b"texts", r"texts: m1 is gone"),
        (b"numbers", r"texts \w+: its text has another number"),
        (b"terms", r"meta: terms: \d+ noted, \d+ found"),
    ],
)
def test_what_is_missing_is_told(data: Path, table: bytes, told: str) -> None:
    """Whatever refers to what is gone, from either side, is a fault that names it."""
    remove(data, table)
    assert any(re.search(told, one) for one in faults(data)), faults(data)


def test_a_row_that_does_not_read_is_told(data: Path) -> None:
    """The other rows are looked at all the same."""
    with lmdb.open(str(data / "memory" / "store"), max_dbs=16) as environment:
        handle = environment.open_db(b"entities", create=False)
        with environment.begin(write=True) as txn:
            txn.put(b"\0" * 7 + b"\2", b"\x93nonsense", db=handle)
    assert [one for one in faults(data) if one.startswith("entities 0000000000000002: ")]


def test_the_command_fails_on_a_damaged_memory(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``caxton storage verify`` says where, and ends with an error."""
    arguments = ("storage", "verify", "--data", str(data))
    assert main(arguments) == 0
    remove(data, b"into")
    assert main(arguments) == 1
    assert re.search(r"memory/store: out \w+: into has no row of it", capfd.readouterr().err)


def test_a_backup_restores(data: Path, tmp_path: Path) -> None:
    """What is restored is whole and says the same."""
    assert set(backup(data, tmp_path / "saved").stores) == {"memory/store"}
    restore(tmp_path / "saved", tmp_path / "again")
    assert faults(tmp_path / "again") == []
    reader = Reader(tmp_path / "again" / "memory" / "store")
    (found,) = reader.entities([EntityKey.of(WORKSPACE, "N7")])
    assert found is not None
    assert found.observations[0].at_ms == 7
    reader.close()


def test_a_backup_has_what_was_set_of_a_memory_elsewhere(tmp_path: Path) -> None:
    """A node whose memory is on a server has no store of it, but its settings."""
    data = tmp_path / "data"
    DataFolder(data).close()
    Registry(data / "registry").close()
    tuning = Tuning(Config(), data / "memory" / "settings.json")
    tuning.keep(tuning.changed({"words_weight": 0.25}))
    backup(data, tmp_path / "saved")
    restore(tmp_path / "saved", tmp_path / "again")
    again = Tuning(Config(), tmp_path / "again" / "memory" / "settings.json")
    assert again.config.memory_words_weight == 0.25


def test_compaction_gives_room_back(data: Path) -> None:
    """What was removed takes no room any more; the rest is there."""

    async def shrink() -> None:
        store = Store(data / "memory" / "store", map_bytes=1 << 28, words=str.split)
        store.use_model(ModelInfo("stub", 8, "00"))
        await store.clear(Selection(entity_types=("thing",)))
        await store.write([PutEntity(Entity(WORKSPACE, "left", "other"))])
        await store.close()

    asyncio.run(shrink())
    report = compact(data)
    assert report.stores["memory/store"] < report.before["memory/store"]
    assert faults(data) == []
    reader = Reader(data / "memory" / "store")
    assert reader.stats().entity_types == {"other": 1}
    reader.close()
