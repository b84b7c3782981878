"""Makes the backend and the embedder that the settings name; only this module knows them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from caxton.config import Config
from caxton.config.secret import Secret
from caxton.memory.backend import MemoryBackend
from caxton.memory.embedder import Embedder
from caxton.memory.requests import Weights
from caxton.memory.searching import SearchSettings

if TYPE_CHECKING:
    from caxton.memory.embedding.opening import EmbeddingSettings

__all__ = ["BACKENDS", "embedding_settings", "make_backend", "open_model", "search_settings"]


def _embedded(config: Config) -> MemoryBackend:
    from caxton.memory.embedded.backend import EmbeddedBackend

    return EmbeddedBackend(
        config.data / "memory",
        map_bytes=config.storage_map_bytes,
        disk=config.durability == "disk",
    )


def _qdrant(config: Config) -> MemoryBackend:
    from caxton.memory.remote import RemoteTarget, remote_backend

    return remote_backend(
        RemoteTarget(
            "qdrant",
            config.memory_url,
            secret=Secret(config.memory_api_key),
            database=config.memory_database,
            timeout_ms=config.memory_timeout_ms,
        )
    )


def _neo4j(config: Config) -> MemoryBackend:
    from caxton.memory.remote import RemoteTarget, remote_backend

    return remote_backend(
        RemoteTarget(
            "neo4j",
            config.memory_url,
            user=config.memory_user,
            secret=Secret(config.memory_password),
            database=config.memory_database,
            timeout_ms=config.memory_timeout_ms,
        )
    )


BACKENDS: Final[Mapping[str, Callable[[Config], MemoryBackend]]] = {
    "embedded": _embedded,
    "qdrant": _qdrant,
    "neo4j": _neo4j,
}
"""How each backend is made; its packages are imported then."""


def make_backend(config: Config) -> MemoryBackend:
    """The backend of ``memory.backend``; nothing is opened yet.

    Raises:
        ValidationError: ``memory.url`` is none of this backend.
        MemoryUnavailable: its packages are not installed.
    """
    return BACKENDS[config.memory_backend](config)


def embedding_settings(config: Config, *, download: bool) -> EmbeddingSettings:
    """What of the settings concerns embeddings."""
    from caxton.memory.embedding.opening import EmbeddingSettings

    return EmbeddingSettings(
        engine="transformers" if config.memory_engine == "transformers" else "onnx",
        model=config.memory_model,
        sha256=config.memory_model_sha256,
        data=config.data,
        threads=config.memory_threads,
        download=download,
        cache_bytes=config.memory_cache_bytes,
    )


async def open_model(config: Config, *, download: bool) -> Embedder:
    """The embedder of ``memory.engine``.

    Args:
        config: the node's settings.
        download: look on the hub too, which may take minutes.

    Raises:
        EmbeddingUnavailable: the model is nowhere.
    """
    from caxton.memory.embedding.opening import open_embedder

    return await open_embedder(embedding_settings(config, download=download))


def search_settings(config: Config) -> SearchSettings:
    """How the node searches."""
    return SearchSettings(
        Weights(
            config.memory_vector_weight,
            config.memory_words_weight,
            config.memory_neighbour_weight,
            config.memory_recency_weight,
            config.memory_importance_weight,
        ),
        config.memory_half_life_days,
        config.memory_search_concurrency,
    )
