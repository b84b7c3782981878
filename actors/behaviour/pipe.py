"""Pipe to self: the result of something slow becomes a message, instead of being waited for.

The actor goes on with other messages meanwhile. The result comes through the mailbox, so one
handler at a time touches the actor's state. What was asked for before a restart is nobody's
business after it: tasks are cancelled, and a result that comes all the same is a dead letter
(``stale``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pykka
from pykka._envelope import Envelope

from actors.errors import NoLoop
from actors.events import DeadLetter
from actors.future import Future

if TYPE_CHECKING:
    from actors.cell import Cell

__all__ = ["Piped", "cancel_pipes", "pipe"]


@dataclass(frozen=True, slots=True)
class Piped:
    """The result of what was piped to oneself: a value, or the error that came instead."""

    value: Any = None
    error: BaseException | None = None


def pipe(
    cell: Cell,
    awaitable: Awaitable[Any],
    message: Callable[[Any, BaseException | None], Any] | None,
) -> None:
    """See ``Actor.pipe_to_self``.

    Raises:
        NoLoop: the actor's dispatcher has no loop to await on.
    """
    made = cell.made
    make = message or Piped

    def deliver(value: Any, error: BaseException | None) -> None:
        try:
            result = make(value, error)
        except Exception as failed:  # noqa: BLE001 - the actor is told of it as of the result
            result = Piped(None, failed)
        envelope = Envelope(result)
        if cell.made != made:
            cell.system.dead_letters.add(DeadLetter(envelope, cell.path, "stale"))
        else:
            cell.put_exempt(envelope)

    if isinstance(awaitable, Future) and awaitable._get_hook is None:
        awaitable.when_set(lambda: deliver(*_outcome(awaitable)))
        return
    loop = cell.dispatcher.loop
    if loop is None:
        close = getattr(awaitable, "close", None)
        if close is not None:
            close()
        raise NoLoop(cell.path, "what is piped to itself")
    extras = cell.extras()
    if extras.pipes is None:
        extras.pipes = set()
    pipes = extras.pipes

    async def wait() -> None:
        try:
            value = await awaitable
        except asyncio.CancelledError:
            if asyncio.current_task() in pipes:
                deliver(None, asyncio.CancelledError())
            raise
        except BaseException as error:  # noqa: BLE001 - the actor is told of it
            deliver(None, error)
        else:
            deliver(value, None)

    task = loop.create_task(wait())
    pipes.add(task)
    task.add_done_callback(pipes.discard)


def _outcome(future: pykka.Future[Any]) -> tuple[Any, BaseException | None]:
    try:
        return future.get(timeout=0), None
    except BaseException as error:  # noqa: BLE001 - the actor is told of it
        return None, error


def cancel_pipes(cell: Cell) -> None:
    """What is under way is nobody's business any more."""
    extras = cell._extras
    if extras is not None and extras.pipes:
        pipes, extras.pipes = extras.pipes, None
        tasks = list(pipes)
        pipes.clear()
        loop = cell.dispatcher.loop
        for task in tasks:
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
