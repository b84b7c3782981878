"""Shows how the memory works, and changes it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from caxton.config import Config
from caxton.memory.config_view import MemoryConfig
from caxton.memory.permissions import Access
from caxton.memory.requests import Configure
from caxton.memory.tuning import Tuning
from caxton.memory.vectorizing import Vectorizer

__all__ = ["Configuring"]


class Configuring:
    """Answers ``Configure``.

    Args:
        tuning: what is set.
        access: who may.
        vectorizer: knows the model.
        tuned: called with settings that are to be in force.
    """

    def __init__(
        self,
        tuning: Tuning,
        access: Access,
        vectorizer: Vectorizer,
        tuned: Callable[[Config], None],
    ) -> None:
        self._tuning = tuning
        self._access = access
        self._vectorizer = vectorizer
        self._tuned = tuned
        self._turn = asyncio.Lock()

    async def answer(self, request: Configure) -> MemoryConfig:
        """Put changes in force once they are kept; all or none.

        Raises:
            NotAuthorized: it is an agent that asks.
            ValidationError: a value is out of its range, or does not fit the others.
            StorageError: they cannot be kept.
        """
        self._access.operate(request, "see or change how the memory works")
        if request.changes:
            async with self._turn:
                values = self._tuning.changed(request.changes)
                # A write that has begun ends, and is in force then, whoever waits for it.
                await asyncio.shield(asyncio.ensure_future(self._put(values)))
        return self._tuning.view(self._vectorizer.tag, self._vectorizer.note)

    async def _put(self, values: dict[str, float]) -> None:
        await asyncio.to_thread(self._tuning.keep, values)
        self._tuning.take(values)
        self._tuned(self._tuning.config)
