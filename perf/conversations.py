"""Claim: a hundred thousand conversations are open at once on one machine, in little memory.

A node in one process gets messages in as many conversations as are asked for, in frames as they
come over a link, each handled and answered by an agent. The bytes are the growth of resident memory
over the node with its agent, per conversation whose actor is in memory. With a protocol each
conversation also keeps the state of its request.

Goals: 100,000 open in under 400 MB, under 4 kB each (stretch: 2 kB).
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, repeat, scratch, show

from caxton import Config, Node
from caxton.message import make_message
from caxton.processes.tuning import tune
from caxton.types import new_id

FRAME = 500
AGENT = """---
name: worker
python: worker:Worker
capabilities: [work]
---
Does what it is asked.
"""
CODE = """
from caxton import Agent, Reply


class Worker(Agent):
    def handle(self, message, context):
        return Reply("agree", "soon")
"""


def resident() -> int:
    """Resident memory of this process, in bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def measure(count: int, protocol: str | None) -> dict[str, Any]:
    """Open ``count`` conversations with a request and its first answer each."""
    root = scratch("conversations")
    agents = root / "agents"
    agents.mkdir()
    (agents / "worker.md").write_text(AGENT)
    (agents / "worker.py").write_text(CODE)
    config = Config(
        agents=agents, data=root / "data", shards=0, durability="process",
        conversation_active=max(count + 1_000, 100_000),
    )  # fmt: skip
    try:
        async with Node(config) as node:
            gateway = node.gateway
            worker = gateway.agent_id("worker")
            empty = resident()
            started = time.perf_counter()
            for first in range(0, count, FRAME):
                await gateway.submit(
                    [
                        make_message(
                            "request", sender=gateway.identity, receiver=worker, content=b"x" * 100,
                            conversation_id=new_id(), protocol=protocol,
                        )
                        for _ in range(first, min(first + FRAME, count))
                    ]
                )  # fmt: skip
            opened = time.perf_counter() - started
            while True:
                shard = (await node.status()).shards[0]
                if not shard.pending:
                    break
                await asyncio.sleep(0.05)
            grown = resident() - empty
            if shard.conversations < count or shard.dead_letters:
                raise SystemExit(f"{shard.conversations} of {count} conversations are open")
        return {
            "protocol": protocol or "none",
            "conversations": count,
            "open and answered /s": count / opened,
            "kB each": grown / count / 1e3,
            "MB in all": grown / 1e6,
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(count: int, protocol: str | None) -> dict[str, Any]:
    """One measurement."""
    tune()
    return asyncio.run(measure(count, protocol))


def alone(count: int, protocol: str | None) -> dict[str, Any]:
    """One measurement in a process of its own: memory that was used once is not given back."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run, count, protocol).result()


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--conversations", type=int, default=0)
    given = parser.parse_args()
    count = given.conversations or (10_000 if given.quick else 100_000)
    repeats = 1 if given.quick else given.repeats
    rows = [repeat(repeats, partial(alone, count, protocol)) for protocol in (None, "fipa-request")]
    show("conversations", rows, given, claims=["goals: < 4 kB each, < 400 MB"])


if __name__ == "__main__":
    main()
