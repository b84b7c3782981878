"""The one thread on which an engine is loaded and works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedding.engine import Engine, EngineFailed, Tokens

__all__ = ["EngineThread", "Outcome", "by_budget"]

Outcome: TypeAlias = NDArray[np.float32] | EngineFailed
"""What became of one text: its vector, or why there is none."""

_MOST_TOGETHER: Final = 64
_RELOAD_SECONDS: Final = 30.0
"""Between two tries to load an engine that did not load."""

A = TypeVar("A")
B = TypeVar("B")


def by_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """The places of texts in batches: texts of like length together, the short ones first.

    Args:
        lengths: of each text, in tokens.
        budget: tokens of a batch with what fills up its shorter texts. A longer text is a batch
            of its own.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = batches[-1] if batches else []
        if last and len(last) < _MOST_TOGETHER and (len(last) + 1) * lengths[place] <= budget:
            last.append(place)
        else:
            batches.append([place])
    return batches


class EngineThread:
    """Loads an engine when it is first needed, and runs it, off the event loop.

    Args:
        make: loads the engine; raises ``EngineFailed``.
        budget: tokens of a batch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        budget: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self.budget = budget
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-embedding")
        self._engine: Engine | None = None
        self._failed: tuple[float, EngineFailed] | None = None
        self.batches = 0
        self.tokens = 0
        """Of texts that went through the model."""
        self.busy_seconds = 0.0

    @property
    def loaded(self) -> bool:
        """Whether the engine is there."""
        return self._engine is not None

    async def load(self) -> None:
        """Load the engine, when it is not yet.

        Raises:
            EngineFailed: it does not load.
        """
        await self._there(self._loaded)

    async def tokenize(self, texts: Sequence[str]) -> list[Tokens | EngineFailed]:
        """The tokens of each text, or why there are none."""
        return await self._there(self._tokenize, texts)

    async def run(self, batch: Sequence[Tokens]) -> list[Outcome]:
        """What becomes of each of a batch."""
        return await self._there(self._run, batch)

    async def embed(self, texts: Sequence[str]) -> list[Outcome]:
        """What becomes of each text, in batches, in one go."""
        return await self._there(self._embed, texts)

    async def close(self) -> None:
        """Give the engine's memory back, when what runs is done, and end the thread."""
        await self._there(self._unload)
        self._thread.shutdown(wait=True)

    def abandon(self) -> None:
        """Do not wait for what runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _there(self, work: Callable[..., A], *given: object) -> A:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    def _loaded(self) -> Engine:
        if self._engine is None:
            now = self._clock()
            if self._failed is not None and now - self._failed[0] < _RELOAD_SECONDS:
                raise self._failed[1]
            try:
                self._engine = self._make()
            except EngineFailed as error:
                self._failed = (now, error)
                raise
            self._failed = None
        return self._engine

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _tokenize(self, texts: Sequence[str]) -> list[Tokens | EngineFailed]:
        return _one_by_one(self._loaded().tokenize, texts)

    def _run(self, batch: Sequence[Tokens]) -> list[Outcome]:
        engine = self._loaded()
        started = time.perf_counter()
        found = _one_by_one(lambda some: list(engine.run(some)), batch)
        self.busy_seconds += time.perf_counter() - started
        self.batches += 1
        self.tokens += sum(map(len, batch))
        return found

    def _embed(self, texts: Sequence[str]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        good: list[tuple[int, Tokens]] = []
        for place, one in enumerate(self._tokenize(texts)):
            if isinstance(one, EngineFailed):
                outcomes[place] = one
            else:
                good.append((place, one))
        for batch in by_budget([len(tokens) for _, tokens in good], self.budget):
            found = self._run([good[index][1] for index in batch])
            for index, outcome in zip(batch, found, strict=True):
                outcomes[good[index][0]] = outcome
        return [outcomes[place] for place in range(len(texts))]


def _one_by_one(
    work: Callable[[Sequence[A]], Sequence[B]], given: Sequence[A]
) -> list[B | EngineFailed]:
    """What ``work`` makes of ``given``; one by one where it fails for all of them together, so
    that one text does not cost those that came with it."""
    try:
        return list(work(given))
    except EngineFailed as error:
        if len(given) == 1:
            return [error]
    outcomes: list[B | EngineFailed] = []
    for one in given:
        try:
            outcomes += work([one])
        except EngineFailed as error:
            outcomes.append(error)
    return outcomes
