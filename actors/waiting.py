"""Who waits for whom: a cycle of asks is a deadlock, and is told as one.

An actor handles one message at a time. When its handler waits for the answer of another actor, and
that one's handler waits, through however many others, for an answer of the first, none of them can
ever go on. (Mars calls the way through the actors a message trace; Orleans a call chain.)
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from actors.errors import AskCycle

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.future import Future

__all__ = ["handling", "waiting_for"]

handling: contextvars.ContextVar[Cell | None] = contextvars.ContextVar("handling", default=None)
"""The cell whose handler runs in this context, where that handler may wait."""


@contextlib.contextmanager
def waiting_for(future: Future[Any]) -> Generator[None, None, None]:
    """The handler that runs here waits for ``future``, which its ``target`` is to answer.

    Raises:
        AskCycle: it would wait for ever.
    """
    cell = handling.get()
    target: Cell | None = future.target
    if cell is None or target is None or cell.current is None:
        yield
        return
    extras = cell.extras()
    if extras.waits is None:
        extras.waits = []
    edge = (cell.current, future)
    # Noted before the look: of two who begin to wait for each other, one sees the other.
    extras.waits.append(edge)
    try:
        chain = _cycle(cell, target)
        if chain is not None:
            cell.system.counts.ask_cycles += 1
            raise AskCycle([one.path for one in chain])
        yield
    finally:
        extras.waits.remove(edge)


def _cycle(start: Cell, target: Cell) -> list[Cell] | None:
    """The cells from ``start`` over ``target`` back to ``start``, when there is such a way."""
    ways: list[list[Cell]] = [[start, target]]
    seen: set[int] = set()
    while ways:
        way = ways.pop()
        cell = way[-1]
        if cell is start:
            return way
        if id(cell) in seen:
            continue
        seen.add(id(cell))
        extras = cell._extras
        for envelope, future in list(extras.waits or ()) if extras is not None else ():
            # What a task of an earlier message waits for holds up nobody; who has the answer
            # waits no more, though its thread may not have run since.
            if cell.current is envelope and future._result is None:
                ways.append([*way, future.target])
    return None
