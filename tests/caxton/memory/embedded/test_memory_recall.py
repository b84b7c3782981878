"""How much of the exact answer is found, with 20,000 vectors that are near each other as those of
sentences are, through the backend as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest_asyncio
from numpy.typing import NDArray

from caxton.memory.backend import CandidateQuery, ModelInfo, PutEntity, Selection
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.model import Entity, Scope

DIMENSION = 384
COUNT = 20_000
QUERIES = 60
K = 10
SHARES = {"ten": 0.1, "one": 0.01, "tenth": 0.001}
Floats = NDArray[np.float32]


def _near_each_other(count: int) -> Floats:
    """Sums of a topic, words of it, and words of all: a cosine of about 0.65 to the nearest."""
    rng = np.random.default_rng(4)
    words = rng.standard_normal((8_000, DIMENSION), dtype=np.float32) / np.float32(DIMENSION**0.5)
    topics = rng.standard_normal((150, DIMENSION), dtype=np.float32) / np.float32(DIMENSION**0.5)
    own = rng.integers(0, len(words), (len(topics), 60))
    topic = rng.integers(0, len(topics), count)
    rows = 0.8 * topics[topic]
    for _ in range(6):
        rows += words[own[topic, rng.zipf(1.3, count) % 60]]
    for _ in range(3):
        rows += words[rng.zipf(1.2, count) % len(words)]
    rows += rng.standard_normal((count, DIMENSION), dtype=np.float32) * np.float32(0.03)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS = _near_each_other(COUNT + QUERIES)
PLACES = np.random.default_rng(8).random(COUNT)


def _scope(place: int) -> str:
    low = 0.0
    for name, share in SHARES.items():
        if low <= PLACES[place] < low + share:
            return name
        low += share
    return "rest"


@pytest_asyncio.fixture
async def backend(tmp_path: Path) -> AsyncIterator[EmbeddedBackend]:
    """With all of them."""
    found = EmbeddedBackend(tmp_path, map_bytes=1 << 30, disk=False)
    await found.start(ModelInfo("made", DIMENSION, "0" * 64))
    for start in range(0, COUNT, 1_000):
        await found.write(
            [
                PutEntity(Entity(Scope.of_agent(_scope(n)), f"e{n}", "thing"), ROWS[n : n + 1])
                for n in range(start, start + 1_000)
            ]
        )
    yield found
    await found.close()


async def _recall(backend: EmbeddedBackend, scope: str | None) -> float:
    places = np.array([n for n in range(COUNT) if scope in (None, _scope(n))])
    scopes = None if scope is None else (Scope.of_agent(scope),)
    hits = total = 0
    for query in ROWS[COUNT:]:
        best = places[np.argsort(-(ROWS[places] @ query))[:K]]
        asked = CandidateQuery(Selection(scopes=scopes), K, vector=query.reshape(1, -1))
        found = {one.entity.entity_name for one in await backend.candidates(asked)}
        assert len(found) == min(K, len(places))
        hits += len(found & {f"e{n}" for n in best})
        total += len(best)
    return hits / total


async def test_recall(backend: EmbeddedBackend) -> None:
    """Of everything, and of scopes that hold a tenth, a hundredth and a thousandth of it."""
    assert (await backend.stats()).index == "rabitq"
    assert await _recall(backend, None) >= 0.995
    assert await _recall(backend, "ten") >= 0.995
    assert await _recall(backend, "one") >= 0.999
    assert await _recall(backend, "tenth") >= 0.999
