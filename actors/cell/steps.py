"""Times the steps of coroutines: between two awaits a handler has its thread for itself.

A step that blocks holds up everyone else on the loop, and it is not part of any turn; so it is
timed by itself and warned of as a slow turn is.
"""

from __future__ import annotations

import time
import types
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from actors.dispatch.dispatcher import SLOW_TURN_S

if TYPE_CHECKING:
    from actors.cell.turns import Turns

__all__ = ["timed"]


@types.coroutine
def timed(coroutine: Coroutine[Any, Any, Any], cell: Turns) -> Generator[Any, Any, Any]:
    """Await ``coroutine``, and have slow steps of it counted and warned of."""
    turns = getattr(cell.dispatcher, "turns", None)
    slow_s = SLOW_TURN_S if turns is None else turns.slow_turn_s
    clock = time.monotonic
    step: Any = coroutine.send
    value: Any = None
    while True:
        begun = clock()
        try:
            awaited = step(value)
        except StopIteration as done:
            return done.value
        finally:
            ended = clock()
            if turns is not None:
                turns.busy_s += ended - begun
                if ended - begun > slow_s:
                    turns.longest_s = max(turns.longest_s, ended - begun)
                    turns.was_slow(cell, ended - begun, ended)
        try:
            value = yield awaited
            step = coroutine.send
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to deal with
            value, step = error, coroutine.throw
