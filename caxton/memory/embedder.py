"""The seam to what makes vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caxton.memory.backend import ModelInfo, Vectors

__all__ = ["Embedder"]


class Embedder(Protocol):
    """Makes vectors. Belongs to one event loop; texts of all who ask go in batches."""

    model: ModelInfo

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector of length 1 for each text, in order: ``[texts, dimension]``, float32.

        Raises:
            EmbeddingUnavailable: the model does not load, or does not answer.
            QueueFull: too many texts wait.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...
