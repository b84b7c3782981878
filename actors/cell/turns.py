"""The turns of a cell: taking messages out of the mailbox and having them handled.

A handler that returns a coroutine is awaited in a task; meanwhile the cell is busy, and its next
messages wait. No task is made for plain handlers, and one for a turn's worth of async ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from actors.ask import Ask
from actors.behaviour.timers import Tick
from actors.cell.steps import timed
from actors.dispatch.dispatcher import NESTED
from actors.errors import AskTimeout, NoLoop
from actors.future import answer, fail
from actors.mailbox.fence import Fence
from actors.mailbox.mailbox import Mailbox
from actors.mailbox.spec import MailboxSpec
from actors.waiting import handling
from actors.watch import Terminated, expected

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.dispatch.dispatcher import Dispatcher
    from actors.system import ActorSystem

__all__ = ["Turns"]

_INTERNAL = frozenset({_ActorStop, ProxyCall, ProxyGetAttr, ProxySetAttr, Tick, Terminated, Fence})


class Turns(Mailbox):
    """See the module."""

    __slots__ = (
        "_busy",
        "_task",
        "actor",
        "current",
        "ended_because",
        "handled",
        "made",
        "suspended",
    )

    def __init__(
        self, system: ActorSystem, name: str, spec: MailboxSpec | None, dispatcher: Dispatcher
    ) -> None:
        super().__init__(system, name, spec, dispatcher)
        self.actor: Actor | None = None
        self.suspended = True
        self.current: Envelope[Any] | None = None
        """What is in handling; None once it was put aside."""
        self.handled = 0
        self.made = 0
        """Instances made so far."""
        self.ended_because = ""
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    def turn(self, throughput: int) -> None:
        """Handle at most ``throughput`` messages, signals before each."""
        if self._signals is not None:
            self._obey()
        user = self._user
        left = throughput * self.spec.throughput
        while user and left and not self.suspended and not self._busy:
            left -= 1
            actor = self.actor
            if actor is None:
                break
            try:
                envelope = user.popleft()
            except IndexError:
                # A sender dropped the oldest message of a full mailbox.
                break
            message = envelope.message
            self.current = envelope
            if self._extras is not None:
                self._room_made()
            try:
                if envelope.reply_to is not None and self._expired(envelope):
                    continue
                if type(message) in _INTERNAL:
                    result = self._internal(actor, envelope)
                else:
                    result = actor.on_receive(message)
                if result is not None and type(result) is CoroutineType:
                    self._go_async(envelope, result)
                    break
                if envelope.reply_to is not None:
                    self._answer(envelope, result)
                self.handled += 1
            except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                self.failed(envelope, error)
            if self._signals is not None:
                self._obey()
            if self.stopped._set:
                break
        self._after_turn()

    def hand(self, message: Any) -> None:
        """Handle ``message`` within the caller's turn, when nothing stands before it; else put it.

        For who runs on this cell's own dispatcher and thread. A turn of its own costs as much as
        many a handler, and comes when what the message needs is in the cache no more.

        Raises:
            pykka.ActorDeadError: the actor has stopped.
        """
        if self.stopped._set:
            raise pykka.ActorDeadError(f"{self.ref} not found")
        nesting = self.dispatcher.nesting
        actor = self.actor
        if (
            self.scheduled
            or self.suspended
            or self._busy
            or self._extras is not None
            or actor is None
            or nesting is None
            or nesting.depth >= NESTED
            or nesting.thread != get_ident()
            or type(message) in _INTERNAL
        ):
            self.put(Envelope(message))
            return
        nesting.depth += 1
        if nesting.depth == 1:
            nesting.began()
        # What is put meanwhile waits for the end of this, as in a turn.
        self.scheduled = True
        self.current = envelope = Envelope(message)
        handled = False
        try:
            result = actor.on_receive(message)
            if result is not None and type(result) is CoroutineType:
                self._go_async(envelope, result)
            else:
                self.handled += 1
                handled = True
        except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
            self.failed(envelope, error)
        nesting.depth -= 1
        if not nesting.depth:
            nesting.ended(self)
        if not handled or self._extras is not None:
            self._after_turn()
            return
        self.current = None
        self.scheduled = False
        # Read again: what another thread put before the flag fell has asked for no turn.
        if self._signals is not None or self._user is not None:
            self._more()

    def _after_turn(self) -> None:
        """Say that the turn is over, and ask for the next one where it is wanted."""
        if not self._busy:
            self.current = None
        extras = self._extras
        if extras is not None:
            if extras.idle is not None:
                extras.idle.touched()
            self._room_made()
        self.scheduled = False
        # Read again: what another thread put before the flag fell has asked for no turn.
        if self.stopped._set and not self._signals:
            self._bury_rest("stopped")
        elif self._signals is not None or self._user is not None:
            self._more()

    def _more(self) -> None:
        """Ask for a turn when something waits for one."""
        user = self._user
        if self._signals is not None:
            self._wake()
        elif user:
            if not self.suspended and not self._busy:
                self.scheduled = True
                self.dispatcher.schedule(self)
        elif user is not None:
            # An empty deque is 760 bytes; most actors are idle most of the time.
            self._user = None
            if user:
                # Another thread put something in between.
                self._adopt(user)
                self.scheduled = True
                self.dispatcher.schedule(self)

    def _internal(self, actor: Actor, envelope: Envelope[Any]) -> Any:
        message = envelope.message
        kind = type(message)
        if kind is _ActorStop:
            return self.stop_in_turn()
        if kind is Tick:
            if not message.due():
                return None
            envelope.message = message.inner
            return actor.on_receive(message.inner)
        if kind is Fence:
            message.reach()
            return None
        if kind is Terminated:
            return actor.on_receive(message) if expected(self._cell(), message) else None
        return actor._handle_receive(message)

    def _cell(self) -> Any:
        return self

    def _answer(self, envelope: Envelope[Any], result: Any) -> None:
        if self.current is envelope and not answer(envelope.reply_to, result):  # type: ignore[arg-type]  # looked at by the caller
            self.system.counts.late_replies += 1

    def _expired(self, envelope: Envelope[Any]) -> bool:
        """Whether nobody waits for the answer of an ask any more; then it is not handled."""
        if type(envelope) is not Ask or envelope.deadline is None:
            return False
        now = self.system.clock.now()
        if now < envelope.deadline:
            return False
        future = envelope.reply_to
        # Its timer may have told the asker already, and counted it.
        if future is not None and fail(future, AskTimeout(self.path, 0.0)):
            self.system.counts.expired_asks += 1
        return True

    # --- async handlers ------------------------------------------------------------------------

    def _go_async(self, envelope: Envelope[Any], first: Coroutine[Any, Any, Any]) -> None:
        loop = self.dispatcher.loop
        if loop is None:
            first.close()
            raise NoLoop(self.path, "a handler")
        self._busy = True
        self._task = loop.create_task(self._drain(envelope, first))

    async def _drain(self, envelope: Envelope[Any], first: Coroutine[Any, Any, Any]) -> None:
        """Await one handler after the other, a turn's worth of them in this one task."""
        handling.set(self._cell())
        left = self.dispatcher.throughput * self.spec.throughput
        current: Envelope[Any] | None = envelope
        result: Any = first
        while current is not None:
            try:
                if type(result) is CoroutineType:
                    result = await timed(result, self)
                if current.reply_to is not None:
                    self._answer(current, result)
                self.handled += 1
            except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                self.failed(current, error)
            current = None
            left -= 1
            if self._signals is not None:
                self._obey()
            while current is None and left > 0 and not self.suspended and not self.stopped._set:
                user, actor = self._user, self.actor
                if not user or actor is None:
                    break
                try:
                    current = user.popleft()
                except IndexError:
                    break
                self.current = current
                if self._extras is not None:
                    self._room_made()
                if current.reply_to is not None and self._expired(current):
                    current = None
                    continue
                try:
                    if type(current.message) in _INTERNAL:
                        result = self._internal(actor, current)
                    else:
                        result = actor.on_receive(current.message)
                except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                    self.failed(current, error)
                    current = None
                    left -= 1
        self._task_ended()

    def run_hook(self, hook: Coroutine[Any, Any, Any] | None) -> None:
        """Await a hook in a task of its own; messages wait meanwhile. Not for the hook's errors.

        Raises:
            NoLoop: there is no loop to await it on.
        """
        if hook is None:
            return
        loop = self.dispatcher.loop
        if loop is None:
            hook.close()
            raise NoLoop(self.path, "a hook")
        if self._task is not None:
            # Asked for by the handler at work: after it.
            self.extras().then = lambda: self.run_hook(hook)
            return
        self._busy = True
        self._task = loop.create_task(self._await_hook(hook))

    async def _await_hook(self, hook: Coroutine[Any, Any, Any]) -> None:
        try:
            await timed(hook, self)
        except asyncio.CancelledError:
            # Cut off by a stop, which goes on below.
            self.system.log_cut_off(self.path)
        finally:
            self._task_ended()

    def _task_ended(self) -> None:
        self._busy = False
        self._task = None
        self.current = None
        extras = self._extras
        if extras is not None:
            then, extras.then = extras.then, None
            if extras.idle is not None:
                extras.idle.touched()
            self._room_made()
            if then is not None:
                then()
        if self.stopped._set:
            self._bury_rest("stopped")
        elif self._user and not self.suspended and not self.scheduled:
            self.scheduled = True
            self.dispatcher.schedule(self)

    def when_quiet(self, call: Any, *, cut_off: bool) -> None:
        """Do ``call`` once no handler is at work, which is now or when its task has ended."""
        task = self._task
        if task is None or asyncio.current_task(task.get_loop()) is task:
            call()
            return
        self.extras().then = call
        if cut_off:
            task.cancel()

    def slow_turn(self, seconds: float) -> None:
        """A turn of this cell took long."""
        self.system.events.publish("slow_turn", self.path, f"{seconds:.3f} s")

    # --- what the life of a cell decides ---------------------------------------------------------

    def stop_in_turn(self) -> Any:
        """A stop came through the mailbox; a coroutine when there is something to await."""
        raise NotImplementedError

    def failed(self, envelope: Envelope[Any], error: BaseException) -> None:
        """A handler raised."""
        raise NotImplementedError
