"""A region: the entities of one type in one process.

An entity is addressed by type and id. Its first message makes its actor; an idle one is passivated
(``on_stop`` runs, nothing of it is kept) and comes back with its next message, as Orleans' grains
and Pekko's sharded entities do. Messages that come meanwhile are held and given to the next
incarnation, before newer ones and in their order.

Starting, passivating and reaping are done in the region's own turns, many at a time. A message for
an entity in memory costs a look-up and a comparison: entities stand in the order of the tick they
were last used in, so that only the first message of a tick moves one. No timer per entity.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from actors.entities.address import EntityRef
from actors.entities.entry import Entry, Held, Release
from actors.entities.residents import Factory, Residents
from actors.future import Future

__all__ = ["Entities", "Factory"]

logger = logging.getLogger("actors")

_BATCH = 256
"""Entities passivated in one turn, so that nobody else waits long."""
_LOOKS = 16
"""Busy entities passed over before the least recently used one goes all the same."""


class Entities(Residents):
    """See the module. Made on the thread of the system's dispatcher; used from any.

    Args:
        system: where the entities' actors run.
        type_name: first part of their names.
        factory: makes class and arguments of an entity's actor; called in the region's turns.
        options: limits.
        slot_of: the slot of an id, for a region that has only some of the slots: none until
            ``accept``. Together with ``elsewhere``, which takes the messages for the others.
    """

    def ref(self, entity_id: str) -> EntityRef:
        """The address of an entity, which is not made by this."""
        return EntityRef(self, entity_id)

    def __len__(self) -> int:
        """Entities that are in memory or have messages waiting."""
        return len(self._open) + len(self._away)

    def __contains__(self, entity_id: str) -> bool:
        """Whether the entity is in memory and takes messages."""
        return entity_id in self._open

    def passivate(self, entity_id: str) -> None:
        """Have the entity go from memory after what is in its mailbox."""
        self._wishes.append(entity_id)
        self._wake()

    async def close(self, timeout_s: float) -> bool:
        """Stop every entity after what was told to it; False when some had to be killed.

        New messages are dead letters from here on.
        """
        emptied = self._emptied = Future[None]()
        self._closed = True
        self._wake()
        try:
            async with asyncio.timeout(timeout_s):
                await emptied
        except TimeoutError:
            self._cut_off = True
            self.kill()
            return False
        return True

    # --- slots ---------------------------------------------------------------------------------

    def accept(self, slot: int) -> None:
        """Entities of this slot may be made here from now on."""
        with self._lock:
            self._here.add(slot)

    def release(self, slot: int, done: Callable[[list[Held]], None]) -> None:
        """Stop the entities of a slot; no other is made here.

        ``done`` is called in the region's turn once they have ended, with the messages that waited
        for them.
        """
        with self._lock:
            self._here.discard(slot)
            self._releases.append((slot, Release(done)))
        self._wake()

    def kill(self, slot: int | None = None) -> None:
        """End the entities of a slot, or all, at once: no ``on_stop``; no other is made here."""
        with self._lock:
            if slot is None:
                self._here.clear()
            else:
                self._here.discard(slot)
            entries = [
                entry
                for entry in (*self._open.values(), *self._away.values())
                if slot is None or entry.slot == slot
            ]
        for entry in entries:
            self._kill(entry)

    # --- the region's turns --------------------------------------------------------------------

    def turn(self, throughput: int) -> None:
        """Part of what a dispatcher needs: start, passivate and reap what is due."""
        try:
            self._work(throughput)
        finally:
            self._scheduled = False
            if self._busy():
                self._wake()
            if (self._open or self._away) and not self._timer:
                self._timer = True
                self.dispatcher.call_later(self._tick_s, self._tick)

    def _work(self, throughput: int) -> None:
        for _ in range(min(_BATCH, len(self._gone))):
            self._reap(*self._gone.popleft())
        while self._releases:
            self._release(*self._releases.popleft())
        for _ in range(min(throughput, len(self._waiting))):
            self._start(self._waiting.popleft())
        for _ in range(min(_BATCH, len(self._wishes))):
            wished = self._open.get(self._wishes.popleft())
            if wished is not None:
                self._passivate(wished, "wish")
        if self._swept:
            self._swept = False
            self._sweep()
        if self._more_idle:
            self._passivate_idle()
        self._shed(min(_BATCH, len(self._open) - self.options.active_limit), "limit")
        if self._closed:
            self._close_some()

    def _busy(self) -> bool:
        return bool(
            self._gone
            or self._waiting
            or self._wishes
            or self._releases
            or self._swept
            or self._more_idle
            or (self._open and self._closed)
            or len(self._open) > self.options.active_limit
        )

    def _tick(self) -> None:
        self._timer = False
        self._swept = True
        self._wake()

    # --- who goes ------------------------------------------------------------------------------

    def _sweep(self) -> None:
        now = self.system.clock.now()
        while self._closing and (self._closing[0][0] <= now or self._closing[0][1].state == "gone"):
            entry = self._closing.popleft()[1]
            if entry.state != "gone":
                logger.warning(
                    "%s did not stop within %g s and is killed; see what its on_stop waits for",
                    self.path_of(entry.entity_id),
                    self.options.stop_timeout_s,
                )
                self._kill(entry)
        self._ticks.append(self._stamp)
        self._stamp += 1
        self._opened_in_tick = 0
        self._passivate_idle()
        if self.options.memory is not None:
            self._relieve(self.options.memory)

    def _passivate_idle(self) -> None:
        self._more_idle = False
        if self.options.idle_s is None or len(self._ticks) != self._ticks.maxlen:
            return
        oldest = self._ticks[0]
        for _ in range(_BATCH):
            entry = self._head()
            if entry is None or entry.stamp > oldest:
                return
            if entry.busy():
                self._touch(entry)
            else:
                self._passivate(entry, "idle")
        self._more_idle = True

    def _relieve(self, memory: Callable[[], float]) -> None:
        try:
            share = memory()
        except Exception as error:  # noqa: BLE001 - a reading may fail, and entities go on
            self.system.log_failure(self.path, error)
            return
        self._shedding = share >= self.options.memory_low and (
            self._shedding or share > self.options.memory_high
        )
        if self._shedding:
            self._shed(self.options.shed_batch, "memory")

    def _head(self) -> Entry | None:
        with self._lock:
            return next(iter(self._open.values()), None)

    def _shed(self, count: int, cause: str) -> None:
        """Passivate the least recently used; idle ones, as far as they are soon found."""
        looks = _LOOKS
        while count > 0:
            entry = self._head()
            if entry is None:
                return
            if looks and entry.busy():
                looks -= 1
                self._touch(entry)
                continue
            looks = _LOOKS
            self._passivate(entry, cause)
            count -= 1

    def _release(self, slot: int, release: Release) -> None:
        with self._lock:
            opened = [entry for entry in self._open.values() if entry.slot == slot]
            away = [entry for entry in self._away.values() if entry.slot == slot]
        for entry in away:
            if entry.state == "new":
                release.add(entry.entity_id, self._forget(entry))
            else:
                entry.release = release
                release.open += 1
        for entry in opened:
            release.open += 1
            self._passivate(entry, "moved", release)
        release.ended()

    def _close_some(self) -> None:
        if not self._waiting:
            for _ in range(min(_BATCH, len(self._open))):
                entry = self._head()
                if entry is not None:
                    self._passivate(entry, "closed")
        self._check_emptied()
