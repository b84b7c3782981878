"""A snapshot is taken up exactly as it was, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from caxton.errors import StorageError, StorageFull
from caxton.memory.backend import CandidateQuery, DeleteEntity, ModelInfo, PutEntity, Selection
from caxton.memory.embedded import holder as holding
from caxton.memory.embedded import snapshot
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.embedded.index import Index, IndexModel
from caxton.memory.embedded.progress import Changed
from caxton.memory.embedded.snapshot import SnapshotInvalid
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Observation

DIMENSION = 16
MODEL = IndexModel(1, "made@00", DIMENSION)
INFO = ModelInfo("made", DIMENSION, "00")


def rows(count: int, seed: int) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def changed(eid: int, seed: int, parts: int = 1) -> Changed:
    terms = np.random.default_rng(seed).integers(0, 50, 9).astype("<u4").tobytes()
    vectors = rows(parts, seed).astype(np.float16)
    return Changed(eid, eid % 3, eid % 2, False, parts, 1, vectors, terms)


def made(flat_below: int = 20) -> Index:
    """With updates and deletions behind it."""
    index = Index(MODEL, flat_below=flat_below)
    index.apply(3, [changed(eid, eid, 1 + eid % 3) for eid in range(1, 60)])
    index.apply(4, [changed(eid, 100 + eid, 2) for eid in range(10, 20)])
    index.apply(5, [Changed(eid, 0, 0, deleted=True) for eid in range(30, 40)])
    return index


def arrays(index: Index) -> dict[str, list[Any]]:
    return {name: one.tolist() for name, one in snapshot.capture(index).arrays.items()}


@pytest.mark.parametrize("flat_below", [20, 1_000])
def test_it_comes_back_as_it_was(tmp_path: Path, flat_below: int) -> None:
    """Flat and by codes; and what is written afterwards fits."""
    index = made(flat_below)
    token = snapshot.write(tmp_path, snapshot.capture(index))
    again = snapshot.read(tmp_path, token, MODEL, flat_below=flat_below)
    assert again.seq == 5
    assert arrays(again) == arrays(index)
    for one in (index, again):
        one.apply(6, [changed(12, 7), changed(70, 8), Changed(3, 0, 0, deleted=True)])
    assert arrays(again) == arrays(index)


def test_an_empty_index_comes_back(tmp_path: Path) -> None:
    """There may be nothing."""
    token = snapshot.write(tmp_path, snapshot.capture(Index(MODEL)))
    assert len(snapshot.read(tmp_path, token, MODEL).roster) == 0


def test_any_damage_is_seen(tmp_path: Path) -> None:
    """A flipped bit anywhere, a file that ends too early, other bytes."""
    token = snapshot.write(tmp_path, snapshot.capture(made()))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    body = whole.index(b"\n") + 1
    rng = np.random.default_rng(5)
    for at in {0, 1, body - 1, body, len(whole) - 1, *rng.integers(body, len(whole), 40).tolist()}:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(SnapshotInvalid):
            snapshot.read(tmp_path, token, MODEL)
    for size in {0, 1, body, len(whole) - 1, *rng.integers(1, len(whole), 20).tolist()}:
        path.write_bytes(whole[:size])
        with pytest.raises(SnapshotInvalid):
            snapshot.read(tmp_path, token, MODEL)
    path.write_bytes(whole)
    snapshot.read(tmp_path, token, MODEL)


def test_a_foreign_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another model, version, words, or token; and one that is not there."""
    token = snapshot.write(tmp_path, snapshot.capture(made()))
    with pytest.raises(SnapshotInvalid, match="model"):
        snapshot.read(tmp_path, token, IndexModel(2, "other@11", DIMENSION))
    with pytest.raises(SnapshotInvalid, match="no snapshot"):
        snapshot.read(tmp_path, "0" * 16, MODEL)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / path.name.replace(token, "1" * 16))
    with pytest.raises(SnapshotInvalid, match="model"):
        snapshot.read(tmp_path, "1" * 16, MODEL)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / path.name.replace("1" * 16, token))
    monkeypatch.setattr(snapshot, "VERSION", snapshot.VERSION + 1)
    with pytest.raises(SnapshotInvalid, match="version"):
        snapshot.read(tmp_path, token, MODEL)


def test_others_are_removed(tmp_path: Path) -> None:
    """Older ones and what a write left that did not end; nothing that is no snapshot."""
    captured = snapshot.capture(made())
    first = snapshot.write(tmp_path, captured)
    second = snapshot.write(tmp_path, captured)
    (tmp_path / "note").write_text("kept")
    (kept,) = (one for one in tmp_path.iterdir() if second in one.name)
    (tmp_path / f"{kept.name}.tmp").write_text("half")
    assert snapshot.forget_others(tmp_path, second) == 2
    assert {one.name for one in tmp_path.iterdir()} == {"note", kept.name}
    with pytest.raises(SnapshotInvalid):
        snapshot.read(tmp_path, first, MODEL)
    assert snapshot.forget_others(tmp_path / "missing", "") == 0


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        snapshot.write(tmp_path, snapshot.capture(made()))
    assert list(tmp_path.iterdir()) == []


# --- with a store ----------------------------------------------------------------------------


def entity(name: str, text: str, version: int = 1) -> Entity:
    return Entity(WORKSPACE, name, "thing", (Observation(text, 0),), version=version)


def backend(folder: Path) -> EmbeddedBackend:
    return EmbeddedBackend(folder, map_bytes=1 << 28, disk=False, flat_below=30, snapshot_above=50)


async def _filled(folder: Path) -> EmbeddedBackend:
    found = backend(folder)
    await found.start(INFO)
    await found.write([PutEntity(entity(f"e{n}", f"cat {n}"), rows(2, n)) for n in range(60)])
    return found


async def _answers(found: EmbeddedBackend) -> list[Any]:
    told = []
    for seed in range(20):
        query = CandidateQuery(Selection(), 60, f"cat {seed}", rows(1, seed))
        told += [
            (one.entity, one.similarity, round(one.words, 4))
            for one in sorted(await found.candidates(query), key=lambda one: one.entity.entity_name)
        ]
    return told


async def test_a_start_takes_the_snapshot_and_what_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers as an index does that is made of everything."""
    first = await _filled(tmp_path)
    await first.optimize()
    await first.write([PutEntity(entity("e5", "dog", 2), rows(1, 99))])
    await first.write([DeleteEntity(EntityKey(WORKSPACE, "e7"))])
    await first.write([PutEntity(entity("new", "river"), rows(3, 98))])
    await first.close()

    with monkeypatch.context() as patched:
        patched.setattr(holding, "built", _never)
        await first.start(INFO)
    replayed = await _answers(first)
    assert await first.verify() == []
    first._holder._rebuild()
    assert await _answers(first) == replayed
    await first.close()


def _never(*_: object, **__: object) -> Index:
    raise AssertionError("the index was made anew")


async def _spoilt(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    found = await _filled(tmp_path)
    await found.optimize()
    told = await _answers(found)
    await found.close()
    (path,) = (tmp_path / "index").iterdir()
    spoil(path)
    await found.start(INFO)
    assert await _answers(found) == told
    assert await found.verify() == []
    await found.close()


async def test_without_its_snapshot_the_index_is_made_of_the_store(tmp_path: Path) -> None:
    """Missing, damaged, or of another folder."""
    await _spoilt(tmp_path / "missing", lambda path: path.unlink())
    await _spoilt(tmp_path / "damaged", lambda path: path.write_bytes(path.read_bytes()[:-9]))
    other = await _filled(tmp_path / "other")
    await other.write([PutEntity(entity("e1", "other", 2), rows(2, 77))])
    await other.optimize()
    await other.close()
    (foreign,) = (tmp_path / "other" / "index").iterdir()
    await _spoilt(tmp_path / "foreign", lambda path: path.write_bytes(foreign.read_bytes()))


async def test_a_store_of_an_earlier_time_does_not_take_a_later_snapshot(tmp_path: Path) -> None:
    """A backup was put back, and went on otherwise."""
    found = await _filled(tmp_path)
    await found.optimize()
    await found.close()
    earlier = {one.name: one.read_bytes() for one in (tmp_path / "store").iterdir()}
    await found.start(INFO)
    await found.write([PutEntity(entity("e1", "later", 2), rows(2, 77))])
    await found.optimize()
    await found.close()
    for name, raw in earlier.items():
        (tmp_path / "store" / name).write_bytes(raw)
    await found.start(INFO)
    await found.write([PutEntity(entity("e1", "otherwise", 2), rows(2, 76))])
    assert await found.verify() == []
    query = CandidateQuery(Selection(), 5, "later")
    assert await found.candidates(query) == []
    await found.close()


async def test_one_that_cannot_be_written_is_told_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before stays good."""
    found = await _filled(tmp_path)
    await found.optimize()
    await found.write([PutEntity(entity("new", "river"), rows(1, 98))])

    def full(*_: object) -> str:
        raise StorageFull(store="memory-index", reason="the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "write", full)
        with pytest.raises(StorageError):
            await found.optimize()
    await found.close()
    monkeypatch.setattr(holding, "built", _never)
    await found.start(INFO)
    assert len(await found.candidates(CandidateQuery(Selection(), 5, "river"))) == 1
    assert await found.verify() == []
    await found.close()


async def test_one_is_written_when_much_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what is written, and at the end."""
    monkeypatch.setattr(holding, "REPLAYABLE", 40)
    monkeypatch.setattr(holding, "FEW", 5)
    found = await _filled(tmp_path)
    assert found._caring is not None
    await found._caring
    (first,) = (tmp_path / "index").iterdir()
    await found.write([PutEntity(entity(f"f{n}", "dog"), rows(1, n)) for n in range(9)])
    await found.close()
    (second,) = (tmp_path / "index").iterdir()
    assert first != second
    monkeypatch.setattr(holding, "built", _never)
    await found.start(INFO)
    assert len(await found.candidates(CandidateQuery(Selection(), 20, "dog"))) == 9
    await found.close()
