"""Links: one connection between two processes that survives reconnects and restarts.

Each direction has sequence numbers. The consumer confirms cumulatively what it has taken, or what
it has handled when it says ``LATER``, and by that grants the producer a window in frames, messages
and bytes; a paused consumer confirms nothing, so the producer stops. What is not confirmed is sent
again after a reconnect, to the same process or to its replacement; a repeated frame is dropped by
its number. A frame whose handling fails again and again is skipped and counted.

Both sides say hello first: protocol version, name, epoch (a number of the process's incarnation)
and a secret token. A stranger, or a malformed or too long frame, closes the connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from actors.errors import FrameError, LinkFull, LinkRefused
from actors.links.connection import Connection
from actors.links.frame import Frame, encode_frame
from actors.links.hello import (
    CONFIRM,
    HELLO,
    PING,
    PROTOCOL,
    Hello,
    Identity,
    LinkCounters,
    Window,
)

__all__ = ["LATER", "Link"]

logger = logging.getLogger("actors.link")

PING_S: Final = 5.0
SILENCE_S: Final = 20.0
"""A link on which nothing came for this long is closed and made again."""
ATTEMPTS: Final = 3
"""How often a frame may fail its owner before it is skipped."""
LATER: Final = object()
"""What ``on_frame`` returns to confirm the frame itself, with ``Link.handled``."""

_encode = msgspec.msgpack.Encoder().encode
_number_decoder = msgspec.msgpack.Decoder(int)
_Sent = tuple[int, bytes, int]
"""Number, bytes and messages of a frame."""


class Link:
    """See the module. Made by ``LinkServer`` and ``LinkClient``.

    Args:
        identity: who this side is.
        peer: name of the other side.
        on_frame: called with kind and payload of each frame, in order, once each. What it returns
            decides when the frame is confirmed: at once, or for ``LATER`` when ``handled`` is
            called with the number that ``receiving`` had during the call.
        on_up: called after each hello; True when the other side is a new process.
        on_down: called when the connection is gone.
        on_refused: told why a connection was closed for what came over it.
    """

    def __init__(
        self,
        identity: Identity,
        peer: str,
        *,
        on_frame: Callable[[Link, int, bytes], object],
        on_up: Callable[[Link, bool], None],
        on_down: Callable[[Link], None],
        window: Window | None = None,
        on_refused: Callable[[Link, Exception], None] | None = None,
    ) -> None:
        self.peer = peer
        self.blocked = False
        self.counters = LinkCounters()
        self.receiving = 0
        """Number of the frame that ``on_frame`` is called with."""
        self._identity = identity
        self._on_frame = on_frame
        self._on_up = on_up
        self._on_down = on_down
        self._on_refused = on_refused
        self._window = window or Window()
        self._granted = self._window
        self._connection: Connection | None = None
        self._up = False
        self._next = 1
        self._highest = 0
        """The highest number sent."""
        self._waiting: deque[_Sent] = deque()
        self._waiting_size = 0
        self._unconfirmed: deque[_Sent] = deque()
        self._unconfirmed_size = 0
        self._unconfirmed_messages = 0
        self._peer_epoch = 0
        self._taken = 0
        self._handled = 0
        """The last number of a frame all before which are handled."""
        self._early: set[int] = set()
        """Handled before an earlier frame was."""
        self._confirmed = 0
        self._failing = (0, 0)
        """A number, and how often its frame failed."""
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

    def send(self, kind: int, payload: bytes, messages: int = 1) -> int:
        """Send a frame that carries so many messages; returns its number.

        Never blocks; while the link is down, frames wait.

        Raises:
            LinkFull: what waits reached its bound; nothing was sent.
            FrameError: the payload is too long.
        """
        if self._waiting_size + len(payload) > self._window.waiting:
            raise LinkFull(self.peer, self._waiting_size, self._window.waiting)
        number = self._next
        data = encode_frame(kind, number, payload)
        self._waiting.append((number, data, messages))
        self._waiting_size += len(data)
        self._next += 1
        if not self._flush_scheduled and self._up:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)
        return number

    def flush(self) -> None:
        """Write what the window allows, in one call."""
        self._flush_scheduled = False
        transport = self._connection.transport if self._connection else None
        if not self._up or transport is None or self.blocked:
            return
        granted = self._granted
        unconfirmed = self._unconfirmed
        counters = self.counters
        parts = []
        while (
            self._waiting
            and len(unconfirmed) < granted.frames
            and (
                (
                    self._unconfirmed_size < granted.size
                    and self._unconfirmed_messages < granted.messages
                )
                or not unconfirmed
            )
        ):
            item = self._waiting.popleft()
            size = len(item[1])
            self._waiting_size -= size
            self._unconfirmed_size += size
            self._unconfirmed_messages += item[2]
            counters.sent_messages += item[2]
            counters.sent_bytes += size
            if item[0] > self._highest:
                self._highest = item[0]
            else:
                counters.resent += 1
            unconfirmed.append(item)
            parts.append(item[1])
        if parts:
            counters.sent_frames += len(parts)
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
        # The hello confirms too; what is handled from here on is confirmed after the peer's.
        self._confirmed = self._handled
        hello = Hello(
            PROTOCOL,
            self._identity.name,
            self._identity.epoch,
            self._identity.token,
            self._peer_epoch,
            self._handled,
            pending[0][0] if pending else self._next,
            self._window.frames,
            self._window.messages,
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
            self._taken = self._handled = self._confirmed = hello.first - 1
            self._early.clear()
        self._granted = Window(
            frames=hello.window_frames, messages=hello.window_messages, size=hello.window_size
        )
        known = hello.peer_epoch == self._identity.epoch
        if known:
            self._confirm(hello.taken)
        # What the other side has not taken goes out again, before anything new.
        self._waiting.extendleft(reversed(self._unconfirmed))
        self._waiting_size += self._unconfirmed_size
        self._unconfirmed.clear()
        self._unconfirmed_size = 0
        self._unconfirmed_messages = 0
        self._up = True
        self._schedule_confirm()
        self.counters.connections += 1
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
            self.counters.duplicates += 1
            return
        if frame.sequence != self._taken + 1:
            raise FrameError(
                "malformed", f"number {frame.sequence} came, {self._taken + 1} was next"
            )
        self.receiving = frame.sequence
        try:
            when = self._on_frame(self, frame.kind, frame.payload)
        except Exception as error:
            if not self._poisoned(frame, error):
                raise
            when = None
        # After the owner took it: a frame whose handling raised comes again.
        self._taken = frame.sequence
        self.counters.received_frames += 1
        self.counters.received_bytes += len(frame.payload)
        if when is not LATER:
            self.handled(frame.sequence)

    def _poisoned(self, frame: Frame, error: Exception) -> bool:
        """Whether a frame has failed often enough to be skipped."""
        number, times = self._failing
        times = times + 1 if number == frame.sequence else 1
        self._failing = (frame.sequence, times)
        if times < ATTEMPTS:
            return False
        self.counters.poisoned += 1
        logger.error(
            "frame %d of kind %d from %s failed %d times and is skipped",
            frame.sequence, frame.kind, self.peer, times, exc_info=error,
        )  # fmt: skip
        return True

    def handled(self, number: int) -> None:
        """A frame has been handled: it is confirmed once all before it are.

        Numbers of a peer's earlier incarnation, or said twice, change nothing.
        """
        if number != self._handled + 1:
            if self._handled < number <= self._taken:
                self._early.add(number)
            return
        early = self._early
        while number + 1 in early:
            number += 1
            early.discard(number)
        self._handled = number
        self._schedule_confirm()

    @property
    def confirmed(self) -> int:
        """The last number up to which the other side has confirmed everything."""
        if self._unconfirmed:
            return self._unconfirmed[0][0] - 1
        return (self._waiting[0][0] if self._waiting else self._next) - 1

    def _confirm(self, number: int) -> None:
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0][0] <= number:
            sent = unconfirmed.popleft()
            self._unconfirmed_size -= len(sent[1])
            self._unconfirmed_messages -= sent[2]

    def _schedule_confirm(self) -> None:
        if not self._confirm_scheduled and not self._paused:
            self._confirm_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_confirm)

    def _send_confirm(self) -> None:
        self._confirm_scheduled = False
        if self._up and not self._paused and self._confirmed < self._handled:
            self._confirmed = self._handled
            self._write(CONFIRM, _encode(self._handled))

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

    def refused(self, error: Exception) -> None:
        """A connection is closed for what came over it."""
        self.counters.refused += 1
        if self._on_refused is not None:
            self._on_refused(self, error)

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
