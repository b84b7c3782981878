"""The actors of this process as its peers see them: told, asked, watched, stopped."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pykka
from pykka._envelope import Envelope

from actors.ask import Ask
from actors.errors import ActorError, NotEncodable, RemoteError
from actors.events import DeadLetter
from actors.future import Future, fail
from actors.links.link import LATER, Link
from actors.mailbox.fence import Fence
from actors.remote.codec import Codec
from actors.remote.framing import MAX_ITEM, Group
from actors.remote.wire import ENDED, REPLY, TOLD, encode
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["ERROR", "Serving"]

logger = logging.getLogger("actors.remote")

ERROR: Final = "!"
"""Kind of an answer that is an error."""
_TEXT: Final = 4_000
"""Longest text of an error that travels, in characters."""


class Serving:
    """See the module. Its methods run on the event loop of its node.

    Args:
        system: of the actors.
        name: of this process.
        codec: how messages travel.
        say: sends an item of a kind to a peer; from any thread.
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

    def lost(self, peer: str) -> None:
        """A peer's process is gone with its watches."""
        for key in list(self._watched):
            if key[0] == peer:
                self.unwatched(*key)

    # --- told ----------------------------------------------------------------------------------

    def told(self, link: Link, groups: list[Group]) -> object:
        """Put tells into mailboxes; confirmed when all of them have been handled."""
        cells: dict[Cell, None] = {}
        for actor, kind, data in groups:
            messages = self._read(link.peer, actor, kind, data)
            ref = self.exported.get(actor)
            if ref is None or not ref.is_alive():
                self._refuse(link.peer, actor, messages, "not_found")
                continue
            cell = ref._cell
            cells[cell] = None
            before = cell.dropped
            put = cell.put
            for message in messages:
                put(Envelope(message))
            if cell.dropped != before:
                self._say(link.peer, TOLD, (actor, "mailbox_full", cell.dropped - before))
        if not cells:
            return None
        reached = self._counting_down(link, len(cells))
        for cell in cells:
            cell.put_exempt(Envelope(Fence(reached)))
        return LATER

    def _counting_down(self, link: Link, left: int) -> Callable[[], None]:
        """What each mailbox calls when it got through; the last one confirms the frame."""
        number, epoch = link.receiving, link.peer_epoch

        def handled() -> None:
            nonlocal left
            left -= 1
            if not left:
                link.handled(number, epoch)

        def reached() -> None:
            if threading.get_ident() == self._thread:
                handled()
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(handled)

        return reached

    def _read(self, peer: str, actor: str, kind: str, data: bytes) -> list[Any]:
        """The messages of a group; what cannot be read is dead letters, as bytes."""
        try:
            return self._codec.decode(kind, data)
        except Exception as error:  # noqa: BLE001 - a codec of the user's; the rest is to arrive
            whole = self._as_unreadable(error, kind)
        try:
            each = self._codec.decode_each(kind, data)
        except Exception:  # noqa: BLE001 - as above, and logged there
            each = [whole]
        bad = [one for one in each if isinstance(one, NotEncodable)]
        self._refuse(
            peer, actor, [data] * len(bad), NotEncodable.code, str(bad[0] if bad else whole)
        )
        return [one for one in each if not isinstance(one, NotEncodable)]

    def _as_unreadable(self, error: Exception, kind: str) -> NotEncodable:
        if isinstance(error, NotEncodable):
            return error
        logger.error("the codec failed to decode a %s", kind or "plain value", exc_info=error)
        return NotEncodable(kind or "plain value", _text(error))

    def _refuse(
        self, peer: str, actor: str, messages: Sequence[Any], reason: str, text: str = ""
    ) -> None:
        for message in messages:
            letter = DeadLetter(Envelope(message), f"{self._name}:{actor}", reason, text)
            self._system.dead_letters.add(letter)
        if messages:
            self._say(peer, TOLD, (actor, reason, len(messages)))

    # --- asked ---------------------------------------------------------------------------------

    def asked(self, peer: str, item: tuple[int, str, str, bytes, float]) -> None:
        """Put an ask into a mailbox; its answer goes back."""
        reference, actor, kind, data, deadline = item
        left = deadline - time.monotonic()
        if left <= 0:
            # Its asker was told by its own clock.
            self._system.counts.expired_asks += 1
            return
        ref = self.exported.get(actor)
        if ref is None:
            who = f"{self._name}:{actor}"
            self._reply_error(peer, reference, RemoteError(who, "not_found", "it is not exported"))
            return
        try:
            message = self._codec.decode(kind, data)[0]
        except Exception as error:  # noqa: BLE001 - a codec of the user's; the asker is told
            self._reply_error(peer, reference, self._as_unreadable(error, kind))
            return
        future = Future[Any]()
        future.when_set(lambda: self._reply(peer, reference, future))
        if ref.is_alive():
            ref._cell.put(Ask(message, future, self._system.clock.now() + left))
        else:
            fail(future, pykka.ActorDeadError(f"{ref} not found"))

    def _reply(self, peer: str, reference: int, future: Future[Any]) -> None:
        try:
            value = future.get(timeout=0)
            kind = self._codec.kind(value)
            data = self._codec.encode(kind, [value])
            if len(data) > MAX_ITEM:
                raise NotEncodable(kind, f"{len(data):,} bytes, at most {MAX_ITEM:,} allowed")
        except BaseException as error:  # noqa: BLE001 - the asker gets it
            self._reply_error(peer, reference, error)
        else:
            self._say(peer, REPLY, (reference, kind, data))

    def _reply_error(self, peer: str, reference: int, error: BaseException) -> None:
        if isinstance(error, RemoteError):
            code = error.reason
        else:
            code = error.code if isinstance(error, ActorError) else type(error).__name__
        self._say(peer, REPLY, (reference, ERROR, encode((code, _text(error)))))

    # --- watched -------------------------------------------------------------------------------

    def watched(self, name: str, item: tuple[int, str]) -> None:
        """A peer watches an actor of this process."""
        reference, actor = item
        ref = self.exported.get(actor)
        if ref is None:
            self._say(name, ENDED, (reference, "not_found"))
            return
        key = (name, reference)

        def ended(terminated: Terminated) -> None:
            self._watched.pop(key, None)
            self._say(name, ENDED, (reference, terminated.reason))

        # Before the watch: the end may be told in the call below, or by another thread.
        self._watched[key] = Subscription(ended)
        subscription = self._system.watch(ref, ended)
        if key in self._watched:
            self._watched[key] = subscription
            if not subscription.active:
                self._watched.pop(key, None)

    def unwatched(self, peer: str, reference: int) -> None:
        """A peer took a watch back."""
        subscription = self._watched.pop((peer, reference), None)
        if subscription is not None:
            subscription.cancel()


def _text(error: BaseException) -> str:
    """What an error says, as text that can travel."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the error of a user; its name has to do
        text = f"{type(error).__name__} has no text"
    if len(text) > _TEXT:
        text = f"{text[:_TEXT]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode()
