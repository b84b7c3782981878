"""The steps of a supervisor's longer work, and what it keeps of a child.

A procedure is a generator that yields what it waits for and goes on with the next signal. One runs
at a time. So it reads in one piece, needs no event loop, and runs step by step in tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors.ask import ReplyTo
from actors.dispatch.threads import PoolDispatcher
from actors.supervision.restart import Backoff
from actors.supervision.spec import ChildSpec

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.dispatch.dispatcher import Dispatcher, Timer

__all__ = [
    "CUT_OFF_S",
    "ENDED",
    "STARTED",
    "Child",
    "Procedure",
    "Procedures",
    "Wait",
    "Waiter",
    "ended_in_order",
    "halted",
    "launch_all",
    "once",
]

CUT_OFF_S: Final = 0.5
"""For the handler that is cut off, and for ``on_stop`` after it, before a child is killed."""


STARTED: Final = frozenset({"started", "start_failed", "ended"})
HALTED: Final = frozenset({"halted", "ended"})
ENDED: Final = frozenset({"ended"})


class Wait:
    """Until each of ``children`` has told one of ``kinds``, or for ``timeout_s``, whichever is
    first. What they tell besides, such as a failure on the way down, is not an answer."""

    __slots__ = ("kinds", "pending", "results", "timeout_s", "timer")

    def __init__(
        self, children: Iterable[Child], kinds: frozenset[str], timeout_s: float | None = None
    ) -> None:
        self.pending = set(children)
        self.kinds = kinds
        self.timeout_s = timeout_s
        self.results: dict[Child, tuple[str, Any]] = {}
        """What each told."""
        self.timer: Timer | None = None


Procedure = Generator[Wait, None, None]


class Procedures:
    """Runs the procedures of one supervisor, one after the other, in its turns."""

    __slots__ = ("_cell", "_queue", "_running", "_stepping", "_wait")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._running: Procedure | None = None
        self._queue: deque[Procedure] = deque()
        self._wait: Wait | None = None
        self._stepping = False

    def run(self, procedure: Procedure) -> None:
        """Begin ``procedure`` once those before it are done."""
        self._queue.append(procedure)
        if self._running is None:
            self._step()

    def _step(self) -> None:
        while True:
            if self._running is None:
                if not self._queue:
                    return
                self._running = self._queue.popleft()
            self._stepping = True
            try:
                wait = next(self._running, None)
            finally:
                self._stepping = False
            if wait is None:
                self._running = None
                continue
            if wait.pending or wait.timeout_s is not None:
                self._wait = wait
                if wait.timeout_s is not None:
                    late = partial(self._cell.signal, self._timed_out, wait)
                    wait.timer = self._cell.dispatcher.call_later(wait.timeout_s, late)
                return

    def _timed_out(self, wait: Wait) -> None:
        # Who was killed meanwhile starts nobody any more.
        if self._wait is wait and not self._cell.ended_because:
            self._go_on()

    def told(self, child: Child, kind: str, detail: Any) -> bool:
        """A child told something; whether that was waited for."""
        wait = self._wait
        if wait is None or child not in wait.pending or kind not in wait.kinds:
            return False
        wait.pending.discard(child)
        wait.results[child] = (kind, detail)
        if not wait.pending:
            self._go_on()
        return True

    def _go_on(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None and wait.timer is not None:
            wait.timer.cancel()
        self._step()

    def abort(self) -> None:
        """Drop what runs and what waits to. The one at work, when it asks for this, is to return
        by itself."""
        wait, self._wait = self._wait, None
        if wait is not None and wait.timer is not None:
            wait.timer.cancel()
        self._queue.clear()
        running = self._running
        if running is not None and not self._stepping:
            self._running = None
            running.close()


def once(then: Callable[[], None]) -> Procedure:
    """Do ``then`` after the procedures before."""
    then()
    yield from ()


class Child:
    """A child of a supervisor, over all its cells."""

    __slots__ = ("_backoff", "batch", "cell", "id", "spec", "state", "timer", "waiter")

    def __init__(self, spec: ChildSpec, batch: int, child_id: str) -> None:
        self.spec = spec
        """Copies share one."""
        self.id = child_id
        self.batch = batch
        """Children that were started together stop together."""
        self.cell: Cell | None = None
        self.state = "waiting"
        """``waiting``, ``running``, ``restarting``, ``halting``, ``stopping`` or ``down``."""
        self.timer: Timer | None = None
        self.waiter: Waiter | None = None
        self._backoff: Backoff | None = None

    def backoff(self) -> Backoff:
        """Its back-off, made when it fails for the first time."""
        if self._backoff is None:
            spec = self.spec
            self._backoff = Backoff(
                spec.min_backoff_s, spec.max_backoff_s, spec.random_factor, spec.reset_after_s
            )
        return self._backoff

    def cancel(self) -> None:
        """No restart that is still to come."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()

    def launch(self, supervisor: Cell) -> None:
        """Have an instance made, in a cell that there is or in a new one."""
        cell = self.prepare(supervisor)
        cell.signal(cell.revive)

    def prepare(self, supervisor: Cell) -> Cell:
        """Its cell, made when there is none."""
        cell = self.cell
        if cell is None:
            cell = self.cell = supervisor.system.child_cell(supervisor, self.spec, self.id)
        return cell


class StartTogether:
    """Starts the cells of many children in turns of their dispatcher, and tells it in one signal.

    Not for dispatchers of several threads: they know cells only.
    """

    __slots__ = ("_cells", "_supervisor", "path")

    TURN: Final = 256

    def __init__(self, supervisor: Cell, cells: list[Cell]) -> None:
        self._supervisor = supervisor
        self._cells = deque(cells)
        self.path = f"{supervisor.path}/*"

    def turn(self, throughput: int) -> None:
        """Start some of them."""
        started: list[Cell] = []
        cells = self._cells
        dispatcher = cells[0].dispatcher
        for _ in range(min(self.TURN, len(cells))):
            cells.popleft().revive(started.append)
        supervisor = self._supervisor
        if started:
            supervisor.signal(supervisor.children_started, started)
        if cells:
            dispatcher.schedule(self)


def launch_all(supervisor: Cell, children: list[Child]) -> None:
    """Have an instance of each made."""
    together: dict[Dispatcher, list[Cell]] = {}
    for child in children:
        cell = child.prepare(supervisor)
        if isinstance(cell.dispatcher, PoolDispatcher):
            cell.signal(cell.revive)
        else:
            together.setdefault(cell.dispatcher, []).append(cell)
    for dispatcher, cells in together.items():
        dispatcher.schedule(StartTogether(supervisor, cells))


class Waiter:
    """Who waits for children to start: for all of them, or for the first that fails."""

    __slots__ = ("_failed", "_left", "_refs", "_reply")

    def __init__(self, reply: ReplyTo, count: int) -> None:
        self._reply = reply
        self._failed = False
        self._left = count
        self._refs: list[Any] = []
        if not count:
            reply.reply([])

    def started(self, ref: Any) -> None:
        """One is there."""
        if self._failed:
            return
        self._refs.append(ref)
        self._left -= 1
        if self._left == 0:
            self._reply.reply(self._refs)

    def fail(self, error: BaseException) -> None:
        """One is not; the others stay. The first failure is the answer."""
        if not self._failed:
            self._failed = True
            self._reply.fail(error)


def halted(children: list[Child]) -> Procedure:
    """Let the instances of running children go, the last started first; cells stay.

    One that does not let go in its shutdown time is cut off, then killed, which costs its cell.
    """
    for child in children:
        # All of them now: one that fails until its turn comes is on its way down already.
        child.state = "halting"
    for child in reversed(children):
        cell = child.cell
        if cell is None:
            continue
        seconds = child.spec.shutdown_s
        for cut_off, patience in ((False, seconds), (True, CUT_OFF_S)):
            if cut_off or seconds != 0:
                cell.signal(_halting(cell, cut_off))
                wait = Wait([child], HALTED, patience)
                yield wait
                if child in wait.results:
                    break
        else:
            cell.kill()
            yield Wait([child], ENDED, CUT_OFF_S)
            child.cell = None


def _halting(cell: Cell, cut_off: bool) -> Any:
    return lambda: cell.halt(cut_off=cut_off)


def ended_in_order(children: list[Child]) -> Procedure:
    """End children for good, batch by batch, the last started first.

    Each may handle what is in its mailbox; at its shutdown time the handler at work is cut off,
    and who does not end even then is killed.
    """
    batches: dict[int, list[Child]] = {}
    for child in children:
        batches.setdefault(child.batch, []).append(child)
    for batch in sorted(batches, reverse=True):
        yield from _ended(batches[batch])


def _ended(batch: list[Child]) -> Procedure:
    there = []
    longest: float | None = 0.0
    for child in batch:
        child.state = "stopping"
        child.cancel()
        cell = child.cell
        if cell is None:
            continue
        there.append(child)
        seconds = child.spec.shutdown_s
        if seconds == 0:
            cell.kill()
            continue
        cell.signal(cell.end)
        longest = None if longest is None or seconds is None else max(longest, seconds)
    if not there:
        return
    # When all were killed, their ends are on their way.
    wait = Wait(there, ENDED, CUT_OFF_S if longest == 0 else longest)
    yield wait
    left = [child for child in there if child.cell is not None and child in wait.pending]
    for child in left:
        if child.cell is not None:
            child.cell.signal(child.cell.stop_now)
    if left:
        wait = Wait(left, ENDED, CUT_OFF_S)
        yield wait
    left = [child for child in left if child in wait.pending]
    for child in left:
        if child.cell is not None:
            child.cell.kill()
    if left:
        yield Wait(left, ENDED, CUT_OFF_S)
