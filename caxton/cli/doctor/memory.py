"""The memory: where it is kept, and whether there is a model for searching by meaning."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from typing import Final

from caxton.cli.doctor.check import Check, Surroundings, fail, ok, warn
from caxton.config import Config
from caxton.errors import CaxtonError, EmbeddingUnavailable

__all__ = ["check_memory"]

NODE_DEADLINE_S: Final = 3.0
DRIVERS: Final = {"qdrant": "qdrant_client", "neo4j": "neo4j"}


def check_memory(around: Surroundings) -> Iterator[Check]:
    """Backend, model, and how much a running node remembers."""
    if around.loaded is None:
        return
    config = around.loaded.config
    if not config.memory_enabled:
        yield ok("memory", "not enabled", "set memory.enabled to true to have one")
        return
    yield _backend(config)
    yield _model(config)
    yield from _running(around)


def _backend(config: Config) -> Check:
    name = config.memory_backend
    driver = DRIVERS.get(name)
    if driver is not None and importlib.util.find_spec(driver) is None:
        return fail("backend", f"{name}: its driver is missing", f"pip install 'caxton[{name}]'")
    if driver is not None:
        return ok("backend", name)
    folder = config.data / "memory" / "store"
    there = folder.exists()
    return ok("backend", f"embedded, {'in ' + str(folder) if there else 'nothing is kept yet'}")


def _model(config: Config) -> Check:
    if config.memory_engine == "none":
        return ok("model", "none: words only are searched")
    from caxton.memory.backends import open_model

    async def look() -> str:
        embedder = await open_model(config, download=False)
        await embedder.close()
        return f"{embedder.model.name}, {embedder.model.dimension} dimensions"

    try:
        return ok("model", asyncio.run(look()))
    except EmbeddingUnavailable as error:
        remedy = "scripts/memory-model, or name a folder with one in memory.model"
        return warn("model", f"words only are searched: {error.detail}", remedy)


def _running(around: Surroundings) -> Iterator[Check]:
    try:
        with around.invocation.client(NODE_DEADLINE_S) as client:
            memory = client.node().memory
    except CaxtonError:
        # Whether a node runs is told by the group of the node.
        return
    if memory.note:
        yield warn("answers", memory.note, "the node's log says more")
    elif memory.open:
        waiting = f", {memory.unembedded:,} wait for vectors" if memory.unembedded else ""
        yield ok(
            "answers", f"{memory.entities:,} entities, {memory.relations:,} relations{waiting}"
        )
    else:
        yield ok("answers", "the node was not asked for it yet")
