"""A child as its supervisor sees it: one process after the other, and the wire to each."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, Final, Protocol

from actors.clock import Clock
from actors.errors import FaultInjected
from actors.fault_points import point
from actors.processes.control import BEAT_S
from actors.processes.entry import ending_of, spawn
from actors.processes.spec import ProcessInfo, ProcessSpec, State
from actors.processes.wire import Wire
from actors.supervision.restart import RestartTracker

__all__ = ["Child", "ChildEvents"]

logger = logging.getLogger("actors.process")

_AGAIN_S: Final = 0.02
"""Between two looks at a process whose sentinel is gone while it lives."""
_LAST_READS: Final = 64
"""Reads of what an ended process said: the longest word comes in as many."""
_KILLED_S: Final = 5.0
"""For the kernel to end a killed process."""
_CALM_SHARE: Final = 0.85
"""Of the time to stop, for the drain; the rest is for SIGTERM."""


class ChildEvents(Protocol):
    """What a child's supervisor is told, on its loop."""

    def started(self, child: Child) -> None:
        """There is a process."""
        ...

    def said(self, child: Child, word: str, value: Any) -> None:
        """The child said something other than its heartbeats."""
        ...

    def ended(self, child: Child, how: str, *, normal: bool = False) -> None:
        """The process has ended, or could not be made."""
        ...

    def killing(self, child: Child, why: str, text: str) -> None:
        """The process is killed from here."""
        ...


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        # A real-time signal has no name.
        return f"signal {-code}"


class Child:
    """One child of a supervisor. All of it runs on the supervisor's loop and never blocks it.

    Args:
        title: prefix of its process title.
        events: its supervisor.
    """

    def __init__(self, spec: ProcessSpec, title: str, clock: Clock, events: ChildEvents) -> None:
        self.spec = spec
        self.tracker = RestartTracker(spec.restart)
        self.state: State = "starting"
        self.started_at = clock.now()
        self.beat_at = self.started_at
        """When it was last heard."""
        self.beats = False
        """Whether this process has begun to send heartbeats."""
        self.lag_s = 0.0
        self.info: dict[str, Any] = {}
        self.was_ready = False
        self.failure = ""
        self.dump_asked = False
        self.ordered_to_end = False
        self.pid = 0
        self.launches = 0
        """Processes made for it."""
        self._killed = False
        self._dropped_before = 0
        self._title = title
        self._clock = clock
        self._events = events
        self._process: BaseProcess | None = None
        self._wire: Wire | None = None
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # --- life ----------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def dropped(self) -> int:
        """Words it was not told because it did not read."""
        return self._dropped_before + (self._wire.dropped if self._wire is not None else 0)

    def snapshot(self) -> ProcessInfo:
        """What a listing shows."""
        return ProcessInfo(
            name=self.spec.name,
            pid=self.pid,
            state=self.state,
            restarts=self.tracker.restarts,
            started_at=self.started_at,
            lag_s=self.lag_s,
        )

    def become(self, state: State) -> None:
        """Go on to another state; whoever waits for it looks again."""
        self.state = state
        self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until a change makes ``condition`` true; False after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    def launch(self) -> None:
        """Start a process. Failing to counts as its end."""
        ours, theirs = socket.socketpair()
        spec = self.spec
        self.pid = 0
        try:
            # Four heartbeats in a timeout: one that is late is no death.
            beat_s = min(BEAT_S, spec.heartbeat_timeout_s / 4)
            point("process.start")
            process = spawn(spec, f"{self._title} {spec.name}", theirs, beat_s)
        except (OSError, FaultInjected) as error:
            logger.error("no process for %s: %s", spec.name, error)
            ours.close()
            self._events.ended(self, str(error))
            return
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._wire = process, Wire(ours)
        self.pid = process.pid or 0
        self.launches += 1
        self.started_at = self.beat_at = self._clock.now()
        self.beats = self.dump_asked = self.ordered_to_end = self._killed = False
        self.lag_s = 0.0
        self.become("starting")
        self._loop.add_reader(ours.fileno(), self._readable, self._wire)
        ending, owned = ending_of(process)
        self._loop.add_reader(ending, self._ended, process, ending, owned)
        self._events.started(self)

    def _ended(self, process: BaseProcess, ending: int, owned: bool) -> None:
        if process is not self._process:
            return
        code = process.exitcode
        self._loop.remove_reader(ending)
        if code is None and not owned:
            # Its sentinel is closed, but it lives.
            self._loop.call_later(_AGAIN_S, self._ended, process, ending, owned)
            return
        if owned:
            os.close(ending)
        wire, self._process, self._wire = self._wire, None, None
        if wire is not None:
            # Its last words came before its end.
            for _ in range(_LAST_READS):
                if wire.closed or not self._readable(wire):
                    break
            self._close(wire)
        if code is None:
            self._events.ended(self, "an end that something else in this process reaped")
            return
        process.close()
        self._events.ended(self, _how(code), normal=code == 0)

    def _close(self, wire: Wire) -> None:
        self._dropped_before += wire.dropped
        if not wire.closed:
            self._loop.remove_reader(wire.fileno())
            self._loop.remove_writer(wire.fileno())
            wire.close()

    def kill(self, why: str, text: str) -> None:
        """SIGKILL, which ends a stopped process too. Its end is told as any other."""
        if self._process is not None and not self._killed:
            self._killed = True
            self._events.killing(self, why, text)
            self._process.kill()

    # --- words ---------------------------------------------------------------------------------

    def _readable(self, wire: Wire) -> bool:
        """Take what came; False when nothing more comes."""
        words, over = wire.read()
        if over:
            # The socket stays open: for the child its end means that nobody supervises it.
            self._loop.remove_reader(wire.fileno())
        if words:
            self.beat_at = self._clock.now()
        for word, value in words:
            if word != "beat":
                self._events.said(self, word, value)
            elif isinstance(value, float):
                self.beats = True
                self.lag_s = value
        if wire.garbled is not None:
            self.kill("garbled", f"what it says is garbled: {wire.garbled}")
        return not over

    def send(self, word: str, value: Any) -> bool:
        """Say something; False when it is not there to hear it, or does not read.

        Raises:
            WordGarbled: ``value`` cannot be pickled, or is too long.
        """
        wire = self._wire
        if wire is None:
            return False
        try:
            sent = wire.send(word, value)
        except OSError:
            # It is on its way out; its end is told soon.
            return False
        if wire.waiting:
            self._loop.add_writer(wire.fileno(), self._writable, wire)
        return sent

    def _writable(self, wire: Wire) -> None:
        try:
            done = wire.flush()
        except OSError:
            done = True
        if done:
            self._loop.remove_writer(wire.fileno())

    # --- its end -------------------------------------------------------------------------------

    async def end(self, timeout_s: float) -> bool:
        """Drain, then SIGTERM, then SIGKILL at ``timeout_s``; False when asking was not enough.

        Returns when the process is gone.
        """
        process = self._process
        if process is None:
            return True
        deadline = self._loop.time() + timeout_s
        self.ordered_to_end = True
        self.become("stopping")

        def gone() -> bool:
            return self._process is not process

        if timeout_s > 0:
            self.send("drain", timeout_s * 0.8)
            if await self.until(gone, timeout_s * _CALM_SHARE):
                return True
            process.terminate()
            if await self.until(gone, max(0.0, deadline - self._loop.time())):
                return False
        self.kill("undrained", f"not drained within {timeout_s:g} s")
        if not await self.until(gone, _KILLED_S):
            logger.error(
                "%s (pid %d) was killed and is still there after %g s; the kernel holds it",
                self.spec.name, self.pid, _KILLED_S,
            )  # fmt: skip
        return False
