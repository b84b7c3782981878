"""The memory service as agents use it, run alone in a process by ``perf/memory.py``.

The store is filled with made vectors (embedding 100,000 texts takes ten minutes and is not what is
measured); queries and what is stored one at a time are texts, embedded by the real model.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

import memory_data
from memory_engines import anonymous_mb, disk_mb

from caxton.memory.backend import Change, PutEntity, PutRelation
from caxton.memory.client import Memory
from caxton.memory.embedded.backend import EmbeddedBackend
from caxton.memory.embedding.opening import EmbeddingSettings, open_embedder
from caxton.memory.model import WORKSPACE, Entity, Observation, Relation
from caxton.memory.service import MemoryService
from caxton.processes.tuning import tune

BATCH = 1_000
DEGREE = 3
"""Relations from each entity: about 250 nodes are within three of one."""
WORDS = 20_000
SYLLABLES = "ba ce di fo gu ha ji ke lo mu na pi qe ro su ta ve wi xo yu zel mor tan".split()  # noqa: SIM905
STORE = "memory"


def word(number: int) -> str:
    """A word of a language that nobody speaks; the lower its number the more common."""
    text = ""
    while number or not text:
        number, last = divmod(number, len(SYLLABLES))
        text += SYLLABLES[last]
    return text


def sentence(rng: random.Random) -> str:
    """About as long as a thing that people note, its words rare and common as in a language."""
    # 1/n is the share of the n-th most common word: Zipf's law.
    return " ".join(word(int(WORDS ** rng.random())) for _ in range(rng.randint(6, 18)))


def entity(number: int, rng: random.Random) -> Entity:
    """One with two observations."""
    seen = tuple(Observation(sentence(rng), number) for _ in range(2))
    return Entity(WORKSPACE, f"entity {number}", "note", seen)


async def opened(folder: Path) -> tuple[MemoryService, Memory, EmbeddedBackend]:
    """A service with its model loaded."""
    backend = EmbeddedBackend(folder / STORE)
    embedder = await open_embedder(EmbeddingSettings())
    service = MemoryService(backend, embedder)
    await service.start()
    # As the memory's process does.
    tune()
    return service, Memory(service.answer), backend


async def fill(backend: EmbeddedBackend, count: int) -> float:
    """Entities and relations; gives entities a second, vectors given."""
    rng = random.Random(memory_data.SEED)
    vectors = memory_data.make(count, 1).vectors
    took = 0.0
    for start in range(0, count, BATCH):
        changes: list[Change] = [
            PutEntity(entity(number, rng), vectors[number : number + 1])
            for number in range(start, min(start + BATCH, count))
        ]
        begun = time.perf_counter()
        await backend.write(changes)
        took += time.perf_counter() - begun
    for start in range(0, count, BATCH):
        await backend.write(
            [
                PutRelation(
                    Relation(
                        WORKSPACE,
                        f"entity {number}",
                        f"entity {rng.randrange(count)}",
                        f"kind {at}",
                    )
                )
                for number in range(start, min(start + BATCH, count))
                for at in range(DEGREE)
            ]
        )
    return count / took


def row(what: str, seconds: list[float], goal: str) -> dict[str, Any]:
    """Times in ms."""
    ordered = sorted(one * 1e3 for one in seconds)
    return {
        "what": what,
        "unit": "ms",
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "goal": goal,
    }


async def measure(folder: Path, count: int, calls: int) -> list[dict[str, Any]]:
    """Fill, search, store, walk."""
    service, memory, backend = await opened(folder)
    rate = await fill(backend, count)
    disk = disk_mb(folder / STORE)
    rng = random.Random(1)
    for _ in range(20):
        await memory.search(sentence(rng))
    gc.collect()
    searches, alone, stores, walks, nodes = [], [], [], [], 0
    for _ in range(calls):
        asked = sentence(rng)
        begun = time.perf_counter()
        await memory.search(asked)
        searches.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        # Its vector is in the cache now.
        await memory.search(asked)
        alone.append(time.perf_counter() - begun)
    for number in range(calls):
        begun = time.perf_counter()
        await memory.store(f"new {number}", "note", (sentence(rng),), memory_scope="workspace")
        stores.append(time.perf_counter() - begun)
    for _ in range(calls):
        begun = time.perf_counter()
        found = await memory.graph(
            f"entity {rng.randrange(count)}", max_depth=3, memory_scope="workspace"
        )
        walks.append(time.perf_counter() - begun)
        nodes += len(found.nodes)
    rows = [
        row("search, embedding included", searches, "p50 14, p99 30"),
        row("search, embedding known", alone, ""),
        row("store one, embedding and flush included", stores, "p50 10, p99 25"),
        row(f"traversal, depth 3, {nodes // calls} nodes", walks, "p99 5"),
        {"what": "bulk load, vectors given", "unit": "/s", "p50": rate, "goal": "30,000"},
        {"what": "on disk, an entity with 3 relations", "unit": "kB", "p50": disk * 1e3 / count,
         "goal": "2.5"},
        {"what": "anonymous memory with model", "unit": "MB", "p50": anonymous_mb(), "goal": "220"},
    ]  # fmt: skip
    await service.close()
    return rows


async def reopen(folder: Path, started: float) -> list[dict[str, Any]]:
    """Seconds until a text was searched for, in a process that is new."""
    service, memory, _ = await opened(folder)
    await memory.search("harbour")
    took = time.perf_counter() - started
    gc.collect()
    held = anonymous_mb()
    await service.close()
    return [
        {"what": "first answer after a start", "unit": "s", "p50": took, "goal": "3"},
        {"what": "anonymous memory after a start", "unit": "MB", "p50": held, "goal": "220"},
    ]


def main() -> int:
    """Measure."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--reopen", action="store_true")
    given = parser.parse_args()
    if given.reopen:
        rows = asyncio.run(reopen(given.store, started))
    else:
        rows = asyncio.run(measure(given.store, given.count, given.calls))
    print("RESULT " + json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
