"""``caxton memory migrate``: a stopped node's memory, to another backend and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient

from caxton.config import Config
from caxton.memory.backend import MemoryBackend, PutEntity, PutRelation, Selection
from caxton.memory.backends import make_backend
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.model import WORKSPACE, Entity, Observation, Relation
from caxton.memory.qdrant.backend import QdrantBackend
from caxton.memory.qdrant.server import Server
from caxton.processes.data_folder import DataFolder

Run = Callable[..., Any]
URL = "http://127.0.0.1:6333"


async def fill(data: Path) -> None:
    """A few things that are remembered."""
    backend = EmbeddedBackend(data / "memory", map_bytes=1 << 28)
    await backend.start(None)
    names = [f"thing {i}" for i in range(12)]
    await backend.write(
        [PutEntity(Entity(WORKSPACE, name, "thing", (Observation("seen", 1),))) for name in names]
    )
    await backend.write([PutRelation(Relation(WORKSPACE, names[0], names[1], "next"))])
    await backend.close()


async def names_of(backend: MemoryBackend) -> set[str]:
    """What a backend remembers."""
    await backend.start(None)
    try:
        return {row.entity.entity_name async for row in backend.scan(Selection())}
    finally:
        await backend.close()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a stopped node without a model; Qdrant is a folder beside it."""
    monkeypatch.setenv("CAXTON_MEMORY_ENGINE", "none")
    folder = tmp_path / "data"
    DataFolder(folder).close()
    asyncio.run(fill(folder))

    def make(config: Config) -> MemoryBackend:
        return qdrant(tmp_path) if config.memory_backend == "qdrant" else make_backend(config)

    monkeypatch.setattr("caxton.memory.moving.make_backend", make)
    return folder


def qdrant(folder: Path) -> MemoryBackend:
    """Qdrant's client in its local mode."""
    path = str(folder / "points")
    return QdrantBackend(Server(lambda: AsyncQdrantClient(path=path), local=True))


def test_the_memory_goes_elsewhere_and_back(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was copied and what to set; nothing is removed where it was."""
    words = ("memory", "migrate", "--to", "qdrant", "--url", URL, "--database", "mine")
    ran = run("--data", str(data), *words)
    assert ran.code == 0, ran.err
    assert "12 entities, 1 relations" in ran.out
    assert "12 sample queries agree to 100.0%" in ran.out
    assert f'backend = "qdrant"\n  url = "{URL}"\n  database = "mine"' in ran.out
    assert len(asyncio.run(names_of(qdrant(tmp_path)))) == 12
    monkeypatch.setenv("CAXTON_MEMORY_BACKEND", "qdrant")
    monkeypatch.setenv("CAXTON_MEMORY_URL", URL)
    ran = run("--data", str(data), "--json", "memory", "migrate", "--to", "embedded")
    assert ran.code != 0
    assert "holds 12 entities" in ran.err


def test_what_cannot_be_is_refused(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place where it is already, a node that runs, a folder that is none, a missing URL."""
    ran = run("--data", str(data), "memory", "migrate", "--to", "embedded")
    assert ran.code != 0
    assert "another place" in ran.err
    running = DataFolder(data)
    ran = run("--data", str(data), "memory", "migrate", "--to", "qdrant", "--url", URL)
    running.close()
    assert ran.code != 0
    assert "NODE_ALREADY_RUNNING" in ran.err
    ran = run("--data", str(data / "none"), "memory", "migrate", "--to", "qdrant", "--url", URL)
    assert ran.code != 0
    assert not (data / "none").exists()
    ran = run("--data", str(data), "memory", "migrate", "--to", "neo4j")
    assert ran.code != 0
    assert "memory.url" in ran.err


def test_differences_are_told_and_end_with_one(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people line by line, for programs in the report."""

    async def forgetful(self: object, changes: object) -> None:
        """Writes nothing."""

    monkeypatch.setattr(QdrantBackend, "write", forgetful)
    ran = run("--data", str(data), "--json", "memory", "migrate", "--to", "qdrant", "--url", URL)
    assert ran.code == 1
    assert any("entities: 12 in the source, 0" in one for one in ran.json["differences"])
    ran = run("--data", str(data), "memory", "migrate", "--to", "qdrant", "--url", URL)
    assert ran.code == 1
    assert "differs" in ran.out
    assert "caxton.toml" not in ran.out
