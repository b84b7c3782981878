"""Claim: messages per second through submit → handled → acknowledged, and at which latency.

A node with its shard processes is started, real Python agents handle every message, and this
process generates the load over the same links that the gateway uses. ``flat out`` keeps a fixed
number of messages under way. ``open loop`` offers a fixed rate, however fast the node answers, so
that a stall shows in the latency of everything that was due meanwhile.

Marks on 2 cores, load generator included: 60,000/s ``process``, 30,000/s ``disk``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, quantile, repeat, scratch, show

from caxton import Config, Node
from caxton.message import encode, make_message
from caxton.processes.tuning import tune
from caxton.types import new_id

AGENTS = 8
UNDER_WAY = 8_192
BATCH = 512
SIZE = 100
"""Bytes of content."""

AGENT = """---
name: sink-{n}
python: sink:Sink
capabilities: [sink]
---
Takes messages and says nothing.
"""
CODE = """
from caxton import Agent


class Sink(Agent):
    def handle(self, message, context):
        return None
"""


def folder() -> Path:
    """A data folder with the agents of the benchmark."""
    root = scratch("route")
    agents = root / "agents"
    agents.mkdir()
    for n in range(AGENTS):
        (agents / f"sink-{n}.md").write_text(AGENT.format(n=n))
    (agents / "sink.py").write_text(CODE)
    return root


class Load:
    """Submits prepared messages and watches their acknowledgements."""

    def __init__(self, node: Node, count: int, conversations: int) -> None:
        gateway = node.gateway
        self.gateway = gateway
        self.count = count
        receivers = [gateway.agent_id(f"sink-{n}") for n in range(AGENTS)]
        known = [new_id() for _ in range(conversations)]
        self.by_shard: dict[int, list[bytes]] = {n: [] for n in gateway.ports}
        for n in range(count):
            message = make_message(
                "inform",
                sender=gateway.identity,
                receiver=receivers[n % AGENTS],
                content=b"x" * SIZE,
                conversation_id=known[n % conversations],
            )
            shard = gateway.directory.shard(message.conversation_id)
            self.by_shard[shard].append(encode(message))
        self.acked = 0
        self.refused = 0
        self.latencies: list[float] = []

    async def flat_out(self) -> float:
        """Keep ``UNDER_WAY`` messages under way; returns the seconds until the last ack."""
        done = asyncio.Event()
        positions = dict.fromkeys(self.by_shard, 0)
        under_way = dict.fromkeys(self.by_shard, 0)
        limit = UNDER_WAY // len(self.by_shard)

        def pump(shard: int) -> None:
            queue = self.by_shard[shard]
            while positions[shard] < len(queue) and under_way[shard] <= limit - BATCH:
                part = queue[positions[shard] : positions[shard] + BATCH]
                positions[shard] += len(part)
                under_way[shard] += len(part)

                def settle(index: int, outcome: object, shard: int = shard) -> None:
                    self._settled(outcome)
                    under_way[shard] -= 1
                    if under_way[shard] <= limit - BATCH:
                        pump(shard)
                    if self.acked + self.refused == self.count:
                        done.set()

                self.gateway.ports[shard].submitter.submit(part, settle)

        started = time.perf_counter()
        for shard in self.by_shard:
            pump(shard)
        async with asyncio.timeout(300):
            await done.wait()
        return time.perf_counter() - started

    def _settled(self, outcome: object) -> None:
        if isinstance(outcome, Exception):
            self.refused += 1
        else:
            self.acked += 1

    async def open_loop(self, rate: int) -> float:
        """Offer ``rate`` messages a second; latency counts from when each was due."""
        done = asyncio.Event()
        queues = {shard: iter(queue) for shard, queue in self.by_shard.items()}
        order = [shard for shard, queue in self.by_shard.items() for _ in queue]
        order.sort(key=lambda shard: hash((shard, 7)))
        sent = 0
        started = time.perf_counter()
        while sent < self.count:
            due = min(self.count, int((time.perf_counter() - started) * rate) + 1)
            parts: dict[int, list[tuple[bytes, float]]] = {}
            shards = list(queues)
            for n in range(sent, due):
                for turn in range(len(shards)):
                    shard = shards[(n + turn) % len(shards)]
                    raw = next(queues[shard], None)
                    if raw is not None:
                        parts.setdefault(shard, []).append((raw, started + n / rate))
                        break
            sent = due
            for shard, part in parts.items():
                times = [at for _, at in part]

                def settle(index: int, outcome: object, times: list[float] = times) -> None:
                    self.latencies.append(time.perf_counter() - times[index])
                    self._settled(outcome)
                    if self.acked + self.refused == self.count:
                        done.set()

                self.gateway.ports[shard].submitter.submit([raw for raw, _ in part], settle)
            await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            await done.wait()
        return time.perf_counter() - started


def cpu_seconds(node: Node) -> dict[str, float]:
    """CPU time of the shards and of this process."""
    shards = 0.0
    for child in psutil.Process().children():
        times = child.cpu_times()
        shards += times.user + times.system
    own = time.process_time()
    return {"shards": shards, "load": own}


async def measure(durability: str, shards: int, count: int, rate: int | None) -> dict[str, Any]:
    """One run on a fresh node."""
    root = folder()
    try:
        config = Config(
            agents=root / "agents",
            data=root / "data",
            shards=shards,
            durability=durability,
            watch=False,
        )
        async with Node(config) as node:
            load = Load(node, count, conversations=1_000)
            await node.status()
            tune()
            before = cpu_seconds(node)
            started = time.perf_counter()
            acked = await (load.flat_out() if rate is None else load.open_loop(rate))
            while True:
                view = await node.status()
                if sum(shard.handled for shard in view.shards) >= load.acked:
                    break
                await asyncio.sleep(0.005)
            seconds = time.perf_counter() - started
            after = cpu_seconds(node)
            commits = sum(shard.commits for shard in view.shards)
            return {
                "mode": "flat out" if rate is None else f"open loop {rate:,}/s",
                "durability": durability,
                "shards": shards,
                "messages": count,
                "refused": load.refused,
                "per second": count / seconds,
                "acked/s": count / acked,
                "shard us/msg": (after["shards"] - before["shards"]) / count * 1e6,
                "load us/msg": (after["load"] - before["load"]) / count * 1e6,
                "msgs/commit": count / max(1, commits),
                "route p50 ms": max(s.routing_p50_us for s in view.shards) / 1e3,
                "route p99 ms": max(s.routing_p99_us for s in view.shards) / 1e3,
                "ack p50 ms": quantile(load.latencies, 0.5) * 1e3,
                "ack p99 ms": quantile(load.latencies, 0.99) * 1e3,
            }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def pykka_peer(count: int) -> dict[str, Any]:
    """The same number of messages through threads of pykka: no processes, nothing on disk."""
    import pykka

    class Sink(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            return None

    refs = [Sink.start() for _ in range(AGENTS)]
    cpu, started = time.process_time(), time.perf_counter()
    for n in range(count):
        refs[n % AGENTS].tell(n)
    for ref in refs:
        ref.stop()
    seconds = time.perf_counter() - started
    return {
        "mode": "peer: pykka threads",
        "durability": "none",
        "shards": 0,
        "messages": count,
        "refused": 0,
        "per second": count / seconds,
        "acked/s": 0.0,
        "shard us/msg": (time.process_time() - cpu) / count * 1e6,
        "load us/msg": 0.0,
        "msgs/commit": 0.0,
        **dict.fromkeys(("route p50 ms", "route p99 ms", "ack p50 ms", "ack p99 ms"), 0.0),
    }


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--shards", type=int, default=0, help="0: one shard a core but one")
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--rate", type=int, default=10_000, help="of the open loop")
    parser.add_argument("--durability", choices=("disk", "process"))
    parser.add_argument("--peer", action="store_true", help="also pykka's threads")
    given = parser.parse_args()
    shards = given.shards or max(1, len(os.sched_getaffinity(0)) - 1)
    count = given.messages or (20_000 if given.quick else 200_000)
    repeats = 1 if given.quick else given.repeats
    rows = []
    for durability in (given.durability,) if given.durability else ("process", "disk"):
        for rate in (None, given.rate):
            number = count if rate is None else min(count, rate * (1 if given.quick else 5))
            rows.append(
                repeat(
                    repeats,
                    lambda d=durability, n=number, r=rate: asyncio.run(measure(d, shards, n, r)),
                )
            )
    if given.peer:
        rows.append(repeat(repeats, lambda: pykka_peer(count)))
    show("route", rows, as_json=given.json, claims=["marks: 60,000/s process, 30,000/s disk"])


if __name__ == "__main__":
    main()
