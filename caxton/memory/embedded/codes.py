"""Codes of vectors (RaBitQ): one bit for each dimension, and two numbers; kept in faiss.

Codes are made here, many at a time, which is several times quicker than in faiss, one number after
the other. Whether they are those of the faiss that is installed is tried when the middle is known;
where they are not, faiss makes them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Codes"]

TRAINED_ON: Final = 65_536
"""Vectors whose middle the codes are measured from."""
TRIED: Final = 64
"""Vectors whose codes are compared with those of faiss."""
QUERY_BITS: Final = 4
ALIKE: Final = 1e-4
"""Share by which the numbers of a code may be apart, for faiss adds up in another order."""

Floats = NDArray[np.float32]


class Codes:
    """One code for each place.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        import faiss

        self._faiss: Any = faiss
        self._index: Any = faiss.IndexRaBitQ(dimension, faiss.METRIC_INNER_PRODUCT)
        self._index.qb = QUERY_BITS
        self._middle: Floats | None = None
        """What codes are measured from; None where faiss makes them."""

    @classmethod
    def loaded(cls, raw: NDArray[np.uint8], dimension: int) -> Codes:
        """Those that ``dump`` gave.

        Raises:
            ValueError: they are something else.
        """
        import faiss

        codes = cls(dimension)
        try:
            index = faiss.deserialize_index(raw)
        except RuntimeError as error:
            raise ValueError(f"the codes do not read: {error}") from error
        if not isinstance(index, faiss.IndexRaBitQ) or index.d != dimension:
            raise ValueError(f"the codes are not of dimension {dimension}")
        codes._index = index
        codes._index.qb = QUERY_BITS
        codes._find_middle()
        return codes

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return int(self._index.codes.size())

    def train(self, vectors: Floats) -> None:
        """Take the middle of ``vectors`` as where codes are measured from."""
        self._index.train(vectors[:TRAINED_ON])
        self._find_middle()

    def _find_middle(self) -> None:
        """Make codes here from now on, if they are what faiss makes."""
        self._middle = None
        middle = self._faiss.vector_to_array(self._index.center)
        if middle.shape != (self._index.d,) or self._index.code_size != _code_size(middle):
            return
        rng = np.random.default_rng(0)
        tried = rng.standard_normal((TRIED, len(middle)), dtype=np.float32)
        tried /= np.linalg.norm(tried, axis=1, keepdims=True)
        tried[0], tried[1] = 0, middle
        if _alike(_codes_of(tried, middle), self._index.sa_encode(tried)).all():
            self._middle = middle

    def extend(self, vectors: Floats) -> None:
        """Put the codes of ``vectors`` behind those that are there."""
        if self._middle is None:
            self._index.add(np.ascontiguousarray(vectors))
        else:
            self._index.add_sa_codes(_codes_of(vectors, self._middle))

    def remove(self, dead: NDArray[np.bool_]) -> None:
        """Take out the dead ones; the others move together."""
        bits = np.packbits(dead, bitorder="little")
        self._index.remove_ids(self._faiss.IDSelectorBitmap(bits))

    def search(
        self, query: Floats, count: int, bits: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.int64], Floats]:
        """The places whose codes are nearest, of those whose bit is set, and how near they seem."""
        given = self._faiss.RaBitQSearchParameters()
        given.qb = QUERY_BITS
        if bits is not None:
            # faiss holds bare pointers to both: they are referenced until it is done.
            chosen = self._faiss.IDSelectorBitmap(bits)
            given.sel = chosen
        seem, places = self._index.search(query.reshape(1, -1), count, params=given)
        found = places[0] >= 0
        return places[0][found], seem[0][found]

    def agree(self, places: NDArray[np.int64], vectors: Floats) -> NDArray[np.bool_]:
        """Of each place, whether its code is that of a vector, whoever made it."""
        made = self._index.sa_encode(np.ascontiguousarray(vectors))
        if self._middle is None:
            same: NDArray[np.bool_] = (self.at(places) == made).all(axis=1)
            return same
        return _alike(self.at(places), made)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The codes of places: ``[n, bytes]``."""
        size = int(self._index.code_size)
        every = self._faiss.rev_swig_ptr(self._index.codes.data(), len(self) * size)
        codes: NDArray[np.uint8] = every.reshape(len(self), size)[places]
        return codes

    def dump(self) -> NDArray[np.uint8]:
        """All of it, to be written."""
        raw: NDArray[np.uint8] = self._faiss.serialize_index(self._index)
        return raw


def _code_size(middle: Floats) -> int:
    return (len(middle) + 7) // 8 + 8


def _codes_of(vectors: Floats, middle: Floats) -> NDArray[np.uint8]:
    """The codes of ``vectors``: ``[n, bytes]``.

    Bits say where a vector is above the middle. Behind them are the square of its distance from
    there less that of its length, and what the sum of the bits is to be multiplied with to come to
    that distance.
    """
    bits = (len(middle) + 7) // 8
    codes = np.empty((len(vectors), _code_size(middle)), dtype=np.uint8)
    apart = vectors - middle
    codes[:, :bits] = np.packbits(apart > 0, axis=1, bitorder="little")
    square = np.einsum("ij,ij->i", apart, apart)
    sums = np.abs(apart, out=apart).sum(axis=1)
    numbers = np.zeros((len(vectors), 2), dtype="<f4")
    numbers[:, 0] = square - np.einsum("ij,ij->i", vectors, vectors)
    scaled = square * np.float32(len(middle) ** 0.5)
    np.divide(scaled, sums, out=numbers[:, 1], where=sums > 0)
    codes[:, bits:] = numbers.view(np.uint8)
    return codes


def _alike(codes: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Of each of two codes, whether they are of the same vector."""
    bits = codes.shape[1] - 8
    one, other = (np.ascontiguousarray(each[:, bits:]).view("<f4") for each in (codes, others))
    # The first number is the difference of two squares, each about that of the second one.
    size = np.abs(other[:, 1])
    near = np.abs(one[:, 0] - other[:, 0]) <= ALIKE * (1 + size * size)
    near &= np.abs(one[:, 1] - other[:, 1]) <= ALIKE * size
    same: NDArray[np.bool_] = (codes[:, :bits] == others[:, :bits]).all(axis=1) & near
    return same
