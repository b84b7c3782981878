"""``RemoteNode``: one process among others, whose actors can be told, asked and watched.

What is told in one turn of the event loop goes out as one frame. A frame of tells is confirmed to
its sender when every message of it has been handled (or is a dead letter): a process that dies
before gets them again, or its replacement does. So a message is handled at least once, and once in
each lifetime of the process. Asks are sent at most once; their askers are told when the process is
lost.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pykka._envelope import Envelope

from actors.errors import ActorError, LinkFull, NotEncodable, RemoteError
from actors.events import DeadLetter
from actors.future import Future, answer, fail
from actors.links.endpoint import LinkClient, LinkServer
from actors.links.hello import Identity, Window
from actors.links.link import Link
from actors.remote.codec import Codec, StructCodec
from actors.remote.ref import RemoteRef
from actors.remote.serving import ERROR, Serving
from actors.remote.wire import ASK, ENDED, REPLY, STOP, TELL, TOLD, UNWATCH, WATCH, decode, encode
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Timer
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["RemoteNode"]

logger = logging.getLogger("actors.remote")


class _Peer:
    """Another process."""

    __slots__ = ("asks", "client", "frames", "grace", "link", "name", "numbers", "tells", "watches")

    def __init__(self, name: str) -> None:
        self.name = name
        self.link: Link | None = None
        self.client: LinkClient | None = None
        self.tells: list[tuple[str, str, list[Any]]] = []
        """Groups of one actor and kind, in order."""
        self.frames: list[tuple[int, Any]] = []
        """Other items by kind of frame, in order."""
        self.asks: dict[int, Future[Any]] = {}
        self.numbers: dict[int, int] = {}
        """The frame that each ask and watch went out in."""
        self.watches: dict[int, tuple[RemoteRef, Subscription]] = {}
        self.grace: Timer | None = None


class _Watch(Subscription):
    """A watch that the other process knows of."""

    __slots__ = ("_cancelled",)

    def __init__(
        self, callback: Callable[[Terminated], None], cancelled: Callable[[], None]
    ) -> None:
        super().__init__(callback)
        self._cancelled = cancelled

    def cancel(self) -> None:
        """Be told no more."""
        if self.active:
            super().cancel()
            self._cancelled()


class RemoteNode:
    """See the module. Made on the event loop of ``system``.

    Args:
        system: its actors can be exported.
        name: of this process among its peers.
        token: secret that all of them share.
        codec: how messages travel.
        grace_s: a peer that is not linked for so long is lost to who watches or asks it.
        window: how much a peer may send before it is handled here.
    """

    def __init__(
        self,
        system: ActorSystem,
        name: str,
        token: bytes,
        *,
        codec: Codec | None = None,
        grace_s: float = 10.0,
        window: Window | None = None,
    ) -> None:
        self.system = system
        self.identity = Identity(name, token)
        self._codec: Codec = codec or StructCodec()
        self._grace_s = grace_s
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._serving = Serving(system, self.identity.name, self._codec, self._say)
        self._peers: dict[str, _Peer] = {}
        self._dirty: dict[str, None] = {}
        self._scheduled = False
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server: LinkServer | None = None
        self._closed = False

    # --- who is there --------------------------------------------------------------------------

    async def listen(self, path: Path, *, accept: Callable[[str], bool] = lambda _: True) -> None:
        """Take links of peers on a Unix socket.

        Raises:
            LinkRefused: the path is too long for a socket.
        """
        self._server = LinkServer(path, self.identity, self, accept=accept, window=self._window)
        await self._server.start()

    def connect(self, peer: str, path: Path) -> None:
        """Keep a link to a peer that listens on ``path``."""
        found = self._peer(peer)
        found.client = LinkClient(path, self.identity, peer, self, window=self._window)
        found.link = found.client.link
        found.client.start()

    def make_link(self, peer: str) -> Link:
        """A link with ``peer`` over a connection that the caller brings; tests use it."""
        found = self._peer(peer)
        found.link = Link(
            self.identity,
            peer,
            on_frame=self.on_frame,
            on_up=self.on_up,
            on_down=self.on_down,
            window=self._window,
        )
        return found.link

    def export(self, name: str, ref: ActorRef[Any]) -> None:
        """Let peers tell, ask and watch this actor by ``name``; another one before it goes."""
        self._serving.exported[name] = ref

    def ref(self, peer: str, name: str) -> RemoteRef:
        """A ref of the actor that ``peer`` exports as ``name``, whether it is there or not."""
        return RemoteRef(self, peer, name)

    def link(self, peer: str) -> Link | None:
        """The link with a peer, for its counters; None before the first connection."""
        return self._peer(peer).link

    def _peer(self, name: str) -> _Peer:
        found = self._peers.get(name)
        if found is None:
            found = self._peers.setdefault(name, _Peer(name))
        if found.link is None and self._server is not None:
            found.link = self._server.expect(name)
        return found

    async def close(self) -> None:
        """Send what waits, close the links, and end what is under way as lost."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        for peer in self._peers.values():
            self._lost(peer)
            if peer.client is not None:
                await peer.client.close()
        if self._server is not None:
            await self._server.close()

    # --- sending -------------------------------------------------------------------------------

    def tell(self, peer: str, name: str, message: Any) -> None:
        """See ``RemoteRef.tell``."""
        self._tell(peer, name, self._codec.kind(message), [message])

    def tell_many(self, peer: str, name: str, messages: list[Any]) -> None:
        """See ``RemoteRef.tell_many``."""
        groups = [
            (kind, list(group)) for kind, group in itertools.groupby(messages, self._codec.kind)
        ]
        for kind, group in groups:
            self._tell(peer, name, kind, group)

    def _tell(self, peer: str, name: str, kind: str, messages: list[Any]) -> None:
        found = self._peer(peer)
        with self._lock:
            tells = found.tells
            if tells and tells[-1][0] == name and tells[-1][1] == kind:
                tells[-1][2].extend(messages)
            else:
                tells.append((name, kind, messages))
            self._soon(peer)

    def _say(self, peer: str, kind: int, item: Any) -> None:
        found = self._peer(peer)
        with self._lock:
            found.frames.append((kind, item))
            self._soon(peer)

    def _soon(self, peer: str) -> None:
        self._dirty[peer] = None
        if self._scheduled or self._loop.is_closed():
            return
        self._scheduled = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._flush)
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._scheduled = False
            dirty = [(name, self._peers[name]) for name in self._dirty]
            self._dirty.clear()
            work = []
            for name, peer in dirty:
                work.append((name, peer, peer.tells, peer.frames))
                peer.tells, peer.frames = [], []
        for name, peer, tells, frames in work:
            # Tells first: what an actor was told before it was asked or watched comes before.
            if tells:
                self._send_tells(name, peer, tells)
            for kind, group in itertools.groupby(frames, lambda item: item[0]):
                self._send(name, peer, kind, [item for _, item in group])

    def _send_tells(self, name: str, peer: _Peer, tells: list[tuple[str, str, list[Any]]]) -> None:
        groups = []
        count = 0
        for actor, kind, messages in tells:
            try:
                groups.append((actor, kind, self._codec.encode(kind, messages)))
                count += len(messages)
            except NotEncodable as error:
                self._dead(name, actor, messages, str(error))
        if groups and not self._send(name, peer, TELL, groups, count):
            for actor, _, messages in tells:
                self._dead(name, actor, messages, "link_full")

    def _send(self, name: str, peer: _Peer, kind: int, items: Any, messages: int = 1) -> bool:
        if peer.link is None:
            peer.link = self._peer(name).link
        if peer.link is None or self._closed:
            return False
        try:
            number = peer.link.send(kind, encode(items), messages)
        except (LinkFull, ActorError) as error:
            logger.warning("%d items for %s not sent: %s", len(items), name, error)
            if kind == ASK:
                for reference, *_ in items:
                    self._answered(peer, reference, RemoteError(name, "link_full", str(error)))
            return False
        if kind in (ASK, WATCH):
            for reference, *_ in items:
                if reference in peer.asks or reference in peer.watches:
                    peer.numbers[reference] = number
        return True

    def _dead(self, peer: str, actor: str, messages: list[Any], reason: str) -> None:
        for message in messages:
            letter = DeadLetter(Envelope(message), f"{peer}:{actor}", reason)
            self.system.dead_letters.add(letter)

    # --- asking --------------------------------------------------------------------------------

    def ask(self, peer: str, name: str, message: Any, timeout_s: float) -> Future[Any]:
        """See ``RemoteRef.ask``."""
        kind = self._codec.kind(message)
        data = self._codec.encode(kind, [message])
        found = self._peer(peer)
        reference = next(self._numbers)
        future = Future[Any]()
        found.asks[reference] = future
        self.system.deadlines.add(future, f"{peer}:{name}", timeout_s)

        def forget() -> None:
            found.asks.pop(reference, None)
            found.numbers.pop(reference, None)

        future.when_set(forget)
        self._say(peer, ASK, (reference, name, kind, data, max(1, int(timeout_s * 1_000))))
        return future

    def _answered(self, peer: _Peer, reference: int, outcome: Any) -> None:
        future = peer.asks.pop(reference, None)
        if future is None:
            self.system.counts.late_replies += 1
        elif isinstance(outcome, RemoteError):
            fail(future, outcome)
        else:
            answer(future, outcome)

    # --- watching ------------------------------------------------------------------------------

    def watch(self, ref: RemoteRef, callback: Callable[[Terminated], None]) -> Subscription:
        """See ``RemoteRef.watch_with``."""
        peer = self._peer(ref.peer)
        reference = next(self._numbers)

        def told(terminated: Terminated) -> None:
            peer.watches.pop(reference, None)
            peer.numbers.pop(reference, None)
            callback(terminated)

        subscription = _Watch(told, lambda: self._unwatch(ref.peer, reference))
        peer.watches[reference] = (ref, subscription)
        self._say(ref.peer, WATCH, (reference, ref.name))
        if peer.link is None or not peer.link.up:
            # From another thread too: the timer belongs to the loop.
            self._loop.call_soon_threadsafe(self._begin_grace, peer)
        return subscription

    def _unwatch(self, peer: str, reference: int) -> None:
        found = self._peer(peer)
        found.numbers.pop(reference, None)
        if found.watches.pop(reference, None) is not None:
            self._say(peer, UNWATCH, reference)

    def stop_remote(self, peer: str, name: str) -> None:
        """See ``RemoteRef.stop``."""
        self._say(peer, STOP, name)

    # --- links ---------------------------------------------------------------------------------

    def on_up(self, link: Link, fresh: bool) -> None:
        """A link is there; ``fresh`` when the process behind it is a new one."""
        peer = self._peer(link.peer)
        if peer.link is None:
            peer.link = link
        if peer.grace is not None:
            peer.grace.cancel()
            peer.grace = None
        if fresh and link._greetings > 1:
            # What the old process had not confirmed goes to the new one.
            self._lost(peer, link.confirmed)

    def on_down(self, link: Link) -> None:
        """A link is gone; it may come back."""
        self._begin_grace(self._peer(link.peer))

    def _begin_grace(self, peer: _Peer) -> None:
        if peer.grace is None and not self._closed and (peer.link is None or not peer.link.up):
            peer.grace = self.system.dispatcher.call_later(
                self._grace_s, lambda: self._grace_over(peer)
            )

    def _grace_over(self, peer: _Peer) -> None:
        peer.grace = None
        if peer.link is None or not peer.link.up:
            self._lost(peer)

    def _lost(self, peer: _Peer, confirmed: int | None = None) -> None:
        """The peer's process is gone: who watches or asks it is told.

        Not for what went out in a frame after ``confirmed``.
        """
        later = peer.numbers.get

        def gone(reference: int) -> bool:
            return confirmed is None or later(reference, confirmed + 1) <= confirmed

        for reference, (ref, subscription) in list(peer.watches.items()):
            if gone(reference):
                subscription.fire(Terminated(ref, "node_lost"))
        self._serving.lost(peer.name)
        for reference, future in list(peer.asks.items()):
            if gone(reference):
                fail(future, RemoteError(peer.name, "node_lost", "its process is gone"))

    def on_frame(self, link: Link, kind: int, payload: bytes) -> object:
        """A frame came."""
        items = decode(kind, payload)
        peer = self._peer(link.peer)
        if kind == TELL:
            return self._serving.told(link, items)
        for item in items:
            if kind == ASK:
                self._serving.asked(link.peer, item)
            elif kind == REPLY:
                self._replied(peer, link.peer, item)
            elif kind == WATCH:
                self._serving.watched(link.peer, item)
            elif kind == UNWATCH:
                self._serving.unwatched(link.peer, item)
            elif kind == ENDED:
                entry = peer.watches.get(item[0])
                if entry is not None:
                    entry[1].fire(Terminated(entry[0], item[1]))
            elif kind == STOP:
                self._serving.stopped(item)
            elif kind == TOLD:
                actor, reason, count = item
                self.system.events.publish(
                    "remote_refused", f"{link.peer}:{actor}", f"{count} messages: {reason}"
                )
        return None

    def _replied(self, peer: _Peer, name: str, item: tuple[int, str, bytes]) -> None:
        reference, kind, data = item
        outcome: Any
        try:
            if kind == ERROR:
                outcome = RemoteError(name, *msgspec.msgpack.decode(data, type=tuple[str, str]))
            else:
                outcome = self._codec.decode(kind, data)[0]
        except (NotEncodable, IndexError, msgspec.MsgspecError) as error:
            outcome = RemoteError(name, "bad_answer", str(error))
        self._answered(peer, reference, outcome)
