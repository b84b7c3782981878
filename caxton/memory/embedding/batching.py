"""The embedder of a node: the texts of all callers in batches, on one thread, from a cache first.

While the engine works, texts gather. Calls of few texts (a query, an entity to store) go before
large ones (an import), which get a batch now and then all the same. The texts of large calls are
sorted by length, so that little of a batch is filler.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from caxton.errors import QueueFull
from caxton.memory.backend import ModelInfo, Vectors
from caxton.memory.embedding.cache import VectorCache
from caxton.memory.embedding.engine import Engine, EngineFailed, Tokens, clean
from caxton.memory.embedding.engine_thread import EngineThread, Outcome, by_budget
from caxton.memory.embedding.waiting import Call, Limits, WaitingText, WaitingTexts

__all__ = ["BatchingEmbedder", "EmbedderStats"]

logger = logging.getLogger("caxton.memory")

_CLOSE_SECONDS: Final = 30.0
_WINDOW: Final = 512
"""Texts of the slower lane that are sorted among each other."""
_Planned = tuple[WaitingText, Tokens]


class EmbedderStats(msgspec.Struct, frozen=True):
    """What an embedder did since it was opened, and what it holds."""

    texts: int = 0
    """Asked for."""
    cached: int = 0
    """Of them, from the cache."""
    embedded: int = 0
    """Of them, by the engine."""
    failed: int = 0
    dropped: int = 0
    """Whose callers went away before their turn."""
    refused: int = 0
    """Calls that found no room."""
    batches: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    """That the engine worked."""
    waiting: int = 0
    waiting_characters: int = 0
    cache_entries: int = 0
    cache_bytes: int = 0
    cache_evicted: int = 0
    loaded: bool = False
    """Whether the model is in memory."""


class BatchingEmbedder:
    """An ``Embedder``. Belongs to one event loop.

    Args:
        model: whose vectors the engine makes.
        make: loads the engine, on the thread where it will run, when it is first needed.
        limits: what may wait.
        cache_bytes: what the cache may take; 0 for none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        model: ModelInfo,
        make: Callable[[], Engine],
        *,
        limits: Limits | None = None,
        cache_bytes: int = 8 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._limits = limits or Limits()
        self._cache = VectorCache(model, cache_bytes)
        self._waiting = WaitingTexts(self._limits, model.name)
        self._thread = EngineThread(make, self._limits.batch_tokens, clock)
        self._planned: deque[list[_Planned]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self._texts = self._embedded = self._failed = self._refused = self._in_a_row = 0

    @property
    def stats(self) -> EmbedderStats:
        """What it did and holds."""
        return EmbedderStats(
            texts=self._texts,
            cached=self._cache.hits,
            embedded=self._embedded,
            failed=self._failed,
            dropped=self._waiting.dropped,
            refused=self._refused,
            batches=self._thread.batches,
            tokens=self._thread.tokens,
            busy_seconds=self._thread.busy_seconds,
            waiting=len(self._waiting),
            waiting_characters=self._waiting.characters,
            cache_entries=len(self._cache),
            cache_bytes=self._cache.held_bytes,
            cache_evicted=self._cache.evicted,
            loaded=self._thread.loaded,
        )

    async def load(self) -> None:
        """Load the model now, so that the first text does not wait for it.

        Raises:
            EmbeddingUnavailable: it does not load.
        """
        self._check_open()
        try:
            await self._thread.load()
        except EngineFailed as error:
            raise self._waiting.failure(str(error)) from error

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """See ``Embedder``. Of a text, the first 16,384 characters and the model's number of
        tokens are looked at. What is cancelled gives its room back.

        Raises:
            EmbeddingUnavailable: the model does not load, fails for one of the texts, or does not
                answer in time; or the embedder is closed.
            QueueFull: too many texts wait.
        """
        out = np.empty((len(texts), self.model.dimension), np.float32)
        urgent = len(texts) <= self._limits.urgent_texts
        for start in range(0, len(texts), self._limits.part_texts):
            part = texts[start : start + self._limits.part_texts]
            await self._embed_part(part, out[start : start + len(part)], urgent=urgent)
        return out

    async def close(self) -> None:
        """See ``Embedder``. Who waits gets ``EmbeddingUnavailable``; the batch that runs ends."""
        if self._closed:
            return
        self._closed = True
        self._give_up("it was closed")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._worker is not None:
                    await asyncio.wait({self._worker})
                await self._thread.close()
        except TimeoutError:
            logger.error("the embedding engine did not end within %.0f s", _CLOSE_SECONDS)
            self._thread.abandon()

    def _check_open(self) -> None:
        if self._closed:
            raise self._waiting.failure("it was closed")

    async def _embed_part(self, texts: Sequence[str], out: Vectors, *, urgent: bool) -> None:
        self._check_open()
        self._texts += len(texts)
        call = Call(out)
        missing: dict[bytes, str] = {}
        for place, text in enumerate(map(clean, texts)):
            key = self._cache.key(text)
            if key in missing:
                call.places[key].append(place)
            elif (found := self._cache.get(key)) is not None:
                out[place] = found
            else:
                missing[key] = text
                call.places[key] = [place]
        if not missing:
            return
        try:
            self._waiting.add(call, missing, urgent=urgent)
        except QueueFull:
            self._refused += 1
            raise
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="caxton-embedding")
        try:
            await self._answered(call)
        finally:
            self._waiting.leave(call)

    async def _answered(self, call: Call) -> None:
        """As long as the engine gets something done, the turn of each call comes."""
        limit, done = self._limits.wait_seconds, -1
        while not call.future.done():
            if done == self._thread.batches:
                raise self._waiting.failure(
                    f"no batch ended within {limit:g} s; {len(self._waiting)} texts wait"
                )
            done = self._thread.batches
            await asyncio.wait({call.future}, timeout=limit)
        call.future.result()

    async def _work(self) -> None:
        """Until nothing waits."""
        try:
            while not self._closed and await self._step():
                pass
        except EngineFailed as error:
            logger.warning("the embedding model does not load: %s", error)
            self._give_up(str(error))
        except Exception as error:  # a fault of ours; nobody may wait for ever
            logger.exception("embedding failed")
            self._give_up(f"a fault: {error!r}")
        finally:
            self._worker = None

    def _give_up(self, reason: str) -> None:
        self._planned.clear()
        self._waiting.fail_all(reason)

    async def _step(self) -> bool:
        waiting, limits = self._waiting, self._limits
        others = bool(self._planned or waiting.others)
        if waiting.urgent and not (others and self._in_a_row >= limits.urgent_in_a_row):
            self._in_a_row += 1
            batch = waiting.start(waiting.take(limits.round_texts, urgent=True))
            self._finish(batch, await self._thread.embed([one.text for one in batch]))
            return True
        self._in_a_row = 0
        if not self._planned and waiting.others:
            await self._plan()
        elif self._planned:
            planned = self._planned.popleft()
            batch = waiting.start([one for one, _ in planned])
            if batch:
                tokens = [tokens for one, tokens in planned if one.running]
                self._finish(batch, await self._thread.run(tokens))
        return others

    async def _plan(self) -> None:
        window = self._waiting.take(_WINDOW, urgent=False)
        good: list[_Planned] = []
        found = await self._thread.tokenize([one.text for one in window])
        for one, tokens in zip(window, found, strict=True):
            if isinstance(tokens, EngineFailed):
                self._finish([one], [tokens])
            else:
                good.append((one, tokens))
        lengths = [len(tokens) for _, tokens in good]
        for batch in by_budget(lengths, self._limits.batch_tokens):
            self._planned.append([good[place] for place in batch])

    def _finish(self, batch: Sequence[WaitingText], outcomes: Sequence[Outcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, EngineFailed):
                self._failed += 1
            else:
                self._embedded += 1
                self._cache.put(waiting.key, outcome)
            self._waiting.finish(waiting, outcome)
