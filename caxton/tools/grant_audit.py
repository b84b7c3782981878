"""Which grants tools and WebAssembly agents used or were refused, for the audit trail.

The first use is told at once. What is repeated within a minute is counted and told together, so
that a tool that sends a thousand requests fills no trail.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from caxton.errors import CaxtonError
from sandbox.grant_events import GrantEvent

__all__ = ["REFUSED", "USED", "AuditQueue", "GrantAudit"]

logger = logging.getLogger("caxton.tools")

USED: Final = "grant.used"
REFUSED: Final = "grant.refused"
TOGETHER_S: Final = 60.0
"""Within so long the same use is counted instead of told."""
KNOWN: Final = 10_000
"""Different uses that are counted; the longest known are told and forgotten."""

Tell = Callable[[str, str, str], None]
"""Kind of the record, whose guest it was, and what it used."""


class GrantAudit:
    """Takes the grant events of a process. Belongs to one event loop.

    Args:
        tell: writes a record; must not block.
        clock: monotonic seconds.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str, str], tuple[float, int]] = OrderedDict()
        """A use to when it was first told, and how often it came since."""

    def __call__(self, owner: str, event: GrantEvent) -> None:
        """Take an event. See ``sandbox.Questions``."""
        kind = USED if event.allowed else REFUSED
        what = f"{event.kind}: {event.what}"
        if event.reason:
            what += f" ({event.reason})"
        key = (kind, owner, what)
        now = self._clock()
        self._tell_old(now)
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = (now, 0)
            self._tell(kind, owner, what)
        else:
            self._seen[key] = (known[0], known[1] + 1)

    def close(self) -> None:
        """Tell what was counted and not told."""
        while self._seen:
            self._tell_first()

    def _tell_old(self, now: float) -> None:
        while self._seen:
            since, _ = next(iter(self._seen.values()))
            if now - since < TOGETHER_S and len(self._seen) < KNOWN:
                return
            self._tell_first()

    def _tell_first(self) -> None:
        (kind, owner, what), (_, again) = self._seen.popitem(last=False)
        if again:
            self._tell(kind, owner, f"{what} ({again} times more)")


class AuditQueue:
    """Records on their way to who keeps the trail, one after the other. See ``GrantAudit``.

    Args:
        ask: asks the keeper; name and arguments.
        limit: most records that wait; more are counted and told as one.
    """

    def __init__(
        self, ask: Callable[[str, dict[str, Any]], Awaitable[Any]], limit: int = 1_000
    ) -> None:
        self._ask = ask
        self._limit = limit
        self._waiting: deque[tuple[str, str, str]] = deque()
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def __call__(self, kind: str, subject: str, detail: str) -> None:
        """Have a record written, soon."""
        if len(self._waiting) >= self._limit:
            self._dropped += 1
            return
        self._waiting.append((kind, subject, detail))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Wait for what waits."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                kind, subject, detail = self._waiting[0]
                arguments = {"kind": kind, "subject": subject, "detail": detail}
                try:
                    await self._ask("registry_audit", arguments)
                except CaxtonError as error:
                    logger.warning("not in the audit trail: %s %s %s: %s", *self._waiting[0], error)
                self._waiting.popleft()
                if self._dropped and len(self._waiting) < self._limit:
                    dropped, self._dropped = self._dropped, 0
                    self(USED, "", f"{dropped} records more than could be written")
        finally:
            self._task = None
