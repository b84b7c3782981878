"""Processes as supervised children: spawned, watched, restarted, drained, never left behind.

Each child is watched twice: its sentinel tells of its death, its heartbeat of a life that is none.
The rules of a restart are those of actors (``RestartPolicy``). Stopping goes in the reverse order
of starting: an order to drain, then SIGTERM, then SIGKILL at the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

from actors.clock import Clock, SystemClock
from actors.errors import ActorError
from actors.processes.control import ControlChannel
from actors.supervision.restart import RestartPolicy, RestartTracker

__all__ = ["ProcessInfo", "ProcessSpec", "ProcessSupervisor", "StartFailed"]

logger = logging.getLogger("actors.process")

Main = Callable[..., Coroutine[Any, Any, None]]
State = Literal["starting", "ready", "restarting", "stopping", "stopped", "failed"]

WATCH_S = 1.0
"""Between two looks at the heartbeats."""


class StartFailed(ActorError):
    """A child did not become ready."""

    code = "start_failed"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A child process."""

    name: str
    """Shown in listings and as the process title."""
    main: Main
    """Coroutine function, importable by name: ``main(control, *args)``; runs on a loop of its own
    until the drain it awaits."""
    args: tuple[Any, ...] = ()
    """Picklable arguments."""
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    start_timeout_s: float = 60.0
    """From its start to its ``ready``."""
    heartbeat_timeout_s: float = 30.0
    """Without a heartbeat, or with a stuck event loop, for this long it is killed."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a listing shows."""

    name: str
    pid: int
    state: State
    restarts: int
    started_at: float
    """Time of the supervisor's clock."""
    lag_s: float
    """How far its event loop was behind at the last heartbeat."""


def _run_child(spec: ProcessSpec, connection: Connection, title: str) -> None:
    """Entry of a child process."""
    import setproctitle

    setproctitle.setproctitle(title)

    async def run() -> None:
        control = ControlChannel(connection, spec.name)
        try:
            await spec.main(control, *spec.args)
        finally:
            control.close()

    asyncio.run(run())


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        # A real-time signal has no name.
        return f"signal {-code}"


class _Child:
    def __init__(self, spec: ProcessSpec, clock: Clock) -> None:
        self.spec = spec
        self.tracker = RestartTracker(spec.restart)
        self.process: Any = None
        self.connection: Connection | None = None
        self.state: State = "starting"
        self.started_at = clock.now()
        self.beat_at = clock.now()
        self.lag_s = 0.0
        self.info: dict[str, Any] = {}
        self.was_ready = False
        self.failure = ""
        self.changed = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None


class ProcessSupervisor:
    """Starts, watches, restarts and stops child processes, one for one.

    Args:
        title: prefix of the children's process titles.
        on_event: told ``started``, ``ready``, ``exited``, ``restarting``, ``gave_up`` with the
            child's name and a text.
        on_tell: told what children tell: their name, then the words.
    """

    def __init__(
        self,
        title: str,
        *,
        on_event: Callable[[str, str, str], None],
        on_tell: Callable[[str, tuple[Any, ...]], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.gave_up = asyncio.Event()
        """Set when a child failed too often; the owner should end."""
        self._title = title
        self._on_event = on_event
        self._on_tell = on_tell
        self._clock: Clock = clock or SystemClock()
        self._context = multiprocessing.get_context("spawn")
        self._children: dict[str, _Child] = {}
        self._groups: list[list[_Child]] = []
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._watch: asyncio.TimerHandle | None = self._loop.call_later(WATCH_S, self._look)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start a group of children, all at once, and wait until each is ready.

        Raises:
            StartFailed: one was not ready in its time, or ended and may not be restarted.
        """
        children = []
        for spec in specs:
            child = self._children[spec.name] = _Child(spec, self._clock)
            children.append(child)
        self._groups.append(children)
        for child in children:
            self._launch(child)
        for child in children:
            await self._wait_ready(child)

    async def _wait_ready(self, child: _Child) -> None:
        try:
            async with asyncio.timeout(child.spec.start_timeout_s):
                while not child.was_ready:
                    if child.state in ("failed", "stopped"):
                        raise StartFailed(
                            f"{child.spec.name} ended before it was ready ({child.failure})"
                        )
                    child.changed.clear()
                    await child.changed.wait()
        except TimeoutError:
            raise StartFailed(
                f"{child.spec.name} was not ready within {child.spec.start_timeout_s:.0f} s"
            ) from None

    def _launch(self, child: _Child) -> None:
        child.timer = None
        ours, theirs = self._context.Pipe()
        spec = child.spec
        process = self._context.Process(
            target=_run_child, args=(spec, theirs, f"{self._title} {spec.name}"), name=spec.name
        )
        try:
            process.start()
        except OSError as error:
            logger.error("no process for %s: %s", spec.name, error)
            ours.close()
            self._fell(child, str(error), normal=False)
            return
        finally:
            theirs.close()
        child.process, child.connection = process, ours
        child.started_at = child.beat_at = self._clock.now()
        child.lag_s = 0.0
        self._set(child, "starting")
        self._loop.add_reader(ours.fileno(), self._heard, child, ours)
        self._loop.add_reader(process.sentinel, self._exited, child, process)
        self._on_event("started", spec.name, f"pid {process.pid}")

    def _set(self, child: _Child, state: State) -> None:
        child.state = state
        child.changed.set()

    def _heard(self, child: _Child, connection: Connection) -> None:
        try:
            while connection.poll():
                word, value = connection.recv()
                child.beat_at = self._clock.now()
                if word == "beat":
                    child.lag_s = value
                elif word == "ready":
                    child.info = value
                    child.was_ready = True
                    self._set(child, "ready")
                    took = self._clock.now() - child.started_at
                    self._on_event("ready", child.spec.name, f"after {took:.2f} s")
                elif word == "tell" and self._on_tell is not None:
                    self._on_tell(child.spec.name, value)
        except (EOFError, OSError):
            self._loop.remove_reader(connection.fileno())
            connection.close()

    def _exited(self, child: _Child, process: Any) -> None:
        self._loop.remove_reader(process.sentinel)
        connection = child.connection
        if connection is not None and not connection.closed:
            self._heard(child, connection)
        if connection is not None and not connection.closed:
            self._loop.remove_reader(connection.fileno())
            connection.close()
        child.connection = None
        process.join()
        code = process.exitcode
        how = _how(code)
        self._on_event("exited", child.spec.name, f"pid {process.pid}: {how}")
        if self._stopping or child.state == "stopping":
            self._set(child, "stopped")
            return
        self._fell(child, how, normal=code == 0)

    def _fell(self, child: _Child, how: str, *, normal: bool) -> None:
        """Restart a child that ended, or give up."""
        if not child.was_ready:
            # It never worked: starting it again and again would only hide why.
            child.failure = how
            self._set(child, "failed")
            return
        kind = child.spec.restart.restart
        if kind == "temporary" or (kind == "transient" and normal):
            self._set(child, "stopped")
            return
        delay = child.tracker.failed(self._clock.now(), normal=normal)
        if delay is None:
            self._set(child, "failed")
            self._on_event("gave_up", child.spec.name, f"{child.tracker.restarts} restarts")
            self.gave_up.set()
            return
        self._set(child, "restarting")
        self._on_event("restarting", child.spec.name, f"in {delay * 1_000:.0f} ms")
        child.timer = self._loop.call_later(delay, self._launch, child)

    def _look(self) -> None:
        """Kill what shows no life; its sentinel does the rest."""
        self._watch = self._loop.call_later(WATCH_S, self._look)
        now = self._clock.now()
        for child in self._children.values():
            spec = child.spec
            if child.state == "starting" and now - child.started_at > spec.start_timeout_s:
                self._kill(child, f"not ready within {spec.start_timeout_s:.0f} s")
            elif child.state == "ready":
                silent = now - child.beat_at
                if silent > spec.heartbeat_timeout_s:
                    self._kill(child, f"no heartbeat for {silent:.0f} s")
                elif child.lag_s > spec.heartbeat_timeout_s:
                    self._kill(child, f"its event loop stood for {child.lag_s:.0f} s")

    def _kill(self, child: _Child, why: str) -> None:
        logger.error("killing %s: %s", child.spec.name, why)
        if child.process is not None and child.process.is_alive():
            child.process.kill()

    def children(self) -> list[ProcessInfo]:
        """Every child, in the order of its start."""
        return [
            ProcessInfo(
                name=child.spec.name,
                pid=child.process.pid if child.process is not None else 0,
                state=child.state,
                restarts=child.tracker.restarts,
                started_at=child.started_at,
                lag_s=child.lag_s,
            )
            for child in self._children.values()
        ]

    def send(self, name: str, word: str, value: Any) -> bool:
        """Say something to a child; False when it is not there to hear it."""
        child = self._children.get(name)
        if child is None or child.connection is None or child.state != "ready":
            return False
        try:
            child.connection.send((word, value))
        except OSError:
            return False
        return True

    def info(self, name: str) -> dict[str, Any]:
        """What a child said when it was ready."""
        return self._children[name].info

    async def stop(self, timeout_s: float) -> bool:
        """Drain and stop every child; False when some had to be killed.

        The group that was started last stops first. The children of one group drain together, so
        that one that hangs takes no time from the others.
        """
        self._stopping = True
        deadline = self._loop.time() + timeout_s
        if self._watch is not None:
            self._watch.cancel()
        clean = True
        for child in self._children.values():
            if child.timer is not None:
                child.timer.cancel()
                self._set(child, "stopped")
        for group in reversed(self._groups):
            ended = await asyncio.gather(*(self._stop_one(child, deadline) for child in group))
            clean = clean and all(ended)
        return clean

    async def _stop_one(self, child: _Child, deadline: float) -> bool:
        process = child.process
        if process is None or child.state in ("stopped", "failed"):
            return True
        left = max(0.2, deadline - self._loop.time())
        self._set(child, "stopping")
        if child.connection is not None:
            try:
                child.connection.send(("drain", left * 0.8))
            except OSError:
                logger.info("%s is gone before its drain", child.spec.name)
        if await self._ended(child, left * 0.85):
            return True
        process.terminate()
        if await self._ended(child, max(0.1, deadline - self._loop.time())):
            return False
        process.kill()
        await self._ended(child, 5.0)
        return False

    async def _ended(self, child: _Child, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while child.state != "stopped":
                    child.changed.clear()
                    await child.changed.wait()
        except TimeoutError:
            return False
        return True
