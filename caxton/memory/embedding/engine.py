"""The seam to what computes vectors, and how texts are made fit for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import ModelInfo, Vectors

__all__ = ["TEXT_CHARACTERS", "Engine", "EngineFailed", "Tokens", "checked", "clean", "padded"]

Tokens: TypeAlias = Sequence[int]
"""The ids of a text's tokens, cut to what the model looks at, with those that begin and end it."""

TEXT_CHARACTERS: Final = 16_384
"""Characters of a text that are looked at: a model sees some hundred tokens, and those of a text
are rarely longer than ten characters."""


_WORD_CHARACTERS: Final = 256
_LAST_WORD: Final = re.compile(r"\s\S*\Z")


class EngineFailed(Exception):
    """The engine's library raised: what it said."""


class Engine(Protocol):
    """Computes vectors. Loaded when it is made; used by one thread at a time."""

    model: ModelInfo

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text.

        Raises:
            EngineFailed: the tokenizer raised.
        """
        ...

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """One vector of length 1 for each of ``batch``, in order. 1 to some hundred of them.

        Raises:
            EngineFailed: the model raised, or gave what is no vector.
        """
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


def clean(text: str) -> str:
    """``text`` as engines take it: not endless, cut between words, and Unicode."""
    if len(text) > TEXT_CHARACTERS:
        text = text[:TEXT_CHARACTERS]
        if cut := _LAST_WORD.search(text, TEXT_CHARACTERS - _WORD_CHARACTERS):
            text = text[: cut.start()]
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def padded(batch: Sequence[Tokens], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids of a batch in one array with ``pad`` behind the shorter ones, and what is none."""
    longest = max(map(len, batch))
    ids = np.full((len(batch), longest), pad, np.int64)
    mask = np.zeros((len(batch), longest), np.int64)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask


def checked(vectors: NDArray[np.float32], count: int, dimension: int) -> Vectors:
    """``vectors``, when they are ``count`` of length 1.

    Raises:
        EngineFailed: they are not.
    """
    if vectors.shape != (count, dimension) or vectors.dtype != np.float32:
        raise EngineFailed(f"gave {vectors.dtype} of {vectors.shape} for {count} × {dimension}")
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    if not np.all(np.abs(lengths - 1.0) < 1e-3):
        raise EngineFailed("gave a vector that is not of length 1")
    return vectors
