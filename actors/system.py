"""The actor system: dispatcher, dead letters, events, and the order of stopping."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from typing import Any

import pykka

from actors.actor import Actor, ActorRef
from actors.cell import Cell
from actors.clock import Clock, SystemClock
from actors.dispatch.cooperative import CooperativeDispatcher, Dispatcher
from actors.errors import SystemStopped
from actors.events import DeadLetters, EventStream
from actors.mailbox import MailboxSpec
from actors.restart import RestartPolicy

__all__ = ["ActorSystem", "default_system"]

logger = logging.getLogger("actors")


class ActorSystem:
    """Actors that share a dispatcher. Made on the event loop they run on.

    Args:
        name: first part of the actors' paths.
        clock: time for restarts.
        dispatcher: runs the turns; a cooperative one on the running loop when not given.
    """

    def __init__(
        self, name: str, *, clock: Clock | None = None, dispatcher: Dispatcher | None = None
    ) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.dispatcher: Dispatcher = dispatcher or CooperativeDispatcher()
        self.dead_letters = DeadLetters(self.clock)
        self.events = EventStream()
        self._cells: dict[Cell, None] = {}
        self._names = itertools.count(1)
        self._empty = asyncio.Event()
        self._stopping = False
        self._stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which async handlers run."""
        if isinstance(self.dispatcher, CooperativeDispatcher):
            return self.dispatcher.loop
        return asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._cells)

    def spawn(
        self,
        cls: type[Actor],
        *args: Any,
        name: str | None = None,
        mailbox: MailboxSpec | None = None,
        restart: RestartPolicy | None = None,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start an actor and give its ref.

        Without ``restart`` a failure stops it, as in pykka. What its constructor or ``on_start``
        raises comes to the caller. While the system stops, the new actor is told to stop at once.

        Raises:
            SystemStopped: the system has stopped.
        """
        if self._stopped:
            raise SystemStopped(self.name, name or cls.__name__)
        cell = Cell(self, name or f"{cls.__name__}-{next(self._names)}", mailbox, restart)
        cell.recipe = (cls, args, kwargs)
        try:
            ref = cell.make()
        except BaseException:
            cell.abandon()
            raise
        self._cells[cell] = None
        self.events.publish("started", cell.path)
        cell.resume()
        if self._stopping:
            ref.stop(block=False)
        return ref

    def ended(self, cell: Cell) -> None:
        """An actor stopped for good."""
        self._cells.pop(cell, None)
        if not self._cells:
            self._empty.set()
        if cell.ref is not None:
            pykka.ActorRegistry.unregister(cell.ref)
        self.events.publish("stopped", cell.path)

    def cells(self) -> list[Cell]:
        """The live cells, in the order of their start."""
        return list(self._cells)

    def log_failure(self, path: str, error: BaseException) -> None:
        """A handler raised."""
        logger.error("unhandled exception in %s", path, exc_info=error)

    async def stop(self, timeout_s: float) -> bool:
        """Stop every actor, the last started first; False when some were not done in time."""
        self._stopping = True
        for cell in reversed(self.cells()):
            if cell.ref is not None and not cell.stopped.is_set():
                cell.ref.stop(block=False)
        try:
            async with asyncio.timeout(timeout_s):
                # Again, for actors that others start on their way out.
                while self._cells:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            logger.warning("%d actors of %s did not stop in time", len(self), self.name)
        self._stopped = True
        left = self.cells()
        for cell in reversed(left):
            cell.stop_now()
        return not left


_default: ActorSystem | None = None
_default_lock = threading.Lock()


def default_system() -> ActorSystem:
    """The system of ``Actor.start``: one dispatcher on a daemon thread of its own."""
    global _default
    with _default_lock:
        if _default is None:
            loop = asyncio.new_event_loop()
            dispatcher = CooperativeDispatcher(loop)
            ready = threading.Event()

            def run() -> None:
                asyncio.set_event_loop(loop)
                dispatcher.bind_thread()
                loop.call_soon(ready.set)
                loop.run_forever()

            threading.Thread(target=run, name="actors-default", daemon=True).start()
            ready.wait(10)
            _default = ActorSystem("default", dispatcher=dispatcher)
    return _default
