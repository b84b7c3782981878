"""A cell: the part of an actor that outlives its instances.

It holds the mailbox (a system queue that drains before each user message, and a bounded user
queue), takes turns on a dispatcher, and decides with its restart policy what a failure means. A
restart makes a new instance of the actor's class with the arguments of the first; ref, mailbox and
what waits in it stay.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from collections import deque
from collections.abc import Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from actors.errors import HandlerCancelled, MailboxFull
from actors.events import DeadLetter
from actors.future import answer, fail
from actors.mailbox import MailboxSpec, StopFlag
from actors.restart import RestartPolicy, RestartTracker

if TYPE_CHECKING:
    from actors.actor import Actor, ActorRef
    from actors.system import ActorSystem

__all__ = ["Cell", "constructing"]

constructing: contextvars.ContextVar[Cell | None] = contextvars.ContextVar(
    "constructing", default=None
)
"""The cell whose actor is being made."""

_INTERNAL = frozenset({_ActorStop, ProxyCall, ProxyGetAttr, ProxySetAttr})
_DEFAULT_SPEC = MailboxSpec()
_SWAP = threading.Lock()
"""Held while a cell gets a deque; taking messages out and adding to a present one need no lock."""


class Cell:
    """See the module. Also the pykka inbox of its actor (``put``)."""

    __slots__ = (
        "__weakref__",
        "_busy",
        "_system_queue",
        "_task",
        "_user",
        "actor",
        "dropped",
        "handled",
        "made",
        "name",
        "parent",
        "policy",
        "recipe",
        "redelivered",
        "ref",
        "scheduled",
        "spec",
        "stopped",
        "suspended",
        "system",
        "tracker",
    )  # fmt: skip

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        spec: MailboxSpec | None,
        policy: RestartPolicy | None,
    ) -> None:
        self.system = system
        self.name = name
        self.spec = spec or _DEFAULT_SPEC
        self.policy = policy
        self.tracker: RestartTracker | None = RestartTracker(policy) if policy else None
        self.recipe: tuple[type[Actor], tuple[Any, ...], dict[str, Any]] | None = None
        self.actor: Actor | None = None
        self.ref: ActorRef[Any] | None = None
        self.stopped = StopFlag()
        self.suspended = True
        self.scheduled = False
        self.redelivered = 0
        self.handled = 0
        self.dropped = 0
        self.made = 0
        self._user: deque[Envelope[Any]] | None = None
        self._system_queue: deque[Envelope[Any]] | None = None
        self._busy = False
        self._task: Any = None

    @property
    def path(self) -> str:
        """Where it stands in the tree, such as ``/shard-0/Greeter``."""
        return f"/{self.system.name}/{self.name}"

    @property
    def depth(self) -> int:
        """User messages that wait."""
        return len(self._user) if self._user else 0

    # --- the mailbox -------------------------------------------------------------------------

    def put(self, envelope: Envelope[Any]) -> None:
        """Put a message into the mailbox. Safe from any thread; never raises for a full one.

        A stop stands behind what was told before, as pykka's contract has it, and has no bound.
        """
        user = self._user
        if user is None:
            user = self._fresh()
        if len(user) >= self.spec.capacity and not self._has_room(envelope, user):
            return
        user.append(envelope)
        if self._user is not user:
            self._adopt(user)
        if self.stopped._set:
            # The actor stopped between the caller's look and the append.
            self._bury_rest("stopped")
        elif not self.scheduled:
            self.scheduled = True
            self.system.dispatcher.schedule(self)

    def _fresh(self) -> deque[Envelope[Any]]:
        with _SWAP:
            user = self._user
            if user is None:
                user = self._user = deque()
            return user

    def _adopt(self, orphan: deque[Envelope[Any]]) -> None:
        """Take back a deque that was dropped as empty while a sender was adding to it.

        What is in it is older than what its senders put elsewhere, so it goes to the front.
        """
        with _SWAP:
            while True:
                current = self._user
                if current is orphan:
                    return
                if current is None:
                    self._user = orphan
                    return
                older = deque[Envelope[Any]]()
                while orphan:
                    older.appendleft(orphan.popleft())
                current.extendleft(older)
                orphan = current

    def _has_room(self, envelope: Envelope[Any], user: deque[Envelope[Any]]) -> bool:
        """Apply the overflow policy; whether the envelope goes into the full mailbox."""
        if type(envelope.message) is _ActorStop:
            return True
        spec = self.spec
        self.system.events.publish("overflow", self.path, spec.overflow)
        if spec.on_spill is not None:
            try:
                spec.on_spill(envelope)
            except Exception as error:  # noqa: BLE001 - the sender must not fail for it
                self.system.log_failure(self.path, error)
                self._refuse(envelope)
            return False
        self.dropped += 1
        if spec.overflow != "drop_old":
            self._refuse(envelope)
            return False
        try:
            oldest = user.popleft()
        except IndexError:
            return True
        if type(oldest.message) is _ActorStop:
            user.appendleft(oldest)
            self._refuse(envelope)
            return False
        self._refuse(oldest)
        return True

    def _refuse(self, envelope: Envelope[Any]) -> None:
        if envelope.reply_to is not None:
            fail(envelope.reply_to, MailboxFull(self.path, self.spec.capacity))
        self.system.dead_letters.add(DeadLetter(envelope, self.path, "mailbox_full"))

    def get(self) -> Envelope[Any]:
        """Part of pykka's inbox contract; the dispatcher takes messages by itself."""
        raise IndexError("mailboxes are drained by their dispatcher")

    def empty(self) -> bool:
        """Whether no user message waits."""
        return not self._user

    # --- turns -------------------------------------------------------------------------------

    def turn(self, throughput: int) -> None:
        """Handle at most ``throughput`` messages, system messages before each."""
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
            try:
                if type(message) in _INTERNAL:
                    result = self._internal(actor, envelope)
                else:
                    result = actor.on_receive(message)
                if result is not None and type(result) is CoroutineType:
                    self._go_async(envelope, result)
                    break
                if envelope.reply_to is not None:
                    answer(envelope.reply_to, result)
                self.handled += 1
                self.redelivered = 0
            except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                self._failed(envelope, error)
            if self.stopped._set:
                break
        self.scheduled = False
        # Read again: what another thread put before the flag fell has asked for no turn.
        user = self._user
        if self.stopped._set:
            self._bury_rest("stopped")
        elif user:
            if not self.suspended and not self._busy:
                self.scheduled = True
                self.system.dispatcher.schedule(self)
        elif user is not None:
            # An empty deque is 760 bytes; most actors are idle most of the time.
            self._user = None
            if user:
                # Another thread put something in between.
                self._adopt(user)
                self.scheduled = True
                self.system.dispatcher.schedule(self)

    def _internal(self, actor: Actor, envelope: Envelope[Any]) -> Any:
        if type(envelope.message) is _ActorStop:
            self.stop_now()
            return None
        return actor._handle_receive(envelope.message)

    def _go_async(self, envelope: Envelope[Any], first: Coroutine[Any, Any, Any]) -> None:
        try:
            loop = self.system.loop
        except RuntimeError:
            first.close()
            raise
        self._busy = True
        self._task = loop.create_task(self._drain(envelope, first))

    async def _drain(self, envelope: Envelope[Any], first: Coroutine[Any, Any, Any]) -> None:
        """Await one handler after the other, a turn's worth of them in this one task."""
        left = self.system.dispatcher.throughput
        current: Envelope[Any] | None = envelope
        result: Any = first
        while current is not None:
            try:
                if type(result) is CoroutineType:
                    result = await result
                if current.reply_to is not None:
                    answer(current.reply_to, result)
                self.handled += 1
                self.redelivered = 0
            except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                self._failed(current, error)
            current = None
            left -= 1
            user, actor = self._user, self.actor
            if user and actor and left > 0 and not self.suspended and not self.stopped._set:
                try:
                    current = user.popleft()
                except IndexError:
                    break
                try:
                    if type(current.message) in _INTERNAL:
                        result = self._internal(actor, current)
                    else:
                        result = actor.on_receive(current.message)
                except BaseException as error:  # noqa: BLE001 - one actor's failure is its own
                    self._failed(current, error)
                    current = None
        self._busy = False
        self._task = None
        if self.stopped.is_set():
            self._bury_rest("stopped")
        elif self._user and not self.suspended and not self.scheduled:
            self.scheduled = True
            self.system.dispatcher.schedule(self)

    # --- failure -----------------------------------------------------------------------------

    def _failed(self, envelope: Envelope[Any], error: BaseException) -> None:
        if self.stopped._set:
            # Cut off by the stop, or failed on its way out.
            self._bury(envelope, "stopped", "".join(traceback.format_exception(error)))
            return
        if isinstance(error, asyncio.CancelledError) and not (
            self._task and self._task.cancelling()
        ):
            error = HandlerCancelled(self.path, error)
        if envelope.reply_to is not None:
            # pykka's rule: an ask that raises fails its asker, not the actor.
            if isinstance(error, Exception):
                fail(envelope.reply_to, error)
                return
            # What ends this actor must not end its asker too.
            fail(envelope.reply_to, pykka.ActorDeadError(f"{self.ref} was ended by {error!r}"))
        actor = self.actor
        text = "".join(traceback.format_exception(error))
        self.system.log_failure(self.path, error)
        self.system.events.publish("failed", self.path, repr(error))
        if actor is not None:
            try:
                actor.on_failure(type(error), error, error.__traceback__)
            except BaseException as second:  # noqa: BLE001 - the first failure is what counts
                self.system.log_failure(self.path, second)
        delay = None
        if self.tracker is not None and isinstance(error, Exception):
            delay = self.tracker.failed(self.system.clock.now())
        policy = self.policy
        if delay is not None and policy is not None and envelope.reply_to is None:
            if self.redelivered < policy.max_redeliveries:
                self.redelivered += 1
                self._fresh().appendleft(envelope)
            else:
                self.redelivered = 0
                letter = DeadLetter(envelope, self.path, "failed", text)
                self.system.dead_letters.add(letter)
        elif envelope.reply_to is None:
            self.system.dead_letters.add(DeadLetter(envelope, self.path, "failed", text))
        if delay is None:
            if self.tracker is not None:
                self.system.events.publish("gave_up", self.path, repr(error))
            self._end()
            self._bury_rest("stopped" if self.tracker is None else "gave_up")
            return
        self.suspended = True
        self.actor = None
        self.system.dispatcher.call_later(delay, self._restart)

    def _restart(self) -> None:
        if self.stopped.is_set() or self.recipe is None:
            return
        try:
            self.make()
        except BaseException as error:  # noqa: BLE001 - a constructor may raise anything
            self.system.log_failure(self.path, error)
            delay = None
            if self.tracker is not None and isinstance(error, Exception):
                delay = self.tracker.failed(self.system.clock.now())
            if delay is None:
                self.system.events.publish("gave_up", self.path, repr(error))
                self._end()
                self._bury_rest("gave_up")
            else:
                self.system.dispatcher.call_later(delay, self._restart)
            return
        self.system.events.publish("restarted", self.path)
        self.resume()

    # --- life --------------------------------------------------------------------------------

    def make(self) -> ActorRef[Any]:
        """Make an instance of the actor and run its ``on_start``."""
        if self.recipe is None:
            raise RuntimeError("a cell without a recipe makes no actor")
        cls, args, kwargs = self.recipe
        token = constructing.set(self)
        try:
            actor = cls(*args, **kwargs)
        finally:
            constructing.reset(token)
        ref = self.ref
        if ref is None:
            raise TypeError(f"{cls.__name__}.__init__() did not call super().__init__()")
        self.made += 1
        self.actor = actor
        actor.on_start()
        return ref

    def resume(self) -> None:
        """Take turns again."""
        self.suspended = False
        if self._user and not self.scheduled:
            self.scheduled = True
            self.system.dispatcher.schedule(self)

    def stop_now(self) -> None:
        """Stop in good order: ``on_stop`` runs, what is left in the mailbox is dead letters."""
        if self.stopped._set:
            return
        actor = self.actor
        self._end()
        if actor is not None:
            try:
                actor.on_stop()
            except BaseException as error:  # noqa: BLE001 - it is stopping anyway
                self.system.log_failure(self.path, error)
        task = self._task
        if task is not None and asyncio.current_task(task.get_loop()) is not task:
            task.cancel()
        self._bury_rest("stopped")

    def abandon(self) -> None:
        """The actor's start failed; what was told to it meanwhile is dead letters."""
        self.stopped.set()
        self.suspended = True
        self._bury_rest("stopped")

    def _end(self) -> None:
        self.stopped.set()
        self.suspended = True
        self.actor = self.recipe = None  # who keeps the ref must not keep these
        self.system.ended(self)

    def _bury_rest(self, reason: str) -> None:
        user = self._user
        self._user = None
        while user:
            try:
                envelope = user.popleft()
            except IndexError:
                # Another thread buries too.
                return
            self._bury(envelope, reason)

    def _bury(self, envelope: Envelope[Any], reason: str, text: str = "") -> None:
        if type(envelope.message) is _ActorStop:
            if envelope.reply_to is not None:
                answer(envelope.reply_to, None)
            return
        if envelope.reply_to is not None:
            dead = pykka.ActorDeadError(f"{self.ref} stopped before handling the message")
            fail(envelope.reply_to, dead)
        self.system.dead_letters.add(DeadLetter(envelope, self.path, reason, text))
