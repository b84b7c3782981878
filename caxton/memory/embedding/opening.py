"""Opens the embedder that the settings ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from caxton.errors import EmbeddingUnavailable
from caxton.memory.backend import ModelInfo
from caxton.memory.embedding.batching import BatchingEmbedder
from caxton.memory.embedding.engine import Engine
from caxton.memory.embedding.model_folder import UnfitModel
from caxton.memory.embedding.waiting import Limits
from caxton.memory.embedding.weights import Places, WantedModel

__all__ = ["EmbeddingSettings", "open_embedder"]

logger = logging.getLogger("caxton.memory")


class EmbeddingSettings(msgspec.Struct, frozen=True):
    """What of the settings concerns embeddings."""

    engine: Literal["onnx", "transformers"] = "onnx"
    model: str = ""
    """A folder, ``OWNER/MODEL`` on the hub, or empty for all-MiniLM-L6-v2."""
    sha256: str = ""
    """That the weights must have, in hex; any when empty, but for the default model."""
    data: Path | None = None
    """The node's data folder, when there is one."""
    threads: int = 2
    """Cores that a batch may use: 1 to 64."""
    download: bool = True
    """Whether the hub may be asked for a model that is nowhere else."""
    cache_bytes: int = 8 * 1024 * 1024
    """For vectors of texts that came before; 0 for none."""
    limits: Limits = Limits()


async def open_embedder(
    settings: EmbeddingSettings,
    *,
    places: Places | None = None,
    say: Callable[[str], None] = logger.info,
) -> BatchingEmbedder:
    """An embedder whose model was found; it is loaded with the first text, or by its ``load``.

    Takes a tenth of a second when the model is prepared, some when it has to be, and as long as a
    download takes when it comes from the hub: what need not wait for it should not.

    Args:
        places: where to look, when not where the settings say.
        say: is told what takes long, from a thread.

    Raises:
        EmbeddingUnavailable: there is no such model, with all places and what to do.
    """
    where = places or Places(settings.data, settings.download, say)
    model, make = await asyncio.to_thread(_find, settings, where)
    return BatchingEmbedder(model, make, limits=settings.limits, cache_bytes=settings.cache_bytes)


def _find(settings: EmbeddingSettings, places: Places) -> tuple[ModelInfo, Callable[[], Engine]]:
    wanted = WantedModel.of(settings.model, settings.sha256)
    if settings.engine == "onnx":
        from caxton.memory.embedding.onnx_engine import OnnxEngine

        prepared = places.prepared(wanted)
        return prepared.model, lambda: OnnxEngine(prepared, settings.threads)
    from caxton.memory.embedding.transformers_engine import load_transformers, transformers_missing

    if missing := transformers_missing():
        raise EmbeddingUnavailable(
            model=wanted.name,
            reason=f"{missing} is not installed: pip install 'caxton[transformers]', "
            "or set memory.engine to onnx",
        )
    source = places.source(wanted, any_weights=True)
    try:
        model = ModelInfo(source.name, source.folder.dimension, source.sha256)
    except UnfitModel as error:
        raise EmbeddingUnavailable(model=wanted.name, reason=str(error)) from error
    return model, lambda: load_transformers(source.folder, model, settings.threads)
