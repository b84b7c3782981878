"""Claim: a call of untrusted code costs microseconds in this process and well under a millisecond
in another, and a guest that waits costs little.

Calls take 200 bytes and give 200. *Inline* guests are called in the engine itself, and as callers
do, awaited; *process* guests are awaited. Rows have their ratio to plain
Python that does the same work in this process, and to extism where it is installed. ``--js`` and
``--python`` name components built from ``examples/tools`` with ``caxton tool build``; the one in
JavaScript is there.

Goals, at a pace of 30 ns: inline warm 60 us and fresh 150 us; process fresh p50 400 us, p99 1 ms;
start from the cache 5 ms; 64 kB an idle agent; p99 1 ms of agents' messages at 1,000 a second,
alone and through a node.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
# The package `sandbox` before this folder, which has a benchmark of that name.
sys.path[:] = [str(HERE.parent), *(one for one in sys.path if one != str(HERE)), str(HERE)]

from harness import median, options, quantile, scratch, show
from sandbox_guests import (
    COMPONENT,
    COMPUTE,
    TURNS,
    WASI_AGENT,
    extism,
    plain_compute,
    plain_echo,
)
from sandbox_node import requests

from sandbox import FolderGrant, Grants, Guest, Kind, Limits, Sandbox
from sandbox.testing import AGENTS, COMMANDS, wat
from sandbox.wasmtime_engine import WasmtimeEngine

DATA = bytes(200)
ENOUGH = Limits(fuel=10**10, wall_ms=60_000)
CSV = HERE.parent / "caxton/tools/builtin/csv_parser/csv_parser.wasm"
ROWS_OF_CSV = 100
PACE_NS = 30.0
"""The pace of the machine that the goals are for."""

Row = dict[str, Any]


def pace_ns() -> float:
    """Processor time of one turn of a fixed loop, in nanoseconds.

    Not its wall clock, as in the other benchmarks: the median of short calls is of those that were
    not interrupted, and would look too good beside a loop that was.
    """
    total, started = 0, time.thread_time()
    for number in range(500_000):
        total += number
    return (time.thread_time() - started) / 500_000 * 1e9


class Table:
    """Rows, each with the pace of the machine around it."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.rows: list[Row] = []
        self.plain = 0.0
        self.peer = 0.0

    def add(self, what: str, unit: str, p50: float, p99: float = 0.0, p999: float = 0.0, *,
            pace: float, goal: str = "", ratios: bool = False) -> None:  # fmt: skip
        """One row."""
        self.rows.append(
            {
                "what": what,
                "unit": unit,
                "p50": p50,
                "p99": p99 or "",
                "p99.9": p999 or "",
                "p99 at 30 ns": p99 * PACE_NS / pace if p99 else "",
                "at 30 ns": p50 * PACE_NS / pace if unit in {"us", "ms"} else p50,
                "x plain": self._ratio(p50, self.plain, ratios),
                "x extism": self._ratio(p50, self.peer, ratios),
                "loop ns": pace,
                "goal": goal,
            }
        )

    def time(self, what: str, call: Callable[[], object], *, part: float = 1, goal: str = "",
             ratios: bool = True) -> float:  # fmt: skip
        """A row of a call that blocks; its median in microseconds."""
        for _ in range(20):
            call()
        with self._calls(part) as (count, seconds, pace):
            for _ in range(count):
                started = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - started)
        return self._row(what, seconds, pace, goal, ratios)

    async def wait(self, what: str, call: Callable[[], Awaitable[object]], *, part: float = 1,
                   goal: str = "", ratios: bool = True) -> float:  # fmt: skip
        """A row of a call that is awaited."""
        for _ in range(20):
            await call()
        with self._calls(part) as (count, seconds, pace):
            for _ in range(count):
                started = time.perf_counter()
                await call()
                seconds.append(time.perf_counter() - started)
        return self._row(what, seconds, pace, goal, ratios)

    def _ratio(self, value: float, other: float, ratios: bool) -> str:
        return f"{value / other:.3g}" if ratios and other else ""

    @contextmanager
    def _calls(self, part: float) -> Iterator[tuple[int, list[float], list[float]]]:
        gc.collect()
        pace = [pace_ns()]
        yield max(20, int(self.calls * part)), [], pace
        pace.append(pace_ns())

    def _row(self, what: str, seconds: list[float], pace: list[float], goal: str,
             ratios: bool) -> float:  # fmt: skip
        micro = [value * 1e6 for value in seconds]
        middle = median(micro)
        self.add(what, "us", middle, quantile(micro, 0.99), pace=sum(pace) / len(pace), goal=goal,
                 ratios=ratios)  # fmt: skip
        return middle


def in_the_engine(table: Table, root: Path) -> None:
    """Calls without a hand-over, beside their peers."""
    engine = WasmtimeEngine()

    def artifact(name: str, text: str) -> Path:
        path = root / name
        path.write_bytes(engine.compile(wat(text)).code)
        return path

    echo, compute = artifact("echo", AGENTS["echo"]), artifact("compute", COMPUTE)
    table.plain = table.time("echo in plain Python", lambda: plain_echo(DATA), ratios=False)
    peers = extism(wat)
    if peers is not None:
        warm, fresh = peers
        if warm(DATA) != DATA:
            raise SystemExit("extism gave another answer")
        table.peer = table.time("extism, warm", lambda: warm(DATA))
    guest = engine.open_agent(echo, ENOUGH)
    table.time("inline warm, in the engine", lambda: guest.call(DATA), goal="60")
    if peers is not None:
        table.peer = table.time("extism, fresh plugin", lambda: fresh(DATA), part=0.2)

    def once() -> None:
        one = engine.open_agent(echo, ENOUGH)
        one.call(DATA)
        one.close()

    table.time("inline fresh, in the engine", once, part=0.3, goal="150")
    table.peer = 0.0
    table.plain = table.time(f"{TURNS:,} steps of a generator, plain Python", plain_compute,
                             part=0.03, ratios=False)  # fmt: skip
    worker = engine.open_agent(compute, ENOUGH)
    if worker.call(b"").data != plain_compute():
        raise SystemExit("the guest computed something else")
    table.time(f"{TURNS:,} steps of a generator, guest", lambda: worker.call(b""), part=0.03)
    table.plain = 0.0
    table.time("compile an agent of 150 bytes", lambda: engine.compile(wat(AGENTS["echo"])),
               part=0.02, ratios=False)  # fmt: skip
    idle(table, engine, echo)


def idle(table: Table, engine: WasmtimeEngine, artifact: Path) -> None:
    """Resident memory of agents that were called once and wait."""
    process, pace = psutil.Process(), pace_ns()
    kept = [engine.open_agent(artifact, Limits()) for _ in range(50)]
    gc.collect()
    before, count = process.memory_info().rss, min(2_000, table.calls)
    for _ in range(count):
        guest = engine.open_agent(artifact, Limits())
        guest.call(DATA)
        kept.append(guest)
    gc.collect()
    each = (process.memory_info().rss - before) / count / 1e3
    table.add("an idle agent", "kB", each, pace=pace, goal="64")
    for guest in kept:
        guest.close()


async def awaited(table: Table, root: Path, given: argparse.Namespace) -> None:
    """Calls as callers make them."""
    table.plain = 0.0
    data = root / "data"
    data.mkdir()
    (data / "t.csv").write_text("a,b\n" + "1,2.5\n" * ROWS_OF_CSV)
    folder = Grants(folders=(FolderGrant(data, "data"),))
    question = b'{"path":"data/t.csv","operation":"sum","column":"b"}'
    async with Sandbox(root / "cache", workers=2) as box:
        for name, module in (("agent", wat(AGENTS["echo"])), ("csv tool", CSV.read_bytes())):
            pace, started = pace_ns(), time.perf_counter()
            await box.prepare(module)
            took = (time.perf_counter() - started) * 1e3
            table.add(f"compile the {name} in a limited child", "ms", took, pace=pace)
        echo = await box.load(wat(AGENTS["echo"]))
        guest = await echo.open(ENOUGH)
        await table.wait("inline warm, awaited", lambda: guest.call(DATA), goal="60")

        async def fresh() -> None:
            one = await echo.open(ENOUGH)
            await one.call(DATA)
            await one.close()

        await table.wait("inline fresh, awaited", fresh, part=0.2, goal="150")
        await paced(table, [await echo.open(ENOUGH) for _ in range(10)])
        own = await (await box.load(wat(WASI_AGENT))).open(ENOUGH)
        await table.wait("agent in its own worker", lambda: own.call(DATA), part=0.3)
        await own.close()
        await box.start()
        cat = await box.prepare(wat(COMMANDS["cat"]))
        await table.wait("process fresh: a command", lambda: box.run_command(cat, DATA), part=0.3,
                         goal="400, p99 1,000")  # fmt: skip
        csv = await box.prepare(CSV.read_bytes())

        async def ask() -> None:
            await box.run_command(csv, question, grants=folder)

        await table.wait(f"csv tool, {ROWS_OF_CSV} rows", ask, part=0.2)
        await components(table, box, given)
        await rate(table, lambda: box.run_command(cat, DATA))
    await from_cache(table, root)


async def components(table: Table, box: Sandbox, given: argparse.Namespace) -> None:
    """Components, each call a fresh instance in a worker."""
    for name, path, function, arguments in (
        ("component, text to text", None, "echo", b'{"text":"%s"}' % (b"x" * 188)),
        ("component, JavaScript", given.js, "call", given.arguments.encode()),
        ("component, Python", given.python, "call", given.arguments.encode()),
    ):
        if path is None and function != "echo":
            continue
        module = await box.prepare(path.read_bytes() if path is not None else wat(COMPONENT))
        if module.kind is not Kind.COMPONENT:
            raise SystemExit(f"{path} is no component")
        limits = Limits.for_command(memory_bytes=128 << 20)

        async def call(
            module: Any = module, function: str = function, arguments: bytes = arguments,
            limits: Limits = limits,
        ) -> None:  # fmt: skip
            await box.call_component(module, function, arguments, limits)

        await table.wait(name, call, part=0.1)


async def paced(table: Table, guests: list[Guest]) -> None:
    """Messages that come at a rate, to agents in turn; each is timed from when it was due."""
    every, pace = 1e-3, pace_ns()
    milli: list[float] = []
    boxes = [asyncio.Queue[float | None]() for _ in guests]

    async def agent(guest: Guest, box: asyncio.Queue[float | None]) -> None:
        while (due := await box.get()) is not None:
            await guest.call(DATA)
            milli.append((time.perf_counter() - due) * 1e3)

    agents = [asyncio.create_task(agent(*pair)) for pair in zip(guests, boxes, strict=True)]
    started = time.perf_counter() + every
    for number in range(table.calls):
        due = started + number * every
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        boxes[number % len(boxes)].put_nowait(due)
    for box in boxes:
        box.put_nowait(None)
    await asyncio.gather(*agents)
    table.add("agents' messages at 1,000 a second", "ms", median(milli), quantile(milli, 0.99),
              quantile(milli, 0.999), pace=(pace + pace_ns()) / 2, goal="p99 1")  # fmt: skip


def through_a_node(table: Table, *, quick: bool) -> None:
    """Requests to agents of a node, from when each was due to its reply."""
    for shards, durability in ((0, "process"), (1, "process"), (1, "disk")):
        pace = pace_ns()
        milli = asyncio.run(requests(shards, durability, 1_000 if quick else 10_000))
        where = f"{shards} shards" if shards != 1 else "1 shard"
        table.add(f"agents of a node at 1,000 a second, {where}, {durability}", "ms",
                  median(milli), quantile(milli, 0.99), quantile(milli, 0.999),
                  pace=(pace + pace_ns()) / 2, goal="p99 1")  # fmt: skip


async def rate(table: Table, call: Callable[[], Awaitable[object]]) -> None:
    """Commands a second on two workers, eight callers."""
    pace, each = pace_ns(), max(10, table.calls // 16)

    async def caller() -> None:
        for _ in range(each):
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(8)))
    per_s = 8 * each / (time.perf_counter() - started)
    table.add("commands on two workers", "/s", per_s, pace=(pace + pace_ns()) / 2)


async def from_cache(table: Table, root: Path) -> None:
    """A sandbox made anew finds its modules compiled: bytes to an open agent."""
    echo, csv, seconds = wat(AGENTS["echo"]), CSV.read_bytes(), list[float]()
    pace = pace_ns()
    for _ in range(10):
        async with Sandbox(root / "cache") as box:
            started = time.perf_counter()
            guest = await (await box.load(echo)).open()
            await box.prepare(csv)
            seconds.append((time.perf_counter() - started) * 1e3)
            await guest.close()
    table.add("start from the cache: agent and csv tool", "ms", median(seconds),
              quantile(seconds, 0.99), pace=(pace + pace_ns()) / 2, goal="5")  # fmt: skip


EXAMPLE = Path(__file__).parent.parent / "examples" / "tools" / "text_stats" / "text_stats.wasm"


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--js", type=Path, default=EXAMPLE,
                        help="a component made from JavaScript; there is one")  # fmt: skip
    parser.add_argument("--python", type=Path, help="a component made from Python")
    parser.add_argument("--arguments", default='{"input":"{\\"text\\":\\"one two two\\"}"}',
                        help="what both are called with")  # fmt: skip
    given = parser.parse_args()
    table, root = Table(300 if given.quick else 3_000), scratch("sandbox")
    try:
        in_the_engine(table, root)
        asyncio.run(awaited(table, root, given))
        through_a_node(table, quick=given.quick)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    claims = ["goals are in the row's unit, at a pace of 30 ns; `at 30 ns` is p50 at that pace"]
    show("sandbox", table.rows, given, claims=claims)


if __name__ == "__main__":
    main()
