"""The writer of the memory's store: commits that are shared, failures that stay alone, room."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
import pytest

from caxton.errors import (
    EntityConflict,
    EntityNotFound,
    ForeignFolder,
    QueueFull,
    RelationNotFound,
    StorageBroken,
    StorageCorrupt,
    StorageError,
    StorageFull,
    ValidationError,
)
from caxton.memory.backend import (
    DeleteEntity,
    DeleteRelation,
    GraphQuery,
    ModelInfo,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.embedded import layout, pages
from caxton.memory.embedded import store as store_module
from caxton.memory.embedded.store import Changed, Store
from caxton.memory.model import (
    GLOBAL,
    WORKSPACE,
    Entity,
    EntityKey,
    Observation,
    Relation,
    RelationKey,
)
from caxton.storage import environment

MODEL = ModelInfo("stub", 4, "00")
EYE = np.eye(4, dtype=np.float32)
Opener = Callable[..., Store]


def entity(name: str, version: int = 1, **fields: object) -> Entity:
    return Entity(WORKSPACE, name, "thing", version=version, **fields)  # type: ignore[arg-type]


def put(name: str, version: int = 1, **fields: object) -> PutEntity:
    return PutEntity(entity(name, version, **fields))


def key(name: str) -> EntityKey:
    return EntityKey.of(WORKSPACE, name)


@pytest.fixture
async def opener(tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens stores, all closed at the end."""
    opened: list[Store] = []

    def call(folder: str = "store", **given: object) -> Store:
        options = {"map_bytes": 1 << 28, "words": str.split, "sync": False, **given}
        store = Store(tmp_path / "memory" / folder, **options)  # type: ignore[arg-type]
        opened.append(store)
        store.use_model(MODEL)
        return store

    yield call
    for store in opened:
        await store.close()


async def test_operations_that_come_together_share_a_commit(opener: Opener) -> None:
    """One flush for all that waits, and each is told by itself what became of it."""
    store = opener()
    await asyncio.gather(*[store.write([put(f"n{n}")]) for n in range(50)])
    assert store.commits == 1
    assert store.reader.stats().entities == 50


async def test_one_that_fails_fails_alone(opener: Opener) -> None:
    """Those of the same commit, before it and after it, are written; of it there is nothing."""
    told: list[Changed] = []
    store = opener(observer=lambda _, changed: told.extend(changed))
    await store.write([put("there")])
    results = await asyncio.gather(
        store.write([put("a")]),
        store.write([put("half"), put("there", 7)]),
        store.write([put("half2"), PutRelation(Relation(WORKSPACE, "half2", "nobody", "knows"))]),
        store.write([DeleteRelation(RelationKey(WORKSPACE, "there", "knows", "a"))]),
        store.write([DeleteEntity(key("nobody"))]),
        store.write([put("b"), PutRelation(Relation(WORKSPACE, "B", "There", "knows"))]),
        return_exceptions=True,
    )
    kinds = [type(one) for one in results]
    assert kinds == [
        type(None), EntityConflict, EntityNotFound, RelationNotFound, EntityNotFound, type(None),
    ]  # fmt: skip
    assert "version 7 was to be written, but version 1 is there" in str(results[1])
    assert store.commits == 2
    assert sorted(one.eid for one in told) == [1, 2, 3]
    names = [row.entity.entity_name for row in store.reader.page(Selection()).rows]
    assert names == ["a", "b", "there"]
    assert store.reader.verify() == []


async def test_a_commit_of_failures_only_writes_nothing(opener: Opener) -> None:
    """There is nothing to flush, and nothing changes."""
    store = opener()
    results = await asyncio.gather(
        store.write([put("a", 2)]), store.write([put("b", 2)]), return_exceptions=True
    )
    assert [type(one) for one in results] == [EntityConflict, EntityConflict]
    assert store.commits == 0
    await store.write([put("c")])
    assert store.reader.verify() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (PutEntity(entity("x"), np.zeros((1, 3), np.float32)), "vectors"),
        (PutEntity(entity("x"), np.zeros(4, np.float32)), "vectors"),
        (PutEntity(entity("x"), np.full((1, 4), np.nan, np.float32)), "vectors"),
        (PutEntity(entity("x"), np.full((1, 4), 1e9, np.float32)), "vectors"),
        (put("x", metadata={"a": 1 << 70}), "entity"),
        (put("x", metadata={"a": object()}), "entity"),
        (put("x", observations=(Observation("\ud800", 0),)), "entity"),
        (put("\udfff"), "entity_name"),
        (put("x", valid_from_ms=1 << 64), "valid_from_ms"),
        (PutRelation(Relation(WORKSPACE, "there", "there", "is", metadata={"a": 1j})), "relation"),
        (PutRelation(Relation(WORKSPACE, "there", "there", "is", valid_to_ms=-(1 << 65))),
         "valid_to_ms"),
    ],
)  # fmt: skip
async def test_bad_values_are_never_half_written(
    opener: Opener, change: PutEntity | PutRelation, field: str
) -> None:
    """The error names the field; nothing of the operation is there, and the next one works."""
    store = opener()
    await store.write([put("there")])
    results = await asyncio.gather(
        store.write([put("before"), change]), store.write([put("with")]), return_exceptions=True
    )
    assert isinstance(results[0], ValidationError)
    assert results[0].fields["field"] == field
    assert results[1] is None
    assert store.reader.stats().entities == 2
    assert store.reader.verify() == []


async def test_what_makes_words_may_fail(opener: Opener) -> None:
    """Its error is told to the one that wrote; the store goes on."""

    def words(text: str) -> list[str]:
        if "bad" in text:
            raise ZeroDivisionError(text)
        return text.split()

    store = opener(words=words)
    with pytest.raises(ZeroDivisionError):
        await store.write([put("good"), put("bad")])
    await store.write([put("good")])
    assert store.reader.stats().entities == 1


async def test_the_map_grows_and_nothing_is_lost(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full map is made larger under a commit; one that may not grow says so, and goes on."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1 << 18)
    store = opener(map_bytes=1 << 21)
    text = "word " * 800
    written, full = 0, None
    while full is None:
        assert written < 1_000
        operations = [
            [put(f"n{n}", observations=(Observation(text, n),))]
            for n in range(written, written + 4)
        ]
        results = await asyncio.gather(
            *[store.write(one) for one in operations], return_exceptions=True
        )
        full = next((one for one in results if one is not None), None)
        written += sum(one is None for one in results)
    assert isinstance(full, StorageFull)
    assert written > 100
    assert store.reader.stats().entities == written
    assert store.reader.verify() == []
    await store.write([DeleteEntity(key("n0"))])
    await store.write([put("small")])


async def test_a_model_is_noted_in_a_store_that_is_full_to_its_last_page(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map is as large as its file at first: it grows at a start too, as far as it may."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1 << 20)
    other = msgspec.structs.replace(MODEL, name="other")
    for largest, grows in ((1 << 21, True), (1 << 20, False)):
        store = opener(str(largest), map_bytes=largest)
        give, full = store._numbers.give, [True]

        def last_page(*given: Any, give: Any = give, full: list[bool] = full) -> int:
            if full and full.pop():
                raise lmdb.MapFullError("full")
            return int(give(*given))

        monkeypatch.setattr(store._numbers, "give", last_page)
        if grows:
            assert store.use_model(other) == 2
            assert store._opened.environment.lmdb.info()["map_size"] == largest
        else:
            with pytest.raises(StorageFull):
                store.use_model(other)
        await store.write([put("still written")])


async def test_too_much_that_waits_is_refused(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken is written; the rest is told that there is no room."""
    monkeypatch.setattr(store_module, "WAITING", 10)
    store = opener()
    results = await asyncio.gather(
        *[store.write([put(f"n{n}")]) for n in range(30)], return_exceptions=True
    )
    refused = [one for one in results if isinstance(one, QueueFull)]
    assert len(refused) == 20
    assert store.reader.stats().entities == 10


async def test_one_commit_is_bounded(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many operations take several commits; one that is larger than that takes one."""
    monkeypatch.setattr(store_module, "TOGETHER", 10)
    store = opener()
    await asyncio.gather(*[store.write([put(f"n{n}")]) for n in range(25)])
    assert store.commits == 3
    await store.write([put(f"m{n}") for n in range(40)])
    assert store.commits == 4


async def test_vectors_of_another_model_count_as_none(opener: Opener) -> None:
    """They are kept, not compared, and listed as lacking until they are replaced."""
    store = opener()
    await store.write([PutEntity(entity("old"), EYE[:2]), put("none")])
    other = ModelInfo("other", 2, "11")
    number = store.use_model(other)
    await store.write([PutEntity(entity("new"), np.ones((1, 2), np.float32))])

    def lacking() -> list[str]:
        rows = store.reader.page(Selection(), lacking=number).rows
        return [row.entity.entity_name for row in rows]

    assert lacking() == ["none", "old"]
    with store.reader.moment() as moment:
        ((eids, block),) = list(moment.vector_blocks(number))
        assert eids.tolist() == [3]
        assert block.tolist() == [[1, 1]]
        assert [eids.tolist() for eids, _ in moment.vector_blocks(1)] == [[1, 1]]
    await store.write([PutEntity(entity("old", 2), np.ones((1, 2), np.float32))])
    assert lacking() == ["none"]
    assert store.use_model(other) == number
    assert store.reader.stats().vectors == 2
    assert store.reader.verify() == []


async def test_vectors_are_kept_replaced_and_taken_away(opener: Opener) -> None:
    """None keeps them; fewer parts leave none of the old ones; none at all take them away."""
    store = opener()

    def vectors() -> object:
        (row,) = store.reader.page(Selection(), vectors=True).rows
        return None if row.vectors is None else row.vectors.tolist()

    await store.write([PutEntity(entity("x"), EYE[:3])])
    await store.write([put("x", 2)])
    assert vectors() == EYE[:3].tolist()
    await store.write([PutEntity(entity("x", 3), EYE[3:])])
    assert vectors() == EYE[3:].tolist()
    await store.write([PutEntity(entity("x", 4), EYE[:0])])
    assert vectors() is None
    assert store.reader.verify() == []


async def test_many_vectors_are_read_at_once(opener: Opener) -> None:
    """In the order asked for; zeros where there is none."""
    store = opener()
    await store.write([PutEntity(entity("a"), EYE[:2]), PutEntity(entity("b"), EYE[2:3])])
    with store.reader.moment() as moment:
        found = moment.vectors([(2, 0), (1, 1), (9, 0), (1, 0)], 4)
        assert found.tolist() == [*EYE[[2, 1]].tolist(), [0] * 4, EYE[0].tolist()]
        assert moment.vectors([(1, 1), (2, 0)], 4).tolist() == EYE[[1, 2]].tolist()
        assert moment.vectors([], 4).shape == (0, 4)
        with pytest.raises(StorageCorrupt, match="dimension 3"):
            moment.vectors([(1, 0)], 3)


async def test_changes_are_noted_until_a_snapshot_has_them(opener: Opener) -> None:
    """One row for each operation that changed entities; relations change none."""
    store = opener()
    await store.write([put("a"), put("b")])
    await store.write([PutRelation(Relation(WORKSPACE, "a", "b", "knows"))])
    await store.write([put("a", 2), DeleteEntity(key("b"))])
    with store.reader.moment() as moment:
        assert list(moment.changes_after(0)) == [(1, [1, 2]), (2, [1, 2])]
        assert list(moment.changes_after(1)) == [(2, [1, 2])]
        assert moment.facts_of([1, 2]).eid.tolist() == [1]
        assert (moment.first_seq, moment.last_seq) == (1, 2)
    assert await store.trim(1) == 1
    with store.reader.moment() as moment:
        assert list(moment.changes_after(0)) == [(2, [1, 2])]
    assert await store.trim(2) == 1
    with store.reader.moment() as moment:
        assert (moment.first_seq, moment.last_seq) == (3, 2)
    await store.write([put("c")])
    assert store.reader.verify() == []


async def test_who_is_told_is_told_before_the_writer(opener: Opener) -> None:
    """A write that returned can be found; and a failure there takes back nothing."""
    told: list[int] = []

    def observer(seq: int, changed: list[Changed]) -> None:
        told.append(seq)
        if len(told) > 1:
            raise ZeroDivisionError

    store = opener(observer=observer)
    await store.write([put("a")])
    assert told == [1]
    await store.write([put("b")])
    assert store.observer_failures == 1
    assert store.reader.stats().entities == 2


async def test_pages_are_bounded_in_bytes_and_rows(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends early rather than to grow large, and the next one goes on."""
    store = opener()
    await store.write([put(f"n{n}", observations=(Observation("x" * 1_000, 0),)) for n in range(9)])
    await store.write([PutRelation(Relation(WORKSPACE, "n0", f"n{n}", "r")) for n in range(9)])
    monkeypatch.setattr(pages, "PAGE_BYTES", 3_000)
    first = store.reader.page(Selection())
    assert len(first.rows) == 3
    assert first.after is not None
    monkeypatch.setattr(pages, "PAGE_SEEN", 2)
    empty = store.reader.page(Selection(entity_types=("none",)))
    assert empty.rows == []
    assert empty.after is not None
    relations, after, rounds = 0, b"", 0
    while after is not None:
        page = store.reader.relation_page(None, after=after)
        relations, after, rounds = relations + len(page.relations), page.after, rounds + 1
        assert rounds < 20
    assert relations == 9


async def test_compaction_gives_room_back_while_it_is_read(opener: Opener) -> None:
    """Readers of this process wait for the moment of the change, and go on with the same."""
    store = opener()
    text = "word " * 4_000
    await store.write([put(f"n{n}", observations=(Observation(text, 0),)) for n in range(300)])
    await store.write([DeleteEntity(key(f"n{n}")) for n in range(290)])
    held, go = threading.Event(), threading.Event()

    def hold() -> int:
        with store.reader.moment() as moment:
            held.set()
            assert go.wait(30)
            return moment.head().entities

    reading = asyncio.create_task(asyncio.to_thread(hold))
    assert await asyncio.to_thread(held.wait, 30)
    compacting = asyncio.create_task(store.compact())
    waiting = asyncio.create_task(store.write([put("while")]))
    go.set()
    assert await reading == 10
    before, after = await compacting
    assert after < before / 5
    await waiting
    assert store.reader.stats().entities == 11
    assert store.reader.verify() == []
    assert await store.compact() == (store._opened.path.joinpath("data.mdb").stat().st_size,) * 2
    assert sorted(os.listdir(store._opened.path)) == ["data.mdb", "lock.mdb", "writer.lock"]


async def test_one_writer_is_allowed(opener: Opener) -> None:
    """A second one is told so; after the first one's end it may."""
    store = opener()
    with pytest.raises(StorageError, match="open for writing"):
        opener()
    await store.close()
    await opener().write([put("a")])


async def test_a_broken_store_is_opened_again(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is told; the next one works on what was acknowledged."""
    store = opener()
    await store.write([put("a")])
    whole = store_module._finish

    def broken(*_given: object) -> None:
        raise lmdb.PanicError("it has to be opened again")

    monkeypatch.setattr(store_module, "_finish", broken)
    with pytest.raises(StorageBroken):
        await store.write([put("b")])
    monkeypatch.setattr(store_module, "_finish", whole)
    await store.write([put("b")])
    assert store.reader.stats().entities == 2
    assert store.reader.verify() == []


async def test_a_transaction_that_is_too_large_for_all_is_tried_for_each(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the operation that does not fit fails."""
    store = opener()
    run = store_module._run

    def limited(writing: object, operation: list[PutEntity]) -> object:
        if len(operation) > 1:
            raise lmdb.TxnFullError("too many pages")
        return run(writing, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "_run", limited)
    results = await asyncio.gather(
        store.write([put("a")]), store.write([put("b"), put("c")]), return_exceptions=True
    )
    assert results[0] is None
    assert isinstance(results[1], StorageError)
    assert store.reader.stats().entities == 1


async def test_a_closed_store_says_so(opener: Opener) -> None:
    """What came before is written, what comes after is refused, on either side."""
    store = opener()
    writing = asyncio.create_task(store.write([put("a")]))
    await asyncio.sleep(0)
    await store.close()
    await writing
    with pytest.raises(StorageError, match="closed"):
        await store.write([put("b")])
    with pytest.raises(StorageError, match="closed"):
        await store.trim(1)
    with pytest.raises(StorageError, match="closed"):
        store.reader.stats()


async def test_a_write_nobody_waits_for_any_more_is_left_out(opener: Opener) -> None:
    """One that was cancelled before its commit began is not written."""
    store = opener()
    tasks = [asyncio.create_task(store.write([put(f"n{n}")])) for n in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await tasks[1]
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    names = [row.entity.entity_name for row in store.reader.page(Selection()).rows]
    assert names == ["n1"]


async def test_a_later_layout_is_refused(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read by what does not know it."""
    store = opener()
    await store.write([put("a")])
    await store.close()
    monkeypatch.setattr("caxton.memory.embedded.opened.LAYOUT", layout.LAYOUT - 1)
    with pytest.raises(ForeignFolder, match="memory layout 1"):
        opener()


async def test_what_is_not_there_is_empty(opener: Opener) -> None:
    """Scopes, names and types that nobody wrote find nothing."""
    store = opener()
    nothing = EntityKey.of(GLOBAL, "x")
    assert store.reader.entities([nothing, EntityKey.of(WORKSPACE, "\ud800")]) == [None, None]
    assert store.reader.by_eid([5]) == [None]
    assert store.reader.relations([nothing]) == []
    assert store.reader.walk(GraphQuery(nothing)).nodes == ()
    assert store.reader.page(Selection(scopes=(GLOBAL,))).rows == []
    with store.reader.moment() as moment:
        assert len(moment.facts().eid) == 0
        assert list(moment.vector_blocks(1)) == list(moment.term_blocks()) == []
        assert moment.term_ids(["x", ""]) == [None, None]
