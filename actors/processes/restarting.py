"""Restarting children together, by OTP's strategies.

A unit is what a failure concerns: one child, or the children of a group whose strategy ties them.
``one_for_all``: all of them are stopped and started again. ``rest_for_one``: the one that failed
and those started after it. Stopping goes in reverse order; starting in order, each child when the
one before it is ready. A temporary child that was stopped so does not come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from actors.processes.child import Child
from actors.supervision.spec import Strategy

__all__ = ["Unit"]

logger = logging.getLogger("actors.process")


class Unit:
    """See the module.

    Args:
        strategy: of the children; for a single one they are all the same.
        crashed: told when the procedure itself failed, which is a defect or a spec that cannot be
            started.
    """

    def __init__(self, strategy: Strategy, crashed: Callable[[Child, Exception], None]) -> None:
        self.children: list[Child] = []
        """In the order of their start."""
        self._strategy = strategy
        self._crashed = crashed
        self._fallen: dict[Child, float] = {}
        self._at: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def busy(self) -> bool:
        """Whether children are being restarted."""
        return self._task is not None

    def fell(self, child: Child, delay_s: float) -> None:
        """``child`` failed and is to be restarted not before ``delay_s``."""
        child.become("restarting")
        self._fallen[child] = self._loop.time() + delay_s
        if self._task is None:
            self._task = self._loop.create_task(self._restart(), name=f"restart-{child.spec.name}")

    def cancel(self) -> None:
        """Restart nothing any more."""
        self._fallen.clear()
        if self._task is not None:
            self._task.cancel()
        for child in self.children:
            if child.state == "restarting":
                child.become("stopped")

    async def _restart(self) -> None:
        try:
            while self._fallen:
                await self._round(min(map(self.children.index, self._fallen)))
        except Exception as error:
            child = self._at or self.children[0]
            logger.exception("%s cannot be restarted", child.spec.name)
            self._crashed(child, error)
        finally:
            self._task = None

    def _affected(self, first: int) -> list[Child]:
        if self._strategy == "one_for_all":
            return list(self.children)
        return self.children[first:] if self._strategy == "rest_for_one" else [self.children[first]]

    async def _round(self, first: int) -> None:
        affected = self._affected(first)
        for child in reversed(affected):
            if child.alive:
                await child.end(child.spec.shutdown_s)
        await asyncio.sleep(max(self._fallen.values()) - self._loop.time())
        if min(map(self.children.index, self._fallen)) < first:
            # One before them fell meanwhile, which concerns more of them.
            return
        self._fallen.clear()
        for child in affected:
            if child.state == "failed" or child.spec.restart.restart == "temporary":
                continue
            self._at = child
            child.launch()
            if child is not affected[-1]:
                await child.until(lambda one=child: one.state != "starting")  # type: ignore[misc]
            if self._fallen:
                return
