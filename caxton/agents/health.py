"""Heartbeats: a shard looks at its agents and says that it lives, once an interval.

What does not work is taken out of routing: an agent that is stuck or gave up, and all agents of a
shard that is not connected or has been silent for three intervals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from caxton.agents.directory import Directory
from caxton.agents.lifecycle import AgentState
from caxton.agents.reports import AskKeeper
from caxton.agents.roster import Roster
from caxton.errors import CaxtonError

__all__ = ["Health"]

logger = logging.getLogger("caxton.agents")

MISSED = 3
"""Heartbeats that a shard may miss."""


class Health:
    """The heartbeat of one shard, and what it hears of the others.

    Args:
        roster: the agents of this shard.
        directory: told which shards are silent.
        number: of this shard.
        interval_s: between two heartbeats.
        stuck_s: longer than this nothing that an agent handles may take.
        ask: asks the keeper of the registry.
        clock: monotonic seconds; the event loop's when not given.
    """

    def __init__(
        self,
        roster: Roster,
        directory: Directory,
        number: int,
        *,
        interval_s: float,
        stuck_s: float,
        ask: AskKeeper,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.tell: Callable[[], None] = lambda: None
        """Tells the other shards that this one lives."""
        self._roster = roster
        self._directory = directory
        self._number = number
        self._interval_s = interval_s
        self._stuck_s = stuck_s
        self._ask = ask
        self._clock = clock
        self._heard: dict[int, float] = {}
        self._down: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def _now(self) -> float:
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def start(self) -> None:
        """Beat from now on; every shard counts as heard."""
        now = self._now()
        self._heard = {
            other: now for other in range(self._directory.shards) if other != self._number
        }
        self._again()

    def _again(self) -> None:
        self.beat()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_s, self._again)

    def beat(self) -> None:
        """Look at every agent, try failed ones again, say that this shard lives."""
        now = self._now()
        running = 0
        for host in self._roster.hosts.values():
            host.check(now, self._stuck_s)
            running += host.state is AgentState.RUNNING
        self._roster.retry_failed(now, self._interval_s)
        self.tell()
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._report(running))
        self._judge(now)

    async def _report(self, running: int) -> None:
        try:
            await self._ask("registry_beat", {"shard": self._number, "agents": running})
        except CaxtonError as error:
            # The next one tells it too.
            logger.debug("the heartbeat was not kept: %s", error)
        finally:
            self._telling = None

    # --- the other shards --------------------------------------------------------------------

    def heard(self, shard: int) -> None:
        """Another shard says that it lives."""
        self._heard[shard] = self._now()
        if shard in self._directory.silent:
            self._judge(self._heard[shard])

    def connected(self, shard: int, *, up: bool) -> None:
        """The link to another shard came or went."""
        if up:
            self._down.discard(shard)
            self._heard[shard] = self._now()
        else:
            self._down.add(shard)
        self._judge(self._now())

    def _judge(self, now: float) -> None:
        limit = MISSED * self._interval_s
        late = {shard for shard, heard in self._heard.items() if now - heard > limit}
        silent = frozenset(late | self._down)
        if silent != self._directory.silent:
            logger.info("silent shards: %s", sorted(silent) or "none")
        self._directory.heard(silent)

    def close(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()
