"""What only the Neo4j backend has: its errors, its schema, its records."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from benches import Neo4jBench
from bolt_server import BoltServer
from samples import MODEL, entity, put, relate, relation

from caxton.config.secret import Secret
from caxton.errors import MemoryUnavailable
from caxton.memory.remote import RemoteTarget, remote_backend, shown_url


async def refused(target: RemoteTarget) -> str:
    """What a start says that fails."""
    backend = remote_backend(target)
    async with asyncio.timeout(30):
        with pytest.raises(MemoryUnavailable) as caught:
            await backend.start(MODEL)
    await backend.close()
    return str(caught.value)


async def test_a_refused_password_is_told_and_not_shown(bolt: BoltServer) -> None:
    """With what to set."""
    target = RemoteTarget("neo4j", bolt.url, "root", Secret("geheim-123"), "memory")
    said = await refused(target)
    assert "memory.password" in said
    assert "geheim" not in said


async def test_a_missing_database_is_told(bolt: BoltServer) -> None:
    """By its name."""
    target = RemoteTarget("neo4j", bolt.url, "root", Secret(bolt.password), "nowhere")
    said = await refused(target)
    assert "nowhere" in said
    assert bolt.password not in said


async def test_a_server_that_is_not_there_is_told_in_time() -> None:
    """Naming its address, without what may be a password in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = await refused(RemoteTarget("neo4j", f"bolt://127.0.0.1:{port}", timeout_ms=500))
    assert f"bolt://127.0.0.1:{port}" in said
    assert shown_url("http://me:geheim@host:1/x?key=geheim") == "http://host:1/x"


async def test_a_later_schema_of_nodes_is_refused(bolt: BoltServer) -> None:
    """By its number."""
    bench = Neo4jBench(bolt.url, bolt.password)
    await bench.empty()
    await bench.say("CREATE (:CaxtonMemory {key: 'schema', version: 9})")
    assert "version is 9" in await refused(bench.target)
    await bench.dispose()


async def test_broken_nodes_are_found(bolt: BoltServer) -> None:
    """What cannot be made anew is told, each by its name, and stays."""
    bench = Neo4jBench(bolt.url, bolt.password)
    await bench.empty()
    backend = await bench.open(MODEL)
    await put(backend, *(entity(name) for name in "abcd"))
    await relate(backend, relation("a", "x", "b"), relation("c", "x", "d"))
    await bench.say("MATCH (n:CaxtonEntity {entity_name: 'a'}) SET n.metadata = '{'")
    await bench.say("MATCH (n:CaxtonEntity {entity_name: 'c'}) SET n.entity_name = 'z'")
    await bench.say("MATCH ()-[r:CAXTON_RELATION {from_entity: 'a'}]->() SET r.from_entity = 'q'")
    await bench.say("MATCH ()-[r:CAXTON_RELATION {from_entity: 'c'}]->() REMOVE r.strength")
    said = [fault.what for fault in await backend.verify()]
    assert len(said) == 4
    assert any("does not read" in one for one in said[:2])
    assert any("another name" in one for one in said[:2])
    assert any("other nodes" in one for one in said[2:])
    assert any("relationship" in one for one in said[2:])
    await bench.dispose()


def test_a_target_does_not_show_its_secret() -> None:
    """Neither in a log nor in an error."""
    target = RemoteTarget("neo4j", "bolt://x:1", secret=Secret("geheim"))
    assert "geheim" not in repr(target)
    assert msgspec.structs.replace(target, user="me").secret.reveal() == "geheim"
