"""Processes as supervised children: spawned, watched, restarted, drained, never left behind.

Each child is watched twice: the kernel tells of its death, its heartbeat of a life that is none.
The rules of a restart are those of actors (``RestartPolicy``), the strategies OTP's. Stopping goes
in the reverse order of starting: an order to drain, then SIGTERM, then SIGKILL at the deadline.
When the supervisor's process dies, its children drain and end by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from actors.clock import Clock, SystemClock
from actors.errors import StartFailed
from actors.processes.child import Child
from actors.processes.restarting import Unit
from actors.processes.spec import ProcessCounters, ProcessInfo, ProcessSpec
from actors.supervision.restart import Budget
from actors.supervision.spec import Strategy

__all__ = ["ProcessSupervisor"]

logger = logging.getLogger("actors.process")

WATCH_S: Final = 1.0
"""Between two looks at the heartbeats, at most; an eighth of the shortest timeout otherwise."""
_LEAST_WATCH_S: Final = 0.01


class ProcessSupervisor:
    """Starts, watches, restarts and stops child processes. Made on the event loop it lives on.

    Args:
        title: prefix of the children's process titles.
        on_event: told ``started``, ``ready``, ``exited``, ``restarting``, ``gave_up`` with the
            child's name and a text.
        on_tell: told what children tell: their name, then the words.
        intensity: restarts of all children together allowed within ``period_s`` seconds, besides
            each child's own policy (OTP's rule); None for no such limit.

    Raises:
        ValueError: ``intensity`` or ``period_s`` is out of its range.
    """

    def __init__(
        self,
        title: str,
        *,
        on_event: Callable[[str, str, str], None],
        on_tell: Callable[[str, tuple[Any, ...]], None] | None = None,
        clock: Clock | None = None,
        intensity: int | None = None,
        period_s: float = 5.0,
    ) -> None:
        if intensity is not None and intensity < 0:
            raise ValueError(f"intensity: {intensity!r} given, at least 0 allowed")
        if period_s <= 0:
            raise ValueError(f"period_s: {period_s!r} given, more than 0 allowed")
        self.gave_up = asyncio.Event()
        """Set when a child failed too often; the owner should end, as OTP's supervisor would."""
        self._title = title
        self._on_event = on_event
        self._on_tell = on_tell
        self._clock: Clock = clock or SystemClock()
        self._budget = Budget(intensity, period_s) if intensity is not None else None
        self._children: dict[str, Child] = {}
        self._units: dict[Child, Unit] = {}
        self._groups: list[tuple[bool, list[Child]]] = []
        self._started = self._gave_up = 0
        self._exits: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._looked_at = self._clock.now()
        self._watch_s = WATCH_S
        self._watch: asyncio.TimerHandle | None = self._loop.call_later(WATCH_S, self._look)

    # --- starting ------------------------------------------------------------------------------

    async def start(
        self,
        specs: Sequence[ProcessSpec],
        strategy: Strategy = "one_for_one",
        *,
        stops_last: bool = False,
    ) -> None:
        """Start a group of children and wait until each is ready.

        With ``one_for_one`` they start all at once. With the other strategies, which say that
        children need each other, each starts when the one before it is ready.

        Args:
            specs: the children.
            strategy: what a failed child means for the others of the group.
            stops_last: end it after all groups that are there, which use it, though it starts
                after them.

        Raises:
            StartFailed: one was not ready in its time, or ended and may not be restarted.
            ValueError: a name is taken.
        """
        for spec in specs:
            old = self._children.get(spec.name)
            if old is not None and old.state not in ("failed", "stopped"):
                raise ValueError(f"name: {spec.name!r} given, which is a child here already")
        tied = strategy != "one_for_one"
        group: list[Child] = []
        self._groups.insert(0 if stops_last else len(self._groups), (tied, group))
        shared = Unit(strategy, self._crashed)
        for spec in specs:
            child = Child(spec, self._title, self._clock, self)
            if (old := self._children.get(spec.name)) is not None:
                del self._units[old]
            self._children[spec.name] = child
            group.append(child)
            self._units[child] = unit = shared if tied else Unit(strategy, self._crashed)
            unit.children.append(child)
            self._watch_closely(spec)
            if self._stopping:
                child.become("stopped")
            else:
                self._launch(child)
            if tied:
                await self._wait_ready(child)
        for child in group:
            await self._wait_ready(child)

    def _launch(self, child: Child) -> None:
        try:
            child.launch()
        except Exception as error:
            child.failure = str(error)
            child.become("failed")
            raise StartFailed(f"{child.spec.name} cannot be started: {error}") from error

    async def _wait_ready(self, child: Child) -> None:
        timeout_s = child.spec.start_timeout_s

        def decided() -> bool:
            return child.was_ready or child.state in ("failed", "stopped")

        if not await child.until(decided, timeout_s):
            raise StartFailed(f"{child.spec.name} was not ready within {timeout_s:g} s")
        if not child.was_ready:
            why = child.failure or "the supervisor stops"
            raise StartFailed(f"{child.spec.name} ended before it was ready ({why})")

    def _crashed(self, child: Child, error: Exception) -> None:
        child.failure = str(error)
        self._give_up(child, f"it cannot be restarted: {error}")

    # --- what children do (ChildEvents) --------------------------------------------------------

    def started(self, child: Child) -> None:
        """There is a process."""
        self._started += 1
        self._event("started", child, f"pid {child.pid}")

    def said(self, child: Child, word: str, value: Any) -> None:
        """A child said something other than its heartbeats."""
        if word == "ready" and isinstance(value, dict):
            if child.state == "starting":
                child.info = value
                child.was_ready = True
                child.become("ready")
                took = self._clock.now() - child.started_at
                self._event("ready", child, f"after {took:.2f} s")
        elif word == "tell" and isinstance(value, tuple):
            if self._on_tell is not None:
                try:
                    self._on_tell(child.spec.name, value)
                except Exception:
                    # A defect of the owner's is not to stop the supervision of its processes.
                    logger.exception("on_tell failed on what %s told", child.spec.name)
        else:
            child.kill("garbled", f"it said {word!r}, which no child says")

    def ended(self, child: Child, how: str, *, normal: bool = False) -> None:
        """A process has ended, or could not be made."""
        if child.pid:
            self._exits[how] += 1
            self._event("exited", child, f"pid {child.pid}: {how}")
        child.failure = how
        unit = self._units[child]
        kind = child.spec.restart.restart
        if self._stopping:
            child.become("stopped")
        elif child.ordered_to_end:
            comes_back = unit.busy and kind != "temporary"
            child.become("restarting" if comes_back else "stopped")
        elif not child.was_ready:
            # It never worked: starting it again and again would only hide why.
            child.become("failed")
        elif kind == "temporary" or (kind == "transient" and normal):
            child.become("stopped")
        else:
            self._restart(child, unit, normal=normal)

    def killing(self, child: Child, why: str, text: str) -> None:
        """A process is killed from here."""
        self._kills[why] += 1
        logger.error("killing %s (pid %d): %s", child.spec.name, child.pid, text)

    def _restart(self, child: Child, unit: Unit, *, normal: bool) -> None:
        now = self._clock.now()
        delay_s = child.tracker.failed(now, normal=normal)
        if delay_s is None:
            self._give_up(child, f"{child.tracker.restarts} restarts")
        elif self._budget is not None and not self._budget.take(now):
            self._give_up(child, f"{child.tracker.restarts} restarts, too many with the others'")
        else:
            self._event("restarting", child, f"in {delay_s * 1_000:.0f} ms")
            unit.fell(child, delay_s)

    def _give_up(self, child: Child, text: str) -> None:
        child.become("failed")
        self._gave_up += 1
        self._units[child].cancel()
        self._event("gave_up", child, text)
        self.gave_up.set()

    def _event(self, kind: str, child: Child, text: str) -> None:
        try:
            self._on_event(kind, child.spec.name, text)
        except Exception:
            # A defect of the owner's is not to stop the supervision of its processes.
            logger.exception("on_event failed on %s of %s", kind, child.spec.name)

    # --- heartbeats ----------------------------------------------------------------------------

    def _watch_closely(self, spec: ProcessSpec) -> None:
        shortest = min(spec.heartbeat_timeout_s, spec.start_timeout_s)
        wanted = max(_LEAST_WATCH_S, shortest / 8)
        if wanted < self._watch_s and self._watch is not None:
            self._watch_s = wanted
            self._watch.cancel()
            self._watch = self._loop.call_later(wanted, self._look)

    def _look(self) -> None:
        """Kill what shows no life; its end is told as any other."""
        self._watch = self._loop.call_later(self._watch_s, self._look)
        now = self._clock.now()
        # When this process stood still itself, the heartbeats of that time are still to be read.
        blind_s = max(0.0, now - self._looked_at - 2 * self._watch_s)
        self._looked_at = now
        for child in self._children.values():
            if not child.alive:
                continue
            child.beat_at = min(now, child.beat_at + blind_s)
            if child.state == "starting":
                if now - child.started_at > child.spec.start_timeout_s:
                    child.kill("unready", f"not ready within {child.spec.start_timeout_s:g} s")
                elif child.beats:
                    self._look_at_silence(child, now)
            elif child.state == "ready" and not self._look_at_silence(child, now):
                self._look_at_lag(child)

    def _look_at_silence(self, child: Child, now: float) -> bool:
        silent_s = now - child.beat_at
        if silent_s <= child.spec.heartbeat_timeout_s:
            return False
        child.kill("silent", f"no heartbeat for {silent_s:.3g} s")
        return True

    def _look_at_lag(self, child: Child) -> None:
        timeout_s = child.spec.heartbeat_timeout_s
        if child.lag_s > timeout_s:
            child.kill("stuck", f"its event loop stood for {child.lag_s:.3g} s")
        elif child.lag_s > timeout_s / 2 and not child.dump_asked:
            # What it is stuck in is then in the log before it is killed.
            child.dump_asked = True
            child.send("dump", None)

    # --- for the owner -------------------------------------------------------------------------

    def children(self) -> list[ProcessInfo]:
        """Every child, in the order of its start."""
        return [child.snapshot() for child in self._children.values()]

    def counters(self) -> ProcessCounters:
        """What has happened so far, as a plain structure for metrics."""
        children = self._children.values()
        return ProcessCounters(
            children=dict(Counter(child.state for child in children)),
            started=self._started,
            restarts=sum(child.launches - 1 for child in children if child.launches),
            gave_up=self._gave_up,
            exits=dict(self._exits),
            kills=dict(self._kills),
            dropped_words=sum(child.dropped for child in children),
        )

    def send(self, name: str, word: str, value: Any) -> bool:
        """Say something to a child; False when it is not there to hear it, or does not read.

        Raises:
            WordGarbled: ``value`` cannot be pickled, or is too long.
        """
        child = self._children.get(name)
        return child is not None and child.state == "ready" and child.send(word, value)

    def dump(self, name: str) -> bool:
        """Have a child log the stacks of its threads, and what its ``on_dump`` returns.

        Works while its event loop is stuck. False when it is not there.
        """
        child = self._children.get(name)
        return child is not None and child.send("dump", None)

    def info(self, name: str) -> dict[str, Any]:
        """What a child said when it was ready."""
        return self._children[name].info

    # --- stopping ------------------------------------------------------------------------------

    async def stop(self, timeout_s: float) -> bool:
        """Drain and stop every child; False when some had to be killed.

        The group that was started last stops first, unless it is to stop last. The children of a
        ``one_for_one`` group drain together, so that one that hangs takes no time from the others;
        those of other groups one by one, in reverse order. Nothing is restarted any more, and no
        back-off is waited for.

        Args:
            timeout_s: for all of them, in seconds; what is left then is killed.
        """
        self._stopping = True
        deadline = self._loop.time() + timeout_s
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        clean = True
        for unit in self._units.values():
            unit.cancel()
        for tied, group in reversed(self._groups):
            if tied:
                ended = [await self._stop_one(child, deadline) for child in reversed(group)]
            else:
                ended = await asyncio.gather(*(self._stop_one(child, deadline) for child in group))
            clean = clean and all(ended)
        return clean

    async def _stop_one(self, child: Child, deadline: float) -> bool:
        return await child.end(max(0.2, deadline - self._loop.time()))
