"""Export and import: nothing is lost, nothing is half taken up."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from fake_embedder import FakeEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_services import NOW_MS, Desk, open_desk

from caxton.errors import EntityConflict, ImportInvalid, NotAuthorized, ValidationError
from caxton.memory.model import GLOBAL, WORKSPACE, Entity, Observation, Relation, Scope
from caxton.memory.requests import (
    EntityDraft,
    Exported,
    ExportPage,
    Import,
    ImportEntity,
    ImportReport,
    Strategy,
)


async def fill(desk: Desk, count: int = 25) -> None:
    """Entities of three scopes in several versions, and relations."""
    for scope in ("workspace", "global", "agent:own"):
        await desk.store_many(
            [
                EntityDraft(
                    f"e{number}", "x", (f"word{number} heron",), {"n": number}, importance=0.25
                )
                for number in range(count)
            ],
            memory_scope=scope,
        )
        desk.clock.now_ms += 3
        await desk.add("e3", ["more of it"], memory_scope=scope, source="m1")
        for number in range(count - 1):
            await desk.relate(
                f"e{number}", "next", f"e{number + 1}", memory_scope=scope, strength=0.75
            )
        await desk.relate("e0", "next", "e1", memory_scope=scope, metadata={"k": [1, None]})


async def pages(desk: Desk, limit: int = 10, **fields: Any) -> list[Exported]:
    """A whole export."""
    found: list[Exported] = []
    request = ExportPage(limit=limit, **fields)
    while not found or found[-1].next_page_token:
        token = found[-1].next_page_token if found else ""
        found.append(await desk.ask(msgspec.structs.replace(request, page_token=token)))
        assert len(found) < 100
    return found


def whole(found: list[Exported]) -> tuple[list[ImportEntity], list[Relation]]:
    """All of its items."""
    entities = [one for page in found for one in page.entities]
    relations = [one for page in found for one in page.relations]
    return entities, relations


async def take(desk: Desk, found: list[Exported], **fields: Any) -> list[ImportReport]:
    """Import an export."""
    return [
        await desk.import_page(
            Import(entities=one.entities, relations=one.relations, model=one.model, **fields)
        )
        for one in found
        if one.entities or one.relations
    ]


async def test_a_round_trip_loses_nothing() -> None:
    """Scopes, versions, times, metadata, vectors; the model is not asked again."""
    async with open_desk(FakeEmbedder()) as desk:
        await fill(desk)
        found = await pages(desk, include_embeddings=True)
        assert all(len(one.entities) + len(one.relations) <= 10 for one in found)
        first, vectors = desk.backend.kept, dict(desk.backend.kept.vectors)
        export = whole(found)
        assert len(export[0]) == 75
    embedder = FakeEmbedder()
    async with open_desk(embedder) as other:
        reports = await take(other, found)
        assert sum(one.entities_created for one in reports) == 75
        assert sum(one.relations_created for one in reports) == 72
        assert sum(one.embedded for one in reports) == 0
        assert embedder.texts == []
        second = other.backend.kept
        assert second.entities == first.entities
        assert second.relations == first.relations
        assert set(second.vectors) == set(vectors)
        assert all((second.vectors[key][1] == vectors[key][1]).all() for key in vectors)
        again = await take(other, found)
        assert sum(one.entities_skipped for one in again) == 75
        assert sum(one.entities_updated + one.conflicts_resolved for one in again) == 0
        assert whole(await pages(other, 7, include_embeddings=True)) == export


async def test_vectors_of_another_model_are_made_anew() -> None:
    """And those of none."""
    async with open_desk(FakeEmbedder()) as desk:
        await fill(desk, 5)
        with_vectors = await pages(desk, include_embeddings=True)
        without = await pages(desk)
        assert all(not one.vectors for one in whole(without)[0])
    for found in (with_vectors, without):
        async with open_desk(FakeEmbedder("other", 32)) as other:
            reports = await take(other, found)
            assert sum(one.embedded for one in reports) == 15
            assert (await other.stats()).unembedded == 0
    async with open_desk(None) as bare:
        await take(bare, with_vectors)
        assert (await bare.stats()).unembedded == 15


async def test_an_import_into_one_scope(desk: Desk) -> None:
    """Everything goes there; an agent imports where it may write."""
    await fill(desk, 4)
    found = await pages(desk, memory_scope="workspace")
    async with open_desk(None) as other:
        await take(other, found, memory_scope="agent:me")
        assert {one.scope for one in other.backend.kept.entities} == {Scope.of_agent("me")}
        assert len(other.backend.kept.relations) == 3
        await take(other, found, agent="own")
        assert len(other.backend.kept.entities) == 8
        with pytest.raises(NotAuthorized):
            await take(other, found, agent="own", memory_scope="global")


@pytest.mark.parametrize("strategy", ["update_existing", "skip_existing", "error_on_conflict"])
async def test_strategies(strategy: Strategy) -> None:
    """What is there is brought up to date, left as it is, or ends the import."""
    async with open_desk(FakeEmbedder()) as desk:
        await desk.store("A", "x", ["mine"], metadata={"a": 1, "b": 1})
        entity = Entity(
            WORKSPACE, "a", "y", (Observation("theirs", 5, "m"),), {"b": 2}, version=9,
            created_ms=5, updated_ms=NOW_MS + 50,
        )  # fmt: skip
        other = Entity(WORKSPACE, "B", "y", version=3, created_ms=1, updated_ms=2)
        link = Relation(WORKSPACE, "A", "B", "knows", version=4)
        request = Import(
            entities=(ImportEntity(entity), ImportEntity(other)),
            relations=(link,),
            merge_strategy=strategy,
        )
        if strategy == "error_on_conflict":
            with pytest.raises(EntityConflict):
                await desk.import_page(request)
            assert len(desk.backend.kept.entities) == 1
            return
        report = await desk.import_page(request)
        opened = await desk.open("A", "B")
        assert opened.entities[1] == other
        assert opened.relations == (link,)
        assert report.entities_created == report.relations_created == 1
        assert report.conflicts_resolved == 1
        if strategy == "skip_existing":
            assert report.entities_skipped == 1
            assert opened.entities[0].version == 1
            return
        merged = opened.entities[0]
        assert (merged.entity_name, merged.entity_type) == ("A", "y")
        assert {one.text for one in merged.observations} == {"mine", "theirs"}
        assert merged.metadata == {"a": 1, "b": 2}
        assert (merged.version, merged.created_ms) == (9, 5)
        found = await desk.search("theirs")
        assert found.results[0].similarity_score
        assert found.results[0].similarity_score > 0.3


async def test_what_does_not_read_is_refused_whole(desk: Desk) -> None:
    """With its place; nothing of the page is written."""
    good = ImportEntity(Entity(WORKSPACE, "A", "x"))
    tag = (await desk.stats()).model
    nobody = Relation(WORKSPACE, "A", "nobody", "r")
    for request, place in (
        (Import(entities=(good, ImportEntity(Entity(WORKSPACE, "", "x")))), "entities[1]"),
        (Import(entities=(ImportEntity(Entity(WORKSPACE, "A", "x", version=0)),)), "entities[0]"),
        (Import(entities=(good,), relations=(nobody,)), "relations[0]"),
        (
            Import(entities=(ImportEntity(good.entity, (b"\0" * 12,)),), model=tag),
            "entities[0]",
        ),
        (
            Import(entities=(ImportEntity(good.entity, (b"\0" * 256,)),), model=tag),
            "entities[0]",
        ),
    ):
        with pytest.raises(ImportInvalid) as caught:
            await desk.import_page(request)
        assert caught.value.fields["place"] == place
    with pytest.raises(ValidationError):
        await desk.import_page(Import())
    assert not desk.backend.writes


async def test_pages_survive_a_restart_and_refuse_what_is_none(desk: Desk) -> None:
    """A token names a place; it is of one request only."""
    await fill(desk, 12)
    first: Exported = await desk.ask(ExportPage(limit=5))
    second: Exported = await desk.ask(ExportPage(limit=5, page_token=first.next_page_token))
    async with open_desk(None, desk.backend.kept) as later:
        again = await later.ask(ExportPage(limit=5, page_token=first.next_page_token))
        assert again.entities == second.entities
    again = await desk.ask(ExportPage(limit=5, page_token=first.next_page_token))
    assert again.entities == second.entities
    for token in ("x", "e.!!", "r.AAAA", "z.", first.next_page_token + "A" * 5_000):
        with pytest.raises(ValidationError, match="page_token"):
            await desk.ask(ExportPage(limit=5, page_token=token))
    with pytest.raises(ValidationError, match="page_token"):
        await desk.ask(ExportPage(limit=5, page_token=first.next_page_token, memory_scope="global"))
    last = first.entities[-1].entity
    await desk.delete(last.entity_name, memory_scope=last.scope.key)
    with pytest.raises(ValidationError, match="begin again"):
        await desk.ask(ExportPage(limit=5, page_token=first.next_page_token))


async def test_many_unfinished_exports_are_bounded(desk: Desk) -> None:
    """Those left alone are closed; they go on from where they were all the same."""
    await fill(desk, 12)
    started = [await desk.ask(ExportPage(limit=5)) for _ in range(40)]
    assert len(desk.service._exporting._entities._open) <= 16
    ends = await asyncio.gather(
        *(desk.ask(ExportPage(limit=5, page_token=one.next_page_token)) for one in started)
    )
    assert all(one.entities == ends[0].entities for one in ends)


async def test_lists(desk: Desk) -> None:
    """Pages of entities, of some types, of some scopes."""
    await fill(desk, 12)
    await desk.store("Other", "y")
    names = []
    token = ""
    while True:
        page = await desk.list(memory_scope="workspace", limit=5, page_token=token)
        names += [one.entity_name for one in page.entities]
        token = page.next_page_token
        if not token:
            break
    assert names == [*(f"e{number}" for number in range(12)), "Other"]
    assert len((await desk.list(entity_types=["y"])).entities) == 1
    assert len((await desk.list(memory_scope=GLOBAL.key)).entities) == 12
    with pytest.raises(ValidationError, match="limit"):
        await desk.list(limit=1_001)


NAMES = st.sampled_from(["a", "B", "c", "Ä", "long name"])
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
DRAFTS = st.builds(
    EntityDraft,
    NAMES,
    st.just("x"),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.dictionaries(TEXTS, JSON, max_size=2),
    importance=st.none() | st.floats(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(st.lists(DRAFTS, min_size=1, max_size=4), max_size=5),
    links=st.lists(st.tuples(NAMES, NAMES, TEXTS), max_size=6),
    limit=st.integers(1, 5),
)
def test_any_memory_comes_back_as_it_was(
    batches: list[list[EntityDraft]], links: list[tuple[str, str, str]], limit: int
) -> None:
    """Whatever was stored, and however large the pages are."""

    async def run() -> None:
        async with open_desk(None) as desk, open_desk(None) as other:
            for batch in batches:
                desk.clock.now_ms += 1
                await desk.store_many(batch)
            there = {one.entity_name.casefold() for one in desk.backend.kept.entities.values()}
            for start, end, kind in links:
                if {start.casefold(), end.casefold()} <= there:
                    await desk.relate(start, kind, end)
            await take(other, await pages(desk, limit))
            assert other.backend.kept.entities == desk.backend.kept.entities
            assert other.backend.kept.relations == desk.backend.kept.relations

    asyncio.run(run())
