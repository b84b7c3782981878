"""Vectors of entities and of queries, as far as there is a model; the others get theirs later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from caxton.errors import CaxtonError
from caxton.memory.embedder import Embedder
from caxton.memory.model import Entity
from caxton.memory.parts import parts_of

if TYPE_CHECKING:
    from caxton.memory.backend import Vectors

__all__ = ["Vectorizer"]

logger = logging.getLogger("caxton.memory")

BATCH: Final = 256
"""Texts that are put to the model at a time."""


class Vectorizer:
    """Asks the model, and goes on without it where it does not answer.

    Args:
        embedder: the model; None without one.
        reason: why there is none.
        wait_s: longest wait for vectors, in seconds.
    """

    def __init__(self, embedder: Embedder | None, reason: str = "", wait_s: float = 10.0) -> None:
        self.embedder = embedder
        self._reason = reason or "no model was given"
        self._failure = ""
        self._wait_s = wait_s

    @property
    def note(self) -> str:
        """Why words only are searched; empty when all is well."""
        if self.embedder is None:
            return f"words only: {self._reason}"
        return f"words only: {self._failure}" if self._failure else ""

    @property
    def tag(self) -> str:
        """``NAME@SHA256`` of the model, empty without one."""
        if self.embedder is None:
            return ""
        return f"{self.embedder.model.name}@{self.embedder.model.sha256}"

    async def of_query(self, text: str) -> Vectors | None:
        """The vector of a query; None where there is none to be had."""
        return await self._embed([text])

    async def of_entities(self, entities: Sequence[Entity]) -> list[Vectors | None]:
        """The vectors of each entity; None for those that have to wait for theirs."""
        if self.embedder is None or not entities:
            return [None] * len(entities)
        parts = [parts_of(one) for one in entities]
        texts = [text for one in parts for text in one]
        vectors = await self._embed(texts)
        if vectors is None:
            return [None] * len(entities)
        found: list[Vectors | None] = []
        first = 0
        for one in parts:
            found.append(vectors[first : first + len(one)])
            first += len(one)
        return found

    def to_write(self, vectors: Vectors | None) -> Vectors:
        """Vectors to write with a new text. Without any, those of the old text go, whatever model
        they are of: a search would rank the entity by what it no longer says."""
        if vectors is not None:
            return vectors
        import numpy as np

        dimension = 0 if self.embedder is None else self.embedder.model.dimension
        return np.zeros((0, dimension), np.float32)

    async def _embed(self, texts: list[str]) -> Vectors | None:
        embedder = self.embedder
        if embedder is None:
            return None
        try:
            async with asyncio.timeout(self._wait_s):
                if len(texts) <= BATCH:
                    vectors = await embedder.embed(texts)
                else:
                    vectors = await self._in_batches(embedder, texts)
        except TimeoutError:
            self._failed(f"the model did not answer within {self._wait_s:g} s")
            return None
        except CaxtonError as error:
            self._failed(error.detail)
            return None
        self._failure = ""
        return vectors

    async def _in_batches(self, embedder: Embedder, texts: list[str]) -> Vectors:
        import numpy as np

        batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
        return np.concatenate([await embedder.embed(batch) for batch in batches])

    def _failed(self, reason: str) -> None:
        if reason != self._failure:
            logger.warning("memory goes on without vectors: %s", reason)
        self._failure = reason

    async def close(self) -> None:
        """End the model."""
        if self.embedder is not None:
            await self.embedder.close()
