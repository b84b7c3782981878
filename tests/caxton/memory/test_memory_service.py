"""What the service of the memory does with each request."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from fake_embedder import FakeEmbedder
from memory_services import NOW_MS, Desk, open_desk
from model_backend import Kept

from caxton.errors import (
    CaxtonError,
    EmbeddingUnavailable,
    EntityConflict,
    EntityNotFound,
    EntityTooLarge,
    MemoryFull,
    MemoryUnavailable,
    NotAuthorized,
    QueueFull,
    ValidationError,
)
from caxton.memory.backend import PutEntity
from caxton.memory.model import WORKSPACE, EntityKey, Scope, embedding_text
from caxton.memory.requests import (
    AddObservations,
    DeleteObservations,
    EntityDraft,
    Maintain,
    Merge,
    Relate,
    RelationDraft,
    RelationName,
    Search,
    Stats,
    Store,
    Weights,
)
from caxton.memory.searching import SearchSettings

DEADLINE_S = 20.0
ELEVEN_MB = tuple(f"{i}" + "x" * 1_000_000 for i in range(11))


async def test_what_is_stored_is_found_and_opened(desk: Desk) -> None:
    """With its observations, its time, its source and a score."""
    stored = await desk.store("Ada", "person", ["wrote the first program"], source="m1")
    assert stored.created
    assert stored.added == 1
    assert stored.embedding_generated
    assert stored.entity.version == 1
    assert stored.entity.created_ms == NOW_MS
    assert stored.entity.observations[0].source == "m1"
    await desk.store("Mill", "place", ["grinds corn"])
    answer = await desk.search("first program")
    assert answer.semantic
    assert not answer.note
    assert answer.results[0].entity == stored.entity
    assert 0 < answer.results[0].score <= 1
    assert (await desk.open("  aDA ")).entities == (stored.entity,)


async def test_a_known_one_gets_what_is_new(desk: Desk) -> None:
    """Observations it does not have, metadata by key; the rest stays; nothing new is no write."""
    await desk.store("Ada", "person", ["likes  tea"], metadata={"a": 1, "b": 2})
    desk.clock.now_ms += 5
    again = await desk.store("ADA", "Person", ["likes tea", "likes maths"], metadata={"b": 3})
    assert not again.created
    assert again.added == 1
    assert [one.text for one in again.entity.observations] == ["likes  tea", "likes maths"]
    assert again.entity.metadata == {"a": 1, "b": 3}
    assert (again.entity.version, again.entity.updated_ms) == (2, NOW_MS + 5)
    assert again.entity.entity_name == "Ada"
    writes = len(desk.backend.writes)
    third = await desk.store("ada", "person", ["likes maths"])
    assert third.entity == again.entity
    assert third.added == 0
    assert len(desk.backend.writes) == writes


async def test_another_type_is_a_conflict(desk: Desk) -> None:
    """And leaves everything of the request undone."""
    await desk.store("Ada", "person")
    with pytest.raises(EntityConflict, match="its type is `person`"):
        await desk.store_many([EntityDraft("New", "x"), EntityDraft("Ada", "machine")])
    assert not (await desk.open("New")).entities


async def test_the_same_entity_twice_in_a_request(desk: Desk) -> None:
    """Is one, created once, in one version."""
    stored = await desk.store_many(
        [EntityDraft("A", "x", ("one",)), EntityDraft("a", "x", ("one", "two"))]
    )
    assert [one.created for one in stored.entities] == [True, False]
    assert [one.added for one in stored.entities] == [1, 1]
    entity = (await desk.open("A")).entities[0]
    assert entity == stored.entities[0].entity == stored.entities[1].entity
    assert entity.version == 1
    assert len(entity.observations) == 2


async def test_twice_in_a_request_with_nothing_new_the_first_time(desk: Desk) -> None:
    """Is one new version, of entities and of relations."""
    await desk.store_many([EntityDraft("A", "x"), EntityDraft("B", "x")])
    stored = await desk.store_many([EntityDraft("A", "x"), EntityDraft("A", "x", ("new",))])
    assert stored.entities[1].entity.version == 2
    await desk.relate("A", "r", "B")
    same, new = RelationDraft("A", "B", "r"), RelationDraft("A", "B", "r", 0.9)
    made = await desk.ask(Relate(relations=(same, new, same)))
    assert made.relations[2].version == 2


async def test_a_message_that_comes_again_is_noted_once(desk: Desk) -> None:
    """Whatever it says the second time."""
    draft = EntityDraft("Bob", "peer", ("said hello",), source="m7", once=True)
    assert (await desk.store_many([draft])).entities[0].added == 1
    other = EntityDraft("Bob", "peer", ("said good day",), source="m7", once=True)
    assert (await desk.store_many([other])).entities[0].added == 0
    third = EntityDraft("Bob", "peer", ("said good day",), source="m8", once=True)
    assert (await desk.store_many([third])).entities[0].added == 1


async def test_nearly_the_same_is_told_and_merged_on_request(desk: Desk) -> None:
    """Similar ones of the scope only; merging moves observations and relations."""
    text = "the deploy of the billing service failed on friday because a disk was full"
    await desk.store("Deploy", "incident", [text], memory_scope="workspace")
    await desk.store("Deploy", "incident", [text], memory_scope="global")
    await desk.store("Disk", "thing")
    near = await desk.store("Deploys", "incident", [text, "it was disk sda"])
    assert [one.entity_name for one in near.similar] == []
    near = await desk.store("The Deploy", "incident", [text])
    assert near.similar
    assert near.similar[0].similarity >= 0.95
    await desk.relate("The Deploy", "because_of", "Disk")
    await desk.relate("Deploy", "like", "The Deploy")
    merged = await desk.ask(Merge(into="Deploy", other="The Deploy"))
    assert [one.text for one in merged.entity.observations] == [text]
    opened = await desk.open("Deploy", "The Deploy", memory_scope="workspace")
    assert [one.entity_name for one in opened.entities] == ["Deploy"]
    assert [(one.from_entity, one.relation_type, one.to_entity) for one in opened.relations] == [
        ("Deploy", "because_of", "Disk")
    ]
    with pytest.raises(ValidationError, match="other"):
        await desk.merge("Deploy", "deploy")
    with pytest.raises(EntityNotFound):
        await desk.merge("Deploy", "nobody")


async def test_scopes_are_apart(desk: Desk) -> None:
    """Who may read and write where."""
    own, shares, wide = desk.of("own"), desk.of("shares"), desk.of("wide")
    await own.store("Secret", "note", ["heron"])
    await shares.store("Plan", "note", ["heron"])
    await wide.store("World", "note", ["heron"])
    await shares.store("Mine", "note", ["heron"], memory_scope="agent")

    async def seen(memory: object) -> set[str]:
        found = await memory.search("heron")  # type: ignore[attr-defined]
        return {hit.entity.entity_name for hit in found.results}

    assert await seen(own) == {"Secret"}
    assert await seen(shares) == {"Plan", "Mine"}
    assert await seen(wide) == {"Plan", "World"}
    assert await seen(desk) == {"Secret", "Plan", "World", "Mine"}
    assert await seen(desk.of("outside")) == set()
    await desk.of("outside").store("X", "note", ["heron"])
    assert await seen(desk.of("outside")) == {"X"}
    for memory, scope in ((own, "workspace"), (own, "agent:shares"), (shares, "global")):
        with pytest.raises(NotAuthorized, match="may not"):
            await memory.search("heron", memory_scope=scope)
        with pytest.raises(NotAuthorized, match="may not"):
            await memory.store("Y", "note", memory_scope=scope)
    with pytest.raises(NotAuthorized, match="memory"):
        await desk.of("off").search("heron")
    with pytest.raises(NotAuthorized, match="optimize"):
        await wide.optimize()
    found = await own.search("heron", memory_scope="agent")
    assert len(found.results) == 1


async def test_words_go_on_without_a_model(desk: Desk) -> None:
    """What is written without vectors is found by words; an answer says why."""
    async with open_desk(None, reason="none is installed") as bare:
        stored = await bare.store("Ada", "person", ["wrote programs"])
        assert not stored.embedding_generated
        found = await bare.search("programs", min_similarity=0.9)
        assert [hit.entity.entity_name for hit in found.results] == ["Ada"]
        assert not found.semantic
        assert "none is installed" in found.note
        assert found.results[0].similarity_score is None
        only_vectors = await bare.search("programs", weights=Weights(1.0, 0.0))
        assert len(only_vectors.results) == 1
        stats = await bare.stats()
        assert stats.unembedded == 1
        assert stats.model == ""
        assert "none is installed" in stats.note


async def test_vectors_come_later_when_the_model_answers_again() -> None:
    """Also those of a known entity whose text changed meanwhile, without a new version."""
    embedder = FakeEmbedder()
    async with open_desk(embedder, retry_s=0.01) as desk:
        await desk.store("Old", "note", ["mill"])
        down = True

        def fails(texts: object) -> None:
            if down:
                raise EmbeddingUnavailable(model="fake", reason="it is away")

        embedder.on_embed = fails
        stored = await desk.store("New", "note", ["heron"])
        changed = await desk.add("Old", ["heron"])
        assert not stored.embedding_generated
        assert not changed.embedding_generated
        found = await desk.search("heron")
        assert len(found.results) == 2
        assert "it is away" in found.note
        assert (await desk.stats()).unembedded == 2
        down = False
        async with asyncio.timeout(DEADLINE_S):
            while (await desk.stats()).unembedded:
                await asyncio.sleep(0.01)
        found = await desk.search("heron")
        assert found.semantic
        assert all(hit.similarity_score for hit in found.results)
        assert (await desk.open("Old")).entities == (changed.entity,)


async def test_what_an_earlier_start_left_is_embedded() -> None:
    """At the start with a model; ``embed`` does it at once."""
    kept = Kept()
    async with open_desk(None, kept) as bare:
        for number in range(70):
            await bare.store(f"n{number}", "note", [f"word{number}"])
    async with open_desk(FakeEmbedder(), kept) as desk:
        done = await desk.ask(Maintain(task="embed"))
        assert (await desk.stats()).unembedded == 0
        assert done.done
        assert len(kept.vectors) == 70


async def test_a_text_changed_without_a_model_is_not_ranked_by_the_old_one() -> None:
    """Its vectors go with the old text, however it is changed; a start with a model makes new
    ones. What keeps its text keeps its vectors."""
    kept, embedder = Kept(), FakeEmbedder()
    async with open_desk(embedder, kept) as desk:
        for name in ("Noted", "Dropped", "Told", "Into", "Other", "Marked"):
            await desk.store(name, "note", ["mill"])
    async with open_desk(None, kept) as bare:
        await bare.add("Noted", ["heron"])
        await bare.ask(DeleteObservations(entity_name="Dropped", observations=("mill",)))
        await bare.store("Told", "note", ["heron"])
        await bare.add("Other", ["heron"])
        await bare.ask(Merge(into="Into", other="Other"))
        await bare.store("Marked", "note", ["mill"], metadata={"marked": True})
    assert {key.name for key in kept.vectors} == {"marked"}
    async with open_desk(embedder, kept) as desk:
        await desk.ask(Maintain(task="embed"))
        assert {key.name for key in kept.vectors} == {"noted", "dropped", "told", "into", "marked"}
        for key, (_, vectors) in kept.vectors.items():
            expected = embedder.vectors([embedding_text(kept.entities[key])])
            assert np.array_equal(vectors, expected), key


async def test_relations_are_made_changed_and_forgotten(desk: Desk) -> None:
    """Both ends must be known; the same again is one; both directions on request."""
    await desk.store_many([EntityDraft("A", "x"), EntityDraft("B", "x")])
    made = await desk.relate("a", "knows", "b", strength=0.9, bidirectional=True)
    assert made.created == 2
    assert [(one.from_entity, one.to_entity) for one in made.relations] == [("A", "B"), ("B", "A")]
    again = await desk.relate("A", "knows", "B", metadata={"since": 1})
    assert again.created == 0
    assert (again.relations[0].strength, again.relations[0].version) == (0.9, 2)
    with pytest.raises(EntityNotFound, match="nobody"):
        await desk.relate("A", "knows", "nobody")
    with pytest.raises(EntityNotFound):
        await desk.relate("A", "knows", "B", memory_scope="global")
    gone = await desk.delete_relations(
        [RelationName("A", "B", "knows"), RelationName("A", "B", "likes")]
    )
    assert gone.relations == 1
    gone = await desk.delete("A", "nobody", "a")
    assert (gone.entities, gone.relations) == (1, 1)


async def test_observations_are_forgotten_by_text(desk: Desk) -> None:
    """Unknown ones are passed over; the vector is of what is left."""
    await desk.store("A", "x", ["heron  one", "mill"])
    gone = await desk.delete_observations("a", ["heron one", "unknown"])
    assert gone.observations == 1
    entity = (await desk.open("A")).entities[0]
    assert [one.text for one in entity.observations] == ["mill"]
    assert entity.version == 2
    with pytest.raises(EntityNotFound):
        await desk.delete_observations("nobody", ["x"])
    with pytest.raises(EntityNotFound):
        await desk.add("nobody", ["x"])


async def test_walks_and_paths(desk: Desk) -> None:
    """In the scope in which the entity is; observations on request; unknown names are told."""
    await desk.store_many([EntityDraft(name, "x", (f"is {name}",)) for name in "ABCD"])
    for start, end in ("AB", "BC", "CD"):
        await desk.relate(start, "next", end)
    graph = await desk.graph("a", max_depth=2, include_observations=False)
    assert [one.entity_name for one in graph.nodes] == ["A", "B", "C"]
    assert graph.depths == (0, 1, 2)
    assert len(graph.edges) == 2
    assert all(not one.observations for one in graph.nodes)
    path = await desk.path("A", "D")
    assert [one.entity_name for one in path.nodes] == ["A", "B", "C", "D"]
    assert not (await desk.path("A", "D", max_depth=2)).nodes
    assert not (await desk.path("D", "A", direction="out")).nodes
    with pytest.raises(EntityNotFound):
        await desk.graph("nobody")
    with pytest.raises(EntityNotFound):
        await desk.path("A", "nobody")


async def test_times_decide_what_holds(desk: Desk) -> None:
    """Now, at any time, or at some moment of a range."""
    await desk.store("Past", "x", ["heron"], valid_to_ms=NOW_MS - 10)
    await desk.store("Now", "x", ["heron"], valid_from_ms=NOW_MS - 10)
    await desk.store("Later", "x", ["heron"], valid_from_ms=NOW_MS + 10)

    async def found(**fields: object) -> set[str]:
        answer = await desk.search("heron", **fields)
        return {hit.entity.entity_name for hit in answer.results}

    assert await found() == {"Now"}
    assert await found(temporal_filter="all") == {"Past", "Now", "Later"}
    assert await found(temporal_filter="date_range", start_ms=NOW_MS - 50, end_ms=NOW_MS) == {
        "Past",
        "Now",
    }
    assert await found(temporal_filter="date_range", start_ms=NOW_MS) == {"Now", "Later"}
    with pytest.raises(ValidationError, match="start_ms"):
        await found(temporal_filter="date_range")
    with pytest.raises(ValidationError, match="end_ms"):
        await found(temporal_filter="date_range", start_ms=2, end_ms=1)


async def test_weights_change_the_order(desk: Desk) -> None:
    """Age, importance and neighbours count where they are asked for."""
    await desk.store("Old", "x", ["heron at the mill"], importance=1.0)
    desk.clock.now_ms += 90 * 86_400_000
    await desk.store("New", "x", ["heron at the mill"], importance=0.0)
    await desk.store("Near", "x", ["something else entirely"])
    await desk.store("Apart", "x", ["something else entirely"])
    await desk.relate("Near", "with", "New")

    async def order(weights: Weights) -> list[str]:
        found = await desk.search("heron mill", weights=weights)
        return [hit.entity.entity_name for hit in found.results]

    assert (await order(Weights(0.5, 0.3, recency=0.5)))[0] == "New"
    assert (await order(Weights(0.5, 0.3, importance=0.5)))[0] == "Old"
    near = await order(Weights(0.5, 0.3, neighbours=0.5))
    assert near.index("Near") < near.index("Apart")
    with pytest.raises(ValidationError, match=r"weights\.words"):
        await order(Weights(0.5, 1.5))
    with pytest.raises(ValidationError, match="weights"):
        await order(Weights(0.0, 0.0, recency=1.0))


async def test_min_similarity_and_relations_of_hits(desk: Desk) -> None:
    """What is not near enough is left out; hits come with what they have to do with."""
    await desk.store("A", "x", ["heron"])
    await desk.store("B", "x", ["heron and a very long list of many other different words"])
    await desk.relate("A", "near", "B")
    both = {hit.entity.entity_name: hit for hit in (await desk.search("heron")).results}
    near, far = both["A"].similarity_score, both["B"].similarity_score
    assert near is not None
    assert far is not None
    assert near > far
    least = (near + far) / 2
    found = await desk.search("heron", min_similarity=least, include_relations=True)
    assert [hit.entity.entity_name for hit in found.results] == ["A"]
    assert [one.relation_type for one in found.results[0].relations] == ["near"]
    assert found.results[0].similarity_score == near


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Store(entities=()), "entities"),
        (Store(entities=(EntityDraft("", "x"),)), "entities[0].entity_name"),
        (Store(entities=(EntityDraft("   ", "x"),)), "entities[0].entity_name"),
        (Store(entities=(EntityDraft("a" * 201, "x"),)), "entities[0].entity_name"),
        (Store(entities=(EntityDraft("\ud800", "x"),)), "entities[0].entity_name"),
        (Store(entities=(EntityDraft("a", ""),)), "entities[0].entity_type"),
        (Store(entities=(EntityDraft("a", "x", ("",)),)), "entities[0].observations[0]"),
        (
            Store(entities=(EntityDraft("a", "x", ("é" * 524_289,)),)),
            "entities[0].observations[0]",
        ),
        (
            Store(entities=(EntityDraft("a", "x", ELEVEN_MB),)),
            "entities[0].observations",
        ),
        (
            Store(entities=(EntityDraft("a", "x", metadata={"k": float("nan")}),)),
            "entities[0].metadata.k",
        ),
        (Store(entities=(EntityDraft("a", "x", metadata={"k": {1}}),)), "entities[0].metadata.k"),
        (
            Store(entities=(EntityDraft("a", "x", metadata={"k": "x" * 70_000}),)),
            "entities[0].metadata",
        ),
        (Store(entities=(EntityDraft("a", "x", importance=1.5),)), "entities[0].importance"),
        (
            Store(entities=(EntityDraft("a", "x", valid_from_ms=2, valid_to_ms=1),)),
            "entities[0].valid_to_ms",
        ),
        (Store(entities=(EntityDraft("a", "x"),), memory_scope="moon"), "memory_scope"),
        (Store(entities=(EntityDraft("a", "x"),), memory_scope="agent"), "memory_scope"),
        (AddObservations(entity_name="a", observations=()), "observations"),
        (Relate(relations=(RelationDraft("a", "b", " "),)), "relations[0].relation_type"),
        (Relate(relations=(RelationDraft("a", "b", "r", 2.0),)), "relations[0].strength"),
        (Search(query=""), "query"),
        (Search(query="x" * 10_001), "query"),
        (Search(query="x", limit=0), "limit"),
        (Search(query="x", limit=101), "limit"),
        (Search(query="x", min_similarity=float("nan")), "min_similarity"),
        (Search(query="x", entity_types=("",)), "entity_types[0]"),
    ],
)  # fmt: skip
async def test_bad_fields_are_named(desk: Desk, request_: object, field: str) -> None:
    """One error that names the field; nothing is written."""
    with pytest.raises((ValidationError, EntityTooLarge)) as caught:
        await desk.ask(request_)  # type: ignore[arg-type]
    assert caught.value.fields["field"] == field
    assert len(caught.value.detail) < 700
    assert not desk.backend.writes


async def test_an_entity_does_not_grow_beyond_its_bound(desk: Desk) -> None:
    """Also not bit by bit; what was there stays."""
    await desk.store("A", "x")
    for number in range(10):
        await desk.add("A", [f"{number} " + "x" * 1_000_000])
    with pytest.raises(EntityTooLarge, match="observations"):
        await desk.add("A", ["y" * 600_000])
    assert len((await desk.open("A")).entities[0].observations) == 10


async def test_one_agent_has_its_share_of_room() -> None:
    """At most so many entities in its own scope; what is forgotten gives room."""
    async with open_desk(None, entities_per_agent=3) as desk:
        own = desk.of("own")
        await own.store_many([EntityDraft(name, "x") for name in "ABC"])
        with pytest.raises(MemoryFull, match="at most 3"):
            await own.store("D", "x")
        await own.store("A", "x", ["more of a known one"])
        await own.delete("B")
        await own.store("D", "x")
        await desk.store_many([EntityDraft(name, "x") for name in "ABCDEF"])
        await desk.clear("agent:own")
        await own.store_many([EntityDraft(name, "x") for name in "EFG"])


async def test_writers_of_one_entity_lose_nothing(desk: Desk) -> None:
    """Fifty at a time, over two entities and their relations, in any order."""
    yielded = asyncio.Event()
    yielded.set()

    async def slow(changes: object) -> None:
        await asyncio.sleep(0)

    desk.backend.on_write = slow
    await desk.store_many([EntityDraft("A", "x"), EntityDraft("B", "x")])
    work = []
    for number in range(50):
        name = "AB"[number % 2]
        work.append(desk.add(name, [f"o{number}"]))
        work.append(desk.store(name, "x", [f"s{number}"], metadata={f"k{number}": number}))
        work.append(desk.relate("BA"[number % 2], f"r{number}", name))
        work.append(desk.store_many([EntityDraft("B", "x", (f"m{number}",)),
                                     EntityDraft("A", "x", (f"m{number}",))]))  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*work)
    entities = (await desk.open("A", "B")).entities
    texts = {one.text for entity in entities for one in entity.observations}
    expected = {f"{kind}{number}" for kind in "osm" for number in range(50)}
    assert texts == expected
    assert sum(len(entity.metadata) for entity in entities) == 50
    assert len(desk.backend.kept.relations) == 50
    assert not len(desk.service._ledger.locks)


async def test_a_scope_cleared_meanwhile_is_read_again(desk: Desk) -> None:
    """The write is worked out anew from what is there."""
    await desk.store("A", "x", ["old"])
    cleared = False

    async def clears(changes: object) -> None:
        nonlocal cleared
        if not cleared:
            cleared = True
            await desk.clear("workspace")

    desk.backend.on_write = clears
    stored = await desk.store("A", "x", ["new"])
    assert stored.created
    assert stored.entity.version == 1
    assert [one.text for one in stored.entity.observations] == ["new"]


async def test_a_write_that_nobody_waits_for_ends(desk: Desk) -> None:
    """Before the next writer of the same entity begins."""
    started, go = asyncio.Event(), asyncio.Event()

    async def waits(changes: object) -> None:
        started.set()
        await go.wait()

    desk.backend.on_write = waits
    first = asyncio.ensure_future(desk.store("A", "x", ["one"]))
    await asyncio.wait_for(started.wait(), DEADLINE_S)
    first.cancel()
    second = asyncio.ensure_future(desk.store("A", "x", ["two"]))
    asyncio.get_running_loop().call_later(0.02, go.set)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(first, DEADLINE_S)
    stored = await asyncio.wait_for(second, DEADLINE_S)
    assert [one.text for one in stored.entity.observations] == ["one", "two"]
    assert stored.entity.version == 2


async def test_few_search_at_a_time_and_not_too_many_wait() -> None:
    """The rest is refused at once."""
    settings = SearchSettings(concurrency=2, waiting=3)
    async with open_desk(None, search=settings) as desk:
        go = asyncio.Event()
        running = most = 0

        async def waits(query: object) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await go.wait()
            running -= 1

        desk.backend.on_candidates = waits
        searches = [asyncio.ensure_future(desk.search("x")) for _ in range(7)]
        done, _ = await asyncio.wait(searches, timeout=0.1)
        assert len(done) == 2
        assert all(isinstance(one.exception(), QueueFull) for one in done)
        go.set()
        await asyncio.wait_for(asyncio.wait(searches), DEADLINE_S)
        assert most == 2
        assert sum(one.exception() is None for one in searches) == 5


async def test_what_is_asked_ends_before_it_closes() -> None:
    """What is not answered by then fails and can be tried again; nothing new is taken."""
    async with open_desk(FakeEmbedder()) as desk:
        never = asyncio.Event()

        async def waits(query: object) -> None:
            await never.wait()

        await desk.store("A", "x", ["heron"])
        desk.backend.on_candidates = waits
        search = asyncio.ensure_future(desk.search("heron"))
        await asyncio.sleep(0)
        start = time.monotonic()
        await desk.service.close(timeout_s=0.05)
        assert time.monotonic() - start < DEADLINE_S
        with pytest.raises(MemoryUnavailable) as caught:
            await search
        assert caught.value.retryable
        with pytest.raises(MemoryUnavailable):
            await desk.stats()
        assert desk.embedder is not None
        assert desk.embedder.closed


async def test_long_texts_have_several_vectors(desk: Desk) -> None:
    """So that their end is found by meaning too."""
    texts = [f"sentence {number} about mills and rivers and corn" * 3 for number in range(20)]
    await desk.store("Long", "x", [*texts, "a heron"])
    key = EntityKey.of(WORKSPACE, "Long")
    _, vectors = desk.backend.kept.vectors[key]
    assert 1 < len(vectors) <= 32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_events_of_new_entities(desk: Desk) -> None:
    """Told once each, after they are kept."""
    told: list[str] = []
    desk.service.on_created = lambda created: told.extend(one.entity_name for one in created)
    await desk.store("A", "x")
    await desk.store("A", "x", ["more"])
    with pytest.raises(CaxtonError):
        await desk.store("A", "y")
    assert told == ["A"]


async def test_what_an_agent_is_told_of_how_much_there_is(desk: Desk) -> None:
    """Only of its own scopes; an operator of everything, with counts since the start."""
    await desk.of("own").store("A", "x")
    await desk.store("B", "x")
    assert (await desk.of("own").stats()).stats.entities == 1
    await desk.search("x")
    whole = await desk.ask(Stats())
    assert whole.stats.entities == 2
    assert whole.writes == 2
    assert whole.searches == 1
    assert whole.stats.scopes == {Scope.of_agent("own").key: 1, "workspace": 1}
    assert whole.model.startswith("fake@")
    assert whole.unembedded == 0
    assert (await desk.verify()).faults == ()


async def test_one_flushed_write_for_each_request(desk: Desk) -> None:
    """All of it in one, so that it is there whole or not at all."""
    await desk.store_many([EntityDraft(f"e{number}", "x", ("o",)) for number in range(100)])
    assert len(desk.backend.writes) == 1
    assert all(isinstance(one, PutEntity) for one in desk.backend.writes[0])
