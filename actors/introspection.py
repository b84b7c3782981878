"""Looking into a live system: the tree, one actor, a dump on a signal, counters."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import FrameType
from typing import TYPE_CHECKING, Any

from actors.counters import Counters, Counts
from actors.future import Future, answer, fail
from actors.processes.dump import log_dump

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.system import ActorSystem

__all__ = [
    "ActorInfo",
    "TreeNode",
    "counters",
    "dump",
    "dump_on_signal",
    "inspect",
    "read_state",
    "tree",
]


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An actor in the tree of supervision."""

    path: str
    actor: str
    """Name of its class."""
    state: str
    restarts: int
    depth: int
    """Messages in its mailbox."""
    children: tuple[TreeNode, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """What the runtime knows of one actor. Holds no content of messages."""

    path: str
    urn: str
    actor: str
    state: str
    instances: int
    """Made so far."""
    restarts: int
    handled: int
    dropped: int
    """Messages its full mailbox refused."""
    mailbox: dict[str, int]
    """Messages that wait, by type."""
    capacity: int
    stashed: int
    handling: str
    """Type of the message in handling; empty when there is none."""
    waits_for: tuple[str, ...]
    """Paths of the actors whose answer its handler awaits."""
    timers: tuple[str, ...]
    """Keys."""
    watchers: int
    watching: int


def _kind(message: Any) -> str:
    return type(getattr(message, "inner", message)).__name__


def inspect(cell: Cell) -> ActorInfo:
    """See ``ActorRef.inspect``."""
    extras = cell._extras
    current = cell.current
    return ActorInfo(
        path=cell.path,
        urn=cell.urn,
        actor=_actor(cell),
        state=cell.state,
        instances=cell.made,
        restarts=cell.restarts,
        handled=cell.handled,
        dropped=cell.dropped,
        mailbox=dict(Counter(map(_kind, cell.waiting()))),
        capacity=cell.spec.capacity,
        stashed=len(extras.stash) if extras and extras.stash else 0,
        handling=_kind(current.message) if current is not None else "",
        waits_for=tuple(future.target.path for _, future in list(extras.waits))
        if extras and extras.waits
        else (),
        timers=tuple(map(repr, extras.timers.keys())) if extras and extras.timers else (),
        watchers=len(extras.watchers) if extras and extras.watchers else 0,
        watching=len(extras.watching) if extras and extras.watching else 0,
    )


def _actor(cell: Cell) -> str:
    return cell.ref.actor_class.__name__ if cell.ref is not None else "?"


_OF_RUNTIME = frozenset({"actor_inbox", "_actor_ref", "_behaviours", "on_receive"})


def read_state(cell: Cell, timeout: float) -> Future[dict[str, Any]]:
    """See ``ActorRef.get_state``."""
    future = Future[dict[str, Any]]()
    if cell.stopped.is_set():
        import pykka

        fail(future, pykka.ActorDeadError(f"{cell.ref} not found"))
        return future
    cell.system.deadlines.add(future, cell.path, timeout)

    def read() -> None:
        state = vars(cell.actor) if cell.actor is not None else {}
        answer(future, {name: state[name] for name in state if name not in _OF_RUNTIME})

    cell.signal(read)
    return future


def _node(cell: Cell) -> TreeNode:
    actor: Any = cell.actor
    below = actor.children() if actor is not None and actor.supervises else ()
    return TreeNode(
        path=cell.path,
        actor=_actor(cell),
        state=cell.state,
        restarts=cell.restarts,
        depth=cell.depth,
        children=tuple(_node(child.cell) for child in below if child.cell is not None),
    )


def tree(system: ActorSystem) -> TreeNode:
    """The system and every actor below it. Takes no lock: a moment, seen while it passes."""
    return TreeNode(
        path=f"/{system.name}",
        actor="ActorSystem",
        state="stopping" if system.stopping else "running",
        restarts=0,
        depth=0,
        children=tuple(_node(cell) for cell in system.cells()),
    )


def _lines(node: TreeNode, lead: str = "", last: bool = True, top: bool = True) -> Iterator[str]:
    name = node.path if top else node.path.rsplit("/", 1)[1]
    joint = "" if top else ("└─ " if last else "├─ ")
    notes = [node.actor, node.state]
    if node.restarts:
        notes.append(f"restarts {node.restarts}")
    if node.depth:
        notes.append(f"mailbox {node.depth}")
    yield f"{lead}{joint}{name}  {', '.join(notes)}"
    below = lead if top else lead + ("   " if last else "│  ")
    for child in node.children:
        yield from _lines(child, below, child is node.children[-1], top=False)


def _cells(system: ActorSystem) -> Iterator[Cell]:
    todo = system.cells()
    while todo:
        cell = todo.pop()
        yield cell
        actor: Any = cell.actor
        if actor is not None and actor.supervises:
            todo += [child.cell for child in actor.children() if child.cell is not None]


def dump(system: ActorSystem, limit: int = 1_000) -> str:
    """The tree, what every actor with something to do is doing, and the counters, as text.

    Args:
        limit: lines of the tree that are shown.
    """
    lines = str(tree(system)).splitlines()
    if len(lines) > limit:
        lines[limit:] = [f"... and {len(lines) - limit:,} more"]
    busy = [inspect(cell) for cell in _cells(system) if cell.state in ("running", "ready")]
    if busy:
        lines.append("busy:")
    for info in busy[:limit]:
        mailbox = ", ".join(f"{count} {name}" for name, count in info.mailbox.items())
        waits = f", waits for {', '.join(info.waits_for)}" if info.waits_for else ""
        handling = f" handles {info.handling}" if info.handling else ""
        lines.append(f"  {info.path}{handling}{waits}; mailbox: {mailbox or 'empty'}")
    seen = counters(system)
    for field in fields(seen):
        value = getattr(seen, field.name)
        if field.name == "dispatchers":
            lines += [f"  {one}" for one in value]
        elif value:
            lines.append(f"  {field.name}: {value}")
    return "\n".join(lines)


def counters(system: ActorSystem) -> Counters:
    """A moment of the system's counters. Walks over every actor: not for every second of many."""
    waiting = stashed = 0
    counts = system.counts
    handled = counts.handled_before
    for cell in _cells(system):
        waiting += cell.depth
        handled += cell.handled
        extras = cell._extras
        if extras is not None and extras.stash is not None:
            stashed += len(extras.stash)
    plain = {field.name: getattr(counts, field.name) for field in fields(Counts)}
    del plain["handled_before"]
    return Counters(
        actors=len(system),
        waiting=waiting,
        stashed=stashed,
        handled=handled,
        dead_letters=dict(system.dead_letters.by_reason),
        dispatchers=tuple(dispatcher.counters() for dispatcher in system.dispatchers()),
        **plain,
    )


def dump_on_signal(system: ActorSystem, signum: int = signal.SIGUSR1) -> None:
    """Log the tree and the stack of every thread when the process gets ``signum``.

    To be called on the main thread, as ``signal.signal``. What an event loop is stuck in shows in
    its thread's stack.
    """

    def handler(_signum: int, _frame: FrameType | None) -> None:
        # Not in the handler itself: it may have interrupted who holds the log's lock.
        threading.Thread(
            target=log_dump, args=(system.name, system.dump), name="actors-dump"
        ).start()

    signal.signal(signum, handler)
