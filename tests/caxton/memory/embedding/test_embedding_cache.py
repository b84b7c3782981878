"""Vectors that are kept: those of the model, no more than they may take, the used ones longest."""

from __future__ import annotations

import numpy as np

from caxton.memory.backend import ModelInfo
from caxton.memory.embedding.cache import VectorCache

MODEL = ModelInfo("m", 4, "00" * 32)


def numbered(number: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full(4, number, np.float32)


def test_the_least_used_goes_first() -> None:
    """And what is kept never takes more than it may."""
    each = VectorCache(MODEL, 10_000)._each
    cache = VectorCache(MODEL, 3 * each + 1)
    keys = [cache.key(text) for text in "abcd"]
    for number, key in enumerate(keys[:3]):
        cache.put(key, numbered(number))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], numbered(3))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert (len(cache), cache.held_bytes, cache.evicted) == (3, 3 * each, 1)
    assert (cache.hits, cache.misses) == (4, 1)


def test_a_copy_is_kept() -> None:
    """Changing what was given, or a row of a large array, changes and holds nothing."""
    cache = VectorCache(MODEL, 10_000)
    given = np.ones((1_000, 4), np.float32)
    cache.put(b"k", given[0])
    given[:] = 7
    found = cache.get(b"k")
    assert found is not None
    assert found.tolist() == [1, 1, 1, 1]
    assert found.base is None


def test_models_do_not_share() -> None:
    """The same text has another key with another model, or other weights."""
    others = [ModelInfo("n", 4, "00" * 32), ModelInfo("m", 4, "01" * 32)]
    keys = {VectorCache(model, 0).key("text") for model in (MODEL, *others)}
    assert len(keys) == 3
    assert VectorCache(MODEL, 0).key("text") in keys


def test_none_is_kept_when_none_may() -> None:
    """A limit of 0."""
    cache = VectorCache(MODEL, 0)
    cache.put(b"k", numbered(1))
    assert cache.get(b"k") is None
    assert cache.held_bytes == 0
