"""Writes to the store: in order for each entity, whole, and waited for to the end."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from caxton.errors import EntityConflict, EntityNotFound, RelationNotFound
from caxton.memory.backend import Change, MemoryBackend
from caxton.memory.locks import KeyedLocks
from caxton.memory.model import EntityKey, Scope
from caxton.memory.room import Room

__all__ = ["Ledger"]

logger = logging.getLogger("caxton.memory")

T = TypeVar("T")
TRIES: Final = 4
"""Times a write is worked out: again when a scope was cleared meanwhile."""
END_S: Final = 10.0
"""How long somebody who no longer waits for a write is kept until it has ended."""


class _Outdated(Exception):
    """What a write was worked out from is no longer there."""

    def __init__(self, error: EntityConflict | EntityNotFound | RelationNotFound) -> None:
        super().__init__(str(error))
        self.error = error


class Ledger:
    """See the module.

    Args:
        backend: where it is written.
        room: counts entities.
    """

    def __init__(self, backend: MemoryBackend, room: Room) -> None:
        self.locks: KeyedLocks[EntityKey] = KeyedLocks("the writers of one entity")
        self.writes = 0
        """Since it started."""
        self._backend = backend
        self._room = room

    async def in_order(self, keys: Iterable[EntityKey], work: Callable[[], Awaitable[T]]) -> T:
        """Read, work out and write, while nobody else writes the entities of ``keys``.

        ``work`` may run again, so it starts from what is there.

        Raises:
            EntityConflict: what is there changed each time.
        """
        async with self.locks.hold(keys):
            for _ in range(TRIES - 1):
                try:
                    return await work()
                except _Outdated as outdated:
                    logger.info("a write is worked out again: %s", outdated)
            try:
                return await work()
            except _Outdated as outdated:
                raise outdated.error from outdated

    async def write(self, changes: Sequence[Change], created: Iterable[Scope] = ()) -> None:
        """Write changes that make new entities in the scopes ``created``, one for each.

        Who stops to wait leaves only when it is known whether it was written, so that the next
        writer of the same entities sees it.

        Raises:
            MemoryFull: there would be too many entities of an agent.
            CaxtonError: what the backend raises.
        """
        if not changes:
            return
        with self._room.taken(Counter(created)):
            work = asyncio.ensure_future(self._backend.write(changes))
            try:
                await asyncio.shield(work)
            except (EntityConflict, EntityNotFound, RelationNotFound) as error:
                raise _Outdated(error) from error
            except asyncio.CancelledError:
                await asyncio.wait({work}, timeout=END_S)
                if not work.done():
                    work.cancel()
                    logger.error("a write did not end within %g s", END_S)
                elif not work.cancelled() and work.exception() is not None:
                    logger.warning("a write nobody waits for failed: %s", work.exception())
                elif not work.cancelled():
                    self._kept(created)
                raise
        self.writes += 1

    def _kept(self, created: Iterable[Scope]) -> None:
        """It was written, though nobody waits: what ``taken`` gives back stays taken."""
        self.writes += 1
        for scope in created:
            self._room.less(scope, -1)
