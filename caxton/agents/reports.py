"""What a shard tells the keeper of the registry about its agents: each change of state, in batches.

Changes are told until the keeper has them: it may be starting, or be replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from caxton.agents.directory import Directory
from caxton.agents.host import AgentHost
from caxton.agents.lifecycle import AgentState
from caxton.errors import CaxtonError
from caxton.storage.entries import StateRecord

__all__ = ["AskKeeper", "Reports"]

logger = logging.getLogger("caxton.agents")

SOON_S = 0.02
"""Changes within this time are one batch."""
AGAIN_S = 1.0
"""Before the keeper is told again what it did not take."""

MOST = 100_000
"""Changes that wait to be told; of more, the last one of each agent."""

Row = tuple[bytes, str, int, str]
"""Agent, state, since when, why."""
AskKeeper = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Asks the keeper of the registry, wherever it is."""


class Reports:
    """Collects changes of state and has them kept.

    Args:
        directory: of this process; it knows each change at once.
        ask: asks the keeper.
    """

    def __init__(self, directory: Directory, ask: AskKeeper) -> None:
        self._directory = directory
        self._ask = ask
        self._rows: list[Row] = []
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def moved(self, host: AgentHost) -> None:
        """A host changed its state. The end of the node is no change of its agents."""
        if self._closed:
            return
        known = self._directory.states.get(host.id)
        stopped = known is not None and known.stopped
        self._directory.note(
            StateRecord(host.id, host.state.value, host.since, host.reason, stopped)
        )
        if host.state is not AgentState.LOADED:
            # From there it goes on at once.
            self._rows.append((host.id, host.state.value, host.since, host.reason))
            self._soon(SOON_S)

    def _soon(self, delay_s: float) -> None:
        if self._timer is None and self._task is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        rows, self._rows = self._rows, []
        delay_s = SOON_S
        try:
            await self._ask("registry_report", {"rows": rows})
        except CaxtonError as error:
            logger.info("%d changes of state are told again: %s", len(rows), error)
            self._rows = rows + self._rows
            if len(self._rows) > MOST:
                self._rows = list({row[0]: row for row in self._rows}.values())
            delay_s = AGAIN_S
        finally:
            self._task = None
        if self._rows:
            self._soon(delay_s)

    async def stopped(self, host: AgentHost, *, stopped: bool) -> None:
        """Have kept where the operator wants an agent, before anything is done.

        Raises:
            CaxtonError: it could not be kept.
        """
        await self._ask("registry_stopped", {"agent_id": host.id, "stopped": stopped})
        self._directory.note(
            StateRecord(host.id, host.state.value, host.since, host.reason, stopped)
        )

    async def close(self) -> None:
        """Tell what is left, once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1.0)
