"""An embedder without a model: texts that share words are near."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from caxton.memory.backend import ModelInfo, Vectors

__all__ = ["FakeEmbedder"]

DIMENSION = 64


class FakeEmbedder:
    """The same text gives the same vector, in every process."""

    def __init__(self, name: str = "fake", dimension: int = DIMENSION) -> None:
        self.model = ModelInfo(name, dimension, hashlib.sha256(name.encode()).hexdigest())
        self.texts: list[str] = []
        """All that were embedded."""
        self.on_embed: Callable[[Sequence[str]], object] = lambda texts: None
        """Called before each batch; may raise, and an awaitable that it gives is awaited."""
        self.closed = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        given = self.on_embed(texts)
        if hasattr(given, "__await__"):
            await given
        self.texts += texts
        return self.vectors(texts)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """What ``embed`` gives."""
        rows = np.zeros((len(texts), self.model.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row += 1e-3
            for word in re.findall(r"\w+", text.casefold()):
                digest = hashlib.sha256(f"{self.model.name}/{word}".encode()).digest()
                seed = int.from_bytes(digest[:8], "big")
                row += np.random.default_rng(seed).standard_normal(len(row)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)

    async def close(self) -> None:
        self.closed = True
