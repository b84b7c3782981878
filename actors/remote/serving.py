"""The actors of this process as its peers see them: told, asked, watched, stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pykka
from pykka._envelope import Envelope

from actors.ask import Ask
from actors.errors import NotEncodable, RemoteError
from actors.events import DeadLetter
from actors.future import Future, fail
from actors.links.link import LATER, Link
from actors.mailbox.fence import Fence
from actors.remote.codec import Codec
from actors.remote.wire import ENDED, REPLY, TOLD, encode
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["ERROR", "Serving"]

ERROR: Final = "!"
"""Kind of an answer that is an error."""


class Serving:
    """See the module. Its methods run on the event loop of its node.

    Args:
        system: of the actors.
        name: of this process.
        codec: how messages travel.
        say: sends an item of a kind to a peer.
    """

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        codec: Codec,
        say: Callable[[str, int, Any], None],
    ) -> None:
        self.exported: dict[str, ActorRef[Any]] = {}
        self._system = system
        self._name = name
        self._codec = codec
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._watched: dict[tuple[str, int], Subscription] = {}

    def stopped(self, actor: str) -> None:
        """A peer wants an actor to stop."""
        ref = self.exported.get(actor)
        if ref is not None:
            ref.stop(block=False)

    def unwatched(self, peer: str, reference: int) -> None:
        """A peer took a watch back."""
        subscription = self._watched.pop((peer, reference), None)
        if subscription is not None:
            subscription.cancel()

    def lost(self, peer: str) -> None:
        """A peer is gone with its watches."""
        for key in [key for key in self._watched if key[0] == peer]:
            self._watched.pop(key).cancel()

    def told(self, link: Link, groups: list[tuple[str, str, bytes]]) -> object:
        """Put tells into mailboxes; confirmed when all of them have been handled."""
        number = link.receiving
        left = len(groups)

        def handled() -> None:
            nonlocal left
            left -= 1
            if not left:
                link.handled(number)

        def reached() -> None:
            if threading.get_ident() == self._thread:
                handled()
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(handled)

        for actor, kind, data in groups:
            ref = self.exported.get(actor)
            try:
                messages = self._codec.decode(kind, data)
            except NotEncodable as error:
                self._refuse(link.peer, actor, [data], str(error))
                reached()
                continue
            if ref is None or not ref.is_alive():
                self._refuse(link.peer, actor, messages, "not_found")
                reached()
                continue
            cell = ref._cell
            before = cell.dropped
            put = cell.put
            for message in messages:
                put(Envelope(message))
            if cell.dropped != before:
                self._say(link.peer, TOLD, (actor, "mailbox_full", cell.dropped - before))
            cell.put_exempt(Envelope(Fence(reached)))
        return LATER

    def _refuse(self, peer: str, actor: str, messages: list[Any], reason: str) -> None:
        for message in messages:
            letter = DeadLetter(Envelope(message), f"{self._name}:{actor}", reason)
            self._system.dead_letters.add(letter)
        self._say(peer, TOLD, (actor, reason, len(messages)))

    def asked(self, peer: str, item: tuple[int, str, str, bytes, int]) -> None:
        """Put an ask into a mailbox; its answer goes back."""
        reference, actor, kind, data, milliseconds = item
        ref = self.exported.get(actor)
        try:
            if ref is None:
                raise RemoteError(f"{self._name}:{actor}", "not_found", "it is not exported")
            message = self._codec.decode(kind, data)[0]
        except (RemoteError, NotEncodable, IndexError) as error:
            self._reply_error(peer, reference, error)
            return
        future = Future[Any]()
        future.when_set(lambda: self._reply(peer, reference, future))
        if ref.is_alive():
            deadline = self._system.clock.now() + milliseconds / 1_000
            ref._cell.put(Ask(message, future, deadline))
        else:
            fail(future, pykka.ActorDeadError(f"{ref} not found"))

    def _reply(self, peer: str, reference: int, future: Future[Any]) -> None:
        try:
            value = future.get(timeout=0)
            kind = self._codec.kind(value)
            self._say(peer, REPLY, (reference, kind, self._codec.encode(kind, [value])))
        except BaseException as error:  # noqa: BLE001 - the asker gets it
            self._reply_error(peer, reference, error)

    def _reply_error(self, peer: str, reference: int, error: BaseException) -> None:
        code = getattr(error, "reason", None) or getattr(error, "code", type(error).__name__)
        self._say(peer, REPLY, (reference, ERROR, encode((str(code), str(error)))))

    def watched(self, name: str, item: tuple[int, str]) -> None:
        """A peer watches an actor of this process."""
        reference, actor = item
        ref = self.exported.get(actor)
        if ref is None:
            self._say(name, ENDED, (reference, "not_found"))
            return

        def ended(terminated: Terminated) -> None:
            self._watched.pop((name, reference), None)
            self._say(name, ENDED, (reference, terminated.reason))

        self._watched[name, reference] = Subscription(ended)
        self._watched[name, reference] = self._system.watch(ref, ended)
