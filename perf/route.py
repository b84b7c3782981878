"""Claim: messages per second through submit → handled → acknowledged, and at which latency.

A node with its shard processes is started, real Python agents handle every message, and this
process generates the load over the same links that the gateway uses. ``flat out`` keeps 8,192
messages under way. ``open loop`` offers a fixed rate, however fast the node answers, so that a
stall shows in the latency of everything that was due meanwhile; ``burst`` offers 1,000/s, then
100,000/s, then 1,000/s. ``all on`` traces 1 % of the messages and writes a log line for each of
them. Brokers whose servers are installed do the same work in the same run (``route_peers.py``).

Marks on 2 cores, load generator included: 100,000/s ``process`` for five minutes, 60,000/s
``disk``, 12 us of shard CPU a message with all on; at 50,000/s offered, routed p99 < 1 ms and
acknowledged on disk p50 within 4 times one flush of the disk; 8 times Redis Streams ``always``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `actors` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import options, quantile, repeat, scratch, show
from route_load import Collector, Load, agents_folder
from route_peers import PEERS, peer_row

from caxton import Config, Node
from caxton.processes.tuning import tune

SIZE = 200
"""Bytes of content."""
BURST_S = 2.0
Drive = Callable[[Load], Any]


def cpu_seconds() -> tuple[float, float]:
    """CPU time of the node's processes, and of this one."""
    shards = 0.0
    for child in psutil.Process().children():
        if "caxton" in "".join(child.cmdline()[:1]):
            times = child.cpu_times()
            shards += times.user + times.system
    return shards, time.process_time()


async def measure(
    mode: str, durability: str, shards: int, drive: Drive, **settings: Any
) -> dict[str, Any]:
    """One run on a fresh node."""
    root = scratch("route")
    try:
        config = Config(
            agents=agents_folder(root),
            data=root / "data",
            shards=shards,
            durability=durability,
            watch=False,
            **settings,
        )
        async with Node(config) as node:
            load = Load(node, SIZE)
            await node.status()
            tune()
            before = cpu_seconds()
            started = time.perf_counter()
            await drive(load)
            acked = time.perf_counter() - started
            while True:
                view = await node.status()
                if sum(shard.handled for shard in view.shards) >= load.acked:
                    break
                await asyncio.sleep(0.005)
            seconds = time.perf_counter() - started
            after = cpu_seconds()
            count = load.settled
            commits = sum(shard.commits for shard in view.shards)
            return {
                "mode": mode,
                "durability": durability,
                "shards": shards,
                "messages": count,
                "refused": load.refused,
                "per second": count / seconds,
                "acked/s": count / acked,
                "server us/msg": (after[0] - before[0]) / count * 1e6,
                "load us/msg": (after[1] - before[1]) / count * 1e6,
                "msgs/commit": count / max(1, commits),
                "route p50 ms": max(s.routing_p50_us for s in view.shards) / 1e3,
                "route p99 ms": max(s.routing_p99_us for s in view.shards) / 1e3,
                "ack p50 ms": load.latency_us.quantile(0.5) / 1e3,
                "ack p99 ms": load.latency_us.quantile(0.99) / 1e3,
            }
    finally:
        shutil.rmtree(root, ignore_errors=True)


def flat_out(count: int) -> Drive:
    """So many messages, 8,192 of them under way."""
    return lambda load: load.flat_out(count)


def sustained(seconds: float) -> Drive:
    """The same for so long."""
    return lambda load: load.flat_out(seconds=seconds)


def open_loop(rate: int, seconds: float) -> Drive:
    """A fixed rate for so long."""
    return lambda load: load.open_loop(seconds, lambda at: rate)


def burst() -> Drive:
    """1,000/s, 100,000/s and 1,000/s again."""
    return lambda load: load.open_loop(
        3 * BURST_S, lambda at: 100_000 if BURST_S <= at < 2 * BURST_S else 1_000
    )


def flush_ms() -> float:
    """What one flush of 16 new KiB to this disk takes: the median of 200."""
    folder = scratch("flush")
    taken = []
    try:
        file = os.open(folder / "data", os.O_RDWR | os.O_CREAT)
        for n in range(200):
            os.pwrite(file, os.urandom(16_384), n * 16_384)
            started = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - started)
        os.close(file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return quantile(taken, 0.5) * 1e3


def plan(
    *, quick: bool, durabilities: tuple[str, ...], shards: int, rates: list[int], sustain: float
) -> list[tuple[str, str, int, Drive, bool]]:
    """What is run: how it is called, durability, shards, drive, and whether all is on."""
    count = 20_000 if quick else 300_000
    seconds = 1.0 if quick else 10.0
    runs: list[tuple[str, str, int, Drive, bool]] = []
    for durability in durabilities:
        runs.append(("flat out", durability, shards, flat_out(count), False))
        runs.append(("flat out, all on", durability, shards, flat_out(count), True))
        runs += [
            (f"open loop {rate:,}/s", durability, shards, open_loop(rate, seconds), False)
            for rate in rates
        ]
        if not quick:
            runs.append(("flat out", durability, shards + 1, flat_out(count), False))
            runs.append(("burst 1,000 → 100,000/s", durability, shards, burst(), False))
        if sustain:
            mode = f"flat out for {sustain:g} s"
            runs.append((mode, durability, shards, sustained(sustain), False))
    return runs


def claims(rows: list[dict[str, Any]], flush: float) -> list[str]:
    """What the rows come to beside the marks."""
    said = [f"one flush of the disk: p50 {flush:.2f} ms"]
    found = {(row["mode"], row["durability"], row["shards"] > 1): row for row in rows}
    disk = found.get(("open loop 50,000/s", "disk", False))
    if disk is not None:
        said.append(
            f"acknowledged on disk at 50,000/s: p50 {disk['ack p50 ms']:.2f} ms, "
            f"{disk['ack p50 ms'] / flush:.1f} flushes (mark: 4)"
        )
    ours = found.get(("flat out", "disk", False))
    theirs = next((row for row in rows if row["mode"] == "peer: Redis Streams, always"), None)
    if ours is not None and theirs is not None:
        ratio = ours["per second"] / theirs["per second"]
        said.append(f"ratio to Redis Streams `always`, both in batches: {ratio:.2f} (mark: 8)")
    return said


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--shards", type=int, default=0, help="0: one shard a core but one")
    parser.add_argument("--rate", type=int, action="append", help="of an open loop; several")
    parser.add_argument("--durability", choices=("disk", "process"))
    parser.add_argument("--sustain", type=float, default=0.0, help="seconds, also flat out so long")
    parser.add_argument("--no-peers", action="store_true", help="without brokers")
    given = parser.parse_args()
    shards = given.shards or max(1, len(os.sched_getaffinity(0)) - 1)
    repeats = 1 if given.quick else given.repeats
    flush = flush_ms()
    rows = []
    collector = Collector()
    all_on = {
        "trace_exporter": "otlp", "trace_ratio": 0.01, "trace_endpoint": collector.endpoint,
        "log_messages": "sampled",
    }  # fmt: skip
    runs = plan(
        quick=given.quick,
        durabilities=(given.durability,) if given.durability else ("process", "disk"),
        shards=shards,
        rates=given.rate or ([10_000] if given.quick else [10_000, 50_000, 100_000]),
        sustain=given.sustain,
    )
    for mode, durability, number, drive, on in runs:
        settings = all_on if on else {"log_messages": "none"}

        def run(work: tuple[Any, ...] = (mode, durability, number, drive)) -> dict[str, Any]:
            return asyncio.run(measure(*work, **settings))  # noqa: B023 - run in this turn

        rows.append(repeat(1 if "for" in mode else repeats, run))
    collector.close()
    for key in () if given.quick or given.no_peers else PEERS:
        if PEERS[key].installed():
            count = 50_000 if key == "rabbitmq" else 300_000
            row = repeat(repeats, lambda key=key, count=count: peer_row(key, count, SIZE))
            rows.append({name: row.get(name, 0.0) for name in rows[0]})
    show("route", rows, given, claims=claims(rows, flush))


if __name__ == "__main__":
    main()
