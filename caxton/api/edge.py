"""What all requests share: the node behind them, the limits, and what is under way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from caxton.api.entry import Entry
from caxton.errors import QueueFull
from caxton.message import DEFAULT_OPTIONS, DeliveryOptions
from caxton.observe.tracing import OFF, Tracing

__all__ = ["Edge", "Limits"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the REST edge."""

    batch_bytes: int = 16 * MIB
    """Room for the messages of a batch beside one of the largest, in bytes."""
    buffered_bytes: int = 256 * MIB
    """Bodies that are being received or handled at one time, in bytes."""
    waiting: int = 10_000
    """Requests that wait for a reply at one time."""
    streams: int = 100
    """Event streams open at one time."""
    body_s: float = 30.0
    """How long a body may take to arrive, in seconds."""
    status_s: float = 5.0
    """How long readiness waits for the node's own account, in seconds."""
    heartbeat_s: float = 15.0
    """How long an event stream may be silent before a comment is sent, in seconds."""
    slow_s: float = 30.0
    """A follower of events that takes nothing for so many seconds is cut."""


class Edge:
    """One per app.

    Args:
        entry: the node.
        limits: bounds.
        loopback: the server listens on loopback only.
        tracing: which requests are traced.
        options: of messages that do not say.
        metrics: whether metrics are served.
    """

    def __init__(
        self,
        entry: Entry,
        limits: Limits,
        *,
        loopback: bool,
        tracing: Tracing = OFF,
        options: DeliveryOptions = DEFAULT_OPTIONS,
        metrics: bool = True,
    ) -> None:
        self.options = options
        self.metrics = metrics
        self.tracing = tracing
        self.entry = entry
        self.limits = limits
        self.loopback = loopback
        self.epoch = secrets.token_hex(4)
        """Begins the id of every event sent, because event ids start anew with each process."""
        self.requests: Counter[tuple[str, int]] = Counter()
        """Requests by route and status."""
        self.closing = asyncio.Event()
        """The server stops: event streams end."""
        self.expired = asyncio.Event()
        """The server stops very soon: requests that wait for a reply end."""
        self.openapi = b""
        """The OpenAPI document."""
        self.waiting = 0
        self.streams = 0
        self.buffered = 0

    def close(self, drain_s: float) -> None:
        """Begin to stop: streams end now, waiting requests after four fifths of ``drain_s``."""
        self.closing.set()
        asyncio.get_running_loop().call_later(drain_s * 0.8, self.expired.set)

    @contextlib.contextmanager
    def waiting_slot(self) -> Iterator[None]:
        """Count a request that waits for a reply.

        Raises:
            QueueFull: too many do.
        """
        limit = self.limits.waiting
        if self.waiting >= limit:
            raise QueueFull(queue="requests that wait for a reply", depth=self.waiting, limit=limit)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def open_stream(self) -> None:
        """Count an event stream; ``close_stream`` undoes it.

        Raises:
            QueueFull: too many are open.
        """
        if self.streams >= self.limits.streams:
            raise QueueFull(queue="event streams", depth=self.streams, limit=self.limits.streams)
        self.streams += 1

    def close_stream(self) -> None:
        """An event stream ended."""
        self.streams -= 1

    def buffer(self, size: int) -> None:
        """Count ``size`` bytes of a body as held; a negative size gives them back.

        Raises:
            QueueFull: too much is held already.
        """
        limit = self.limits.buffered_bytes
        if size > 0 and self.buffered + size > limit:
            raise QueueFull(queue="bytes of request bodies", depth=self.buffered, limit=limit)
        self.buffered += size
