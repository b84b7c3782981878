"""One socket of a link."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from actors.errors import ActorError, LinkRefused
from actors.links.frame import FrameDecoder
from actors.links.hello import HELLO, Hello

if TYPE_CHECKING:
    from actors.links.link import Link

__all__ = ["HELLO_BYTES", "HELLO_TIMEOUT_S", "Connection"]

logger = logging.getLogger("actors.link")

HELLO_TIMEOUT_S: Final = 5.0
HELLO_BYTES: Final = 64 * 1024
"""Largest first frame of a connection."""

_hello_decoder = msgspec.msgpack.Decoder(Hello)


class Connection(asyncio.Protocol):
    """One socket. Knows frames; leaves their meaning to the link it is attached to.

    Args:
        hello: called with what the other side says first.
        stranger: told why a connection was closed that belongs to no link.
    """

    def __init__(
        self,
        hello: Callable[[Connection, Hello], None],
        stranger: Callable[[Exception], None] | None = None,
    ) -> None:
        self.link: Link | None = None
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(first_bytes=HELLO_BYTES)
        self._said_hello = hello
        self._stranger = stranger
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
        if self.link is not None and self.link.heard(self):
            self.link.blocked = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        if self.link is not None and self.link.heard(self):
            self.link.blocked = False
            self.link.flush()

    def refuse(self, error: Exception) -> None:
        """Close with a reason."""
        name = self.link.peer if self.link else "a stranger"
        logger.warning("link with %s closed: %s", name, error)
        if self.transport is not None:
            self.transport.abort()
        if self.link is not None:
            self.link.refused(error)
        elif self._stranger is not None:
            self._stranger(error)
