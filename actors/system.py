"""The actor system: dispatchers, dead letters, events, and the order of stopping."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pykka
from pykka._envelope import Envelope

from actors.actor import Actor, ActorRef
from actors.ask import Deadlines
from actors.cell import Cell
from actors.clock import Clock, SystemClock
from actors.counters import Counters, Counts
from actors.dispatch.cooperative import CooperativeDispatcher
from actors.dispatch.dispatcher import Dispatcher
from actors.dispatch.threads import PinnedDispatcher, PoolDispatcher
from actors.errors import SystemStopped
from actors.events import DeadLetters, EventStream
from actors.future import Future
from actors.introspection import TreeNode, counters, dump, tree
from actors.mailbox.spec import MailboxSpec
from actors.supervision.commands import SupervisorRef
from actors.supervision.restart import RestartPolicy
from actors.supervision.spec import ChildSpec, SupervisorSpec
from actors.supervision.supervisor import Supervisor
from actors.watch import Subscription, Terminated, watch_cell

__all__ = ["ActorSystem", "default_system"]

logger = logging.getLogger("actors")
pykka_logger = logging.getLogger("pykka")

CUT_OFF_S = 1.0
"""For actors that are cut off at the end of a system's stop."""


class ActorSystem:
    """Actors that share dispatchers. Made on the event loop they run on.

    Args:
        name: first part of the actors' paths.
        clock: time for restarts and deadlines.
        dispatcher: runs the turns; a cooperative one on the running loop when not given.
        internal: runs the turns of supervisors; when not given, a loop on a thread of its own,
            made with the first supervisor (the given dispatcher itself when it has no loop).
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock | None = None,
        dispatcher: Dispatcher | None = None,
        internal: Dispatcher | None = None,
    ) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.dispatcher: Dispatcher = dispatcher or CooperativeDispatcher(clock=self.clock)
        self.dead_letters = DeadLetters(self.clock)
        self.events = EventStream()
        self.counts = Counts()
        self.deadlines = Deadlines(self)
        self._internal = internal
        self._own_internal: CooperativeDispatcher | None = None
        self._pool: PoolDispatcher | None = None
        self._cells: dict[Cell, None] = {}
        self._pinned: dict[Cell, PinnedDispatcher] = {}
        self._names = itertools.count(1)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._emptied: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        # The last part of a version 4 UUID is left to the number of the actor.
        self.urn = uuid.uuid4().urn[: -len("0123456789ab")]
        self.stopping = False
        self._stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which async handlers run; raises ``RuntimeError`` when there is none."""
        return self.dispatcher.loop or asyncio.get_running_loop()

    @property
    def internal(self) -> Dispatcher:
        """Runs the turns of supervisors."""
        with self._lock:
            if self._internal is None:
                if self.dispatcher.loop is None:
                    self._internal = self.dispatcher
                else:
                    self._own_internal = CooperativeDispatcher.on_thread(
                        f"{self.name}-internal", clock=self.clock
                    )
                    self._internal = self._own_internal
            return self._internal

    @property
    def pool(self) -> PoolDispatcher:
        """Runs the turns of blocking actors."""
        with self._lock:
            if self._pool is None:
                self._pool = PoolDispatcher(name=f"{self.name}-pool")
            return self._pool

    def pinned(self, name: str) -> PinnedDispatcher:
        """A dispatcher of one thread for one actor, which ends with it."""
        return PinnedDispatcher(f"{name}-{next(self._names)}")

    def dispatchers(self) -> list[Dispatcher]:
        """Those in use, without the pinned ones."""
        used = [self.dispatcher, self._internal, self._pool]
        return list(dict.fromkeys(one for one in used if one is not None))

    def __len__(self) -> int:
        """Actors that have not stopped, supervised ones included."""
        return self.counts.started - self.counts.stopped

    # --- starting ------------------------------------------------------------------------------

    def spawn(
        self,
        cls: type[Actor],
        *args: Any,
        name: str | None = None,
        mailbox: MailboxSpec | None = None,
        restart: RestartPolicy | None = None,
        dispatcher: Dispatcher | None = None,
        leftovers: Callable[[Envelope[Any]], None] | None = None,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start an actor and give its ref.

        Without ``restart`` a failure stops it, as in pykka. Called on its dispatcher's own thread,
        ``on_start`` runs before this returns, and what it raises comes to the caller; else it runs
        on the dispatcher and a failure is the actor's. The constructor always runs here. While the
        system stops, the new actor is told to stop at once.

        Args:
            cls: its class; further arguments are the constructor's.
            name: below the system; made of the class's name when not given.
            mailbox: size, lanes and overflow policy.
            restart: its own restart policy; a ``SupervisorSpec`` has one for many.
            dispatcher: runs its turns; the class's default when not given.
            leftovers: given what is left in mailbox and stash when the actor stops, in order;
                otherwise that becomes dead letters.

        Raises:
            SystemStopped: the system has stopped.
        """
        cell = self._cell(cls, name, mailbox, restart, dispatcher)
        cell.recipe = (cls, args, kwargs)
        if leftovers is not None:
            extras = cell.extras()
            extras.leftovers, extras.handing_on = leftovers, threading.RLock()
        own = cell.dispatcher.owns_thread()
        hook = None
        try:
            ref = cell.make()
            if own:
                hook = cell.start()
        except BaseException:
            cell.abandon()
            self._close_pinned(cell)
            raise
        self._take_in(cell)
        self.events.publish("started", cell.path)
        if not own:
            cell.signal(cell.begin)
        elif hook is not None:
            cell.run_hook(cell.started_later(hook))
        if self.stopping:
            ref.stop(block=False)
        return ref

    def start(
        self, cls: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActorRef[Any]:
        """Start an actor as ``pykka.Actor.start`` does: in the registry, with pykka's log records,
        ``on_start`` on its dispatcher.

        Raises:
            SystemStopped: the system has stopped.
        """
        cell = self._cell(cls, None, None, None, None)
        cell.recipe = (cls, args, kwargs)
        try:
            ref = cell.make()
        except BaseException:
            cell.abandon()
            self._close_pinned(cell)
            raise
        cell.registered = True
        pykka.ActorRegistry.register(ref)
        pykka_logger.debug("Starting %s", ref)
        self._take_in(cell)
        self.events.publish("started", cell.path)
        cell.signal(cell.begin)
        return ref

    def supervise(self, spec: SupervisorSpec, *, name: str = "supervisor") -> SupervisorRef:
        """Start a supervisor with its children; ``started`` of what this returns tells when.

        Raises:
            SystemStopped: the system has stopped.
        """
        started = Future[None]()
        cell = self._cell(Supervisor, name, None, None, self.internal)
        cell.recipe = (Supervisor, (spec, started), {})
        ref = cell.make()
        self._take_in(cell)
        cell.signal(cell.begin)
        return SupervisorRef(ref, started)

    def child_cell(self, parent: Cell, spec: ChildSpec, name: str) -> Cell:
        """The cell of a supervisor's child; it is not started yet."""
        dispatcher = spec.dispatcher or spec.actor.default_dispatcher(self)
        if spec.actor.supervises:
            dispatcher = spec.dispatcher or self.internal
        cell = Cell(self, name, spec.mailbox, spec, dispatcher, next(self._numbers))
        cell.parent = parent
        cell.recipe = spec.recipe
        self._count(cell)
        return cell

    def _cell(
        self,
        cls: type[Actor],
        name: str | None,
        mailbox: MailboxSpec | None,
        restart: RestartPolicy | None,
        dispatcher: Dispatcher | None,
    ) -> Cell:
        if self._stopped:
            raise SystemStopped(self.name, name or cls.__name__)
        name = name or f"{cls.__name__}-{next(self._names)}"
        dispatcher = dispatcher or cls.default_dispatcher(self)
        return Cell(self, name, mailbox, restart, dispatcher, next(self._numbers))

    def _take_in(self, cell: Cell) -> None:
        self._cells[cell] = None
        self._count(cell)

    def _count(self, cell: Cell) -> None:
        with self._lock:
            self.counts.started += 1
        if type(cell.dispatcher) is PinnedDispatcher:
            self._pinned[cell] = cell.dispatcher

    # --- the end of an actor -------------------------------------------------------------------

    def unregister(self, cell: Cell) -> None:
        """An actor takes no messages any more."""
        if cell.registered and cell.ref is not None:
            cell.registered = False
            pykka.ActorRegistry.unregister(cell.ref)

    def ended(self, cell: Cell) -> None:
        """An actor stopped for good."""
        self._cells.pop(cell, None)
        with self._lock:
            self.counts.stopped += 1
            self.counts.handled_before += cell.handled
            waiting = self._emptied if not self._cells else []
        self._close_pinned(cell)
        self.events.publish("stopped", cell.path)
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _close_pinned(self, cell: Cell) -> None:
        pinned = self._pinned.pop(cell, None)
        if pinned is not None:
            pinned.close(0)

    def cells(self) -> list[Cell]:
        """The live cells that no supervisor has, in the order of their start."""
        return list(self._cells)

    def log_failure(self, path: str, error: BaseException, ref: object = None) -> None:
        """A handler or a hook raised."""
        pykka_logger.error("Unhandled exception in %s:", ref or path, exc_info=error)

    def log_cut_off(self, path: str) -> None:
        """A hook was cut off by a stop."""
        logger.warning("a hook of %s was cut off", path)

    async def stop(self, timeout_s: float) -> bool:
        """Stop every actor, the last started first; False when some were not done in time.

        Those are cut off, and killed when even that does not end them.
        """
        self.stopping = True
        for cell in reversed(self.cells()):
            if cell.ref is None or cell.stopped.is_set():
                continue
            if cell.actor is None:
                # It waits for its restart, which would only put the end off.
                cell.signal(cell.end)
            else:
                cell.ref.stop(block=False)
        in_time = await self._wait_empty(timeout_s)
        if not in_time:
            logger.warning("%d actors of %s did not stop in time", len(self), self.name)
        self._stopped = True
        if not in_time:
            for cell in reversed(self.cells()):
                cell.signal(cell.stop_now)
            await self._wait_empty(CUT_OFF_S)
            for cell in reversed(self.cells()):
                cell.kill()
        for dispatcher in (self._own_internal, self._pool):
            if dispatcher is not None:
                await asyncio.to_thread(dispatcher.close, 1.0)
        return in_time

    async def _wait_empty(self, timeout_s: float) -> bool:
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        self._emptied.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                # Again, for actors that others start on their way out.
                while self._cells:
                    event.clear()
                    if self._cells:
                        await event.wait()
        except TimeoutError:
            return False
        finally:
            self._emptied.remove(entry)
        return True

    # --- seeing --------------------------------------------------------------------------------

    def watch(self, ref: Any, callback: Callable[[Terminated], None]) -> Subscription:
        """Call ``callback`` once when the actor of ``ref`` has ended, at once when it has.

        It is called on the thread on which the actor ends, so it must only put something
        somewhere; an actor uses ``Actor.watch``.
        """
        cell = getattr(ref, "_cell", None)
        if cell is None:
            subscription: Subscription = ref.watch_with(callback)
            return subscription
        return watch_cell(cell, callback)

    def tree(self) -> TreeNode:
        """The tree of supervision; ``str`` of it is a picture."""
        return tree(self)

    def dump(self) -> str:
        """Tree, busy actors and counters, as text for an operator."""
        return dump(self)

    def counters(self) -> Counters:
        """A moment of the counters, as a plain structure."""
        return counters(self)


class _KeepAlive:
    """Keeps the program from ending while actors that are no daemons live, as pykka does."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._alive = 0

    def began(self) -> None:
        with self._condition:
            self._alive += 1
            if self._alive == 1:
                threading.Thread(target=self._wait, name="actors-alive").start()

    def ended(self) -> None:
        with self._condition:
            self._alive -= 1
            self._condition.notify_all()

    def _wait(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._alive == 0)


class _DefaultSystem(ActorSystem):
    """The system of ``Actor.start``."""

    def __init__(self) -> None:
        super().__init__("default", dispatcher=CooperativeDispatcher.on_thread("actors-default"))
        self._keep_alive = _KeepAlive()
        self._kept: set[Cell] = set()

    def _take_in(self, cell: Cell) -> None:
        super()._take_in(cell)
        if cell.ref is not None and not cell.ref.actor_class.use_daemon_thread:
            self._kept.add(cell)
            self._keep_alive.began()

    def ended(self, cell: Cell) -> None:
        super().ended(cell)
        if cell in self._kept:
            self._kept.discard(cell)
            self._keep_alive.ended()


_default: ActorSystem | None = None
_default_lock = threading.Lock()


def default_system() -> ActorSystem:
    """The system of ``Actor.start``: one dispatcher on a daemon thread of its own."""
    global _default
    with _default_lock:
        if _default is None:
            _default = _DefaultSystem()
    return _default
