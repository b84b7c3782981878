"""The mailbox: a signal queue that is emptied before each user message, and a bounded user queue.

Safe from any thread. Most actors are idle most of the time, so an empty queue is dropped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.errors import MailboxFull
from actors.events import DeadLetter
from actors.future import Future, answer, fail
from actors.mailbox.extras import Extras, Room
from actors.mailbox.fence import Fence
from actors.mailbox.lanes import Lanes
from actors.mailbox.spec import MailboxSpec, StopFlag

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Dispatcher
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["Mailbox"]

_DEFAULT_SPEC = MailboxSpec()
_SWAP = threading.Lock()
"""Held while a cell gets a queue; taking messages out and adding to a present one need no lock."""

Queue = deque[Envelope[Any]] | Lanes


class Mailbox:
    """See the module. Also the pykka inbox of its actor (``put``)."""

    __slots__ = (
        "__weakref__",
        "_extras",
        "_signals",
        "_user",
        "dispatcher",
        "dropped",
        "name",
        "parent",
        "ref",
        "scheduled",
        "spec",
        "stopped",
        "system",
    )

    def __init__(
        self, system: ActorSystem, name: str, spec: MailboxSpec | None, dispatcher: Dispatcher
    ) -> None:
        self.system = system
        self.name = name
        self.spec = spec or _DEFAULT_SPEC
        self.dispatcher = dispatcher
        self.parent: Any = None
        """The cell of its supervisor; None for one that the system itself started."""
        self.ref: ActorRef[Any] | None = None
        self.stopped = StopFlag()
        self.scheduled = False
        self.dropped = 0
        self._user: Queue | None = None
        self._signals: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
        self._extras: Extras | None = None

    @property
    def path(self) -> str:
        """Where it stands in the tree, such as ``/shard-0/agents/greeter``."""
        above = f"/{self.system.name}" if self.parent is None else self.parent.path
        return f"{above}/{self.name}"

    @property
    def depth(self) -> int:
        """User messages that wait."""
        return len(self._user) if self._user else 0

    def waiting(self) -> list[Any]:
        """The messages that wait, the next one first."""
        user = self._user
        # A copy in one step: other threads add meanwhile.
        return [envelope.message for envelope in list(user)] if user else []

    def extras(self) -> Extras:
        """What only some cells have, made when it is not there."""
        found = self._extras
        if found is None:
            with _SWAP:
                found = self._extras
                if found is None:
                    found = self._extras = Extras()
        return found

    # --- putting in --------------------------------------------------------------------------

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
            self.dispatcher.schedule(self)

    def put_exempt(self, envelope: Envelope[Any]) -> None:
        """Put a message that has no bound: there is at most one of each cause."""
        user = self._user
        if user is None:
            user = self._fresh()
        user.append(envelope)
        if self._user is not user:
            self._adopt(user)
        if self.stopped._set:
            self._bury_rest("stopped")
        else:
            self._wake()

    def signal(self, call: Callable[..., object], *args: Any) -> None:
        """Have ``call`` done in the actor's own turn, before its next message. Any thread."""
        with _SWAP:
            if self._signals is None:
                self._signals = []
            self._signals.append((call, args))
        self._wake()

    def _wake(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.dispatcher.schedule(self)

    def _obey(self) -> None:
        while self._signals is not None:
            with _SWAP:
                signals, self._signals = self._signals, None
            for call, args in signals or ():
                call(*args)

    def turn(self, throughput: int) -> None:
        """Part of what a dispatcher needs."""
        raise NotImplementedError

    def _fresh(self) -> Queue:
        with _SWAP:
            user = self._user
            if user is None:
                priority = self.spec.priority
                user = deque() if priority is None else Lanes(self.spec.lanes, priority)
                self._user = user
            return user

    def _adopt(self, orphan: Queue) -> None:
        """Take back a queue that was dropped as empty while a sender was adding to it.

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

    # --- no room -----------------------------------------------------------------------------

    def _has_room(self, envelope: Envelope[Any], user: Queue) -> bool:
        """Apply the overflow policy; whether the envelope goes into the full mailbox."""
        if type(envelope.message) is _ActorStop:
            return True
        spec = self.spec
        if spec.overflow == "block" and self._wait_for_room():
            return True
        self.system.events.publish("overflow", self.path, spec.overflow)
        self.system.counts.overflows += 1
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
            oldest = user.oldest() if isinstance(user, Lanes) else user.popleft()
        except IndexError:
            return True
        if type(oldest.message) is _ActorStop or getattr(type(oldest.message), "of_runtime", False):
            user.appendleft(oldest)
            self._refuse(envelope)
            return False
        self._refuse(oldest)
        return True

    def _wait_for_room(self) -> bool:
        """Block this thread until there is room; False when there is none in time."""
        if self.dispatcher.owns_thread() or asyncio._get_running_loop() is not None:
            # Blocking an event loop would stop everyone on it, perhaps who would make the room.
            return False
        extras = self.extras()
        room = extras.room
        if room is None:
            with _SWAP:
                room = extras.room = extras.room or Room()
        deadline = time.monotonic() + self.spec.block_timeout_s
        with room.condition:
            # Noted before the look: who makes room sees it, or this look sees the room.
            room.waiting += 1
            try:
                while self.depth >= self.spec.capacity and not self.stopped._set:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    room.condition.wait(left)
            finally:
                room.waiting -= 1
        return True

    def when_room(self) -> Future[None]:
        """A future that is set when there is room, or when the actor has stopped."""
        future = Future[None]()
        extras = self.extras()
        with _SWAP:
            room = extras.room = extras.room or Room()
        with room.condition:
            room.futures.append(future)
        if self.depth < self.spec.capacity or self.stopped._set:
            room.made()
        return future

    def _room_made(self) -> None:
        """A message was taken out: who waits for room goes on, before that one is handled."""
        extras = self._extras
        if extras is not None and extras.room is not None and self.depth < self.spec.capacity:
            extras.room.made()

    def _refuse(self, envelope: Envelope[Any]) -> None:
        if envelope.reply_to is not None:
            fail(envelope.reply_to, MailboxFull(self.path, self.spec.capacity))
        self.system.dead_letters.add(DeadLetter(envelope, self.path, "mailbox_full"))

    # --- part of pykka's inbox contract --------------------------------------------------------

    def get(self) -> Envelope[Any]:
        """The dispatcher takes messages by itself: raises ``IndexError``."""
        raise IndexError("mailboxes are drained by their dispatcher")

    def empty(self) -> bool:
        """Whether no user message waits."""
        return not self._user

    # --- the end -----------------------------------------------------------------------------

    def _bury_rest(self, reason: str) -> None:
        extras = self._extras
        if extras is not None and extras.handing_on is not None:
            # Its order is promised, also when several threads come upon the end.
            with extras.handing_on:
                self._bury_all(reason)
        else:
            self._bury_all(reason)

    def _bury_all(self, reason: str) -> None:
        extras = self._extras
        stash = None
        if extras is not None:
            stash, extras.stash = extras.stash, None
        while stash:
            self._bury(stash.popleft(), reason)
        user = self._user
        self._user = None
        while user:
            try:
                envelope = user.popleft()
            except IndexError:
                # Another thread buries too.
                break
            self._bury(envelope, reason)
        if extras is not None and extras.room is not None:
            extras.room.made()

    def _bury(self, envelope: Envelope[Any], reason: str, text: str = "") -> None:
        message = envelope.message
        if type(message) is _ActorStop:
            if envelope.reply_to is not None:
                answer(envelope.reply_to, None)
            return
        inner = getattr(type(message), "of_runtime", False)
        if inner:
            # A tick or the news of an end: made by the runtime for the actor that is no more.
            if type(message) is Fence:
                message.reach()
            return
        extras = self._extras
        if extras is not None and extras.leftovers is not None and not text:
            try:
                extras.leftovers(envelope)
            except Exception as error:  # noqa: BLE001 - then it is a dead letter after all
                self.system.log_failure(self.path, error)
            else:
                return
        if envelope.reply_to is not None:
            dead = pykka.ActorDeadError(f"{self.ref} stopped before handling the message")
            fail(envelope.reply_to, dead)
        self.system.dead_letters.add(DeadLetter(envelope, self.path, reason, text))
