"""The embedded backend against plain Python: what is written is found, whatever happens between."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caxton.errors import EntityConflict, MemoryUnavailable
from caxton.memory.backend import (
    CandidateQuery,
    DeleteEntity,
    ModelInfo,
    PutEntity,
    Selection,
)
from caxton.memory.embedded import holder, keyword_index, roster, vector_index, word_query
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.embedded.tokens import query_terms, text_terms
from caxton.memory.embedded.word_query import K1, B
from caxton.memory.model import (
    GLOBAL,
    WORKSPACE,
    Entity,
    EntityKey,
    Observation,
    Scope,
    embedding_text,
)

DIMENSION = 8
MODEL = ModelInfo("made", DIMENSION, "0" * 64)
OTHER = ModelInfo("made", DIMENSION, "1" * 64)
SCOPES = (WORKSPACE, GLOBAL, Scope.of_agent("ann"), Scope.of_agent("bob"))
TYPES = ("person", "place", "thing")
WORDS = (
    "cat", "dog", "house", "river", "the", "a", "running", "walked", "blue", "green", "42", "猫"
)  # fmt: skip
Rows = NDArray[np.float32]


def rows(count: int, seed: int) -> Rows:
    found = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def cosine(query: Rows, vectors: Rows) -> float:
    halves = vectors.astype(np.float16).astype(np.float64)
    return float(max(halves @ query[0] / np.linalg.norm(halves, axis=1)))


class Model:
    """What is remembered, in a dictionary."""

    def __init__(self) -> None:
        self.entities: dict[EntityKey, Entity] = {}
        self.vectors: dict[EntityKey, Rows | None] = {}

    def put(self, entity: Entity, vectors: Rows | None) -> PutEntity:
        known = self.entities.get(entity.key)
        entity = msgspec.structs.replace(entity, version=known.version + 1 if known else 1)
        self.entities[entity.key] = entity
        if vectors is not None or known is None:
            self.vectors[entity.key] = vectors
        return PutEntity(entity, vectors)

    def delete(self, key: EntityKey) -> DeleteEntity:
        del self.entities[key], self.vectors[key]
        return DeleteEntity(key)

    def words(self, text: str) -> dict[EntityKey, float]:
        texts = {key: text_terms(embedding_text(one)) for key, one in self.entities.items()}
        average = sum(map(len, texts.values())) / max(1, len(texts))
        scores: dict[EntityKey, float] = {}
        for term in query_terms(text):
            df = sum(term in one for one in texts.values())
            idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            for key, one in texts.items():
                if tf := Counter(one)[term]:
                    below = tf + K1 * (1 - B + B * len(one) / average)
                    scores[key] = scores.get(key, 0) + idf * tf * (K1 + 1) / below
        return scores

    def check(self, found: list[Any], query: CandidateQuery, searched: bool) -> None:
        """``searched`` is whether vectors are."""
        assert len({one.entity.key for one in found}) == len(found)
        assert query.vector is not None
        scores = self.words(query.text)
        similarities = {
            key: cosine(query.vector, held)
            for key, held in self.vectors.items()
            if searched and held is not None
        }
        for one in found:
            assert one.entity == self.entities[one.entity.key]
            assert query.selection.takes(one.entity)
            assert one.words == pytest.approx(scores.get(one.entity.key, 0.0), rel=1e-3)
            assert (one.similarity is None) == (one.entity.key not in similarities)
            if one.similarity is not None:
                assert one.similarity == pytest.approx(similarities[one.entity.key], abs=1e-4)
        chosen = [key for key, one in self.entities.items() if query.selection.takes(one)]
        keys = {one.entity.key for one in found}
        for of in (scores, similarities):
            best = sorted((of[key] for key in chosen if key in of), reverse=True)[: query.limit]
            told = sorted((of[key] for key in keys if key in of), reverse=True)[: len(best)]
            assert told == pytest.approx(best, rel=1e-3, abs=1e-4)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (keyword_index, "FRESH", 30), (word_query, "SKIP", 5), (keyword_index, "LEAST_DEAD", 4),
        (vector_index, "LEAST_DEAD", 4), (roster, "LEAST_DEAD", 4), (roster, "FEW", 4),
        (holder, "REPLAYABLE", 25), (holder, "FEW", 3), (roster, "REMEMBERED", 3),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


MOMENTS = st.one_of(st.none(), st.integers(0, 10))
ENTITIES = st.builds(
    lambda scope, name, kind, texts, times: Entity(
        SCOPES[scope], f"Entity {name}", TYPES[kind],
        tuple(Observation(one, 0) for one in dict.fromkeys(texts)),
        valid_from_ms=times[0], valid_to_ms=times[1],
    ),
    st.integers(0, 3), st.integers(0, 9), st.integers(0, 2),
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), max_size=3),
    st.tuples(MOMENTS, MOMENTS).filter(lambda one: None in one or one[0] < one[1]),
)  # fmt: skip
SELECTIONS = st.builds(
    Selection,
    st.one_of(st.none(), st.sets(st.sampled_from(SCOPES)).map(tuple)),
    st.sets(st.sampled_from((*TYPES, "unknown"))).map(tuple),
    MOMENTS,
    MOMENTS,
)
QUERIES = st.tuples(
    SELECTIONS,
    st.integers(1, 8),
    st.lists(st.sampled_from((*WORDS, "unknown")), max_size=4).map(" ".join),
    st.integers(0, 99),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.lists(
                st.tuples(ENTITIES, st.one_of(st.none(), st.integers(0, 4))),
                min_size=1,
                max_size=9,
            ),
        ),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 99), max_size=6)),
        st.tuples(st.just("clear"), SELECTIONS),
        st.tuples(st.sampled_from(["optimize", "restart", "verify", "rebuild"]), st.none()),
        st.tuples(st.just("search"), QUERIES),
    ),
    max_size=16,
)


def _backend(folder: Path, flat_below: int, snapshot_above: int) -> EmbeddedBackend:
    return EmbeddedBackend(
        folder, map_bytes=1 << 28, disk=False, flat_below=flat_below, snapshot_above=snapshot_above
    )


async def _step(backend: EmbeddedBackend, model: Model, name: str, given_: Any, seed: int) -> None:
    if name == "put":
        changes = []
        for at, (entity, parts) in enumerate(given_):
            vectors = None if parts is None else rows(parts, 100 * seed + at)
            put = model.put(entity, vectors)
            if parts == 0:
                model.vectors[entity.key] = None
            changes.append(put)
        await backend.write(changes)
    elif name == "delete":
        keys = sorted(model.entities)
        picked = dict.fromkeys(keys[number % len(keys)] for number in given_ if keys)
        await backend.write([model.delete(key) for key in picked])
    elif name == "clear":
        gone = [key for key, one in model.entities.items() if given_.takes(one)]
        for key in gone:
            model.delete(key)
        assert (await backend.clear(given_))[0] == len(gone)
    elif name == "optimize":
        await backend.optimize()
        assert (await backend.stats()).dead == 0
    elif name == "restart":
        await backend.start(MODEL)
    elif name == "verify":
        assert await backend.verify() == []
    elif name == "rebuild":
        backend._holder._rebuild()
    else:
        await _search(backend, model, given_)


async def _search(backend: EmbeddedBackend, model: Model, given_: Any) -> None:
    selection, limit, text, seed = given_
    query = CandidateQuery(selection, limit, text, rows(1, seed))
    model.check(await backend.candidates(query), query, searched=True)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(QUERIES, min_size=1, max_size=4), st.sampled_from([12, 1_000]))
def test_it_finds_what_plain_python_finds(
    steps: list[tuple[str, Any]], queries: list[Any], flat_below: int
) -> None:
    """After any writes, with every kind of selection; with a snapshot and without, flat and not."""

    async def run(folder: Path) -> None:
        backend, model = _backend(folder, flat_below, snapshot_above=15), Model()
        await backend.start(MODEL)
        for at, (name, given_) in enumerate(steps):
            await _step(backend, model, name, given_, at)
        for query in queries:
            await _search(backend, model, query)
        assert await backend.verify() == []
        await backend.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


def entity(name: str, *texts: str, version: int = 1, scope: Scope = WORKSPACE) -> Entity:
    return Entity(
        scope, name, "thing", tuple(Observation(one, 0) for one in texts), version=version
    )


async def test_words_only_without_a_model(tmp_path: Path) -> None:
    """Nothing is compared, everything still waits for vectors, and words are found."""
    backend = _backend(tmp_path, 1_000, 1_000)
    await backend.start(None)
    await backend.write([PutEntity(entity("a", "a cat")), PutEntity(entity("b", "a dog"))])
    query = CandidateQuery(Selection(), 5, "cats", rows(1, 1))
    (found,) = await backend.candidates(query)
    assert (found.entity.entity_name, found.similarity) == ("a", None)
    assert [one.entity_name async for one in backend.unembedded()] == ["a", "b"]
    await backend.close()


async def test_vectors_of_another_model_are_not_searched(tmp_path: Path) -> None:
    """They wait to be made anew, and are found by words meanwhile; back with the old model they
    are searched again."""
    backend = _backend(tmp_path, 1_000, 1_000)
    await backend.start(MODEL)
    vectors = rows(2, 1)
    await backend.write([PutEntity(entity(n, f"{n} cat"), vectors[:1]) for n in ("a", "b")])
    await backend.start(OTHER)
    query = CandidateQuery(Selection(), 5, "cats", vectors[:1])
    assert {one.similarity for one in await backend.candidates(query)} == {None}
    assert [one.entity_name async for one in backend.unembedded()] == ["a", "b"]
    assert [one.vectors async for one in backend.scan(Selection(), vectors=True)] == [None, None]
    await backend.write([PutEntity(entity("a", "a cat", version=2), vectors[1:])])
    assert [one.entity_name async for one in backend.unembedded()] == ["b"]
    assert await backend.verify() == []
    await backend.start(MODEL)
    found = {one.entity.entity_name: one.similarity for one in await backend.candidates(query)}
    assert found == {"a": None, "b": pytest.approx(1.0, abs=1e-3)}
    await backend.close()


async def test_what_was_not_written_is_not_found(tmp_path: Path) -> None:
    """An operation that fails leaves nothing in the index."""
    backend = _backend(tmp_path, 1_000, 1_000)
    await backend.start(MODEL)
    await backend.write([PutEntity(entity("a", "cat"), rows(1, 1))])
    with pytest.raises(EntityConflict):
        await backend.write(
            [PutEntity(entity("b", "cat"), rows(1, 2)), PutEntity(entity("a", "cat"), rows(1, 3))]
        )
    (found,) = await backend.candidates(CandidateQuery(Selection(), 5, "cat", rows(1, 1)))
    assert (found.entity.entity_name, found.similarity) == ("a", pytest.approx(1, abs=1e-3))
    assert await backend.verify() == []
    await backend.close()


async def test_it_searches_while_it_is_written_and_seen_to(tmp_path: Path) -> None:
    """What was acknowledged before a search is found by it, whatever goes on beside it."""
    backend = _backend(tmp_path, 50, 60)
    await backend.start(MODEL)
    await backend.write([PutEntity(entity("fixed", "unique"), rows(1, 7))])
    done = asyncio.Event()

    async def search() -> int:
        searches = 0
        query = CandidateQuery(Selection(scopes=(WORKSPACE,)), 3, "unique", rows(1, 7))
        while not done.is_set() or not searches:
            best = max(await backend.candidates(query), key=lambda one: one.similarity or 0)
            assert best.entity.entity_name == "fixed"
            assert best.words > 0
            searches += 1
        return searches

    searching = [asyncio.create_task(search()) for _ in range(3)]
    for turn in range(30):
        await backend.write(
            [
                PutEntity(entity(f"e{n}", f"cat {turn}", version=turn + 1), rows(1, turn * 40 + n))
                for n in range(40)
            ]
        )
        seed = turn * 40 + 5
        query = CandidateQuery(Selection(), 2, f"{turn}", rows(1, seed))
        best = max(await backend.candidates(query), key=lambda one: one.similarity or 0)
        assert (best.entity.entity_name, best.entity.version) == ("e5", turn + 1)
    done.set()
    assert min(await asyncio.gather(*searching)) >= 1
    assert (await backend.stats()).index == "rabitq"
    assert await backend.verify() == []
    await backend.close()


async def test_an_index_that_differs_is_told_and_made_anew(tmp_path: Path) -> None:
    """By each kind of difference: a vector, a word, an entity."""
    backend = _backend(tmp_path, 1_000, 1_000)
    await backend.start(MODEL)
    await backend.write([PutEntity(entity(f"e{n}", "cat"), rows(1, n)) for n in range(5)])

    def spoil(what: str) -> None:
        index = backend._holder.index
        one = np.array([2])
        if what == "vector":
            index.vectors.put(one, np.array([1]), rows(1, 99).astype(np.float16))
        elif what == "word":
            index.words.put(one, np.array([1], np.uint32), np.array([5], np.uint32))
        elif what == "parts":
            index.vectors.remove(one)
        elif what == "text":
            index.words.remove(one)
        else:
            index.roster.remove(one)
            index.vectors.remove(one)
            index.words.remove(one)

    for what in ("vector", "word", "parts", "text", "entity"):
        spoil(what)
        (fault,) = await backend.verify()
        assert fault.mended
        assert fault.what.startswith("index: ")
        assert await backend.verify() == []
    await backend.close()


@pytest.mark.parametrize("failure", [ValueError, KeyError, AssertionError])
async def test_a_commit_that_is_missed_makes_the_index_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    """It is kept and acknowledged, and found as soon as the index is made."""
    backend = _backend(tmp_path, 1_000, 1_000)
    await backend.start(MODEL)

    def fail(*_: object) -> None:
        raise failure("no")

    with monkeypatch.context() as patched:
        patched.setattr(type(backend._holder.index), "apply", fail)
        await backend.write([PutEntity(entity("a", "cat"), rows(1, 1))])
    assert backend._caring is not None
    await backend._caring
    (found,) = await backend.candidates(CandidateQuery(Selection(), 5, "cat", rows(1, 1)))
    assert found.entity.entity_name == "a"
    assert await backend.verify() == []
    await backend.close()


async def test_it_says_when_it_is_not_started(tmp_path: Path) -> None:
    """Before the start, after the end, and where the store does not open."""
    backend = _backend(tmp_path / "memory", 1_000, 1_000)
    with pytest.raises(MemoryUnavailable, match="not started"):
        await backend.stats()
    await backend.start(None)
    await backend.close()
    await backend.close()
    with pytest.raises(MemoryUnavailable, match="not started"):
        await backend.write([])
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MemoryUnavailable, match="file"):
        await _backend(tmp_path / "file", 1_000, 1_000).start(MODEL)
