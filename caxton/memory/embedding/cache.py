"""Vectors of texts that came before, by the hash of text and model; the least used go first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import ModelInfo

__all__ = ["VectorCache"]

_OVERHEAD: Final = 240
"""Bytes that an entry costs beside its numbers, measured."""


class VectorCache:
    """Vectors by text, of one model.

    Args:
        model: whose vectors they are.
        limit_bytes: what all of them may take; 0 keeps none.
    """

    def __init__(self, model: ModelInfo, limit_bytes: int) -> None:
        self._salt = hashlib.sha256(f"{model.name}@{model.sha256}".encode()).digest()
        self._each = model.dimension * 4 + _OVERHEAD
        self.limit = max(0, limit_bytes // self._each)
        """Vectors that are kept at most."""
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self.hits = 0
        self.misses = 0
        self.evicted = 0

    def __len__(self) -> int:
        """Vectors that are kept."""
        return len(self._kept)

    @property
    def held_bytes(self) -> int:
        """What they take."""
        return len(self._kept) * self._each

    def key(self, text: str) -> bytes:
        """What stands for ``text`` and the model."""
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._salt).digest()

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """The vector of a key, which is now the last to go."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, vector: NDArray[np.float32]) -> None:
        """Keep a copy of ``vector``; one that came before stays."""
        if not self.limit or key in self._kept:
            return
        if len(self._kept) >= self.limit:
            self._kept.popitem(last=False)
            self.evicted += 1
        self._kept[key] = vector.copy()
