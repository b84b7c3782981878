"""The monitor as a program: hears the node and the keys, draws when something changed."""

from __future__ import annotations

import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live

from caxton.monitor.feed import Feed, Heard, Lost, read_snapshot
from caxton.monitor.keys import KeyReader
from caxton.monitor.state import MonitorState, Snapshot
from caxton.monitor.views import Screen, draw_frame

if TYPE_CHECKING:
    from caxton.cli.node_client import NodeClient
    from caxton.views import Event

__all__ = ["Monitor"]

FRAME_S: Final = 0.25
"""At most four frames a second."""
AGE_S: Final = 1.0
"""How often the age of a lost picture is drawn anew."""
ROOM: Final = 1_000
"""Things heard and not yet looked at; more are dropped, the next snapshot tells anyway."""


class Monitor:
    """One monitor of one node.

    Args:
        connect: gives a new client; called again after each loss.
        screen: what to show first.
        plain: draw with ASCII alone.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        connect: Callable[[], NodeClient],
        *,
        screen: Screen | None = None,
        plain: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._plain = plain
        self._clock = clock
        self.screen = screen or Screen()
        self.state = MonitorState(clock)

    def once(self, events: Callable[[NodeClient], Iterator[Event]], *, width: int) -> Group:
        """One picture of now.

        Raises:
            CaxtonError: the node does not answer.
        """
        with self._connect() as client:
            self.state.feed(read_snapshot(client))
            for event in events(client):
                self.state.add_event(event)
        return self._frame(width, None)

    def run(self, console: Console) -> int:
        """Draw until the user quits; gives back 0."""
        heard: queue.Queue[Heard] = queue.Queue(ROOM)
        feed = Feed(self._connect, heard)
        plain = self._plain or not (console.encoding or "").lower().startswith("utf")
        self._plain = plain
        feed.start()
        try:
            with (
                KeyReader(sys.stdin.fileno(), heard.put),
                _resizes(heard),
                Live(
                    self._frame(console.width, console.height),
                    console=console,
                    screen=True,
                    auto_refresh=False,
                ) as live,
            ):
                self._loop(heard, live, console)
        finally:
            feed.close()
        return 0

    def _loop(self, heard: queue.Queue[Heard], live: Live, console: Console) -> None:
        changed, drawn_at = True, -FRAME_S
        while not self.screen.done:
            now = self._clock()
            if changed and now - drawn_at >= FRAME_S:
                live.update(self._frame(console.width, console.height), refresh=True)
                changed, drawn_at = False, now
            wait_s = FRAME_S if changed else AGE_S
            try:
                self.take(heard.get(timeout=wait_s))
                changed = True
            except queue.Empty:
                changed = changed or not self.state.connected

    def take(self, what: Heard) -> None:
        """Take in one thing that was heard."""
        if isinstance(what, Snapshot):
            self.state.feed(what)
        elif isinstance(what, Lost):
            self.state.lost(what.reason)
        elif isinstance(what, str):
            self.screen.press(what)
        else:
            self.state.add_event(what)

    def _frame(self, width: int, height: int | None) -> Group:
        picture = self.state.picture(self.screen.sort, self.screen.matching)
        return draw_frame(picture, self.screen, width=width, height=height, unicode=not self._plain)


@contextmanager
def _resizes(heard: queue.Queue[Heard]) -> Iterator[None]:
    """Tell of every change of the terminal's size, as a key without a meaning."""

    def resized(*_: Any) -> None:
        if not heard.full():
            heard.put_nowait("resize")

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
