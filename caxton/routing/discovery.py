"""Discovery: a receiver that this node does not know is asked for elsewhere, with a deadline.

A node alone knows no elsewhere; a cluster gives the hook. Messages wait in order while their
receiver is looked for; they are pending in the journal all the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from caxton.agents.directory import Directory
from caxton.errors import AgentNotFound, CaxtonError
from caxton.routing.accepted import Accepted
from caxton.storage.entries import RouteRecord
from caxton.types import format_id

__all__ = ["Discovery", "Finder"]

logger = logging.getLogger("caxton.routing")

DEADLINE_S = 5.0
"""How long a search may take."""
ABSENT_S = 5.0
"""How long nobody is asked again for a receiver that was not found."""
ABSENT = 10_000
"""Receivers that are remembered as not found."""
WAITING = 10_000
"""Messages that may wait for searches; more are not found."""


class Finder(Protocol):
    """Knows agents of other nodes."""

    async def find(self, agent_id: bytes) -> RouteRecord | None:
        """The route to an agent; None when nobody has it.

        Raises:
            CaxtonError: it could not be looked for.
        """
        ...


class Discovery:
    """Searches for receivers.

    Args:
        directory: gets the routes that are found.
        again: resolves a message whose receiver may be known now.
        missing: ends a message whose receiver nobody knows.
        clock: monotonic seconds.
        deadline_s: how long a search may take.
    """

    def __init__(
        self,
        directory: Directory,
        again: Callable[[Accepted], None],
        missing: Callable[[Accepted, CaxtonError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.finder: Finder | None = None
        """Asked when this node does not know; None asks nobody."""
        self._directory = directory
        self._again = again
        self._missing = missing
        self._clock = clock
        self._deadline_s = deadline_s
        self._waiting: dict[bytes, list[Accepted]] = {}
        self._count = 0
        self._absent: dict[bytes, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Messages whose receiver is looked for."""
        return self._count

    def look(self, accepted: Accepted, agent_id: bytes) -> None:
        """Find the receiver of a message, or end it."""
        finder = self.finder
        waiting = self._waiting.get(agent_id)
        if (
            waiting is None
            and (finder is None or self._absent.get(agent_id, float("-inf")) > self._clock())
        ) or self._count >= WAITING:
            self._end(accepted, agent_id)
        elif waiting is not None:
            waiting.append(accepted)
            self._count += 1
        elif finder is not None:
            self._waiting[agent_id] = [accepted]
            self._count += 1
            task = asyncio.get_running_loop().create_task(self._search(finder, agent_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _search(self, finder: Finder, agent_id: bytes) -> None:
        route = None
        try:
            async with asyncio.timeout(self._deadline_s):
                route = await finder.find(agent_id)
        except (TimeoutError, CaxtonError) as error:
            logger.info("agent %s was not found: %r", format_id(agent_id), error)
        waiting = self._waiting.pop(agent_id)
        self._count -= len(waiting)
        if route is not None:
            self._directory.take([route])
            if self._directory.known(agent_id):
                for accepted in waiting:
                    self._again(accepted)
                return
        if len(self._absent) >= ABSENT:
            self._absent.clear()
        self._absent[agent_id] = self._clock() + ABSENT_S
        for accepted in waiting:
            self._end(accepted, agent_id)

    def _end(self, accepted: Accepted, agent_id: bytes) -> None:
        text = format_id(agent_id)
        route = self._directory.routes.get(agent_id)
        near = (
            self._directory.near(text)
            if route is None
            else f"; node {format_id(route.node_id)} has it, and this node is not linked to that"
        )
        self._missing(accepted, AgentNotFound(agent=text, near=near))

    def close(self) -> None:
        """Search no more; what waits is pending in the journal."""
        for task in self._tasks:
            task.cancel()
