"""Codes that are made here are those that faiss makes, and faiss makes them where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from caxton.memory.embedded import codes as codes_module
from caxton.memory.embedded.codes import Codes


def vectors(count: int, dimension: int, seed: int = 1) -> NDArray[np.float32]:
    """Some that are of length 1, one that is nothing, and one that is long."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0], rows[1] = 0, rows[1] * 30
    return rows.astype(np.float16).astype(np.float32)


def trained(rows: NDArray[np.float32]) -> Codes:
    """Codes that are measured from the middle of ``rows``; there are none yet."""
    codes = Codes(rows.shape[1])
    codes.train(rows)
    return codes


@pytest.mark.parametrize("dimension", [8, 12, 384, 1_024])
def test_codes_are_those_of_faiss(dimension: int) -> None:
    """The same bits; the two numbers behind them but for how they were added up."""
    rows = vectors(500, dimension)
    codes = trained(rows)
    assert codes._middle is not None
    codes.extend(rows)
    held, made = codes.at(np.arange(len(rows))), codes._index.sa_encode(rows)
    bits = (dimension + 7) // 8
    np.testing.assert_array_equal(held[:, :bits], made[:, :bits])
    one, other = (np.ascontiguousarray(each[:, bits:]).view("<f4") for each in (held, made))
    np.testing.assert_allclose(one[:, 1], other[:, 1], rtol=1e-4)
    np.testing.assert_allclose(one[2:, 0], other[2:, 0], atol=1e-4)
    np.testing.assert_allclose(one[1, 0], other[1, 0], atol=900 * 1e-4)
    assert codes.agree(np.arange(len(rows)), rows).all()
    assert not codes.agree(np.arange(len(rows)), np.roll(rows, 1, axis=0)).any()


def test_where_they_are_others_faiss_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a faiss that keeps other numbers."""
    rows = vectors(500, 64)
    monkeypatch.setattr(codes_module, "_alike", lambda one, _: np.zeros(len(one), dtype=np.bool_))
    codes = trained(rows)
    assert codes._middle is None
    codes.extend(rows)
    np.testing.assert_array_equal(codes.at(np.arange(len(rows))), codes._index.sa_encode(rows))
    assert codes.agree(np.arange(len(rows)), rows).all()


def test_both_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same places, as near."""
    rows, asked = vectors(3_000, 384), vectors(20, 384, seed=2)[2:]
    own = trained(rows)
    own.extend(rows)
    monkeypatch.setattr(own, "_middle", None)
    other = trained(rows)
    monkeypatch.setattr(other, "_middle", None)
    other.extend(rows)
    for query in asked:
        (places, seem), (others, as_near) = (one.search(query, 50, None) for one in (own, other))
        assert len(set(places) & set(others)) >= 49
        np.testing.assert_allclose(np.sort(seem), np.sort(as_near), rtol=1e-3, atol=1e-3)


def test_what_was_kept_goes_on_as_it_was() -> None:
    """Codes that are read again take more, made from the same middle."""
    rows = vectors(300, 32)
    codes = trained(rows)
    codes.extend(rows[:200])
    again = Codes.loaded(codes.dump(), 32)
    for one in (codes, again):
        one.extend(rows[200:])
    every = np.arange(len(rows))
    np.testing.assert_array_equal(codes.at(every), again.at(every))
