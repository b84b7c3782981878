"""What every thread of this process is doing, in the log, while the process may be stuck."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable

__all__ = ["log_dump"]

logger = logging.getLogger("actors.process")


def log_dump(name: str, more: Callable[[], str] | None = None) -> None:
    """Log the stack of every thread but the calling one, then what ``more`` returns.

    Not to be called in a signal handler, which may have interrupted who holds the log's lock.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [f"dump of {name}"]
    # All at once: the threads go on, and formatting, which reads files, lets them.
    stacks = {
        ident: list(traceback.walk_stack(frame)) for ident, frame in sys._current_frames().items()
    }
    for ident, stack in stacks.items():
        if ident != threading.get_ident():
            lines = traceback.StackSummary.extract(iter(stack[::-1])).format()
            parts.append(f"thread {names.get(ident, ident)}\n{''.join(lines)}")
    # Before `more`, which may be what hangs.
    logger.critical("\n".join(parts))
    if more is not None:
        try:
            text = more()
        except Exception:
            logger.exception("the rest of the dump of %s failed", name)
        else:
            logger.critical("%s", text)
