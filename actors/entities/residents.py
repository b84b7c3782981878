"""Who is in memory: messages for entities, and their actors' beginning and end.

The part of a region that makes sure that no message is lost, handled twice or out of its sender's
order while an entity comes and goes. Who goes when is the other part, in ``entities``.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pykka._envelope import Envelope

from actors.actor import Actor
from actors.entities.entry import Entry, Release
from actors.entities.options import EntityCounters, EntityOptions
from actors.errors import EntityUnavailable
from actors.events import DeadLetter
from actors.future import Future, fail
from actors.system import ActorSystem
from actors.watch import Terminated

__all__ = ["Factory", "Residents"]

Factory = Callable[[str], tuple[type[Actor], tuple[Any, ...], Mapping[str, Any]]]
"""Class, arguments and keyword arguments of the actor of an entity id. No keyword may be one of
``ActorSystem.spawn``'s own."""

_TRIES = 3
"""Incarnations that may end without taking a message before the messages are dead letters."""


class Residents:
    """See the module; the arguments are those of ``Entities``."""

    def __init__(
        self,
        system: ActorSystem,
        type_name: str,
        factory: Factory,
        options: EntityOptions | None = None,
        *,
        slot_of: Callable[[str], int] | None = None,
        elsewhere: Callable[[str, Envelope[Any]], None] | None = None,
    ) -> None:
        if (slot_of is None) != (elsewhere is None):
            raise ValueError("elsewhere: needed with slot_of, and only with it")
        self.system = system
        self.type_name = type_name
        self.options = options or EntityOptions()
        self.dispatcher = system.dispatcher
        self._factory = factory
        self._slot_of = slot_of
        self._elsewhere = elsewhere
        self._here: set[int] = set()
        self._counts = EntityCounters()
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Entry] = OrderedDict()
        """The least recently used first."""
        self._away: dict[str, Entry] = {}
        """Those that start or stop."""
        self._waiting: deque[Entry] = deque()
        self._gone: deque[tuple[Entry, str]] = deque()
        self._wishes: deque[str] = deque()
        self._releases: deque[tuple[int, Release]] = deque()
        self._closing: deque[tuple[float, Entry]] = deque()
        self._stamp = 1
        self._opened_in_tick = 0
        self._tick_s = self.options.tick
        idle_s = self.options.idle_s
        ticks = 0 if idle_s is None else math.ceil(idle_s / self._tick_s)
        self._ticks: deque[int] = deque(maxlen=ticks + 1)
        """The last stamp of each tick, as far back as the idle time."""
        self._scheduled = False
        self._timer = False
        self._swept = False
        self._more_idle = False
        self._shedding = False
        self._closed = False
        self._cut_off = False
        self._emptied: Future[None] | None = None

    @property
    def path(self) -> str:
        """Where the entities' actors stand in the tree."""
        return f"/{self.system.name}/{self.type_name}"

    def path_of(self, entity_id: str) -> str:
        """Where an entity's actor stands in the tree."""
        return f"{self.path}/{entity_id}"

    def counters(self) -> EntityCounters:
        """A moment of the counters."""
        with self._lock:
            counts = self._counts
            return EntityCounters(
                active=len(self._open),
                closing=sum(entry.state == "closing" for entry in self._away.values()),
                held=counts.held,
                opened=counts.opened,
                passivated=dict(counts.passivated),
                ended=counts.ended,
                failed=counts.failed,
                start_failed=counts.start_failed,
                killed=counts.killed,
                refused=counts.refused,
            )

    def post(self, entity_id: str, envelope: Envelope[Any]) -> None:
        """Have the entity handle the message. Any thread; never raises for a full buffer."""
        entry = self._open.get(entity_id)
        if entry is None:
            self._hold(entity_id, envelope)
            return
        if entry.stamp != self._stamp:
            self._touch(entry)
        if envelope.reply_to is not None:
            entry.asked(envelope.reply_to)
        entry.put(envelope)

    def _touch(self, entry: Entry) -> None:
        with self._lock:
            if entry.state == "open":
                entry.stamp = self._stamp
                self._open.move_to_end(entry.entity_id)

    def _hold(self, entity_id: str, envelope: Envelope[Any], *, again: bool = False) -> None:
        refused = ""
        slot = 0 if self._slot_of is None else self._slot_of(entity_id)
        with self._lock:
            entry = self._open.get(entity_id) or self._away.get(entity_id)
            if entry is None and self._slot_of is not None and slot not in self._here:
                refused = "elsewhere"
            elif entry is None or entry.state != "open":
                if self._closed and not again:
                    refused = "entity_closed"
                elif self._counts.held >= self.options.buffer_limit and not again:
                    refused = "entity_buffer_full"
                else:
                    if entry is None:
                        entry = self._away[entity_id] = Entry(entity_id, slot)
                        self._waiting.append(entry)
                    if entry.buffer is None:
                        entry.buffer = deque()
                    entry.buffer.append(envelope)
                    self._counts.held += 1
                    entry = None
            if refused and refused != "elsewhere":
                self._counts.refused += 1
        if refused == "elsewhere" and self._elsewhere is not None:
            self._elsewhere(entity_id, envelope)
        elif refused:
            self._refuse(entity_id, envelope, refused)
        elif entry is None:
            self._wake()
        else:
            # It opened since the caller looked.
            if envelope.reply_to is not None:
                entry.asked(envelope.reply_to)
            entry.put(envelope)

    def _refuse(self, entity_id: str, envelope: Envelope[Any], reason: str) -> None:
        path = self.path_of(entity_id)
        if envelope.reply_to is not None:
            fail(envelope.reply_to, EntityUnavailable(path, reason))
        self.system.dead_letters.add(DeadLetter(envelope, path, reason))

    def _left_over(self, entry: Entry, envelope: Envelope[Any]) -> None:
        """An actor ended with this message in its mailbox."""
        with self._lock:
            late = entry.state == "gone"
            if not late:
                if entry.left is None:
                    entry.left = []
                entry.left.append(envelope)
                self._counts.held += 1
        if late:
            self._hold(entry.entity_id, envelope, again=True)

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.dispatcher.schedule(self)

    def turn(self, throughput: int) -> None:
        """Part of what a dispatcher needs."""
        raise NotImplementedError

    def _start(self, entry: Entry) -> None:
        """Make an entity's actor and give it what waits."""
        entity_id, options = entry.entity_id, self.options
        if entry.state != "new":
            return  # released meanwhile
        if self._elsewhere is not None and entry.slot not in self._here:
            if self._releases:
                self._waiting.append(entry)  # what waits goes with its slot
            else:
                for envelope in self._forget(entry):
                    self._elsewhere(entity_id, envelope)
            return
        if self.system.stopping or self._cut_off:
            self._bury(entry, "stopped")
            return
        try:
            cls, args, kwargs = self._factory(entity_id)
            ref = self.system.spawn(
                cls,
                *args,
                name=f"{self.type_name}/{entity_id}",
                mailbox=options.mailbox,
                restart=options.restart,
                dispatcher=options.dispatcher,
                leftovers=partial(self._left_over, entry),
                **kwargs,
            )
        except BaseException as error:  # noqa: BLE001 - a factory or constructor may raise anything
            self.system.log_failure(self.path_of(entity_id), error)
            self._counts.start_failed += 1
            self._bury(entry, "start_failed")
            return
        self._counts.opened += 1
        cell = entry.cell = ref.actor_inbox
        entry.put = cell.put
        self.system.watch(ref, partial(self._ended, entry))
        while entry.state == "new":
            # Put outside of the lock: a mailbox may call back. What comes meanwhile waits in turn.
            with self._lock:
                batch, entry.buffer = entry.buffer, None
                if batch is None:
                    entry.state = "open"
                    entry.stamp = self._stamp
                    self._away.pop(entity_id, None)
                    self._open[entity_id] = entry
                    break
                self._counts.held -= len(batch)
            if entry.first is None:
                entry.first = batch[0]
            for envelope in batch:
                if envelope.reply_to is not None:
                    entry.asked(envelope.reply_to)
                # No bound of the mailbox's: these had the region's.
                cell.put_exempt(envelope)
        self._opened_in_tick += 1
        if self._opened_in_tick * 8 > options.active_limit:
            # Many new ones: who is used now must stand behind them when room is made.
            self._opened_in_tick = 0
            self._stamp += 1

    def _passivate(self, entry: Entry, cause: str, release: Release | None = None) -> None:
        with self._lock:
            if entry.state != "open":
                return
            entry.state = "closing"
            entry.release = release
            del self._open[entry.entity_id]
            self._away[entry.entity_id] = entry
        passivated = self._counts.passivated
        passivated[cause] = passivated.get(cause, 0) + 1
        self._closing.append((self.system.clock.now() + self.options.stop_timeout_s, entry))
        cell = entry.cell
        if cell is not None:
            cell.signal(cell.end)

    def _ended(self, entry: Entry, terminated: Terminated) -> None:
        cell = entry.cell
        if cell is not None:
            # Before anything else is told of the end: what it left is older than what comes now.
            cell._bury_rest("stopped")
        self._gone.append((entry, terminated.reason))
        self._wake()

    def _reap(self, entry: Entry, reason: str) -> None:
        """An actor has ended: what waits goes to the next one."""
        entity_id, counts = entry.entity_id, self._counts
        failed = reason in ("failed", "gave_up")
        with self._lock:
            if entry.state == "gone":
                return
            asked = entry.state == "closing"
            entry.state = "gone"
            self._open.pop(entity_id, None)
            self._away.pop(entity_id, None)
            fruitless = entry.fruitless + 1 if entry.did_nothing() else 0
            pending = entry.pending()
            dead = bool(fruitless) and (failed or fruitless >= _TRIES)
            release = entry.release
            # While a release is to be done, what waits goes with its slot.
            here = self._slot_of is None or entry.slot in self._here or bool(self._releases)
            counts.held -= len(pending)
            if pending and not dead and release is None and here:
                after = self._away[entity_id] = Entry(entity_id, entry.slot)
                after.buffer = pending
                after.fruitless = fruitless
                counts.held += len(pending)
                self._waiting.append(after)
                pending = deque()
        if failed:
            counts.failed += 1
            counts.start_failed += bool(fruitless)
        elif not asked and reason == "stopped":
            counts.ended += 1
        if release is not None:
            release.add(entity_id, pending)
            release.ended()
        elif dead:
            for envelope in pending:
                self._refuse(entity_id, envelope, "start_failed")
        elif self._elsewhere is not None:
            for envelope in pending:
                self._elsewhere(entity_id, envelope)
        self._check_emptied()

    def _forget(self, entry: Entry) -> deque[Envelope[Any]]:
        """Take what waits for an entity that has no actor."""
        with self._lock:
            entry.state = "gone"
            self._away.pop(entry.entity_id, None)
            pending = entry.pending()
            self._counts.held -= len(pending)
        return pending

    def _bury(self, entry: Entry, reason: str) -> None:
        """No actor could be made: what waits is dead letters."""
        for envelope in self._forget(entry):
            self._refuse(entry.entity_id, envelope, reason)
        self._check_emptied()

    def _kill(self, entry: Entry) -> None:
        cell = entry.cell
        if cell is not None and entry.state in ("open", "closing"):
            self._counts.killed += 1
            cell.kill()

    def _check_emptied(self) -> None:
        emptied = self._emptied
        if emptied is not None and not self._open and not self._away:
            self._emptied = None
            emptied.set(None)
