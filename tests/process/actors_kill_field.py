"""Where the kill tests happen: shards, flaky proxies before them, and someone who strikes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors_support import until

from actors import ProcessSpec, ProcessSupervisor, RestartPolicy
from actors.processes.spec import Main
from actors.testkit import Faults, FlakyProxy

SHARDS = ("shard-0", "shard-1")
HEARTBEAT_TIMEOUT_S = 0.8
START_TIMEOUT_S = 5.0
ROUGH = Faults(drop=0.005, duplicate=0.05, delay=0.05, cut=0.003)
POLICY = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.1, intensity=1_000, period_s=60)


class Field:
    """See the module.

    Args:
        main: of the shards; called with the path of the socket, a token and the path of a record.
    """

    def __init__(self, folder: Path, seed: int, main: Main) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.token = self.random.randbytes(16)
        self.events: list[tuple[float, str, str, str]] = []
        self.proxies: list[FlakyProxy] = []
        self.on_strike: list[Callable[[int], None]] = []
        """Told of each pid before it is struck."""
        self.struck: list[tuple[float, int, float]] = []
        """When, whom, and within how many seconds it must be seen."""
        self.supervisor = ProcessSupervisor("kill", on_event=self._on_event)
        self._main = main

    def _on_event(self, kind: str, name: str, text: str) -> None:
        self.events.append((time.monotonic(), kind, name, text))

    def record(self, shard: str) -> Path:
        """What a shard's lives write down."""
        return self.folder / f"{shard}.record"

    def rng(self) -> random.Random:
        """Chances of one's own, from the seed."""
        return random.Random(self.random.getrandbits(32))

    async def start(self) -> None:
        """The shards."""
        await self.supervisor.start([self._spec(name) for name in SHARDS])

    def _spec(self, name: str) -> ProcessSpec:
        arguments = (str(self.folder / f"{name}.sock"), self.token, str(self.record(name)))
        return ProcessSpec(
            name, self._main, arguments, POLICY, START_TIMEOUT_S, HEARTBEAT_TIMEOUT_S
        )

    async def way(self, who: str, shard: str) -> Path:
        """A flaky way to a shard."""
        path = self.folder / f"{who}-{shard}.sock"
        target = self.folder / f"{shard}.sock"
        seed = self.random.getrandbits(32)
        proxy = FlakyProxy(path, target, seed=seed, faults=ROUGH)
        self.proxies.append(proxy)
        await proxy.start()
        return path

    async def strike(self, seconds: float) -> None:
        """Kill and stop shards at moments of the seed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0.05, 0.6))
            child = self.random.choice(self.supervisor.children())
            number = self.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
            if child.state in ("starting", "ready"):
                self.hit(child, number)

    def hit(self, child: Any, number: signal.Signals) -> None:
        """Send a signal, and remember when."""
        limit = 0.0
        if number == signal.SIGSTOP:
            # Its interpreter starts without heartbeats.
            seen = HEARTBEAT_TIMEOUT_S if child.state == "ready" else START_TIMEOUT_S
            limit = seen * 1.125
        for told in self.on_strike:
            told(child.pid)
        self.struck.append((time.monotonic(), child.pid, limit))
        os.kill(child.pid, number)

    async def calm(self, condition: Callable[[], bool]) -> None:
        """No more faults until ``condition`` holds, which it must in time."""
        for proxy in self.proxies:
            proxy.calm()
        await until(condition, 30)

    async def close(self) -> None:
        """End proxies and shards; each must end in good order."""
        for proxy in self.proxies:
            await proxy.close()
        assert await self.supervisor.stop(10)

    def exits(self) -> dict[int, float]:
        """When each process ended; none ended twice."""
        found: dict[int, float] = {}
        for at, kind, _, text in self.events:
            if kind == "exited":
                pid = int(text.split(":")[0].removeprefix("pid "))
                assert pid not in found, f"{pid} ended twice"
                found[pid] = at
        return found

    def check_ends(self) -> None:
        """Each process that was started ended once, and what was struck ended in time."""
        exits = self.exits()
        started = {text for _, kind, _, text in self.events if kind == "started"}
        assert {f"pid {pid}" for pid in exits} == started
        assert len({pid for _, pid, _ in self.struck} & set(exits)) > 2
        for at, pid, limit in self.struck:
            took = exits[pid] - at
            # Two seconds are for a busy machine.
            assert took < limit + 2.0, f"the end of {pid} was seen after {took:.2f} s, not {limit}"
