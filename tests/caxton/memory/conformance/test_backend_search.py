"""What ``MemoryBackend`` promises of selections, scans and candidates, for each backend."""

from __future__ import annotations

import numpy as np
import pytest
from benches import Bench
from samples import (
    ANN,
    BOB,
    MODEL,
    OTHER_MODEL,
    SCOPES,
    WIDER_MODEL,
    drawn,
    entity,
    every,
    find,
    names,
    put,
    relate,
    relation,
    unit,
)

from caxton.memory.backend import (
    CandidateQuery,
    DeleteEntity,
    MemoryBackend,
    PutEntity,
    Selection,
)
from caxton.memory.model import GLOBAL, WORKSPACE, Entity, EntityKey

EXACT = 2e-3
"""Of a cosine: vectors may be kept in half precision."""


def varied() -> list[Entity]:
    """Entities of all scopes, three types, and six kinds of validity."""
    times = [(None, None), (100, None), (None, 200), (100, 200), (200, 300), (300, 300)]
    made = []
    for i in range(72):
        starts, ends = times[i % 6]
        made.append(
            entity(
                f"e{i}", f"word{i % 7} common",
                scope=SCOPES[i % 4], entity_type=("person", "place", "thing")[i % 3],
                valid_from_ms=starts, valid_to_ms=ends,
            )
        )  # fmt: skip
    return made


SELECTIONS = [
    Selection(),
    Selection(scopes=()),
    Selection(scopes=(ANN,)),
    Selection(scopes=(BOB, GLOBAL)),
    Selection(entity_types=("person",)),
    Selection(entity_types=("person", "place"), scopes=(WORKSPACE, ANN)),
    Selection(entity_types=("nothing",)),
    Selection(from_ms=150, to_ms=150),
    Selection(from_ms=200, to_ms=200),
    Selection(from_ms=99, to_ms=99),
    Selection(from_ms=200),
    Selection(to_ms=99),
    Selection(scopes=(GLOBAL,), entity_types=("thing", "place"), from_ms=100, to_ms=200),
    Selection(scopes=(ANN,), from_ms=300, to_ms=1_000),
]


async def test_a_scan_gives_what_the_selection_takes(backend: MemoryBackend) -> None:
    """All of it, each once, in the same order each time."""
    made = varied()
    await backend.write([PutEntity(one) for one in made])
    for selection in SELECTIONS:
        rows = await every(backend.scan(selection))
        got = [row.entity for row in rows]
        assert sorted(got, key=lambda one: one.key) == sorted(
            (one for one in made if selection.takes(one)), key=lambda one: one.key
        ), selection
        assert all(row.vectors is None for row in rows)
        assert [row.entity for row in await every(backend.scan(selection))] == got


async def test_candidates_are_of_the_selection(backend: MemoryBackend) -> None:
    """Both those found by vector and those found by words."""
    made, vectors = varied(), drawn(1, 72)
    await backend.write([PutEntity(one, vectors[i : i + 1]) for i, one in enumerate(made)])
    for selection in SELECTIONS:
        taken = {one.entity_name for one in made if selection.takes(one)}
        by_vector = await find(backend, vector=drawn(2, 1), limit=100, selection=selection)
        assert set(by_vector) == taken, selection
        by_words = await find(backend, "common", limit=100, selection=selection)
        assert set(by_words) == taken, selection


async def test_the_best_by_vector_with_their_cosines(backend: MemoryBackend) -> None:
    """The same as comparing with each, best of the parts of an entity."""
    counts = [1 + i % 3 for i in range(120)]
    parts = [drawn(100 + i, count) for i, count in enumerate(counts)]
    await backend.write(
        [PutEntity(entity(f"e{i}", scope=SCOPES[i % 2]), part) for i, part in enumerate(parts)]
    )
    for seed in range(5):
        query = drawn(seed, 1)
        cosines = {f"e{i}": float(np.max(part @ query[0])) for i, part in enumerate(parts)}
        best = sorted(cosines, key=lambda name: -cosines[name])[:10]
        found = await find(backend, vector=query, limit=10)
        assert len(found) == 10
        for name, one in found.items():
            assert one.similarity == pytest.approx(cosines[name], abs=EXACT)
            assert one.words == 0
            assert cosines[name] >= cosines[best[-1]] - 2 * EXACT


async def test_the_best_by_words(backend: MemoryBackend) -> None:
    """Rare words count more than common ones, two more than one; none is no candidate."""
    fill = [entity(f"f{i}", "the river runs by the common mill") for i in range(30)]
    await put(backend, *fill)
    await put(
        backend,
        entity("both", "a heron stands in the common marsh"),
        entity("rare", "a heron was seen today at noon"),
        entity("neither", "nothing of that kind"),
    )
    found = await find(backend, "common heron", limit=100)
    assert set(found) == {*(one.entity_name for one in fill), "both", "rare"}
    words = {name: one.words for name, one in found.items()}
    assert words["both"] > words["rare"] > words["f0"] > 0
    assert all(one.similarity is None for one in found.values())
    few = await find(backend, "common heron", limit=2)
    assert set(few) == {"both", "rare"}


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("The cats were RUNNING home", "cat run"),
        ("Straße nach Zürich", "STRASSE zürich"),
        ("北京大学在海淀区", "海淀"),
        ("C++ and state-of-the-art: it's 3.5!", "art"),
        ("to be OR not AND then", "or and not"),
        ("path /usr/lib * wild? (paren) [x] {y} ~1 ^2 a:b", "wild paren"),
    ],
)
async def test_words_of_all_kinds_are_found(backend: MemoryBackend, said: str, asked: str) -> None:
    """Stemmed, without case, of any script; what other databases take for syntax is text."""
    await put(backend, entity("it", said), entity("else", "different altogether"))
    found = await find(backend, asked)
    assert found["it"].words > 0
    assert "else" not in found


async def test_names_and_types_are_searched_for_words(backend: MemoryBackend) -> None:
    """Not only observations."""
    await put(backend, entity("Marie Curie", entity_type="physicist"), entity("Other One"))
    assert set(await find(backend, "curie")) == {"Marie Curie"}
    assert set(await find(backend, "physicist")) == {"Marie Curie"}


@pytest.mark.parametrize("text", ["", "   ", "?!… *:^~", "'\"\\", "\N{PILE OF POO}"])
async def test_text_without_words_finds_nothing(backend: MemoryBackend, text: str) -> None:
    """And is no error, whatever it is made of."""
    await put(backend, entity("a", "some text"))
    assert await find(backend, text) == {}


async def test_nothing_asked_finds_nothing(backend: MemoryBackend) -> None:
    """Neither words nor a vector; or nothing there."""
    assert await find(backend, "word", unit(1)) == {}
    await put(backend, entity("a", "word"), vectors=unit(1))
    assert await find(backend) == {}


async def test_both_ways_with_both_scores(backend: MemoryBackend) -> None:
    """Who is found one way has the score of the other too; what has no vector has no cosine."""
    await put(backend, entity("near", "quite apart"), vectors=unit(1))
    await put(backend, entity("said", "the heron"), vectors=unit(0.6, 0.8))
    await put(backend, entity("far", "other things"), vectors=unit(0, 0, 1))
    await put(backend, entity("bare", "one more heron among many other words here"))
    found = await find(backend, "heron", unit(1), limit=1)
    assert set(found) == {"near", "said"}
    assert found["near"].similarity == pytest.approx(1, abs=EXACT)
    assert found["near"].words == 0
    assert found["said"].similarity == pytest.approx(0.6, abs=EXACT)
    assert found["said"].words > 0
    wide = await find(backend, "heron", unit(0.6, 0.8), limit=10)
    assert set(wide) == {"near", "said", "far", "bare"}
    assert wide["bare"].similarity is None
    assert wide["bare"].words > 0
    assert wide["far"].words == 0
    assert wide["far"].similarity == pytest.approx(0, abs=EXACT)
    few = await find(backend, "heron", unit(0.6, 0.8), limit=1)
    assert few["said"].words > 0
    assert few["said"].similarity is not None


async def test_few_of_many_are_found(backend: MemoryBackend) -> None:
    """A small scope beside a large one loses nothing."""
    rows = drawn(5, 600)
    await backend.write(
        [PutEntity(entity(f"e{i}", f"w{i}", scope=ANN if i % 100 == 0 else BOB), rows[i : i + 1])
         for i in range(600)]
    )  # fmt: skip
    found = await find(backend, vector=drawn(6, 1), limit=10, selection=Selection(scopes=(ANN,)))
    assert set(found) == {f"e{i}" for i in range(0, 600, 100)}


async def test_what_changes_is_found_as_it_is_now(backend: MemoryBackend) -> None:
    """At once after the write: words, vectors, scope of types, and what is gone."""
    await put(backend, entity("a", "heron"), entity("b", "heron"), vectors=unit(1))
    await put(backend, entity("a", "mill", version=2, entity_type="x"), vectors=unit(0, 1))
    assert set(await find(backend, "heron")) == {"b"}
    assert set(await find(backend, "mill")) == {"a"}
    found = await find(backend, vector=unit(1), limit=5)
    assert found["a"].similarity == pytest.approx(0, abs=EXACT)
    assert set(await find(backend, "mill", selection=Selection(entity_types=("thing",)))) == set()
    of_x = await find(backend, vector=unit(1), selection=Selection(entity_types=("x",)))
    assert set(of_x) == {"a"}
    await backend.write([DeleteEntity(EntityKey.of(WORKSPACE, "b"))])
    assert await find(backend, "heron") == {}
    assert set(await find(backend, vector=unit(1))) == {"a"}


async def test_the_selection_follows_a_change_that_keeps_vectors(backend: MemoryBackend) -> None:
    """Type and times of the entity as it is now, also where its vectors were not given anew."""
    await put(backend, entity("a", "heron"), vectors=unit(1))
    await put(backend, entity("a", "heron", version=2, entity_type="bird", valid_to_ms=50))
    for selection, there in (
        (Selection(entity_types=("bird",)), True),
        (Selection(entity_types=("thing",)), False),
        (Selection(from_ms=60, to_ms=60), False),
        (Selection(from_ms=40, to_ms=40), True),
    ):
        assert bool(await find(backend, vector=unit(1), selection=selection)) is there


async def test_candidates_carry_the_whole_entity(backend: MemoryBackend) -> None:
    """As it was given."""
    given = entity("a", "heron", "two", metadata={"k": [1]}, importance=0.25)
    await put(backend, given, vectors=unit(1))
    query = CandidateQuery(Selection(), 5, "heron", unit(1))
    assert [one.entity for one in await backend.candidates(query)] == [given]


async def test_unembedded_are_those_without_vectors(backend: MemoryBackend) -> None:
    """Until they get some."""
    await put(backend, entity("a"), vectors=unit(1))
    await put(backend, entity("b"), entity("c", scope=ANN))
    waiting = await every(backend.unembedded())
    assert {one.entity_name for one in waiting} == {"b", "c"}
    await put(backend, entity("b", version=2), vectors=unit(1))
    assert [one.entity_name for one in await every(backend.unembedded())] == ["c"]


@pytest.mark.parametrize("model", [OTHER_MODEL, WIDER_MODEL], ids=lambda model: str(model.name))
async def test_another_model_asks_for_all_vectors_anew(bench: Bench, model: object) -> None:
    """Vectors of two models are not compared, whatever their dimension; words are found."""
    assert model in (OTHER_MODEL, WIDER_MODEL)
    other = OTHER_MODEL if model == OTHER_MODEL else WIDER_MODEL
    first = await bench.open(MODEL)
    await put(first, entity("a", "heron"), entity("b", "mill"), vectors=unit(1))
    await bench.close(first)
    second = await bench.open(other)
    query = unit(1, dimension=other.dimension)
    assert {one.entity_name for one in await every(second.unembedded())} == {"a", "b"}
    assert await find(second, vector=query) == {}
    assert (await find(second, "heron", query))["a"].similarity is None
    await put(second, entity("a", "heron", version=2), vectors=query)
    assert [one.entity_name for one in await every(second.unembedded())] == ["b"]
    assert set(await find(second, vector=query)) == {"a"}
    await put(second, entity("b", "mill", version=2), vectors=query)
    await second.optimize()
    assert await every(second.unembedded()) == []
    assert set(await find(second, vector=query)) == {"a", "b"}
    await bench.close(second)


async def test_without_a_model_words_are_found(bench: Bench) -> None:
    """And vectors that are there stay for the next start with their model."""
    first = await bench.open(MODEL)
    await put(first, entity("a", "heron"), vectors=unit(1))
    await bench.close(first)
    second = await bench.open(None)
    assert set(await find(second, "heron")) == {"a"}
    await put(second, entity("b", "mill"))
    await bench.close(second)
    third = await bench.open(MODEL)
    assert [one.entity_name for one in await every(third.unembedded())] == ["b"]
    assert set(await find(third, vector=unit(1))) == {"a"}
    await bench.close(third)


async def test_vectors_of_an_older_text_go_also_without_a_model(bench: Bench) -> None:
    """What lost them waits for new ones at the next start with a model, and only that."""
    first = await bench.open(MODEL)
    parts = drawn(3, 3)
    await put(first, entity("a", "heron"), entity("c"), vectors=parts)
    await put(first, entity("b", "mill"), vectors=unit(1))
    await bench.close(first)
    second = await bench.open(None)
    await put(second, entity("a", "stork", version=2), vectors=unit(1)[:0, :0])
    await put(second, entity("c", version=2), entity("d", "wren"))
    assert await second.verify() == []
    await bench.leave(second)
    third = await bench.open(MODEL)
    assert {one.entity_name for one in await every(third.unembedded())} == {"a", "d"}
    assert set(await find(third, vector=parts[:1])) == {"b", "c"}
    found = await find(third, "stork", parts[:1])
    assert found["a"].similarity is None
    rows = await every(third.scan(Selection(), vectors=True))
    bare = {row.entity.entity_name: row.vectors is None for row in rows}
    assert bare == {"a": True, "b": False, "c": False, "d": True}
    assert (await third.stats()).vectors == 4
    assert await third.verify() == []
    await put(third, entity("a", "stork", version=2), vectors=unit(0, 1), restored=True)
    assert set(await find(third, vector=unit(0, 1))) == {"a", "b", "c"}
    await bench.close(third)


async def test_a_scan_gives_vectors_where_asked(backend: MemoryBackend) -> None:
    """All parts of each, in order; None where there are none."""
    parts = drawn(9, 5)
    await put(backend, entity("many"), vectors=parts)
    await put(backend, entity("none"))
    rows = {
        row.entity.entity_name: row for row in await every(backend.scan(Selection(), vectors=True))
    }
    assert rows["none"].vectors is None
    kept = rows["many"].vectors
    assert kept is not None
    assert kept.dtype == np.float32
    assert np.max(np.abs(kept - parts)) < EXACT


async def test_a_scan_while_others_write(backend: MemoryBackend) -> None:
    """What is there from its beginning to its end comes once."""
    stay = [entity(f"s{i}", scope=SCOPES[i % 4]) for i in range(700)]
    await backend.write([PutEntity(one) for one in stay])
    got: list[Entity] = []
    number = 0
    async for row in backend.scan(Selection()):
        got.append(row.entity)
        if len(got) % 50 == 0:
            number += 1
            fresh = entity(f"n{number}", scope=SCOPES[number % 4])
            changes = [
                PutEntity(fresh),
                PutEntity(entity("s3", scope=SCOPES[3], version=1 + number)),
            ]
            if number > 1:
                gone = EntityKey.of(SCOPES[(number - 1) % 4], f"n{number - 1}")
                await backend.write([*changes, DeleteEntity(gone)])
            else:
                await backend.write(changes)
    seen = [one.entity_name for one in got]
    assert len(set(seen)) == len(seen)
    assert {one.entity_name for one in stay} <= set(seen)


async def test_a_scan_of_relations(backend: MemoryBackend) -> None:
    """All of some scopes, or of all; each once, in a fixed order; also while others write."""
    for scope in SCOPES:
        await put(backend, *(entity(f"e{i}", scope=scope) for i in range(20)))
        await relate(
            backend,
            *(relation(f"e{i}", kind, f"e{(i * 7) % 20}", scope=scope)
              for i in range(20) for kind in ("x", "y")),
        )  # fmt: skip
    everything = await every(backend.scan_relations(None))
    assert len({one.key for one in everything}) == len(everything) == 160
    assert await every(backend.scan_relations(None)) == everything
    assert {one.scope for one in await every(backend.scan_relations([ANN, BOB]))} == {ANN, BOB}
    assert len(await every(backend.scan_relations([ANN, BOB]))) == 80
    assert await every(backend.scan_relations([])) == []
    got = []
    async for one in backend.scan_relations(None):
        if not got:
            await relate(backend, relation("e1", "z", "e2"))
        got.append(one)
    assert {one.key for one in everything} <= {one.key for one in got}
    assert len({one.key for one in got}) == len(got)
    assert await names(backend, Selection(scopes=(ANN,), entity_types=("none",))) == []
