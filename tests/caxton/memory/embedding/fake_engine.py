"""An engine whose vectors tell which text they are of, and that waits when it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np

from caxton.memory.backend import ModelInfo, Vectors
from caxton.memory.embedding.engine import EngineFailed, Tokens

MODEL = ModelInfo("fake", 8, "ab" * 32)
DEADLINE_S = 20.0


def vector(text: str) -> Vectors:
    """What the engine says of ``text``."""
    made = np.random.default_rng([*text.encode(), 1]).normal(size=MODEL.dimension)
    return (made / np.linalg.norm(made)).astype(np.float32)


class FakeEngine:
    """Tokens are the code points of a text, so that its length is theirs.

    ``poison`` in a text makes the batch fail that it is in, ``unreadable`` its tokens.
    """

    def __init__(self) -> None:
        self.model = MODEL
        self.batches: list[list[str]] = []
        self.closed = False
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()

    def hold(self) -> None:
        """From the next batch on, wait for ``release``."""
        self.go.clear()
        self.entered.clear()

    async def held(self) -> None:
        """Until a batch waits."""
        assert await asyncio.to_thread(self.entered.wait, DEADLINE_S)

    def release(self) -> None:
        """Let it work."""
        self.go.set()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        if any("unreadable" in text for text in texts):
            raise EngineFailed("cannot read it")
        return [[*map(ord, text)] or [0] for text in texts]

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        texts = ["".join(map(chr, tokens)) if tokens[0] else "" for tokens in batch]
        self.entered.set()
        assert self.go.wait(DEADLINE_S)
        if any("poison" in text for text in texts):
            raise EngineFailed("poisoned")
        self.batches.append(texts)
        return np.stack([vector(text) for text in texts])

    def close(self) -> None:
        self.closed = True
