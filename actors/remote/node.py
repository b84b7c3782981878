"""``RemoteNode``: one process among others, whose actors can be told, asked and watched.

What is told in one turn of the event loop goes out as one frame; batches that are there go by
``remote_ref.tell_many(messages)``, which costs least. A frame of tells is confirmed to its sender
when every message of it has been handled (or is a dead letter): a process that dies before gets
them again, or its replacement does. So a message is handled at least once, and once in each
lifetime of the process. Asks are handled at most once; their askers are told when the process is
lost.

Order holds from one process to one actor, whatever is told, asked or stopped. What is sent is
encoded at the end of the turn, so a message must not be changed after.

To end a process so that its replacement gets what it had not handled, close the node before the
system stops.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pykka._envelope import Envelope

from actors.errors import FrameError, FrameFailed, LinkFull, LinkRefused, NotEncodable, RemoteError
from actors.events import DeadLetter
from actors.future import Future, fail
from actors.links.endpoint import LinkClient, LinkServer
from actors.links.hello import Identity, Window
from actors.links.link import Link
from actors.remote.codec import Codec, StructCodec
from actors.remote.framing import MAX_ITEM, parts, tell_frames
from actors.remote.outgoing import PENDING
from actors.remote.peer import Peer, PeerCounters, RemoteWatch
from actors.remote.ref import RemoteRef
from actors.remote.serving import ERROR, Serving
from actors.remote.wire import ASK, ENDED, REPLY, STOP, TELL, TOLD, UNWATCH, WATCH, decode, encode
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from actors.system import ActorSystem

__all__ = ["RemoteNode"]

logger = logging.getLogger("actors.remote")


class RemoteNode:
    """See the module. Made on the event loop of ``system``.

    Args:
        system: its actors can be exported.
        name: of this process among its peers.
        token: secret that all of them share.
        codec: how messages travel.
        grace_s: a peer that is not linked for so long is lost to who watches or asks it.
        window: how much a peer may send before it is handled here. An exported actor's mailbox
            should have room for its messages. Answers come in line with tells: behind a window full
            of tells to an actor that waits for one, they wait for its deadline.
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
        self._peers: dict[str, Peer] = {}
        self._dirty: dict[str, None] = {}
        self._scheduled = False
        self._lock = threading.RLock()
        # Not from 1: an answer to the process before this one must be for nobody here.
        self._numbers = itertools.count(secrets.randbits(62))
        self._server: LinkServer | None = None
        self._closed = False

    # --- who is there --------------------------------------------------------------------------

    async def listen(self, path: Path, *, accept: Callable[[str], bool] = lambda _: True) -> None:
        """Take links of peers on a Unix socket.

        Raises:
            LinkRefused: the path is too long for a socket.
        """
        server = LinkServer(
            path,
            self.identity,
            self,
            accept=accept,
            window=self._window,
            on_refused=self._refused,
            on_poisoned=self._poisoned,
        )
        await server.start()
        self._server = server
        for name in list(self._peers):
            self._peer(name)
            self._soon(name)

    def connect(self, peer: str, path: Path) -> None:
        """Keep a link to a peer that listens on ``path``.

        Raises:
            LinkRefused: there is a link with it, or the path is too long for a socket.
        """
        found = self._unlinked(peer)
        found.client = LinkClient(
            path,
            self.identity,
            peer,
            self,
            window=self._window,
            on_refused=self._refused,
            on_poisoned=self._poisoned,
        )
        found.client.start()
        found.link = found.client.link
        self._soon(peer)

    def make_link(self, peer: str) -> Link:
        """A link with ``peer`` over a connection that the caller brings; tests use it."""
        found = self._unlinked(peer)
        found.link = Link(
            self.identity,
            peer,
            on_frame=self.on_frame,
            on_up=self.on_up,
            on_down=self.on_down,
            window=self._window,
            on_refused=self._refused,
            on_poisoned=self._poisoned,
        )
        self._soon(peer)
        return found.link

    def export(self, name: str, ref: ActorRef[Any]) -> None:
        """Let peers tell, ask and watch this actor by ``name``; another one before it goes."""
        self._serving.exported[name] = ref

    def exported(self, name: str) -> ActorRef[Any] | None:
        """The actor of this process that peers know by ``name``; None when there is none."""
        return self._serving.exported.get(name)

    def ref(self, peer: str, name: str) -> RemoteRef:
        """A ref of the actor that ``peer`` exports as ``name``, whether it is there or not."""
        return RemoteRef(self, peer, name)

    def link(self, peer: str) -> Link | None:
        """The link with a peer; None before there is one."""
        return self._peer(peer).link

    def counters(self) -> dict[str, PeerCounters]:
        """Each peer by name."""
        return {name: peer.counters() for name, peer in list(self._peers.items())}

    def _peer(self, name: str) -> Peer:
        found = self._peers.get(name)
        if found is None or (found.link is None and self._server is not None):
            with self._lock:
                found = self._peers.setdefault(name, Peer(name))
                if found.link is None and self._server is not None:
                    found.link = self._server.expect(name)
        return found

    def _unlinked(self, name: str) -> Peer:
        found = self._peers.setdefault(name, Peer(name))
        link = found.link
        if found.client is not None or (
            link is not None and (link.up or link.waiting or link.sent)
        ):
            raise LinkRefused(
                f"there is a link with {name!r} already; connect from one side only, and before "
                "anything is sent to the peer"
            )
        return found

    async def close(self) -> None:
        """Send what waits, close the links, and end what is under way as lost."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        for peer in list(self._peers.values()):
            if peer.grace is not None:
                peer.grace.cancel()
                peer.grace = None
            self._serving.lost(peer.name)
            peer.lost("closed")
            for one in peer.outgoing.take():
                for tells in one.tells:
                    self._dead(peer.name, tells.actor, tells.messages, "closed")
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
        kind_of = self._codec.kind
        for kind, group in [
            (kind, list(same)) for kind, same in itertools.groupby(messages, kind_of)
        ]:
            self._tell(peer, name, kind, group)

    def _tell(self, peer: str, name: str, kind: str, messages: list[Any]) -> None:
        found = self._peer(peer)
        with self._lock:
            taken = not self._closed and found.outgoing.tell(name, kind, messages)
            if taken and not self._scheduled:
                self._soon(peer)
            else:
                self._dirty[peer] = None
        if not taken:
            self._dead(peer, name, messages, "closed" if self._closed else "link_full")

    def _say(self, peer: str, kind: int, item: Any, actor: str = "") -> None:
        found = self._peer(peer)
        with self._lock:
            if not self._closed:
                found.outgoing.say(kind, item, actor)
                self._soon(peer)

    def _soon(self, peer: str) -> None:
        with self._lock:
            self._dirty[peer] = None
            if self._scheduled or self._loop.is_closed():
                return
            self._scheduled = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._flush)
            return
        try:
            self._loop.call_soon_threadsafe(self._flush)
        except RuntimeError:
            # The loop was closed meanwhile; what is kept has its bound.
            logger.warning("%s: its loop is closed, %s gets nothing", self.identity.name, peer)

    def _flush(self) -> None:
        with self._lock:
            self._scheduled = False
            dirty = [self._peers[name] for name in self._dirty]
            self._dirty.clear()
            work = [(peer, peer.outgoing.take()) for peer in dirty if peer.link is not None]
        for peer, rounds in work:
            for one in rounds:
                if one.tells:
                    self._send_tells(peer, one.tells)
                for kind, same in itertools.groupby(one.items, lambda item: item[0]):
                    for items in parts(item for _, item in same):
                        self._send(peer, kind, items, len(items))

    def _send_tells(self, peer: Peer, tells: list[Any]) -> None:
        def dead(actor: str, messages: Sequence[Any], reason: str, text: str = "") -> None:
            self._dead(peer.name, actor, messages, reason, text)

        for groups, inside, count in tell_frames(self._codec, tells, dead):
            if not self._send(peer, TELL, groups, count):
                for actor, _, messages in inside:
                    dead(actor, messages, "link_full")

    def _send(self, peer: Peer, kind: int, items: list[Any], messages: int) -> bool:
        link = peer.link
        if link is None:
            return False
        try:
            # News of watches has the bound of the watches, and nothing may come in its place.
            bounded = kind not in (WATCH, UNWATCH, ENDED)
            number = link.send(kind, encode(items), messages, bounded=bounded)
        except (LinkFull, FrameError) as error:
            logger.warning("%d items for %s not sent: %s", len(items), peer.name, error)
            if kind == ASK:
                for reference, *_ in items:
                    peer.answered(reference, RemoteError(peer.name, error.code, str(error)))
            return False
        peer.went(kind, items, number)
        return True

    def _dead(
        self, peer: str, actor: str, messages: Sequence[Any], reason: str, text: str = ""
    ) -> None:
        for message in messages:
            letter = DeadLetter(Envelope(message), f"{peer}:{actor}", reason, text)
            self.system.dead_letters.add(letter)

    # --- asking --------------------------------------------------------------------------------

    def ask(self, peer: str, name: str, message: Any, timeout_s: float) -> Future[Any]:
        """See ``RemoteRef.ask``."""
        kind = self._codec.kind(message)
        data = self._codec.encode(kind, [message])
        if len(data) > MAX_ITEM:
            raise NotEncodable(kind, f"{len(data):,} bytes, at most {MAX_ITEM:,} allowed")
        found = self._peer(peer)
        future = Future[Any]()
        refused = "closed" if self._closed else "link_full" if len(found.asks) >= PENDING else ""
        if refused:
            fail(future, RemoteError(f"{peer}:{name}", refused, "the ask was not sent"))
            return future
        reference = next(self._numbers)
        found.asks[reference] = future
        self.system.deadlines.add(future, f"{peer}:{name}", timeout_s)
        future.when_set(lambda: found.forget(reference))
        self._say(peer, ASK, (reference, name, kind, data, time.monotonic() + timeout_s), name)
        return future

    # --- watching ------------------------------------------------------------------------------

    def watch(self, ref: RemoteRef, callback: Callable[[Terminated], None]) -> Subscription:
        """See ``RemoteRef.watch_with``."""
        peer = self._peer(ref.peer)
        reference = next(self._numbers)

        def told(terminated: Terminated) -> None:
            peer.forget(reference)
            callback(terminated)

        subscription = RemoteWatch(told, lambda: self._unwatch(peer, reference))
        peer.watches[reference] = (ref, subscription)
        self._say(ref.peer, WATCH, (reference, ref.name), ref.name)
        if self._closed:
            subscription.fire(Terminated(ref, "node_lost"))
        elif not peer.up:
            # From another thread too: the timer belongs to the loop.
            self._loop.call_soon_threadsafe(self._begin_grace, peer)
        return subscription

    def _unwatch(self, peer: Peer, reference: int) -> None:
        if peer.watches.get(reference) is not None:
            peer.forget(reference)
            self._say(peer.name, UNWATCH, reference)

    def stop_remote(self, peer: str, name: str) -> None:
        """See ``RemoteRef.stop``."""
        self._say(peer, STOP, name, name)

    # --- links ---------------------------------------------------------------------------------

    def on_up(self, link: Link, fresh: bool) -> None:
        """A link is there; ``fresh`` when the process behind it is a new one."""
        peer = self._peer(link.peer)
        if peer.link is None:
            peer.link = link
        if peer.link is not link:
            # It connects here, and this process connects there: answers go the latter way.
            logger.warning("%s and %s connect to each other", self.identity.name, link.peer)
            return
        if peer.grace is not None:
            peer.grace.cancel()
            peer.grace = None
        if fresh:
            self._serving.lost(peer.name)
            peer.replaced()
        self._soon(peer.name)

    def on_down(self, link: Link) -> None:
        """A link is gone; it may come back."""
        self._begin_grace(self._peer(link.peer))

    def _begin_grace(self, peer: Peer) -> None:
        if peer.grace is None and not self._closed and not peer.up:
            peer.grace = self.system.dispatcher.call_later(
                self._grace_s, lambda: self._grace_over(peer)
            )

    def _grace_over(self, peer: Peer) -> None:
        peer.grace = None
        if not peer.up and not self._closed:
            # It may run on and come back: it is to forget the watches then.
            for reference in peer.lost("node_lost"):
                self._say(peer.name, UNWATCH, reference)

    def _refused(self, link: Link | None, error: Exception) -> None:
        who = "a stranger" if link is None else link.peer
        self.system.events.publish("link_refused", who, str(error))

    def _poisoned(self, link: Link, error: FrameFailed) -> None:
        self.system.events.publish("frame_poisoned", link.peer, str(error))

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
                self._replied(peer, item)
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

    def _replied(self, peer: Peer, item: tuple[int, str, bytes]) -> None:
        reference, kind, data = item
        outcome: Any
        try:
            if kind == ERROR:
                outcome = RemoteError(
                    peer.name, *msgspec.msgpack.decode(data, type=tuple[str, str])
                )
            else:
                outcome = self._codec.decode(kind, data)[0]
        except Exception as error:  # noqa: BLE001 - a codec of the user's; the asker is told
            outcome = RemoteError(peer.name, "bad_answer", f"{type(error).__name__}: {error}")
        if not peer.answered(reference, outcome):
            self.system.counts.late_replies += 1
