"""What the monitor hears from a node: snapshots and events, by two threads, into one queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from caxton.errors import CaxtonError
from caxton.monitor.state import Snapshot
from caxton.views import Event

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient

__all__ = ["Feed", "Heard", "Lost", "read_snapshot"]

PERIOD_S: Final = 1.0
"""Between two snapshots."""
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 5.0
IDLE_S: Final = 0.5
"""How soon a thread that waits for an event sees that it shall end."""
CONVERSATIONS: Final = 100


class Lost:
    """The node does not answer."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


Heard = Snapshot | Event | Lost | str
"""A snapshot, an event, a lost connection, or the name of a key."""


def read_snapshot(client: NodeClient) -> Snapshot:
    """Ask the node for everything a frame shows.

    Raises:
        CaxtonError: it does not answer.
    """
    return Snapshot(
        node=client.node(),
        agents=tuple(client.agents()),
        conversations=tuple(client.conversations(CONVERSATIONS)),
    )


class Feed:
    """Reads a node until it is closed, through restarts of the node.

    Args:
        connect: gives a new client; called again after each loss, since the address may change.
        heard: bounded queue of what was read.
        period_s: between two snapshots.
    """

    def __init__(
        self,
        connect: Callable[[], NodeClient],
        heard: queue.Queue[Heard],
        *,
        period_s: float = PERIOD_S,
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._period_s = period_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, name="snapshots", daemon=True),
            threading.Thread(target=self._follow, name="events", daemon=True),
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop reading; a thread that hangs in a call ends with the process at the latest."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _tell(self, what: Heard) -> None:
        try:
            self._heard.put_nowait(what)
        except queue.Full:
            return

    def _poll(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stop.is_set():
            try:
                with self._connect() as client:
                    while not self._stop.is_set():
                        self._tell(read_snapshot(client))
                        retry_s = FIRST_RETRY_S
                        self._stop.wait(self._period_s)
            except CaxtonError as error:
                self._tell(Lost(error.detail))
                self._stop.wait(retry_s)
                retry_s = min(LAST_RETRY_S, retry_s * 2)

    def _follow(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stop.is_set():
            try:
                with self._connect() as client:
                    for event in client.events(IDLE_S):
                        if self._stop.is_set():
                            return
                        if event is not None:
                            retry_s = FIRST_RETRY_S
                            self._tell(event)
            except CaxtonError:
                # The other thread says that the node is gone.
                retry_s = min(LAST_RETRY_S, retry_s * 2)
            self._stop.wait(retry_s)
