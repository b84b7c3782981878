"""The two ends of links: a server that takes them and a client that keeps one up."""

from __future__ import annotations

import asyncio
import os
import random
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from actors.errors import FrameFailed, LinkRefused
from actors.links.connection import Connection
from actors.links.hello import Hello, Identity, Window
from actors.links.link import Link

__all__ = ["MAX_SOCKET_PATH", "LinkClient", "LinkEvents", "LinkServer"]

MAX_SOCKET_PATH: Final = 100
"""Bytes of a Unix socket's path: the kernel takes 107."""
_MIN_RETRY_S = 0.01
_MAX_RETRY_S = 0.5


class LinkEvents(Protocol):
    """What the owner of links is told."""

    def on_frame(self, link: Link, kind: int, payload: bytes) -> object:
        """A frame came, in order, once; ``LATER`` when it is to be confirmed with ``handled``."""
        ...

    def on_up(self, link: Link, fresh: bool) -> None:
        """Both sides said hello; ``fresh`` when the other side is a new process."""
        ...

    def on_down(self, link: Link) -> None:
        """The connection is gone; frames sent meanwhile wait."""
        ...


def _check_path(path: Path) -> str:
    text = os.fspath(path)
    if len(os.fsencode(text)) > MAX_SOCKET_PATH:
        raise LinkRefused(
            f"socket path of {len(os.fsencode(text))} bytes given, at most {MAX_SOCKET_PATH} "
            f"allowed: {text}"
        )
    return text


class LinkServer:
    """Takes links on a Unix socket that only this user may open.

    Args:
        path: of the socket.
        identity: who this side is.
        events: the owner.
        accept: whether a peer of this name may talk.
        window: how much a peer may send before it is confirmed.
        on_refused: told why a connection was closed for what came over it; the link is None for a
            stranger.
        on_poisoned: told of each frame that was skipped after it failed the owner several times.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        events: LinkEvents,
        *,
        accept: Callable[[str], bool] = lambda name: True,
        window: Window | None = None,
        on_refused: Callable[[Link | None, Exception], None] | None = None,
        on_poisoned: Callable[[Link, FrameFailed], None] | None = None,
    ) -> None:
        self._path = path
        self._identity = identity
        self._events = events
        self._accept = accept
        self._window = window
        self._on_refused = on_refused
        self._on_poisoned = on_poisoned
        self.strangers_refused = 0
        self._server: asyncio.Server | None = None
        self._strangers: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.links: dict[str, Link] = {}

    async def start(self) -> None:
        """Listen.

        Raises:
            LinkRefused: the path is too long for a socket.
        """
        text = _check_path(self._path)
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        before = os.umask(0o177)
        try:
            self._server = await loop.create_unix_server(self._take, text)
        finally:
            os.umask(before)

    def _take(self) -> Connection:
        connection = Connection(self._greeted, self._refused)
        self._strangers.add(connection)
        return connection

    def _refused(self, error: Exception) -> None:
        self.strangers_refused += 1
        if self._on_refused is not None:
            self._on_refused(None, error)

    def _make(self, name: str) -> Link:
        return Link(
            self._identity,
            name,
            on_frame=self._events.on_frame,
            on_up=self._events.on_up,
            on_down=self._events.on_down,
            window=self._window,
            on_refused=self._on_refused,
            on_poisoned=self._on_poisoned,
        )

    def expect(self, name: str) -> Link:
        """The link of a peer that will connect; what is sent before waits in it."""
        link = self.links.get(name)
        if link is None:
            link = self.links[name] = self._make(name)
        return link

    def _greeted(self, connection: Connection, hello: Hello) -> None:
        if connection.link is not None:
            raise LinkRefused("a second hello")
        link = self.links.get(hello.name) or self._make(hello.name)
        link.check(hello)
        if not self._accept(hello.name):
            raise LinkRefused(f"{hello.name!r} is not expected here")
        self.links[hello.name] = link
        self._strangers.discard(connection)
        link.connected(connection)
        link.greeted(hello)

    async def close(self) -> None:
        """Close every connection and remove the socket."""
        for stranger in list(self._strangers):
            if stranger.transport is not None:
                stranger.transport.abort()
        for link in self.links.values():
            link.close()
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)


class LinkClient:
    """Keeps one link to a server up: connects, and connects again, until closed.

    Args:
        path: of the server's socket.
        identity: who this side is.
        peer: name of the server.
        events: the owner.
        window: how much the server may send before it is confirmed.
        on_refused: told why a connection was closed for what came over it.
        on_poisoned: told of each frame that was skipped after it failed the owner several times.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        peer: str,
        events: LinkEvents,
        *,
        window: Window | None = None,
        on_refused: Callable[[Link, Exception], None] | None = None,
        on_poisoned: Callable[[Link, FrameFailed], None] | None = None,
    ) -> None:
        self._path = path
        self.link = Link(
            identity,
            peer,
            on_frame=events.on_frame,
            on_up=self._up,
            on_down=self._down,
            window=window,
            on_refused=on_refused,
            on_poisoned=on_poisoned,
        )
        self._events = events
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._closed = False
        self._delay_s = _MIN_RETRY_S

    def start(self) -> None:
        """Begin to connect."""
        _check_path(self._path)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            self._lost.clear()
            try:
                _, connection = await loop.create_unix_connection(
                    lambda: _ClientConnection(self._greeted, self._lost), os.fspath(self._path)
                )
            except OSError:
                # The server is not there yet, or not there again.
                await self._rest()
                continue
            self.link.connected(connection)
            await self._lost.wait()
            await self._rest()

    async def _rest(self) -> None:
        """Wait before the next try: longer each time, until a link was up."""
        delay = self._delay_s
        self._delay_s = min(_MAX_RETRY_S, delay * 1.5)
        await asyncio.sleep(delay * random.uniform(0.8, 1.2))

    def _greeted(self, connection: Connection, hello: Hello) -> None:
        self.link.check(hello)
        self.link.greeted(hello)

    def _up(self, link: Link, fresh: bool) -> None:
        self._delay_s = _MIN_RETRY_S
        self._events.on_up(link, fresh)

    def _down(self, link: Link) -> None:
        self._events.on_down(link)

    async def close(self) -> None:
        """Close the link and connect no more."""
        self._closed = True
        self.link.close()
        self._lost.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)


class _ClientConnection(Connection):
    """Tells its client when it is gone."""

    def __init__(self, hello: Callable[[Connection, Hello], None], lost: asyncio.Event) -> None:
        super().__init__(hello)
        self._gone = lost

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        super().connection_lost(exc)
        self._gone.set()
