"""One store of each kind, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from benches import Bench, EmbeddedBench, IndexedBench, ModelBench, Neo4jBench, QdrantBench
from bolt_server import BoltServer, bolt_server
from samples import MODEL

from caxton.memory.backend import MemoryBackend

KINDS = ("model", "embedded", "qdrant", "neo4j", "indexed")


@pytest.fixture(scope="session")
def bolt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    """One Bolt server for all tests that ask for one."""
    with bolt_server(tmp_path_factory.mktemp("bolt")) as server:
        yield server


@pytest.fixture(params=KINDS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """An empty store."""
    made: Bench
    if request.param in ("neo4j", "indexed"):
        server: BoltServer = request.getfixturevalue("bolt")
        kind = Neo4jBench if request.param == "neo4j" else IndexedBench
        made = on_server = kind(server.url, server.password)
        await on_server.empty()
    elif request.param == "qdrant":
        made = QdrantBench()
    elif request.param == "embedded":
        made = EmbeddedBench(tmp_path / "memory")
    else:
        made = ModelBench()
    yield made
    await made.dispose()


@pytest.fixture
async def backend(bench: Bench) -> AsyncIterator[MemoryBackend]:
    """A backend on an empty store."""
    made = await bench.open(MODEL)
    yield made
    await bench.close(made)
