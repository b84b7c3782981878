"""Vectors that are made, not embedded, for ``perf/memory.py``: the same for everybody who searches.

A vector is the sum of a topic, of some words of its topic and of some of all; words are rare and
common as in a language (Zipf). Neighbours are then about as near as those of sentences are: a
cosine of 0.6 to 0.7 to the nearest. What is random and without neighbours would be no test: there,
whatever is found is as good as the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
SEED = 6
WORDS, TOPICS, TOPIC_WORDS = 20_000, 400, 60
SHARES = {"ten": 0.1, "one": 0.01, "tenth": 0.001}
"""Scopes that are searched alone, and which share of everything is in them."""
REST = "rest"
PART = 20_000
K = 10

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """What is searched, and for what."""

    vectors: Floats
    queries: Floats
    scopes: list[str]
    """Of each vector."""


def _sentences(rng: np.random.Generator, count: int, words: Floats, topics: Floats,
               own: NDArray[np.int64]) -> Floats:  # fmt: skip
    parts = []
    for start in range(0, count, PART):
        n = min(PART, count - start)
        topic = rng.integers(0, TOPICS, n)
        of_topic = own[topic[:, None], rng.zipf(1.3, (n, 6)) % TOPIC_WORDS]
        of_all = rng.zipf(1.2, (n, 3)) % WORDS
        sums = 0.8 * topics[topic] + words[of_topic].sum(1) + words[of_all].sum(1)
        sums += rng.standard_normal((n, DIMENSION), dtype=np.float32) * 0.03
        parts.append(sums / np.linalg.norm(sums, axis=1, keepdims=True))
    return np.concatenate(parts).astype(np.float32)


def make(count: int, queries: int) -> Data:
    """``count`` vectors, and ``queries`` that are like them and not among them."""
    rng = np.random.default_rng(SEED)
    words = rng.standard_normal((WORDS, DIMENSION), dtype=np.float32) / np.float32(DIMENSION**0.5)
    topics = rng.standard_normal((TOPICS, DIMENSION), dtype=np.float32) / np.float32(DIMENSION**0.5)
    own = rng.integers(0, WORDS, (TOPICS, TOPIC_WORDS))
    made = _sentences(rng, count + queries, words, topics, own)
    places = rng.random(count)
    scopes = np.full(count, REST, dtype=object)
    low = 0.0
    for name, share in SHARES.items():
        scopes[(places >= low) & (places < low + share)] = name
        low += share
    return Data(made[:count], made[count:], [str(one) for one in scopes])


def nearest(data: Data, scope: str | None) -> list[list[int]]:
    """The exact answer to each query."""
    places = np.arange(len(data.vectors))
    if scope is not None:
        places = np.flatnonzero(np.array(data.scopes) == scope)
    among = data.vectors[places]
    found = []
    for start in range(0, len(data.queries), 50):
        scores = data.queries[start : start + 50] @ among.T
        k = min(K, scores.shape[1])
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        found += [[int(places[one]) for one in row] for row in best]
    return found


def save(data: Data, folder: Path) -> None:
    """Put it where other processes read it."""
    np.save(folder / "vectors.npy", data.vectors)
    np.save(folder / "queries.npy", data.queries)
    (folder / "scopes.json").write_text(json.dumps(data.scopes))


def load(folder: Path) -> Data:
    """What ``save`` put there; vectors stay in their file until they are read."""
    return Data(
        np.load(folder / "vectors.npy", mmap_mode="r"),
        np.load(folder / "queries.npy"),
        json.loads((folder / "scopes.json").read_text()),
    )
