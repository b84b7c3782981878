"""Links: one connection between two processes that survives reconnects and restarts.

Each direction has sequence numbers. The consumer confirms cumulatively what it has taken and by
that grants the producer a window; a paused consumer confirms nothing, so the producer stops. What
is not confirmed is sent again after a reconnect, to the same process or to its replacement; a
repeated frame is dropped by its number.

Both sides say hello first: protocol version, name, epoch (a number of the process's incarnation)
and a secret token. A stranger, or a malformed or too long frame, closes the connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from actors.errors import ActorError, FrameError, LinkFull, LinkRefused
from actors.links.frame import Frame, FrameDecoder, encode_frame

__all__ = ["HELLO_TIMEOUT_S", "Identity", "Link", "Window"]

logger = logging.getLogger("actors.link")

PROTOCOL: Final = 1
HELLO: Final = 100
CONFIRM: Final = 101
PING: Final = 102
HELLO_TIMEOUT_S: Final = 5.0
PING_S: Final = 5.0
SILENCE_S: Final = 20.0
"""A link on which nothing came for this long is closed and made again."""

_U64 = Annotated[int, msgspec.Meta(ge=0)]


class Identity(msgspec.Struct, frozen=True):
    """Who this process is to its peers."""

    name: str
    token: bytes
    """Secret that all processes of one node share."""
    epoch: int = msgspec.field(default_factory=lambda: secrets.randbits(63))

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, epoch={self.epoch})"


class Window(msgspec.Struct, frozen=True):
    """How much a producer may have unconfirmed, and how much may wait to be sent."""

    frames: int = 4_096
    size: int = 16 * 1024 * 1024
    """Bytes."""
    waiting: int = 256 * 1024 * 1024
    """Bytes that may wait in the producer beyond the window."""


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First words of each side of a link."""

    protocol: int
    name: str
    epoch: _U64
    token: bytes
    peer_epoch: _U64
    """The epoch of the other side that this one knows; 0 for none."""
    taken: _U64
    """The last number taken from that epoch."""
    first: _U64
    """The number of the first frame that comes."""
    window_frames: _U64
    window_size: _U64


_hello_decoder = msgspec.msgpack.Decoder(Hello)
_encode = msgspec.msgpack.Encoder().encode
_number_decoder = msgspec.msgpack.Decoder(int)


class Connection(asyncio.Protocol):
    """One socket. Knows frames; leaves their meaning to the link it is attached to."""

    def __init__(self, hello: Callable[[Connection, Hello], None]) -> None:
        self.link: Link | None = None
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._said_hello = hello
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there; a hello must come in time."""
        self.transport = transport  # type: ignore[assignment]  # a stream socket's transport
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HELLO_TIMEOUT_S, self._no_hello)

    def _no_hello(self) -> None:
        if self.link is None or not self.link.heard(self):
            self.refuse(LinkRefused(f"no hello within {HELLO_TIMEOUT_S:.0f} s"))

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            for frame in self._decoder.feed(data):
                if frame.kind == HELLO:
                    self._said_hello(self, _hello_decoder.decode(frame.payload))
                elif self.link is None or not self.link.heard(self):
                    raise LinkRefused("a frame came before the hello")
                else:
                    self.link.received(frame)
        except (ActorError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self.link is not None:
            self.link.disconnected(self)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        if self.link is not None:
            self.link.blocked = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self.link is not None:
            self.link.blocked = False
            self.link.flush()

    def refuse(self, error: Exception) -> None:
        """Close with a reason."""
        name = self.link.peer if self.link else "a stranger"
        logger.warning("link with %s closed: %s", name, error)
        if self.transport is not None:
            self.transport.abort()


class Link:
    """See the module. Made by ``LinkServer`` and ``LinkClient``.

    Args:
        identity: who this side is.
        peer: name of the other side.
        on_frame: called with kind and payload of each frame, in order, once each.
        on_up: called after each hello; True when the other side is a new process.
        on_down: called when the connection is gone.
    """

    def __init__(
        self,
        identity: Identity,
        peer: str,
        *,
        on_frame: Callable[[Link, int, bytes], None],
        on_up: Callable[[Link, bool], None],
        on_down: Callable[[Link], None],
        window: Window | None = None,
    ) -> None:
        self.peer = peer
        self.blocked = False
        self.sent_frames = 0
        self.received_frames = 0
        self._identity = identity
        self._on_frame = on_frame
        self._on_up = on_up
        self._on_down = on_down
        self._window = window or Window()
        self._granted = self._window
        self._connection: Connection | None = None
        self._up = False
        self._next = 1
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_size = 0
        self._unconfirmed: deque[tuple[int, bytes]] = deque()
        self._unconfirmed_size = 0
        self._peer_epoch = 0
        self._taken = 0
        self._confirmed = 0
        self._paused = False
        self._flush_scheduled = False
        self._confirm_scheduled = False
        self._last_heard = 0.0
        self._ping: asyncio.TimerHandle | None = None

    # --- sending -----------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether both sides have said hello."""
        return self._up

    @property
    def waiting(self) -> int:
        """Bytes that wait for the window or the connection, unconfirmed ones included."""
        return self._waiting_size + self._unconfirmed_size

    def send(self, kind: int, payload: bytes) -> None:
        """Send a frame. Never blocks; while the link is down, frames wait.

        Raises:
            LinkFull: what waits reached its bound; nothing was sent.
            FrameError: the payload is too long.
        """
        if self._waiting_size + len(payload) > self._window.waiting:
            raise LinkFull(self.peer, self._waiting_size, self._window.waiting)
        data = encode_frame(kind, self._next, payload)
        self._waiting.append((self._next, data))
        self._waiting_size += len(data)
        self._next += 1
        if not self._flush_scheduled and self._up:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what the window allows, in one call."""
        self._flush_scheduled = False
        transport = self._connection.transport if self._connection else None
        if not self._up or transport is None or self.blocked:
            return
        granted = self._granted
        unconfirmed = self._unconfirmed
        parts = []
        while (
            self._waiting
            and len(unconfirmed) < granted.frames
            and (self._unconfirmed_size < granted.size or not unconfirmed)
        ):
            item = self._waiting.popleft()
            size = len(item[1])
            self._waiting_size -= size
            self._unconfirmed_size += size
            unconfirmed.append(item)
            parts.append(item[1])
        if parts:
            self.sent_frames += len(parts)
            transport.write(b"".join(parts))

    # --- the connection ----------------------------------------------------------------------

    def heard(self, connection: Connection) -> bool:
        """Whether a connection is this link's and has said hello."""
        return self._up and self._connection is connection

    def connected(self, connection: Connection) -> None:
        """A socket is there; say hello."""
        old = self._connection
        was_up = self._up
        self._connection = connection
        connection.link = self
        self._up = False
        if was_up:
            # The peer is back before its loss was seen here.
            self._on_down(self)
        self.blocked = False
        if old is not None and old is not connection and old.transport is not None:
            old.transport.abort()
        self._say_hello()

    def _say_hello(self) -> None:
        pending = self._unconfirmed or self._waiting
        hello = Hello(
            PROTOCOL,
            self._identity.name,
            self._identity.epoch,
            self._identity.token,
            self._peer_epoch,
            self._taken,
            pending[0][0] if pending else self._next,
            self._window.frames,
            self._window.size,
        )
        self._write(HELLO, _encode(hello))

    def check(self, hello: Hello) -> None:
        """Whether the other side may talk.

        Raises:
            LinkRefused: wrong version, name or token.
        """
        if hello.protocol != PROTOCOL:
            raise LinkRefused(f"protocol {hello.protocol} spoken, {PROTOCOL} understood")
        if not hmac.compare_digest(hello.token, self._identity.token):
            raise LinkRefused("the token is not this node's")
        if hello.name != self.peer:
            raise LinkRefused(f"{hello.name!r} answered, {self.peer!r} was meant")

    def greeted(self, hello: Hello) -> None:
        """The other side said hello: agree on where to go on.

        Raises:
            LinkRefused: it said so before on this connection.
        """
        if self._up:
            raise LinkRefused("a second hello")
        fresh = hello.epoch != self._peer_epoch
        if fresh:
            self._peer_epoch = hello.epoch
            self._taken = self._confirmed = hello.first - 1
        self._granted = Window(frames=hello.window_frames, size=hello.window_size)
        known = hello.peer_epoch == self._identity.epoch
        if known:
            self._confirm(hello.taken)
        # What the other side has not taken goes out again, before anything new.
        self._waiting.extendleft(reversed(self._unconfirmed))
        self._waiting_size += self._unconfirmed_size
        self._unconfirmed.clear()
        self._unconfirmed_size = 0
        self._up = True
        loop = asyncio.get_running_loop()
        self._last_heard = loop.time()
        self._schedule_ping()
        self._on_up(self, fresh)
        self.flush()

    def received(self, frame: Frame) -> None:
        """A frame came."""
        self._last_heard = asyncio.get_running_loop().time()
        if frame.kind == CONFIRM:
            self._confirm(_number_decoder.decode(frame.payload))
            self.flush()
            return
        if frame.kind == PING:
            return
        if frame.sequence <= self._taken:
            return
        if frame.sequence != self._taken + 1:
            raise FrameError(
                "malformed", f"number {frame.sequence} came, {self._taken + 1} was next"
            )
        self._on_frame(self, frame.kind, frame.payload)
        # After the owner took it: a frame whose handling raised comes again.
        self._taken = frame.sequence
        self.received_frames += 1
        self._schedule_confirm()

    def _confirm(self, number: int) -> None:
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0][0] <= number:
            self._unconfirmed_size -= len(unconfirmed.popleft()[1])

    def _schedule_confirm(self) -> None:
        if not self._confirm_scheduled and not self._paused:
            self._confirm_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_confirm)

    def _send_confirm(self) -> None:
        self._confirm_scheduled = False
        if self._up and not self._paused and self._confirmed < self._taken:
            self._confirmed = self._taken
            self._write(CONFIRM, _encode(self._taken))

    def pause(self) -> None:
        """Confirm nothing more: the producer stops when its window is used up."""
        self._paused = True

    def resume(self) -> None:
        """Confirm again."""
        self._paused = False
        self._schedule_confirm()

    def _write(self, kind: int, payload: bytes) -> None:
        transport = self._connection.transport if self._connection else None
        if transport is not None and not transport.is_closing():
            transport.write(encode_frame(kind, 0, payload))

    def _schedule_ping(self) -> None:
        if self._ping is not None:
            self._ping.cancel()
        self._ping = asyncio.get_running_loop().call_later(PING_S, self._send_ping)

    def _send_ping(self) -> None:
        self._ping = None
        if not self._up or self._connection is None:
            return
        silent = asyncio.get_running_loop().time() - self._last_heard
        if silent > SILENCE_S:
            self._connection.refuse(LinkRefused(f"silent for {silent:.0f} s"))
            return
        self._write(PING, b"")
        self._schedule_ping()

    def disconnected(self, connection: Connection) -> None:
        """A socket of this link is gone."""
        if self._connection is not connection:
            return
        was_up = self._up
        self._connection = None
        self._up = False
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None
        if was_up:
            self._on_down(self)

    def close(self) -> None:
        """Write what the socket takes, then close it."""
        if self._connection is not None and self._connection.transport is not None:
            self.flush()
            self._connection.transport.close()
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None
