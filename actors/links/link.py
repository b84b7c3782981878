"""Links: one connection between two processes that survives reconnects and restarts.

Each direction has sequence numbers. The consumer confirms cumulatively what it has taken, or what
it has handled when it says ``LATER``, and by that grants the producer a window in frames, messages
and bytes; a paused consumer confirms nothing, so the producer stops. What is not confirmed is sent
again after a reconnect, to the same process or to its replacement; a repeated frame is dropped by
its number. A frame whose handling fails again and again is skipped, counted and told.

Both sides say hello first: protocol version, name, epoch (a number of the process's incarnation)
and a secret token. A stranger, or a malformed or too long frame, closes the connection.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Container
from typing import Final

import msgspec

from actors.errors import FrameError, FrameFailed, LinkFull, LinkRefused
from actors.links.connection import Connection
from actors.links.frame import Frame, encode_frame
from actors.links.hello import (
    CONFIRM,
    HELLO,
    PING,
    PROTOCOL,
    VOID,
    Hello,
    Identity,
    LinkCounters,
    Window,
)
from actors.links.outbox import Outbox

__all__ = ["LATER", "Link"]

logger = logging.getLogger("actors.link")

PING_S: Final = 5.0
SILENCE_S: Final = 20.0
"""A link on which nothing came for this long is closed and made again."""
CONFIRM_S: Final = 0.002
"""A confirmation waits so long for a frame that it can go with, unless half a window waits too: a
system call for each would cost more than all else that is done for a frame."""
ATTEMPTS: Final = 3
"""How often a frame may fail its owner before it is skipped."""
LATER: Final = object()
"""What ``on_frame`` returns to confirm the frame itself, with ``Link.handled``."""

_encode = msgspec.msgpack.Encoder().encode
_number_decoder = msgspec.msgpack.Decoder(int)


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
        window: how much the other side may send before it is confirmed here, and how much may wait
            to be sent.
        on_refused: told why a connection was closed for what came over it.
        on_poisoned: told of a frame that was skipped after it failed ``ATTEMPTS`` times.
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
        on_poisoned: Callable[[Link, FrameFailed], None] | None = None,
    ) -> None:
        self.peer = peer
        self.blocked = False
        self.receiving = 0
        """Number of the frame that ``on_frame`` is called with."""
        self._identity = identity
        self._on_frame = on_frame
        self._on_up = on_up
        self._on_down = on_down
        self._on_refused = on_refused
        self._on_poisoned = on_poisoned
        self._counters = LinkCounters()
        self._outbox = Outbox(self._counters)
        self._window = window or Window()
        self._granted = self._window
        self._connection: Connection | None = None
        self._up = False
        self._greetings = 0
        self._next = 1
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
        self._confirm: asyncio.Handle | None = None
        """Comes when nothing is sent that the confirmation can go with."""
        self._urgent = False
        self._went_along = False
        """Whether a confirmation went with a frame since the timer was set."""
        self._behind_messages = self._behind_size = 0
        """Received since the last confirmation."""
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
        return self._outbox.unsent_size + self._outbox.size

    @property
    def sent(self) -> int:
        """The highest number that was ever sent; above it, nobody has seen anything."""
        return self._outbox.sent

    @property
    def confirmed(self) -> int:
        """The last number up to which the other side has confirmed everything."""
        return self._outbox.first(self._next) - 1

    def counters(self) -> LinkCounters:
        """What was counted so far."""
        return msgspec.structs.replace(self._counters)

    def send(self, kind: int, payload: bytes, messages: int = 1, *, bounded: bool = True) -> int:
        """Send a frame that carries so many messages; returns its number.

        Never blocks; while the link is down, frames wait. An owner that bounds what it sends by
        other means, and cannot do without it, sends it unbounded.

        Raises:
            LinkFull: what waits reached its bound; nothing was sent.
            FrameError: the payload is too long.
        """
        outbox = self._outbox
        if bounded and outbox.unsent_size + len(payload) > self._window.waiting:
            raise LinkFull(self.peer, outbox.unsent_size, self._window.waiting)
        number = self._next
        outbox.add(number, encode_frame(kind, number, payload, messages), messages)
        self._next += 1
        if not self._flush_scheduled and self._up:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)
        return number

    def withdraw(self, numbers: Container[int]) -> None:
        """Take back the content of frames: who gets them from now on gets nothing.

        For ``on_up``, when nothing is under way on the connection: what the last one carried may
        have been taken.
        """
        self._outbox.withdraw(numbers)

    def flush(self) -> None:
        """Write what the window allows, in one call."""
        self._flush_scheduled = False
        transport = self._connection.transport if self._connection else None
        if not self._up or transport is None or self.blocked:
            return
        parts = self._outbox.take(self._granted)
        if parts:
            if self._confirmed < self._handled and not self._paused:
                parts.append(self._confirmation())
                self._went_along = True
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
        # The hello confirms too; what is handled from here on is confirmed after the peer's.
        self._confirmed = self._handled
        hello = Hello(
            PROTOCOL,
            self._identity.name,
            self._identity.epoch,
            self._identity.token,
            self._peer_epoch,
            self._handled,
            self._outbox.first(self._next),
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
            self._failing = (0, 0)
        self._granted = Window(
            frames=hello.window_frames, messages=hello.window_messages, size=hello.window_size
        )
        if hello.peer_epoch == self._identity.epoch:
            self._outbox.confirm(hello.taken)
        self._outbox.again()
        self._up = True
        self._schedule_confirm()
        self._counters.reconnects += self._greetings > 0
        self._greetings += 1
        loop = asyncio.get_running_loop()
        self._last_heard = loop.time()
        self._schedule_ping()
        self._on_up(self, fresh)
        self.flush()

    def received(self, frame: Frame) -> None:
        """A frame came."""
        self._last_heard = asyncio.get_running_loop().time()
        if frame.kind == CONFIRM:
            self._outbox.confirm(_number_decoder.decode(frame.payload))
            self.flush()
            return
        if frame.kind == PING:
            return
        if frame.sequence <= self._taken:
            self._counters.duplicates += 1
            return
        if frame.sequence != self._taken + 1:
            raise FrameError(
                "malformed", f"number {frame.sequence} came, {self._taken + 1} was next"
            )
        self.receiving = frame.sequence
        when = None
        if frame.kind != VOID:
            try:
                when = self._on_frame(self, frame.kind, frame.payload)
            except Exception as error:  # noqa: BLE001 - told as the cause of what is raised
                self._failed(frame, error)
        # After the owner took it: a frame whose handling raised comes again.
        self._taken = frame.sequence
        counters = self._counters
        counters.received_frames += 1
        counters.received_messages += frame.messages
        counters.received_bytes += len(frame.payload)
        self._behind_messages += frame.messages
        self._behind_size += len(frame.payload)
        if when is not LATER:
            self.handled(frame.sequence)

    def _failed(self, frame: Frame, error: Exception) -> None:
        """The owner could not take a frame: again, or, after several times, on without it.

        Raises:
            FrameFailed: it is to come again.
        """
        number, times = self._failing
        times = times + 1 if number == frame.sequence else 1
        self._failing = (frame.sequence, times)
        failed = FrameFailed(self.peer, frame.sequence, frame.kind, times, ATTEMPTS, error)
        if not failed.skipped:
            raise failed
        self._counters.poisoned += 1
        logger.error("%s", failed, exc_info=failed)
        if self._on_poisoned is not None:
            self._on_poisoned(self, failed)

    @property
    def peer_epoch(self) -> int:
        """Incarnation of the other side's process; 0 before its first hello."""
        return self._peer_epoch

    def handled(self, number: int, epoch: int | None = None) -> None:
        """A frame has been handled: it is confirmed once all before it are.

        Saying so twice changes nothing, and neither does a number of a peer's earlier incarnation
        when its ``epoch`` is given: numbers begin anew with each.
        """
        if epoch is not None and epoch != self._peer_epoch:
            return
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

    def _schedule_confirm(self) -> None:
        if self._paused or self._urgent:
            return
        window = self._window
        self._urgent = (
            2 * (self._handled - self._confirmed) >= window.frames
            or 2 * self._behind_messages >= window.messages
            or 2 * self._behind_size >= window.size
        )
        if self._urgent:
            if self._confirm is not None:
                self._confirm.cancel()
            self._confirm = asyncio.get_running_loop().call_soon(self._send_confirm)
        elif self._confirm is None:
            loop = asyncio.get_running_loop()
            self._confirm = loop.call_later(CONFIRM_S, self._send_confirm)

    def _send_confirm(self) -> None:
        self._confirm = None
        if self._went_along and not self._urgent:
            # What came after that waits for its own time.
            self._went_along = False
            if self._confirmed < self._handled:
                self._schedule_confirm()
            return
        self._urgent = self._went_along = False
        transport = self._connection.transport if self._connection else None
        if (
            self._up
            and not self._paused
            and self._confirmed < self._handled
            and transport is not None
            and not transport.is_closing()
        ):
            transport.write(self._confirmation())

    def _confirmation(self) -> bytes:
        self._confirmed = self._handled
        self._behind_messages = self._behind_size = 0
        return encode_frame(CONFIRM, 0, _encode(self._handled))

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
        self._counters.refused += 1
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
