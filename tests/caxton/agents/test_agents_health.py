"""Heartbeats: what is looked at, what is told, and which shards count as silent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.agents.directory import Directory
from caxton.agents.health import MISSED, Health
from caxton.agents.lifecycle import AgentState
from caxton.errors import NodeNotReady
from caxton.types import new_id

INTERVAL_S = 10.0


class World:
    """A heart with a clock of its own."""

    def __init__(self, shards: int = 3, **more: Any) -> None:
        self.now = 0.0
        self.checked: list[float] = []
        self.retried: list[float] = []
        self.kept: list[dict[str, Any]] = []
        self.told = 0
        self.fails = False
        self.directory = Directory(new_id(), shards)
        host = SimpleNamespace(state=AgentState.RUNNING, check=self._check)
        roster: Any = SimpleNamespace(
            hosts={b"a": host, b"b": SimpleNamespace(state=AgentState.FAILED, check=self._check)},
            retry_failed=lambda now, interval_s: self.retried.append(interval_s),
        )
        self.health = Health(
            roster, self.directory, 0,
            interval_s=INTERVAL_S, stuck_s=60.0, ask=self._ask, clock=lambda: self.now,
        )  # fmt: skip
        self.health.tell = self._tell

    def _check(self, now: float, stuck_s: float) -> None:
        self.checked.append(now)

    def _tell(self) -> None:
        self.told += 1

    async def _ask(self, name: str, arguments: dict[str, Any]) -> None:
        if self.fails:
            raise NodeNotReady(part="shard 0")
        self.kept.append(arguments)


async def test_a_beat_looks_at_every_agent_and_is_kept() -> None:
    """Running ones are counted; a keeper that is not there is told by the next beat."""
    world = World()
    world.health.start()
    await asyncio.sleep(0)
    assert world.kept == [{"shard": 0, "agents": 1}]
    assert (world.checked, world.retried, world.told) == ([0.0, 0.0], [INTERVAL_S], 1)
    world.fails = True
    world.health.beat()
    await asyncio.sleep(0)
    world.fails = False
    world.health.beat()
    await asyncio.sleep(0)
    assert len(world.kept) == 2
    world.health.beat()
    world.health.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("heard", "up", "down", "wait", "beat")),
        st.integers(1, 2),
        st.floats(0, 2 * MISSED * INTERVAL_S),
    ),
    max_size=20,
)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_a_shard_is_silent_while_it_is_down_or_late(steps: list[tuple[str, int, float]]) -> None:
    """After each look: exactly those that are not connected, or not heard for three intervals."""

    async def run() -> None:
        world = World()
        world.health.start()
        heard, down = {1: 0.0, 2: 0.0}, set()
        for kind, shard, seconds in steps:
            if kind == "heard":
                world.health.heard(shard)
                heard[shard] = world.now
            elif kind == "up":
                world.health.connected(shard, up=True)
                heard[shard] = world.now
                down.discard(shard)
            elif kind == "down":
                world.health.connected(shard, up=False)
                down.add(shard)
            elif kind == "wait":
                world.now += seconds
            else:
                world.health.beat()
        world.health.beat()
        late = {one for one, at in heard.items() if world.now - at > MISSED * INTERVAL_S}
        assert world.directory.silent == late | down
        world.health.close()
        await asyncio.sleep(0)

    asyncio.run(run())
