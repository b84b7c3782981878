"""``Actor``: a ``pykka.Actor`` on a dispatcher instead of a thread."""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pykka

from actors.ask import ReplyTo
from actors.behaviour.pipe import pipe
from actors.behaviour.receive_timeout import IdleWatch
from actors.behaviour.timers import Timers
from actors.cell import Cell, constructing
from actors.errors import StashFull
from actors.future import Future
from actors.ref import ActorRef
from actors.watch import unwatch_from, watch_from

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Dispatcher
    from actors.system import ActorSystem

__all__ = ["Actor", "ActorRef", "BlockingActor"]

pykka_logger = logging.getLogger("pykka")


class Actor(pykka.Actor):
    """An actor on a cooperative dispatcher.

    Use it as ``pykka.ThreadingActor``; handlers, ``on_start`` and ``on_stop`` may also be
    ``async def``. What differs: a failing handler loses no message (it and the mailbox go to the
    supervisor or to dead letters), a ``BaseException`` stops this actor only, and thousands of
    actors share a thread, so a handler must not block.
    """

    use_daemon_thread: ClassVar[bool] = False
    """Whether the program may end while this actor, started with ``start``, is alive. As pykka's:
    not by default."""

    supervises: ClassVar[bool] = False
    """Whether it is a supervisor."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        cell = constructing.get()
        if cell is None:
            raise RuntimeError(
                f"{type(self).__name__} is made by its start() or by ActorSystem.spawn()"
            )
        self.actor_inbox = cell
        if cell.ref is None:
            cell.ref = ActorRef(self)
        self._actor_ref = cell.ref

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # read-only, as it should be
        """A name unique in the world."""
        return self._its_cell.urn

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]  # is_set and set are enough
        """Whether the actor has stopped."""
        return self._its_cell.stopped

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a hook that nobody would await: raises ``TypeError``."""
        super().__init_subclass__(**kwargs)
        if inspect.iscoroutinefunction(cls.__dict__.get("on_failure")):
            raise TypeError(
                f"{cls.__name__}.on_failure: a plain function is needed, `async def` given; the "
                "actor is down already, so tell another actor to do the asynchronous work"
            )

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> Any:
        """Start an actor as pykka does, in this process's default actor system.

        The constructor runs here, and what it raises comes here; ``on_start`` runs on the actor's
        own dispatcher, and a failure of it is logged and stops the actor.
        """
        from actors.system import default_system

        return default_system().start(cls, args, kwargs)

    @classmethod
    def default_dispatcher(cls, system: ActorSystem) -> Dispatcher:
        """Who runs the turns when neither the caller nor a specification says so."""
        return system.dispatcher

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
        self._its_cell.stop_now()

    @property
    def _its_cell(self) -> Cell:
        return cast("Cell", self.actor_inbox)

    @property
    def path(self) -> str:
        """Where it stands in the tree."""
        return self._its_cell.path

    # --- behaviour -------------------------------------------------------------------------------

    def become(self, handler: Callable[[Any], Any], *, discard_old: bool = True) -> None:
        """Have ``handler`` take the next messages, until another ``become`` or ``unbecome``.

        With ``discard_old=False`` the handler before comes back with ``unbecome``. A restart begins
        with ``on_receive`` of the class again.
        """
        behaviours: list[Any] = self.__dict__.setdefault("_behaviours", [])
        if discard_old and behaviours:
            behaviours.pop()
        behaviours.append(handler)
        # An attribute of the instance hides the method of the class: no cost per message.
        self.__dict__["on_receive"] = handler

    def unbecome(self) -> None:
        """Go back to the handler before the last ``become``; ``on_receive`` at the end."""
        behaviours: list[Any] = self.__dict__.get("_behaviours", [])
        if behaviours:
            behaviours.pop()
        if behaviours:
            self.__dict__["on_receive"] = behaviours[-1]
        else:
            self.__dict__.pop("on_receive", None)

    def stash(self) -> None:
        """Put the message in handling aside. An ask is answered when it is handled at last.

        Raises:
            StashFull: the stash holds ``MailboxSpec.stash`` messages.
            RuntimeError: no message is in handling, or it was put aside before.
        """
        cell = self._its_cell
        envelope = cell.current
        if envelope is None:
            raise RuntimeError("stash() puts the message in handling aside; there is none")
        extras = cell.extras()
        if extras.stash is None:
            extras.stash = deque()
        if len(extras.stash) >= cell.spec.stash:
            raise StashFull(cell.path, cell.spec.stash)
        extras.stash.append(envelope)
        cell.current = None

    def unstash_all(self) -> None:
        """Put what was set aside back to the front of the mailbox, in the order it came."""
        self._its_cell.unstash()

    @property
    def timers(self) -> Timers:
        """Keyed timers of this instance: ``start_single``, ``start_periodic``, ``cancel``."""
        cell = self._its_cell
        extras = cell.extras()
        if extras.timers is None:
            extras.timers = Timers(cell)
        return extras.timers

    def pipe_to_self(
        self,
        awaitable: Awaitable[Any],
        message: Callable[[Any, BaseException | None], Any] | None = None,
    ) -> None:
        """Get the result of ``awaitable`` as a message, and handle others meanwhile.

        Args:
            awaitable: a coroutine, an asyncio or a pykka future.
            message: makes the message of value and error; ``Piped`` when not given.

        Raises:
            NoLoop: the actor's dispatcher has no event loop (a future of an ask needs none).
        """
        pipe(self._its_cell, awaitable, message)

    def set_receive_timeout(self, seconds: float | None) -> None:
        """Get a ``ReceiveTimeout`` after ``seconds`` without a message, again and again; None ends
        it. Raises ``ValueError`` when it is not more than 0."""
        cell = self._its_cell
        extras = cell.extras()
        if extras.idle is not None:
            extras.idle.cancel()
            extras.idle = None
        if seconds is None:
            return
        if seconds <= 0:
            raise ValueError(f"seconds: {seconds!r} given, more than 0 allowed")
        extras.idle = IdleWatch(cell, seconds)

    def watch(self, ref: Any) -> None:
        """Get ``Terminated`` once when the actor of ``ref`` has ended, also if it has already.

        Watching again before that changes nothing.
        """
        watch_from(self._its_cell, ref)

    def unwatch(self, ref: Any) -> None:
        """Take a watch back; no ``Terminated`` comes after this."""
        unwatch_from(self._its_cell, ref)

    def defer_reply(self) -> ReplyTo:
        """Answer the ask in handling later, once, with the ``ReplyTo`` this returns.

        For a tell it is a ``ReplyTo`` whose answer goes nowhere.
        """
        cell = self._its_cell
        envelope = cell.current
        future: Any = Future()
        if envelope is not None and envelope.reply_to is not None:
            future, envelope.reply_to = envelope.reply_to, None
        return ReplyTo(cell.system, cell.path, future)


class BlockingActor(Actor):
    """An actor whose handlers may block: pykka's ``ThreadingActor`` on a pool of threads.

    The pool grows as actors block, up to its limit. ``pinned = True`` in a subclass gives each of
    its actors a thread of its own, which a library with thread-bound state may need.
    """

    pinned: ClassVar[bool] = False

    @classmethod
    def default_dispatcher(cls, system: ActorSystem) -> Dispatcher:
        """A thread of its own, or the system's pool."""
        return system.pinned(cls.__name__) if cls.pinned else system.pool
