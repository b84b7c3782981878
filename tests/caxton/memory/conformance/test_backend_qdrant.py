"""What only the Qdrant backend has: its journal, its folder, its errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from benches import QdrantBench
from qdrant_client import AsyncQdrantClient, models
from samples import ANN, MODEL, OTHER_MODEL, entity, every, find, put, relate, relation, unit

from caxton.config.secret import Secret
from caxton.errors import MemoryUnavailable, StorageError, ValidationError
from caxton.memory.backend import (
    Change,
    DeleteEntity,
    DeleteRelation,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import WORKSPACE, EntityKey, RelationKey
from caxton.memory.qdrant.backend import QdrantBackend
from caxton.memory.qdrant.server import Server
from caxton.memory.remote import RemoteTarget, remote_backend

WRITES = ("upsert", "delete", "set_payload")


@pytest.fixture
async def store() -> AsyncIterator[QdrantBench]:
    """An empty store in memory."""
    made = QdrantBench()
    yield made
    await made.dispose()


class Cut(ConnectionError):
    """The process ends here."""


class Scissors:
    """Makes the client fail at its n-th write, before or after it is done, and ever after."""

    def __init__(self, client: AsyncQdrantClient, at: int, *, after: bool) -> None:
        self.left = at
        self.client = client
        self.after = after
        self.whole = {name: getattr(client, name) for name in WRITES}
        for name in WRITES:
            setattr(client, name, self._cutting(name))

    def _cutting(self, name: str) -> Any:
        async def call(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0 or (self.left == 0 and not self.after):
                raise Cut("cut")
            done = await self.whole[name](*args, **named)
            if self.left == 0:
                raise Cut("cut")
            return done

        return call

    def mend(self) -> None:
        """Let the client work again."""
        for name, method in self.whole.items():
            setattr(self.client, name, method)


async def picture(backend: MemoryBackend) -> tuple[Any, ...]:
    """All that can be seen of a store."""
    rows = await every(backend.scan(Selection(), vectors=True))
    near = await find(backend, "heron mill", unit(1), limit=100)
    old = await find(backend, vector=unit(1), selection=Selection(entity_types=("old",)))
    return (
        {row.entity.key: (row.entity, row.vectors is None or row.vectors.tolist()) for row in rows},
        {one.key: one for one in await every(backend.scan_relations(None))},
        {name: (one.similarity, one.words > 0) for name, one in near.items()},
        sorted(old),
    )


BEFORE = [
    PutEntity(entity("a", "heron"), unit(1)),
    PutEntity(entity("b", "mill", entity_type="old"), unit(0, 1)),
    PutEntity(entity("c"), unit(0, 0, 1)),
    PutEntity(entity("d"), unit(1)),
    PutRelation(relation("a", "x", "b")),
    PutRelation(relation("c", "x", "a")),
    PutRelation(relation("b", "x", "d")),
]
CHANGES: list[Change] = [
    PutEntity(entity("a", "mill", version=2), unit(0, 1)),
    PutEntity(entity("b", "mill", version=2, entity_type="new")),
    DeleteEntity(EntityKey.of(WORKSPACE, "c")),
    DeleteEntity(EntityKey.of(WORKSPACE, "d")),
    PutEntity(entity("d", "anew")),
    PutEntity(entity("e", "heron"), unit(1)),
    DeleteRelation(RelationKey.of(WORKSPACE, "a", "x", "b")),
    PutRelation(relation("e", "x", "a")),
    PutRelation(relation("d", "x", "e")),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("small", [False, True], ids=["one piece", "pieces"])
async def test_a_write_that_is_cut_off_is_done_whole_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, after: bool, small: bool
) -> None:
    """Wherever it is cut off; by the next start, and by the next call of the same process."""
    if small:
        monkeypatch.setattr("caxton.memory.qdrant.journal.CHUNK", 700)
        monkeypatch.setattr("caxton.memory.qdrant.writing.POINTS", 2)
    done = undone = 0
    for at in range(1, 100):
        store = QdrantBench()
        backend = await store.open(MODEL)
        await backend.write(BEFORE)
        old = await picture(backend)
        scissors = Scissors(store.client, at, after=after)
        with contextlib.suppress(MemoryUnavailable):
            await backend.write(CHANGES)
        ended = scissors.left > 0
        scissors.mend()
        again = backend
        if at % 2:
            await store.leave(backend)
            again = await store.open(MODEL)
        new = await picture(again)
        if new == old:
            undone += 1
            assert not ended
            await again.write(CHANGES)
            new = await picture(again)
        else:
            done += 1
        assert set(new[0]) == {EntityKey.of(WORKSPACE, name) for name in "abde"}
        assert set(new[1]) == {relation("e", "x", "a").key, relation("d", "x", "e").key}
        assert new[0][EntityKey.of(WORKSPACE, "d")][1] is True
        assert new[3] == []
        assert await again.verify() == []
        await store.dispose()
        if ended:
            break
    # After its first write, a plan of one piece is noted.
    assert ended
    assert done >= 3
    assert undone >= 1 or (after and not small)


async def test_a_journal_that_does_not_read_is_told(store: QdrantBench) -> None:
    """Nothing is written over it."""
    await store.close(await store.open(MODEL))
    head = {"pieces": 1, "sum": "x", "data": "AAAA"}
    await store.client.upsert("caxton-journal", [models.PointStruct(id=0, vector={}, payload=head)])
    with pytest.raises(MemoryUnavailable, match="journal"):
        await store.open(MODEL)


async def test_a_later_schema_is_refused(store: QdrantBench) -> None:
    """By its number."""
    await store.close(await store.open(MODEL))
    await store.client.set_payload("caxton-journal", {"version": 9}, [2**40])
    with pytest.raises(MemoryUnavailable, match="version is 9"):
        await store.open(MODEL)


async def test_a_folder_keeps_everything(tmp_path: Path) -> None:
    """In the local mode of the client, from one opening to the next."""
    store = QdrantBench(tmp_path / "points")
    first = await store.open(MODEL)
    await put(first, entity("a", "heron"), entity("b", scope=ANN), vectors=unit(1))
    await relate(first, relation("a", "is", "a"))
    await store.close(first)
    again = await store.open(MODEL)
    assert set(await find(again, "heron", unit(1))) == {"a", "b"}
    assert await every(again.scan_relations(None)) == [relation("a", "is", "a")]
    await store.dispose()


async def test_vectors_of_other_models_are_removed_when_it_is_tidied(store: QdrantBench) -> None:
    """Not before: the model may come back."""
    first = await store.open(MODEL)
    await put(first, entity("a"), vectors=unit(1))
    await store.close(first)
    second = await store.open(OTHER_MODEL)
    assert (await second.stats()).dead == 1
    [said] = await second.optimize()
    assert "another model of 1 entities" in said
    assert await second.optimize() == []
    await store.close(second)
    third = await store.open(MODEL)
    assert await find(third, vector=unit(1)) == {}


class Answering:
    """A Qdrant that answers every request with one status, or never."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.asked: list[asyncio.Task[Any] | None] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asyncio.current_task())
        # One that asks in vain may be gone before its question came.
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
        if self.status is None:
            await reader.read()
        else:
            body = b'{"status": {"error": "the key is geheim-1"}, "time": 0}'
            writer.write(
                b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%s" % (self.status, len(body), body)
            )
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "memory.api_key"), (403, "memory.api_key"), (500, "500"), (None, "within 0.3 s")],
)
async def test_what_a_server_refuses_is_told_without_the_key(status: int | None, said: str) -> None:
    """Within the deadline, naming the server."""
    answering = Answering(status)
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    target = RemoteTarget("qdrant", url, secret=Secret("geheim-1"), timeout_ms=300)
    backend = remote_backend(target)
    async with asyncio.timeout(10):
        with pytest.raises(MemoryUnavailable, match=said) as caught:
            await backend.start(MODEL)
    assert "geheim" not in str(caught.value)
    await backend.close()
    server.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*(task for task in answering.asked if task is not None))


async def test_a_refused_write_is_no_outage() -> None:
    """What the server does not take is a storage error."""
    server = Server(lambda: AsyncQdrantClient(":memory:"), local=True)
    with pytest.raises(StorageError):
        async with server.asking("a write", writes=True):
            raise models_error(400)
    with pytest.raises(MemoryUnavailable):
        async with server.asking("a write", writes=True):
            raise models_error(503)
    await QdrantBackend(server).close()


def models_error(status: int) -> Exception:
    """What the client raises for a status."""
    from qdrant_client.http.exceptions import UnexpectedResponse

    return UnexpectedResponse(status, "Said", b"{}", httpx.Headers())


@pytest.mark.parametrize("url", ["bolt://x:1", "x:6333", "http://", "", "ftp://x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Before anything is asked of it, naming the setting."""
    with pytest.raises(ValidationError, match=r"memory\.url"):
        remote_backend(RemoteTarget("qdrant", url))


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MemoryUnavailable, match=r"caxton\[qdrant\]"):
        remote_backend(RemoteTarget("qdrant", "http://127.0.0.1:6333"))
    with pytest.raises(MemoryUnavailable, match=r"caxton\[neo4j\]"):
        remote_backend(RemoteTarget("neo4j", "bolt://127.0.0.1:7687"))
