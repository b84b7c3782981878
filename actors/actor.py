"""``Actor``: a ``pykka.Actor`` on a dispatcher instead of a thread, and its ref."""

from __future__ import annotations

import inspect
import weakref
from typing import Any, TypeVar

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.cell import Cell, constructing
from actors.errors import AskFromLoop
from actors.future import Future

__all__ = ["Actor", "ActorRef"]

A = TypeVar("A", bound=pykka.Actor)


class ActorRef(pykka.ActorRef[A]):
    """pykka's ref. It stays the same over restarts of its actor."""

    def __init__(self, actor: A) -> None:
        super().__init__(actor)
        inbox = self.actor_inbox
        if not isinstance(inbox, Cell):
            raise TypeError(f"{actor} has no cell")
        self._cell = inbox
        self._put = inbox.put

    def is_alive(self) -> bool:
        """Whether the actor takes messages. A restarting one does."""
        return not self._cell.stopped.is_set()

    def tell(self, message: Any) -> None:
        """Put a message into the actor's mailbox. Never blocks.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
        """
        if self._cell.stopped._set:
            raise pykka.ActorDeadError(f"{self} not found")
        self._put(Envelope(message))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Put a message into the mailbox and get its answer, as pykka's ``ask``.

        Raises:
            AskFromLoop: a blocking ask on the thread that would have to answer it.
        """
        if block and self._cell.system.dispatcher.owns_thread():
            raise AskFromLoop(self._cell.path)
        return super().ask(message, block=block, timeout=timeout)

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the actor after what is in its mailbox, as pykka's ``stop``.

        The future of ``block=False`` can be awaited; giving up on it leaves nothing behind.
        """
        if block and self._cell.system.dispatcher.owns_thread():
            raise AskFromLoop(self._cell.path)
        asked: Future[Any] = self.ask(_ActorStop(), block=False)

        def was_alive(timeout: float | None) -> bool:
            try:
                asked.get(timeout=timeout)
            except pykka.ActorDeadError:
                return False
            return True

        stopped = Future[bool].derived(asked)
        stopped.set_get_hook(was_alive)
        return stopped.get(timeout=timeout) if block else stopped


class Actor(pykka.Actor):
    """An actor on a cooperative dispatcher.

    Use it as ``pykka.ThreadingActor``; handlers may also be ``async def``. What differs: a failing
    handler loses no message (it and the mailbox go to the supervisor or to dead letters), a
    ``BaseException`` stops this actor only, and thousands of actors share a thread, so a handler
    must not block.
    """

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        cell = constructing.get()
        if cell is None:
            raise RuntimeError(
                f"{type(self).__name__} is made by its start() or by ActorSystem.spawn()"
            )
        self.actor_inbox = cell
        self.actor_urn = f"urn:actor:{cell.system.name}:{cell.name}"
        self.actor_stopped = cell.stopped  # type: ignore[assignment]  # is_set and set are enough
        if cell.ref is None:
            cell.ref = ActorRef(self)
        else:
            cell.ref._actor_weakref = weakref.ref(self)
        self._actor_ref = cell.ref

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse hooks that nobody would await: raises ``TypeError``."""
        super().__init_subclass__(**kwargs)
        for name in ("on_start", "on_stop", "on_failure"):
            if inspect.iscoroutinefunction(cls.__dict__.get(name)):
                raise TypeError(
                    f"{cls.__name__}.{name}: a plain function is needed, `async def` given; "
                    "tell yourself a message and do the asynchronous work in its handler"
                )

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> Any:
        """Start an actor as pykka does, in the actor system of the running loop or the default."""
        from actors.system import default_system

        ref = default_system().spawn(cls, *args, **kwargs)
        pykka.ActorRegistry.register(ref)
        return ref

    @staticmethod
    def _create_actor_inbox() -> Any:
        """Part of pykka's contract: the cell is the inbox."""
        return constructing.get()

    @staticmethod
    def _create_future() -> Future[Any]:
        """The future of an ask."""
        return Future()

    def _start_actor_loop(self) -> None:
        """Part of pykka's contract: the dispatcher runs every actor."""

    def _stop(self) -> None:
        """Stop at once; what is left in the mailbox is dead letters."""
        inbox = self.actor_inbox
        if isinstance(inbox, Cell):
            inbox.stop_now()
