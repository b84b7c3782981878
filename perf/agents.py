"""Claim: thousands of configuration agents load from disk, and an idle one costs little.

A node in one process loads a folder of agent files. The time is from the start of the node to its
last agent in service; the bytes are the growth of resident memory over a node without agents. One
agent alone is loaded into a running node by writing its file.

Goals: under 50 ms for an agent alone, under 20 kB for an idle one.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, repeat, scratch, show

from caxton import Config, Node

AGENT = """---
name: agent-{n}
version: 1.0.0
description: Answers questions about shelf {n} of the library.
capabilities: [shelf-{n}, library]
parameters:
  shelf: {n}
---
You look after shelf {n} of a library. You know every book on it, who wrote it, when it was
bought and who has borrowed it. Answer in one or two sentences. When a book is not on your shelf,
say so and name the shelf where such books stand. Never invent a title.
"""


def resident() -> int:
    """Resident memory of this process, in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def measure(count: int) -> dict[str, Any]:
    """Load ``count`` agents, then one more alone, then start again with all of them known."""
    root = scratch("agents")
    agents = root / "agents"
    agents.mkdir()
    config = Config(
        agents=agents, data=root / "data", shards=0, durability="process", limits_agents=count + 10
    )
    try:
        async with Node(config):
            empty = resident()
        for n in range(count):
            (agents / f"agent-{n}.md").write_text(AGENT.format(n=n))
        started = time.perf_counter()
        async with Node(config) as node:
            first = time.perf_counter() - started
            loaded = (await node.status()).agents
            bytes_each = (resident() - empty) / count
            started = time.perf_counter()
            (agents / "alone.md").write_text(AGENT.format(n="alone"))
            async for event in node.events():
                if event.type == "agent.loaded" and event.subject == "agent-alone":
                    break
            seen = time.perf_counter() - started
            alone = next(one for one in await node.agents() if one.name == "agent-alone")
        started = time.perf_counter()
        async with Node(config):
            again = time.perf_counter() - started
        if loaded != count:
            raise SystemExit(f"{loaded} of {count} agents loaded")
        return {
            "agents": count,
            "first start s": first,
            "ms each": first / count * 1e3,
            "kB each": bytes_each / 1e3,
            "start again s": again,
            "alone, file to service ms": seen * 1e3,
            "as the node reports ms": alone.reload.took_ms,
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(count: int) -> dict[str, Any]:
    """One measurement."""
    return asyncio.run(measure(count))


def alone(count: int) -> dict[str, Any]:
    """One measurement in a process of its own: memory that was used once is not given back."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run, count).result()


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--agents", type=int, default=0)
    given = parser.parse_args()
    count = given.agents or (500 if given.quick else 10_000)
    repeats = 1 if given.quick else given.repeats
    rows = [repeat(repeats, lambda: alone(count))]
    show("agents", rows, given, claims=["goals: < 50 ms alone, < 20 kB each"])


if __name__ == "__main__":
    main()
