"""A migration of a stopped node's memory: its folder locked, both backends opened and closed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from caxton.config import Config
from caxton.errors import EmbeddingUnavailable, ValidationError
from caxton.memory.backend import MemoryBackend, ModelInfo
from caxton.memory.backends import make_backend, open_model
from caxton.memory.migration import Migration, MigrationReport, Progress
from caxton.memory.remote import shown_url
from caxton.processes.data_folder import DataFolder

__all__ = ["move", "place", "settings_of"]

FILE: Final = "migration.json"
"""In ``DATA/memory``: how far a migration is."""


def place(config: Config) -> str:
    """Where the memory of a configuration is, without secrets."""
    if config.memory_backend == "embedded":
        return f"embedded in {config.data / 'memory'}"
    database = f" ({config.memory_database})" if config.memory_database else ""
    return f"{config.memory_backend} at {shown_url(config.memory_url)}{database}"


def settings_of(config: Config) -> list[str]:
    """The lines of ``caxton.toml`` that choose the backend of a configuration."""
    lines = ["[memory]", f'backend = "{config.memory_backend}"']
    if config.memory_backend != "embedded":
        lines.append(f'url = "{shown_url(config.memory_url)}"')
        if config.memory_backend == "neo4j":
            lines.append(f'user = "{config.memory_user}"')
        if config.memory_database:
            lines.append(f'database = "{config.memory_database}"')
    return lines


async def move(
    config: Config, to: Config, tell: Callable[[Progress], None] = lambda progress: None
) -> MigrationReport:
    """Copy the memory of ``config`` to where that of ``to`` is.

    Raises:
        NodeAlreadyRunning: the node runs, so that the memory may change.
        ValidationError: both are the same place, or the target holds something else.
        MemoryUnavailable: one of them does not answer, or its package is missing.
        StorageError: something is not written.
    """
    if place(config) == place(to):
        raise ValidationError(
            field="to", value=place(to), allowed="another place than where the memory is now"
        )
    if not config.data.is_dir():
        raise ValidationError(field="data", value=str(config.data), allowed="a node's data folder")
    folder = DataFolder(config.data.absolute())
    try:
        source, target = make_backend(config), make_backend(to)
        model = await _model(config)
        async with _started(source, model), _started(target, model):
            return await Migration(
                source,
                target,
                names=(place(config), place(to)),
                file=config.data / "memory" / FILE,
                tell=tell,
            ).run()
    finally:
        folder.close()


async def _model(config: Config) -> ModelInfo | None:
    """Whose vectors are copied. Without a model they stay behind, and are made anew."""
    if config.memory_engine == "none":
        return None
    try:
        embedder = await open_model(config, download=False)
    except EmbeddingUnavailable:
        return None
    try:
        return embedder.model
    finally:
        await embedder.close()


@contextlib.asynccontextmanager
async def _started(backend: MemoryBackend, model: ModelInfo | None) -> AsyncIterator[None]:
    await backend.start(model)
    try:
        yield
    finally:
        await backend.close()
