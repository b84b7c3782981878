"""Migrations between backends: everything is there afterwards, also when they were cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from benches import Bench, QdrantBench
from model_backend import ModelBackend
from samples import ANN, MODEL, SCOPES, drawn, entity, every, put, relation

from caxton.errors import StorageError, ValidationError
from caxton.memory.backend import (
    Change,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.migration import Migration, Progress

PAGE = 20
COUNT = 2 * PAGE + 10
LATE = entity("late")


async def fill(backend: MemoryBackend, count: int = COUNT) -> None:
    """Entities of all scopes, some without vectors, and relations."""
    rows = drawn(3, count)
    await backend.write(
        [
            PutEntity(
                entity(f"e{i}", f"word{i}", "shared", scope=SCOPES[i % 4], version=1 + i % 3),
                rows[i : i + 1] if i % 10 else None,
                restored=True,
            )
            for i in range(count)
        ]
    )
    await backend.write(
        [
            PutRelation(relation(f"e{i}", "next", f"e{i + 4}", scope=SCOPES[i % 4]), restored=True)
            for i in range(count - 4)
        ]
    )


async def all_of(backend: MemoryBackend) -> tuple[list[object], list[object]]:
    """Everything, in an order of its own."""
    entities = [row.entity for row in await every(backend.scan(Selection()))]
    relations = await every(backend.scan_relations(None))
    return (
        sorted(entities, key=lambda one: one.key),
        sorted(relations, key=lambda one: one.key),
    )


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pages of entities and three of relations."""
    monkeypatch.setattr("caxton.memory.migration.PAGE", PAGE)


@pytest.fixture
async def source() -> AsyncIterator[MemoryBackend]:
    """A memory with something in it."""
    backend = ModelBackend()
    await backend.start(MODEL)
    await fill(backend)
    yield backend
    await backend.close()


@pytest.fixture
async def plain() -> AsyncIterator[ModelBackend]:
    """An empty backend in plain Python."""
    backend = ModelBackend()
    await backend.start(MODEL)
    yield backend
    await backend.close()


def between(source: MemoryBackend, target: MemoryBackend, folder: Path) -> Migration:
    """A migration with its file in ``folder``."""
    return Migration(source, target, names=("here", "there"), file=folder / "migration.json")


async def test_everything_goes_to_each_backend(
    bench: Bench, plain: ModelBackend, tmp_path: Path
) -> None:
    """Entities, vectors and relations, with versions; and back again."""
    await fill(plain, 120)
    target = await bench.open(MODEL)
    told: list[Progress] = []
    report = await Migration(
        plain, target, names=("a", "b"), file=tmp_path / "m.json", tell=told.append
    ).run()
    assert report.right, report.differences
    assert (report.entities, report.relations, report.vectors) == (120, 116, 108)
    assert report.queries == 100
    assert report.agreement == 1.0
    assert not report.resumed
    assert not (tmp_path / "m.json").exists()
    assert told[-1].phase == "compare"
    assert told[-1].entities == told[-1].total_entities == 120
    assert await all_of(target) == await all_of(plain)
    back = ModelBackend()
    await back.start(MODEL)
    assert (await between(target, back, tmp_path).run()).right
    assert await all_of(back) == await all_of(plain)
    await bench.close(target)


class Breaking(ModelBackend):
    """Fails at its n-th write, before or after it is done."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.at = at
        self.after = after
        self.pages = 0

    async def write(self, changes: Sequence[Change]) -> None:
        """As ``MemoryBackend.write``."""
        self.pages += 1
        if self.pages == self.at and not self.after:
            raise StorageError(store="there", reason="cut")
        await super().write(changes)
        if self.pages == self.at:
            raise StorageError(store="there", reason="cut")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_it_goes_on_where_it_was_cut_off(
    source: MemoryBackend, tmp_path: Path, at: int, after: bool
) -> None:
    """At any page of entities or relations, whether that page was written or not."""
    target = Breaking(at, after=after)
    await target.start(MODEL)
    with pytest.raises(StorageError):
        await between(source, target, tmp_path).run()
    pages = target.pages
    report = await between(source, target, tmp_path).run()
    assert report.resumed
    assert report.right, report.differences
    assert await all_of(target) == await all_of(source)
    # The page that was cut off, and those behind it; none of those before it.
    assert target.pages == 6 + 1
    assert pages == at


async def test_it_begins_anew_when_the_source_is_another_one_than_it_was(
    source: MemoryBackend, tmp_path: Path
) -> None:
    """What was copied is written again, which does no harm."""
    target = Breaking(3, after=False)
    await target.start(MODEL)
    with pytest.raises(StorageError):
        await between(source, target, tmp_path).run()
    await source.clear(Selection(scopes=(ANN,)))
    await fill(source, 8)
    report = await between(source, target, tmp_path).run()
    # What is gone from the source is still in the target, and is told.
    assert any("entities" in one for one in report.differences)
    assert (tmp_path / "migration.json").exists()


async def test_a_target_with_something_in_it_is_refused(
    source: MemoryBackend, plain: ModelBackend, tmp_path: Path
) -> None:
    """Unless the file says that it is a part of this migration."""
    await put(plain, entity("mine"))
    with pytest.raises(ValidationError, match="holds 1 entities"):
        await between(source, plain, tmp_path).run()
    (tmp_path / "migration.json").write_text('{"source": "x", "target": "y"}')
    with pytest.raises(ValidationError):
        await between(source, plain, tmp_path).run()
    (tmp_path / "migration.json").write_text("{")
    with pytest.raises(StorageError, match="does not read"):
        await between(source, plain, tmp_path).run()


class Forgetful(ModelBackend):
    """Loses something of what it is given."""

    def __init__(self, loses: str) -> None:
        super().__init__()
        self.loses = loses

    async def write(self, changes: Sequence[Change]) -> None:
        """As ``MemoryBackend.write``."""
        kept: list[Change] = []
        for change in changes:
            if isinstance(change, PutEntity) and self.loses == "vectors":
                kept.append(PutEntity(change.entity, -change.vectors, restored=True)
                            if change.vectors is not None else change)  # fmt: skip
            elif isinstance(change, PutRelation) and self.loses == "relations":
                continue
            elif isinstance(change, PutEntity) and self.loses == "texts":
                one = change.entity
                bare = entity(one.entity_name, "lost", "lost", scope=one.scope)
                kept.append(PutEntity(bare, change.vectors, restored=True))
            else:
                kept.append(change)
        await super().write(kept)


@pytest.mark.parametrize(
    ("loses", "said"),
    [("vectors", "finds"), ("relations", "relations: "), ("texts", "not the same")],
)
async def test_what_the_target_loses_is_told(
    source: MemoryBackend, tmp_path: Path, loses: str, said: str
) -> None:
    """By counts, by records and by what searches find; at most some twenty differences."""
    target = Forgetful(loses)
    await target.start(MODEL)
    report = await between(source, target, tmp_path).run()
    assert not report.right
    assert any(said in one for one in report.differences), report.differences
    assert len(report.differences) <= 21


async def test_what_the_source_writes_meanwhile_is_told(
    source: MemoryBackend, tmp_path: Path
) -> None:
    """A migration is of a memory that nobody writes to."""

    class Late(ModelBackend):
        """The source is written to when the last page is there."""

        async def write(self, changes: Sequence[Change]) -> None:
            await super().write(changes)
            if isinstance(changes[-1], PutRelation) and not self.kept.entities.get(LATE.key):
                self.kept.entities[LATE.key] = LATE
                await put(source, LATE)

    target = Late()
    await target.start(MODEL)
    report = await between(source, target, tmp_path).run()
    assert any("entities of the source changed meanwhile" in one for one in report.differences)


async def test_without_a_model_words_are_compared(tmp_path: Path) -> None:
    """Entities go without vectors, and are found by their names."""
    here, there = ModelBackend(), QdrantBench()
    await here.start(None)
    await put(here, *(entity(f"Name {i}", f"word{i}") for i in range(30)))
    target = await there.open(None)
    report = await between(here, target, tmp_path).run()
    assert report.right
    assert report.vectors == 0
    assert report.queries == 30
    await there.dispose()


async def test_nothing_to_copy_is_fine(plain: ModelBackend, tmp_path: Path) -> None:
    """An empty memory goes anywhere."""
    target = ModelBackend()
    await target.start(MODEL)
    report = await between(plain, target, tmp_path).run()
    assert report.right
    assert report.queries == 0
    assert report.agreement == 1.0
