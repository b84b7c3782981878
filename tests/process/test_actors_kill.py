"""Shards that are killed and stopped while their links fail: nothing confirmed is ever lost.

One round is a few seconds. ``ACTORS_SOAK_ROUNDS`` runs more of them, each with a seed of its own,
from ``ACTORS_SOAK_SEED`` on; a round that fails says its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from actors_kill_sender import Sender, check_record
from actors_kill_shard import run_shard
from actors_support import until

from actors import ProcessSpec, ProcessSupervisor, RestartPolicy
from actors.testkit import Faults
from actors.testkit.proxy import FlakyProxy

pytestmark = pytest.mark.process

ROUNDS = int(os.environ.get("ACTORS_SOAK_ROUNDS", "1"))
SEED = int(os.environ.get("ACTORS_SOAK_SEED", "1"))
KILLING_S = 4.0
HEARTBEAT_TIMEOUT_S = 0.8
START_TIMEOUT_S = 5.0
ROUGH = Faults(drop=0.005, duplicate=0.05, delay=0.05, cut=0.003)
POLICY = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.1, intensity=1_000, period_s=60)
SHARDS = ("shard-0", "shard-1")
SENDERS = ("ann", "bob")


class Field:
    """Shards, senders to each of them over flaky links, and someone who kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        token = self.random.randbytes(16)
        self.events: list[tuple[float, str, str, str]] = []
        self.supervisor = ProcessSupervisor("kill", on_event=self.on_event)
        self.specs = [
            ProcessSpec(
                name,
                run_shard,
                (str(folder / f"{name}.sock"), token, str(self.record(name))),
                POLICY,
                START_TIMEOUT_S,
                heartbeat_timeout_s=HEARTBEAT_TIMEOUT_S,
            )
            for name in SHARDS
        ]
        self.proxies = {}
        self.senders = []
        for name in SHARDS:
            for who in SENDERS:
                path = folder / f"{who}-{name}.sock"
                self.proxies[path] = FlakyProxy(
                    path, folder / f"{name}.sock", seed=self.random.getrandbits(32), faults=ROUGH
                )
                rng = random.Random(self.random.getrandbits(32))
                self.senders.append(Sender(path, who, name, token, rng))
        self.struck: list[tuple[float, int, float]] = []
        """When, whom, and within how many seconds it must be seen."""

    def on_event(self, kind: str, name: str, text: str) -> None:
        self.events.append((time.monotonic(), kind, name, text))

    def record(self, name: str) -> Path:
        return self.folder / f"{name}.record"

    async def start(self) -> None:
        await self.supervisor.start(self.specs)
        for proxy in self.proxies.values():
            await proxy.start()
        for sender in self.senders:
            sender.client.start()

    async def strike(self) -> None:
        """Kill and stop children at moments of the seed."""
        end = time.monotonic() + KILLING_S
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0.05, 0.6))
            child = self.random.choice(self.supervisor.children())
            number = self.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
            if child.state in ("starting", "ready"):
                limit = 0.0
                if number == signal.SIGSTOP:
                    # Its interpreter starts without heartbeats.
                    seen = HEARTBEAT_TIMEOUT_S if child.state == "ready" else START_TIMEOUT_S
                    limit = seen * 1.125
                self.struck.append((time.monotonic(), child.pid, limit))
                os.kill(child.pid, number)

    async def settle(self) -> None:
        """Let everything that was sent be confirmed, without further faults."""
        for proxy in self.proxies.values():
            proxy.calm()
        for sender in self.senders:
            sender.goes_on = False
        await until(lambda: all(sender.done for sender in self.senders), 30)

    async def close(self) -> None:
        for sender in self.senders:
            await sender.client.close()
        for proxy in self.proxies.values():
            await proxy.close()
        assert await self.supervisor.stop(10)

    def check_ends(self) -> None:
        """Each process ended once, and what was struck ended in time."""
        exits = {
            int(text.split(":")[0].removeprefix("pid ")): at
            for at, kind, _, text in self.events
            if kind == "exited"
        }
        started = [text for _, kind, _, text in self.events if kind == "started"]
        assert len([1 for _, kind, _, _ in self.events if kind == "exited"]) == len(started)
        assert set(exits) == {int(text.removeprefix("pid ")) for text in started}
        assert len({pid for _, pid, _ in self.struck} & set(exits)) > 2
        for at, pid, limit in self.struck:
            took = exits[pid] - at
            # Two seconds are for a busy machine.
            assert took < limit + 2.0, f"the end of {pid} was seen after {took:.2f} s, not {limit}"


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
async def test_nothing_confirmed_is_lost(tmp_path: Path, seed: int) -> None:
    """SIGKILL and SIGSTOP at seeded moments, links that drop, delay, double and cut by seed."""
    field = Field(tmp_path, seed)
    await field.start()
    try:
        await field.strike()
        await field.settle()
    finally:
        await field.close()
    totals: Counter[str] = Counter()
    for sender in field.senders:
        totals.update(check_record(field.record(sender.child), sender))
        assert sender.confirmed > 1_000, sender.name
    assert totals["lives"] > len(field.senders)
    field.check_ends()
    print(f"seed {seed}: {dict(totals)}, {field.supervisor.counters()}")
    for proxy in field.proxies.values():
        print(proxy)
