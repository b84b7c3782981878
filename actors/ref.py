"""``ActorRef``: pykka's ref, which stays the same over restarts of its actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.ask import Ask
from actors.cell import Cell
from actors.errors import AskFromLoop, AskTimeout, MailboxFull
from actors.future import Future, fail

if TYPE_CHECKING:
    from actors.introspection import ActorInfo
    from actors.mailbox.spec import StopFlag

__all__ = ["ActorRef"]

A = TypeVar("A", bound=pykka.Actor)


class ActorRef(pykka.ActorRef[A]):
    """See the module. Made with its actor."""

    def __init__(self, actor: A) -> None:
        cell = actor.actor_inbox
        if not isinstance(cell, Cell):
            raise TypeError(f"{actor} has no cell")
        self._cell = cell
        self._put = cell.put
        self.actor_class = actor.__class__

    # pykka keeps these as attributes; a hundred thousand refs are smaller without.

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # read-only, as it should be
        """A name unique in the world."""
        return self._cell.urn

    @property
    def actor_inbox(self) -> Cell:  # type: ignore[override]  # read-only, as it should be
        """The cell."""
        return self._cell

    @property
    def actor_stopped(self) -> StopFlag:  # type: ignore[override]  # is_set and set are enough
        """Whether the actor has stopped."""
        return self._cell.stopped

    @property
    def _actor_weakref(self) -> Any:  # type: ignore[override]  # called, as pykka's is
        """The actor, for pykka's proxies; while it restarts, the class of what will be there."""
        return self._actor

    def _actor(self) -> Any:
        cell = self._cell
        if cell.actor is None and not cell.stopped._set:
            return self.actor_class.__new__(self.actor_class)
        return cell.actor

    @property
    def path(self) -> str:
        """Where the actor stands in the tree, such as ``/system/supervisor/name``."""
        return self._cell.path

    def is_alive(self) -> bool:
        """Whether the actor takes messages. A restarting one does."""
        return not self._cell.stopped._set

    def tell(self, message: Any) -> None:
        """Put a message into the actor's mailbox.

        Never blocks, unless the mailbox's overflow policy is ``block``.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
        """
        if self._cell.stopped._set:
            raise pykka.ActorDeadError(f"{self} not found")
        self._put(Envelope(message))

    @property
    def hand(self) -> Callable[[Any], None]:
        """Tells a message, and has it handled before that returns, where nothing stands before it.

        That is so for an actor that is idle, on the dispatcher and thread of the caller; a message
        to any other goes through its mailbox. Order, failures and supervision are those of
        ``tell``, and so is what it raises; but who hands on a thousand messages has used the time
        of them all. For the stages of a pipeline, each of which would otherwise wait for its turn
        with every message. It can be kept: it stays the same over restarts.
        """
        return self._cell.hand

    async def tell_when_room(self, message: Any, *, timeout_s: float | None = None) -> None:
        """Put a message into the mailbox as soon as it has room; waits without blocking.

        Raises:
            MailboxFull: no room came within ``timeout_s``; the message was not put.
            pykka.ActorDeadError: the actor has stopped.
        """
        cell = self._cell
        clock = cell.system.clock
        deadline = None if timeout_s is None else clock.now() + timeout_s
        while cell.depth >= cell.spec.capacity and not cell.stopped._set:
            room = cell.when_room()
            if deadline is not None:
                left = deadline - clock.now()
                if left <= 0:
                    raise MailboxFull(cell.path, cell.spec.capacity)
                cell.system.deadlines.add(room, cell.path, left)
            try:
                await room
            except AskTimeout:
                raise MailboxFull(cell.path, cell.spec.capacity) from None
        self.tell(message)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Put a message into the mailbox and get its answer, as pykka's ``ask``.

        ``timeout`` seconds from now are the deadline, also of a future that is not waited for: an
        ask that is still in the mailbox then is not handled, and an answer that comes later is
        counted and dropped.

        Raises:
            AskFromLoop: a blocking ask on the thread that would have to answer it.
            AskTimeout: there was no answer in time; also a ``pykka.Timeout``.
            AskCycle: the actor asked waits, through others or at once, for the one that asks.
            Exception: what the handler raised.
        """
        cell = self._cell
        if block and cell.dispatcher.owns_thread():
            raise AskFromLoop(cell.path)
        future: Future[Any] = Future()
        future.target = cell
        if cell.stopped._set:
            fail(future, pykka.ActorDeadError(f"{self} not found"))
        elif timeout is None:
            self._put(Ask(message, future, None))
        elif block:
            self._put(Ask(message, future, cell.system.clock.now() + timeout))
        else:
            self._put(Ask(message, future, cell.system.deadlines.add(future, cell.path, timeout)))
        if not block:
            return future
        if timeout is None:
            return future.get()
        try:
            return future.get(timeout=timeout)
        except pykka.Timeout:
            # The reply address ends here: what comes later is late.
            if fail(future, AskTimeout(cell.path, timeout)):
                cell.system.counts.expired_asks += 1
            return future.get()

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the actor after what is in its mailbox, as pykka's ``stop``.

        The future of ``block=False`` can be awaited; giving up on it leaves nothing behind.
        """
        cell = self._cell
        if block and cell.dispatcher.owns_thread():
            raise AskFromLoop(cell.path)
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

    def inspect(self) -> ActorInfo:
        """What the runtime knows of the actor now, without asking it."""
        from actors.introspection import inspect

        return inspect(self._cell)

    def get_state(self, *, timeout: float = 5.0) -> Future[dict[str, Any]]:
        """The live actor's attributes, read in its own turn before its next message (as OTP's
        ``sys:get_state``). Fails with ``AskTimeout`` when it has no turn in ``timeout`` seconds."""
        from actors.introspection import read_state

        return read_state(self._cell, timeout)
