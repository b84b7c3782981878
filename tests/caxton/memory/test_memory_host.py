"""The memory of a node: opened again and again, with a model that comes later; and its wire."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_embedder import FakeEmbedder
from memory_services import AGENTS
from model_backend import Kept, ModelBackend

from caxton import Config
from caxton.errors import (
    EmbeddingUnavailable,
    MemoryUnavailable,
    MessageTooLarge,
    ValidationError,
)
from caxton.memory.client import ANSWERS, Memory
from caxton.memory.embedder import Embedder
from caxton.memory.host import MemoryHost
from caxton.memory.model import WORKSPACE, Entity
from caxton.memory.requests import EntityDraft, Opened, OpenEntities, Search, Store
from caxton.memory.wire import (
    MAX_BYTES,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)

DEADLINE_S = 20.0


class Bench:
    """A host whose backend and model do as they are told."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.kept = Kept()
        self.failures: list[Exception] = []
        self.opened = 0
        self.told = 0
        self.model: Embedder | None = None
        self.fetched = asyncio.Event()
        self.events: list[tuple[str, str, str]] = []
        config = Config(data=folder, shards=0, **settings)
        self.host = MemoryHost(
            config,
            AGENTS.get,
            lambda *event: self.events.append(event),
            opened=self.tell,
            backend=self.backend,
            model=self.find,
            retries_s=(0.01,),
        )
        self.memory = Memory(self.host.answer)

    def tell(self) -> None:
        self.told += 1

    def backend(self, config: Config) -> ModelBackend:
        if self.failures:
            raise self.failures.pop(0)
        self.opened += 1
        return ModelBackend(self.kept)

    async def find(self, config: Config, *, download: bool) -> Embedder:
        if download:
            await self.fetched.wait()
            return FakeEmbedder()
        if self.model is None:
            raise EmbeddingUnavailable(model="fake", reason="it is nowhere")
        return self.model


async def until_semantic(memory: Memory) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not (await memory.search("heron")).semantic:
            await asyncio.sleep(0.01)


async def test_a_model_that_is_fetched_later_is_taken_up(tmp_path: Path) -> None:
    """Words are searched meanwhile, and what was written gets its vectors then."""
    bench = Bench(tmp_path)
    bench.host.start()
    stored = await bench.memory.store("A", "x", ["heron"])
    assert not stored.embedding_generated
    assert "it is nowhere" in (await bench.memory.search("heron")).note
    bench.fetched.set()
    await until_semantic(bench.memory)
    async with asyncio.timeout(DEADLINE_S):
        while not bench.kept.vectors:
            await asyncio.sleep(0.01)
    assert bench.opened == bench.told == 2
    await bench.host.close()
    assert ("memory.entity_created", "workspace", "1 new") in bench.events


async def test_it_is_tried_again_until_it_opens(tmp_path: Path) -> None:
    """Whoever asks before is told why, at once."""
    bench = Bench(tmp_path, memory_engine="none")
    reason = "connection refused"
    bench.failures = [MemoryUnavailable(backend="qdrant", reason=reason), ValueError("odd")] * 3
    bench.host.start()
    with pytest.raises(MemoryUnavailable, match=reason):
        await bench.memory.stats()
    async with asyncio.timeout(DEADLINE_S):
        while bench.failures or not bench.opened:
            await asyncio.sleep(0.01)
        await bench.memory.stats()
    assert bench.events[0] == ("memory.unavailable", "embedded", reason)
    await bench.host.close()
    with pytest.raises(MemoryUnavailable, match="closed"):
        await bench.memory.stats()


def test_requests_and_answers_travel() -> None:
    """Whole, and as what they were."""
    request = Store(
        entities=(EntityDraft("Ä", "x", ("o",), {"k": [1, None, {"n": 2.5}]}, importance=0.5),),
        agent="own",
    )
    assert decode_request(encode_request(request)) == request
    answer = Opened((Entity(WORKSPACE, "A", "x"),), ())
    assert decode_answer(OpenEntities(names=("A",)), encode_answer(answer)) == answer
    assert len(ANSWERS) == 18


def test_what_does_not_travel_is_told() -> None:
    """What is no request, what cannot be sent, and what is too large."""
    for raw in (b"", b"\x81\xa2op\xa4nope", encode_request(Search(query="x"))[:-1]):
        with pytest.raises(ValidationError):
            decode_request(raw)
    with pytest.raises(ValidationError):
        encode_request(Store(entities=(EntityDraft("a", "x", metadata={"k": object()}),)))
    with pytest.raises(MessageTooLarge):
        encode_request(Store(entities=(EntityDraft("a", "x", ("y" * MAX_BYTES,)),)))
