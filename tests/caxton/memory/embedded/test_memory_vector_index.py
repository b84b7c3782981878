"""The vector index against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from caxton.memory.embedded.vector_index import VectorIndex

DIMENSION = 16
Floats = NDArray[np.float32]


def made(count: int, seed: int, dimension: int = DIMENSION) -> NDArray[np.float16]:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dimension)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class Model:
    """The vectors of owners."""

    def __init__(self) -> None:
        self.rows: dict[int, NDArray[np.float16]] = {}

    def best(self, query: Floats, count: int, allowed: set[int] | None) -> list[float]:
        scores = [
            score
            for owner, rows in self.rows.items()
            if allowed is None or owner in allowed
            for score in (rows.astype(np.float32) @ query).tolist()
        ]
        return sorted(scores, reverse=True)[:count]


def _put(index: VectorIndex, model: Model, parts: dict[int, int], seed: int) -> None:
    rows = made(sum(parts.values()), seed)
    counts = np.array(list(parts.values()), dtype=np.int64)
    index.put(np.array(list(parts), dtype=np.int64), counts, rows)
    pieces = np.split(rows, np.cumsum(counts)[:-1])
    model.rows.update(zip(parts, pieces, strict=True))


def _remove(index: VectorIndex, model: Model, owners: set[int]) -> None:
    index.remove(np.array(sorted(owners), dtype=np.int64))
    for owner in owners:
        model.rows.pop(owner, None)


def _check(index: VectorIndex, model: Model) -> None:
    """All that lives is where the index says it is, and nothing else."""
    assert len(index) == sum(map(len, model.rows.values())) == index.places - index.dead
    owners = np.arange(70)
    assert index.counts_of(owners).tolist() == [len(model.rows.get(n, ())) for n in range(70)]
    places = index.places_of(owners)
    held = [model.rows[owner] for owner in range(70) if owner in model.rows]
    if held:
        assert index.living[places].all()
        assert index.agree(places, np.concatenate(held)).all()
        assert index.owners_of(places).tolist() == [
            owner for owner in range(70) for _ in model.rows.get(owner, ())
        ]
        assert index.parts_of(places).tolist() == [
            part for rows in (model.rows.get(n, ()) for n in range(70)) for part in range(len(rows))
        ]
    else:
        assert not len(places)


def _found(
    index: VectorIndex, model: Model, query: Floats, count: int, allowed: set[int] | None
) -> None:
    chosen = None
    if allowed is not None:
        wanted = np.zeros(70, dtype=np.bool_)
        wanted[list(allowed)] = True
        chosen = wanted[index.owners_of(slice(None))]
    places = index.search(query, count, chosen)
    expected = model.best(query, count, allowed)
    assert len(places) == len(expected) == len(set(places.tolist()))
    assert index.living[places].all()
    owners, parts = index.owners_of(places).tolist(), index.parts_of(places).tolist()
    scores = [
        float(model.rows[owner][part].astype(np.float32) @ query)
        for owner, part in zip(owners, parts, strict=True)
    ]
    if allowed is not None:
        assert set(owners) <= allowed
    if index.kind == "flat":
        assert sorted(scores, reverse=True) == pytest.approx(expected, abs=1e-5)


PARTS = st.dictionaries(st.integers(0, 63), st.integers(1, 5), min_size=1, max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PARTS),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 68), max_size=12)),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("move"), st.none()),
    ),
    max_size=15,
)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.sampled_from([20, 1_000_000]),
    st.integers(1, 30),
    st.one_of(st.none(), st.sets(st.integers(0, 63))),
)
def test_it_holds_and_finds_what_was_put(
    steps: list[tuple[str, object]], flat_below: int, count: int, allowed: set[int] | None
) -> None:
    """After any writes, compactions and moves, flat and by codes."""
    index, model = VectorIndex(DIMENSION, flat_below=flat_below), Model()
    for at, (name, given_) in enumerate(steps):
        if name == "put":
            _put(index, model, given_, at)  # type: ignore[arg-type]
        elif name == "remove":
            _remove(index, model, given_)  # type: ignore[arg-type]
        elif name == "compact":
            index.compact()
            assert index.dead == 0
        else:
            held = index.dump()
            index = VectorIndex(DIMENSION, flat_below=flat_below)
            index.restore(held)
    _check(index, model)
    _found(index, model, made(1, 99)[0].astype(np.float32), count, allowed)


@settings(max_examples=60, deadline=None)
@given(PARTS, PARTS, st.sets(st.integers(0, 63)), st.sampled_from([5, 1_000]))
def test_owners_can_be_numbered_anew(
    first: dict[int, int], second: dict[int, int], gone: set[int], flat_below: int
) -> None:
    """Those that are no more are forgotten, the others found under their new numbers."""
    index, model = VectorIndex(DIMENSION, flat_below=flat_below), Model()
    _put(index, model, first, 1)
    _put(index, model, second, 2)
    kept = [owner for owner in range(64) if owner not in gone]
    numbers = np.full(64, -1, dtype=np.int64)
    numbers[kept] = np.arange(len(kept))
    index.renumber(numbers)
    model.rows = {new: model.rows[old] for new, old in enumerate(kept) if old in model.rows}
    _check(index, model)


def test_it_goes_over_to_codes_and_finds_the_same() -> None:
    """At the bound; with ranking again the best are as good as those of all."""
    index = VectorIndex(64, flat_below=1_000)
    rows = made(3_000, 3, 64)
    query = rows[17].astype(np.float32)
    for start in range(0, 3_000, 500):
        owners = np.arange(start, start + 500)
        index.put(owners, np.ones(500, dtype=np.int64), rows[start : start + 500])
        assert index.kind == ("flat" if start < 500 else "rabitq")
        assert 17 in index.search(query, 50).tolist()
    exact = np.argsort(-(rows.astype(np.float32) @ query))[:10]
    assert set(exact.tolist()) <= set(index.search(query, 400).tolist())


def test_dead_places_are_taken_out_when_there_are_many() -> None:
    """More than a fifth, and not just a few."""
    index = VectorIndex(DIMENSION)
    ones = np.ones(1_500, dtype=np.int64)
    index.put(np.arange(1_500), ones, made(1_500, 1))
    index.remove(np.arange(300))
    assert not index.wants_compaction
    index.remove(np.arange(301))
    assert index.wants_compaction
    before = index.moved
    index.compact()
    assert (index.places, index.dead, index.moved) == (1_199, 0, before + 1)


def test_what_is_no_index_is_refused() -> None:
    """Codes of another dimension, bytes that are none, arrays of other lengths."""
    index = VectorIndex(DIMENSION, flat_below=10)
    index.put(np.arange(20), np.ones(20, dtype=np.int64), made(20, 1))
    held = index.dump()
    with pytest.raises(ValueError, match="dimension"):
        VectorIndex(8).restore(held)
    with pytest.raises(ValueError, match="do not read"):
        VectorIndex(DIMENSION).restore(held | {"codes": held["codes"][:40]})
    with pytest.raises(ValueError, match="20 vectors"):
        VectorIndex(DIMENSION).restore(held | {"owner": held["owner"][:-1]})

