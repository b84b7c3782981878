"""Vectors by transformers and torch: any sentence-embedding model. The extra ``transformers``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import ModelInfo, Vectors
from caxton.memory.embedding.engine import EngineFailed, Tokens, checked, padded
from caxton.memory.embedding.model_folder import ModelFolder

__all__ = ["Network", "TransformersEngine", "load_transformers", "pool", "transformers_missing"]

Network: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Takes ids and mask, ``[texts, tokens]``; gives each token's vector, ``[texts, tokens,
dimension]``."""


class TransformersEngine:
    """An ``Engine`` on a network that gives a vector for each token.

    Args:
        model: what it is.
        tokenizer: gives the ids of each text, cut to what the model looks at.
        network: gives the vectors of tokens.
        pooling: ``mean``, ``cls``, ``max`` or ``last``.
        pad: id of the token that fills up shorter texts.
    """

    def __init__(
        self,
        model: ModelInfo,
        tokenizer: Callable[[list[str]], list[list[int]]],
        network: Network,
        pooling: str = "mean",
        pad: int = 0,
    ) -> None:
        self.model = model
        self._tokenizer: Callable[[list[str]], list[list[int]]] | None = tokenizer
        self._network: Network | None = network
        self._pooling = pooling
        self._pad = pad

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See ``Engine``."""
        if self._tokenizer is None:
            raise EngineFailed("it was closed")
        try:
            return list(self._tokenizer(list(texts)))
        except Exception as error:  # tokenizers raise what they like
            raise EngineFailed(f"the tokenizer failed: {error}") from error

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """See ``Engine``."""
        if self._network is None:
            raise EngineFailed("it was closed")
        ids, mask = padded(batch, self._pad)
        try:
            tokens = self._network(ids, mask)
        except Exception as error:  # models raise what they like
            raise EngineFailed(f"the model failed: {error}") from error
        whole = pool(tokens, mask, self._pooling)
        length = np.linalg.norm(whole, axis=1, keepdims=True)
        vectors = (whole / np.maximum(length, 1e-12)).astype(np.float32)
        return checked(vectors, len(batch), self.model.dimension)

    def close(self) -> None:
        """See ``Engine``."""
        self._network = self._tokenizer = None


def pool(tokens: NDArray[np.float32], mask: NDArray[np.int64], pooling: str) -> NDArray[np.float32]:
    """One vector for each text from those of its tokens: ``[texts, dimension]``.

    Raises:
        ValueError: ``pooling`` is not known.
    """
    picked: NDArray[np.float32]
    if pooling == "cls":
        picked = tokens[:, 0]
        return picked
    if pooling == "last":
        picked = tokens[np.arange(len(tokens)), mask.sum(axis=1) - 1]
        return picked
    kept = mask[:, :, None].astype(np.float32)
    if pooling == "mean":
        picked = (tokens * kept).sum(axis=1) / np.maximum(kept.sum(axis=1), 1e-9)
        return picked
    if pooling == "max":
        picked = np.where(kept > 0, tokens, np.float32(-1e9)).max(axis=1)
        return picked
    raise ValueError(f"pooling is {pooling!r}: mean, cls, max or last is known")


def transformers_missing() -> str:
    """The first package of the extra that is not installed; empty when all are."""
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            return name
    return ""


def load_transformers(folder: ModelFolder, model: ModelInfo, threads: int) -> TransformersEngine:
    """The engine on a model of whatever architecture, from its folder, in float32, on the CPU.

    Code that a model brings along is not run.

    Raises:
        EngineFailed: transformers does not load it, or is not installed.
    """
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise EngineFailed(
            f"{error.name} is not installed: pip install 'caxton[transformers]'"
        ) from error
    disable_progress_bar()
    torch.set_num_threads(threads)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True)
        network: Any = AutoModel.from_pretrained(str(folder.path), local_files_only=True)
    except Exception as error:  # each architecture raises its own
        raise EngineFailed(f"{folder.path} does not load: {error}") from error
    network = network.float().eval()

    def tokenize(texts: list[str]) -> list[list[int]]:
        found = tokenizer(texts, truncation=True, max_length=folder.max_tokens, padding=False)
        return [list(map(int, ids)) for ids in found["input_ids"]]

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = network(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
            array: NDArray[np.float32] = given.last_hidden_state.numpy()
            return array

    return TransformersEngine(model, tokenize, run, folder.pooling, tokenizer.pad_token_id or 0)
