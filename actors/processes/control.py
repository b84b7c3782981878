"""The child's end of its supervision: ready, heartbeat, drain, and no life without a parent."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from actors.processes.dump import log_dump
from actors.processes.wire import Wire

__all__ = ["BEAT_S", "ORPHANED", "ControlChannel"]

logger = logging.getLogger("actors.process")

BEAT_S: Final = 0.5
"""Between two heartbeats, at most."""
ORPHANED: Final = 71
"""Exit code of a child whose supervisor vanished and that could not drain in time."""
ORPHAN_GRACE_S: Final = 10.0
_LAST_WORDS_S: Final = 1.0


class ControlChannel:
    """What a child process says to its supervisor and hears from it.

    A thread sends the heartbeats, so that a busy event loop does not look like death; with each
    goes how far the loop lags, so that a stuck one does. Nothing here waits for a supervisor that
    does not read: what is said then waits, up to a bound, and is dropped beyond it.

    On SIGUSR1, or when the supervisor asks, the stack of every thread goes to the log.

    Args:
        end: the child's end of the socket pair.
        name: of the child.
        beat_s: between two heartbeats, in seconds.
    """

    def __init__(self, end: socket.socket, name: str, *, beat_s: float = BEAT_S) -> None:
        self.name = name
        self.on_word: Callable[[str, Any], None] | None = None
        """Told, on the loop, what else the supervisor says."""
        self.on_dump: Callable[[], str] | None = None
        """Called on a thread of its own for what a dump shows besides the threads, such as the
        tree of actors (``ActorSystem.dump``)."""
        self.drain_timeout_s = ORPHAN_GRACE_S
        self._wire = Wire(end)
        self._beat_s = beat_s
        self._drain = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tick = time.monotonic()
        self._ended = threading.Event()
        self._left = threading.Event()
        # A terminal sends Ctrl-C to the whole group; the supervisor alone decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._dump_asked)
        self._loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        self._beat_loop()
        # From the first one on the supervisor counts on them.
        self._say("beat", 0.0)
        for target in (self._beat, self._listen):
            threading.Thread(target=target, name=f"control-{target.__name__}", daemon=True).start()

    def _beat_loop(self) -> None:
        self._tick = time.monotonic()
        if not self._ended.is_set():
            self._loop.call_later(self._beat_s, self._beat_loop)

    def _say(self, word: str, value: Any) -> bool:
        try:
            said = self._wire.send(word, value)
        except OSError:
            # The supervisor is gone, which the listening thread notices too: it drains and ends.
            logger.debug("%s: nobody hears %s", self.name, word)
            return False
        if self._wire.waiting:
            self._left.set()
        return said

    def _beat(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            due = max(due + self._beat_s, time.monotonic())
            self._write_until(due)
            # Who does not read what is there needs no more heartbeats.
            if not self._wire.waiting and not self._ended.is_set():
                self._say("beat", max(0.0, time.monotonic() - self._tick - self._beat_s))

    def _write_until(self, due: float) -> None:
        """Write what waits as the socket takes it, until ``due`` or the end."""
        while (left := due - time.monotonic()) > 0 and not self._ended.is_set():
            if self._wire.waiting:
                self._write_left(left)
            elif self._left.wait(left):
                self._left.clear()

    def _write_left(self, timeout_s: float) -> None:
        try:
            self._wire.flush_within(timeout_s)
        except OSError:
            # The supervisor is gone: what waits is for nobody.
            self._ended.wait(timeout_s)

    def _listen(self) -> None:
        over = False
        while not over:
            words, over = self._wire.read(wait=True)
            for word, value in words:
                if word == "drain":
                    self.drain_timeout_s = value
                    self._wake()
                elif word == "dump":
                    log_dump(self.name, self.on_dump)
                elif not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._heard, word, value)
        if self._wire.garbled is not None:
            logger.error("%s cannot hear its supervisor: %s", self.name, self._wire.garbled)
        self._orphaned()

    def _heard(self, word: str, value: Any) -> None:
        if self.on_word is not None:
            self.on_word(word, value)

    def _dump_asked(self, _signum: int, _frame: FrameType | None) -> None:
        threading.Thread(
            target=log_dump, args=(self.name, self.on_dump), name="control-dump", daemon=True
        ).start()

    def _orphaned(self) -> None:
        """The supervisor is gone: drain, and end in any case."""
        if not self._ended.is_set():
            logger.warning("%s lost its supervisor; draining", self.name)
        self._wake()
        # Also when the drain is done: what ends a process after its main can hang as well.
        time.sleep(ORPHAN_GRACE_S)
        os._exit(ORPHANED)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drain.set)

    def ready(self, **info: Any) -> None:
        """Say that this process does its work now.

        Raises:
            WordGarbled: ``info`` cannot be pickled.
        """
        self._say("ready", info)

    def tell(self, kind: str, *words: Any) -> bool:
        """Tell the supervisor something else; False when it was dropped.

        Raises:
            WordGarbled: the words cannot be pickled, or are too long.
        """
        return self._say("tell", (kind, *words))

    async def wait_drain(self) -> float:
        """Wait for the order to drain; returns the seconds there are for it."""
        await self._drain.wait()
        return self.drain_timeout_s

    def close(self) -> None:
        """This process has done its work and may end."""
        deadline = time.monotonic() + _LAST_WORDS_S
        self._ended.set()
        self._left.set()
        while self._wire.waiting and (left := deadline - time.monotonic()) > 0:
            try:
                self._wire.flush_within(left)
            except OSError:
                # The supervisor is gone, and with it who would hear the rest.
                break
        self._wire.end()
