"""The child's end of its supervision: ready, heartbeat, drain, and no life without a parent."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

__all__ = ["BEAT_S", "ORPHANED", "ControlChannel"]

logger = logging.getLogger("actors.process")

BEAT_S: Final = 0.5
"""Between two heartbeats."""
ORPHANED: Final = 71
"""Exit code of a child whose supervisor vanished and that could not drain in time."""
ORPHAN_GRACE_S: Final = 10.0


class ControlChannel:
    """What a child process says to its supervisor and hears from it.

    A thread sends the heartbeats, so that a busy event loop does not look like death; with each
    goes how far the loop lags, so that a stuck one does.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self.on_word: Callable[[str, Any], None] | None = None
        """Told, on the loop, what else the supervisor says."""
        self.drain_timeout_s = ORPHAN_GRACE_S
        self._connection = connection
        self._lock = threading.Lock()
        self._drain = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tick = time.monotonic()
        self._ended = threading.Event()
        # A terminal sends Ctrl-C to the whole group; the supervisor alone decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        self._beat_loop()
        for target in (self._beat, self._listen):
            threading.Thread(target=target, name=f"control-{target.__name__}", daemon=True).start()

    def _beat_loop(self) -> None:
        self._tick = time.monotonic()
        if not self._ended.is_set():
            self._loop.call_later(BEAT_S, self._beat_loop)

    def _say(self, *words: Any) -> None:
        try:
            with self._lock:
                self._connection.send(words)
        except (OSError, ValueError):
            # The supervisor is gone, which the listening thread notices too: it drains and ends.
            logger.debug("%s: nobody hears %s", self.name, words[0])

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._say("beat", max(0.0, time.monotonic() - self._tick - BEAT_S))

    def _listen(self) -> None:
        while True:
            try:
                word, value = self._connection.recv()
            except (EOFError, OSError):
                if not self._ended.is_set():
                    self._orphaned()
                return
            if word == "drain":
                self.drain_timeout_s = value
                self._wake()
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._heard, word, value)

    def _heard(self, word: str, value: Any) -> None:
        if self.on_word is not None:
            self.on_word(word, value)

    def _orphaned(self) -> None:
        """The supervisor is gone: drain, and end in any case."""
        logger.warning("%s lost its supervisor; draining", self.name)
        self._wake()
        if not self._ended.wait(ORPHAN_GRACE_S):
            os._exit(ORPHANED)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drain.set)

    def ready(self, **info: Any) -> None:
        """Say that this process does its work now."""
        self._say("ready", info)

    def tell(self, kind: str, *words: Any) -> None:
        """Tell the supervisor something else."""
        self._say("tell", (kind, *words))

    async def wait_drain(self) -> float:
        """Wait for the order to drain; returns the seconds there are for it."""
        await self._drain.wait()
        return self.drain_timeout_s

    def close(self) -> None:
        """This process has done its work and may end."""
        self._ended.set()
        with self._lock:
            self._connection.close()
