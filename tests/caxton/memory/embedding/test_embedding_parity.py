"""The default model, which ``scripts/install`` obtains, says what transformers says of it.

The vectors compared with were written by ``scripts/memory-parity --write``, which runs both.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from parity_texts import texts

from caxton.memory.backend import Vectors
from caxton.memory.embedding.batching import BatchingEmbedder
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder
from caxton.memory.embedding.weights import DEFAULT_MODEL, Places

WORST = 0.9999


@pytest.fixture
async def embedder() -> AsyncIterator[BatchingEmbedder]:
    """On the model of this installation, and no other."""
    settings = EmbeddingSettings(download=False, cache_bytes=0)
    made = await open_embedder(settings, places=Places(download=False, env={}))
    yield made
    await made.close()


def cosines(one: Vectors, other: Vectors) -> Vectors:
    one, other = one.astype(np.float64), other.astype(np.float64)
    product = np.einsum("ij,ij->i", one, other)
    return product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


async def test_it_is_the_official_model(embedder: BatchingEmbedder) -> None:
    """By name, dimension and the hash of its weights."""
    assert embedder.model.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert embedder.model.dimension == 384
    assert embedder.model.sha256 == DEFAULT_MODEL.sha256


async def test_vectors_are_those_of_transformers(embedder: BatchingEmbedder) -> None:
    """On 500 texts, in batches and each alone: worst cosine at least 0.9999, also between both."""
    kept = np.load(Path(__file__).with_name("parity_reference.npz"))
    given = texts()
    assert str(kept["texts"]) == hashlib.sha256("\0".join(given).encode()).hexdigest()
    together = await embedder.embed(given)
    assert together.shape == kept["vectors"].shape == (500, 384)
    assert cosines(together, kept["vectors"]).min() >= WORST
    alone = np.concatenate([await embedder.embed([text]) for text in given])
    assert cosines(alone, kept["vectors"]).min() >= WORST
    assert cosines(alone, together).min() >= WORST
    # A vector of another text is nowhere near, or the cosines above would say nothing.
    assert cosines(together[30:], np.roll(together[30:], 1, axis=0)).mean() < 0.5


async def test_it_knows_what_texts_mean(embedder: BatchingEmbedder) -> None:
    """The nearest of each is the one that means the same."""
    pairs = [
        ("How do I get my money back?", "refund policy for customers"),
        ("The server is down", "an outage of the production machine"),
        ("She was born in Zürich", "her place of birth is a Swiss city"),
        ("import numpy as np", "a Python program that uses arrays"),
    ]
    ask = await embedder.embed([one for one, _ in pairs])
    have = await embedder.embed([other for _, other in pairs])
    assert (ask @ have.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
