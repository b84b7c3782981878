"""WebAssembly agents behind a node: requests at a rate, each timed from when it was due."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import time
from pathlib import Path
from typing import Self

from harness import scratch

from caxton import Config, Node
from caxton.processes.tuning import tune
from sandbox.testing import agent, reply, wat

AGENTS = 10
WARM = 300
"""Requests before those that are timed."""

ANSWER = b'{"performative":"inform","content":"' + b"x" * 160 + b'"}'
GUEST = agent(
    reply("(i32.const 1024)", f"(i32.const {len(ANSWER)})"),
    extra=f'(data (i32.const 1024) "{"".join(f"{chr(92)}{byte:02x}" for byte in ANSWER)}")',
)
"""Answers every message with the same 200 bytes."""

FILE = """---
name: guest-{n}
wasm: guest.wasm
---
A guest.
"""


class Ticks:
    """A tick every ``every`` seconds by the kernel's timer, missed ones in one.

    A selector's own timers are rounded up to milliseconds, which would be most of what is measured.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._tick = asyncio.Event()
        self._timer = -1

    async def __aenter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        seconds, nanoseconds = divmod(round(self._every * 1e9), 10**9)
        spec = (ctypes.c_long * 4)(seconds, nanoseconds, seconds, nanoseconds)
        if self._timer < 0 or libc.timerfd_settime(self._timer, 0, spec, None):
            raise OSError(ctypes.get_errno(), "no timer of the kernel")
        asyncio.get_running_loop().add_reader(self._timer, self._on_tick)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _on_tick(self) -> None:
        os.read(self._timer, 8)
        self._tick.set()

    async def next(self) -> None:
        """Wait for the next tick."""
        await self._tick.wait()
        self._tick.clear()


async def at_rate(node: Node, count: int, per_s: int) -> list[float]:
    """Milliseconds from when each request was due to its reply, however late it was sent."""
    took: list[float] = []
    under_way: set[asyncio.Task[None]] = set()

    async def ask(number: int, due: float) -> None:
        await node.request("x" * 200, to=f"guest-{number % AGENTS}")
        took.append((time.perf_counter() - due) * 1e3)

    started = time.perf_counter()
    async with Ticks(1 / per_s) as ticks:
        sent = 0
        while sent < count:
            await ticks.next()
            now = time.perf_counter()
            while sent < count and (due := started + (sent + 1) / per_s) <= now:
                task = asyncio.create_task(ask(sent, due))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
        await asyncio.gather(*under_way)
    return took


def config(root: Path, shards: int, durability: str) -> Config:
    """A node with guests in a folder."""
    agents = root / "agents"
    agents.mkdir()
    (agents / "guest.wasm").write_bytes(wat(GUEST))
    for n in range(AGENTS):
        (agents / f"guest-{n}.md").write_text(FILE.format(n=n))
    return Config(
        agents=agents, data=root / "data", shards=shards, durability=durability, watch=False
    )


async def requests(shards: int, durability: str, count: int, per_s: int = 1_000) -> list[float]:
    """Start a node with guests and ask them so many times."""
    root = scratch("sandbox-node")
    try:
        async with Node(config(root, shards, durability)) as node:
            await at_rate(node, WARM, per_s)
            tune()
            return await at_rate(node, count, per_s)
    finally:
        shutil.rmtree(root, ignore_errors=True)
