"""The view model: what a monitor knows, from snapshots and events. No terminal code here.

Rates come from the differences of successive snapshots. A counter that fell belongs to a process
that was restarted: what it shows now has all been counted since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from caxton.views import AgentView, ConversationView, Event, NodeView, ProcessView, ShardView

T = TypeVar("T")

__all__ = [
    "SORTS",
    "AgentRow",
    "Flow",
    "MonitorState",
    "Picture",
    "ProcessRow",
    "Snapshot",
    "Sort",
]

HISTORY_S: Final = 60
EVENTS: Final = 200
"""Events kept for the screen."""

Sort = Literal["trouble", "name", "mailbox", "rate", "failed"]
SORTS: Final[tuple[Sort, ...]] = ("trouble", "name", "mailbox", "rate", "failed")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the API said at one moment."""

    node: NodeView
    agents: tuple[AgentView, ...]
    conversations: tuple[ConversationView, ...] = ()


class Rate:
    """Events per second of one counter, over the last 60 whole seconds."""

    __slots__ = ("_cells", "_last_s", "_sum", "now")

    def __init__(self) -> None:
        self.now: float | None = None
        """Of the last whole second or more; None before the second snapshot."""
        self._cells: deque[float] = deque(maxlen=HISTORY_S)
        self._last_s: float | None = None
        self._sum = 0.0

    def add(self, delta: float, at: float) -> None:
        """``delta`` more since the last call; ``at`` in seconds of any clock."""
        if self._last_s is None:
            # The first snapshot's totals say nothing about now.
            self._last_s = at
            return
        self._sum += delta
        passed = at - self._last_s
        if passed < 1.0:
            return
        self.now = self._sum / passed
        for _ in range(min(HISTORY_S, int(passed))):
            self._cells.append(self.now)
        self._last_s, self._sum = at, 0.0

    @property
    def history(self) -> tuple[float, ...]:
        """A value for each second, the newest last; at most 60."""
        return tuple(self._cells)

    @property
    def recent(self) -> float:
        """How many there were in the kept seconds."""
        return sum(self._cells)


class _Counters:
    """Turns totals into differences, by key."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], float] = {}

    def delta(self, key: tuple[str, ...], total: float) -> float:
        before = self._last.get(key)
        self._last[key] = total
        if before is None:
            return 0.0
        return total - before if total >= before else total

    def keep(self, keys: set[tuple[str, ...]]) -> None:
        for key in self._last.keys() - keys:
            del self._last[key]


@dataclass(frozen=True, slots=True)
class Flow:
    """One line of the flow: a rate with its trend."""

    name: str
    rate: float | None
    history: tuple[float, ...]
    total: int


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process, with its load."""

    view: ProcessView
    cpu_percent: float | None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent, with what is wrong with it."""

    view: AgentView
    rate: float | None
    trouble: str
    """What is wrong in a word or two; empty when nothing is."""
    rank: int
    """The higher, the worse; 0 when nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Picture:
    """All that a frame shows."""

    connected: bool
    age_s: float
    """Seconds since the last snapshot."""
    reason: str
    """Why there is no connection."""
    node: NodeView | None
    flows: tuple[Flow, ...]
    routing_us: tuple[int, int]
    """p50 and p99 from accepted to the agent's mailbox, of the slowest shard."""
    ack_us: tuple[int, int]
    """p50 and p99 from accepted to acknowledged, of the slowest shard."""
    commit_us: tuple[int, int]
    pending: tuple[int, int]
    """Accepted and not yet handled, and how many there may be."""
    dead_letters: int
    conversations_open: int
    processes: tuple[ProcessRow, ...]
    """Those that are not ready first."""
    agents: tuple[AgentRow, ...]
    conversations: tuple[ConversationView, ...]
    events: tuple[Event, ...]
    """The newest first."""
    agents_total: int
    """Before the filter."""


FLOWS: Final[tuple[tuple[str, Callable[[ShardView], int]], ...]] = (
    ("in", lambda shard: shard.accepted),
    ("handled", lambda shard: shard.handled),
    ("failed", lambda shard: shard.failed + shard.refused),
)


class MonitorState:
    """What the monitor knows.

    Args:
        clock: seconds that only go forward, such as ``time.monotonic``.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._at = clock()
        self._reason = "connecting"
        self._counters = _Counters()
        self._flows = {name: Rate() for name, _ in FLOWS}
        self._handled: dict[str, Rate] = {}
        self._failed: dict[str, Rate] = {}
        self._cpu: dict[str, Rate] = {}
        self._growing: dict[str, int] = {}
        self._events: deque[Event] = deque(maxlen=EVENTS)

    def feed(self, snapshot: Snapshot) -> None:
        """Take in what the API says now."""
        now = self._clock()
        before = self._snapshot
        if before is not None and before.node.started_at != snapshot.node.started_at:
            self._counters = _Counters()
        self._snapshot, self._at, self._reason = snapshot, now, ""
        used: set[tuple[str, ...]] = set()

        def delta(total: float, *key: str) -> float:
            used.add(key)
            return self._counters.delta(key, total)

        for name, read in FLOWS:
            parts = [delta(read(s), "flow", name, str(s.shard)) for s in snapshot.node.shards]
            self._flows[name].add(sum(parts), now)
        for process in snapshot.node.processes:
            rate = self._cpu.setdefault(process.name, Rate())
            rate.add(delta(process.cpu_seconds, "cpu", process.name, str(process.pid)), now)
        for agent in snapshot.agents:
            handled = self._handled.setdefault(agent.id, Rate())
            handled.add(delta(agent.handled, "handled", agent.id), now)
            failed = self._failed.setdefault(agent.id, Rate())
            failed.add(delta(agent.failed, "failed", agent.id), now)
        self._note_growth(before, snapshot)
        self._counters.keep(used)
        self._forget({agent.id for agent in snapshot.agents})

    def _note_growth(self, before: Snapshot | None, snapshot: Snapshot) -> None:
        """Count for each agent how often in a row its mailbox has grown."""
        old = {agent.id: agent.mailbox for agent in before.agents} if before else {}
        for agent in snapshot.agents:
            grew = agent.mailbox > old.get(agent.id, agent.mailbox)
            self._growing[agent.id] = self._growing.get(agent.id, 0) + 1 if grew else 0

    def _forget(self, present: set[str]) -> None:
        tables: tuple[dict[str, Any], ...] = (self._handled, self._failed, self._growing)
        for table in tables:
            for gone in table.keys() - present:
                del table[gone]

    def add_event(self, event: Event) -> None:
        """Take in something that happened; what is known already, as after a reconnection, once."""
        if event not in self._events:
            self._events.appendleft(event)

    def lost(self, reason: str) -> None:
        """The node does not answer; the last picture stays, with its age."""
        self._reason = reason or "no answer"

    @property
    def connected(self) -> bool:
        """Whether the last attempt to read the node went well."""
        return not self._reason

    # --- the picture -------------------------------------------------------------------------

    def picture(self, sort: Sort = "trouble", matching: str = "") -> Picture:
        """Everything as it is now.

        Args:
            sort: order of the agents; ``trouble`` puts the worst first.
            matching: only agents, conversations and events with this text in them.
        """
        snapshot = self._snapshot
        node = snapshot.node if snapshot else None
        shards = node.shards if node else ()
        rows = [self._agent(agent) for agent in (snapshot.agents if snapshot else ())]
        return Picture(
            connected=self.connected,
            age_s=max(0.0, self._clock() - self._at),
            reason=self._reason,
            node=node,
            flows=tuple(self._flow(name, read, shards) for name, read in FLOWS),
            routing_us=_slowest((s.routing_p50_us, s.routing_p99_us) for s in shards),
            ack_us=_slowest((s.ack_p50_us, s.ack_p99_us) for s in shards),
            commit_us=_slowest((s.commit_p50_us, s.commit_p99_us) for s in shards),
            pending=(sum(s.pending for s in shards), sum(s.pending_limit for s in shards)),
            dead_letters=sum(s.dead_letters for s in shards),
            conversations_open=sum(s.conversations for s in shards),
            processes=tuple(
                ProcessRow(process, self._percent(process.name))
                for process in sorted(
                    node.processes if node else (), key=lambda one: one.state == "ready"
                )
            ),
            agents=tuple(_sorted(_matching(rows, matching, _agent_text), sort)),
            conversations=tuple(
                _matching(snapshot.conversations if snapshot else (), matching, _conversation_text)
            ),
            events=tuple(_matching(self._events, matching, _event_text)),
            agents_total=len(rows),
        )

    def _flow(
        self, name: str, read: Callable[[ShardView], int], shards: Sequence[ShardView]
    ) -> Flow:
        rate = self._flows[name]
        return Flow(name, rate.now, rate.history, sum(read(shard) for shard in shards))

    def _percent(self, process: str) -> float | None:
        rate = self._cpu.get(process)
        return None if rate is None or rate.now is None else rate.now * 100

    def _agent(self, agent: AgentView) -> AgentRow:
        rank, trouble = self._trouble(agent)
        handled = self._handled.get(agent.id)
        return AgentRow(agent, handled.now if handled else None, trouble, rank)

    def _trouble(self, agent: AgentView) -> tuple[int, str]:
        if agent.state == "failed":
            return 6, "failed"
        if agent.reload.state == "failed":
            return 5, "reload failed"
        if agent.mailbox_limit and agent.mailbox * 2 >= agent.mailbox_limit:
            return 4, "mailbox filling"
        if self._growing.get(agent.id, 0) >= 3:
            return 3, "mailbox growing"
        failed = self._failed.get(agent.id)
        if failed is not None and failed.recent > 0:
            return 2, "errors"
        return (0, "") if agent.state == "running" else (1, agent.state)


def _slowest(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    listed = list(pairs)
    if not listed:
        return 0, 0
    return max(one for one, _ in listed), max(other for _, other in listed)


def _sorted(rows: Sequence[AgentRow], sort: Sort) -> list[AgentRow]:
    keys: dict[Sort, Callable[[AgentRow], tuple[float, ...]]] = {
        "trouble": lambda r: (-r.rank, -_fill(r.view), -(r.rate or 0.0)),
        "name": lambda _: (),
        "mailbox": lambda r: (-r.view.mailbox,),
        "rate": lambda r: (-(r.rate or 0.0),),
        "failed": lambda r: (-r.view.failed,),
    }
    key = keys[sort]
    return sorted(rows, key=lambda r: (key(r), r.view.name.lower()))


def _fill(agent: AgentView) -> float:
    return agent.mailbox / agent.mailbox_limit if agent.mailbox_limit else float(agent.mailbox)


def _matching(rows: Iterable[T], wanted: str, text: Callable[[T], str]) -> list[T]:
    if not wanted:
        return list(rows)
    low = wanted.lower()
    return [row for row in rows if low in text(row).lower()]


def _agent_text(row: AgentRow) -> str:
    view = row.view
    return " ".join((view.name, view.state, row.trouble, *view.capabilities))


def _conversation_text(view: ConversationView) -> str:
    return " ".join((view.id, view.state, view.protocol, *view.participants))


def _event_text(event: Event) -> str:
    return f"{event.type} {event.subject} {event.text}"
