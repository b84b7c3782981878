"""What guests log, among the node's own lines."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sandbox import LogLine

__all__ = ["log_lines"]

LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING)
"""Of a guest's numbers 0, 1 and 2; larger ones are errors."""


def log_lines(logger: logging.Logger, name: str, lines: Iterable[LogLine], dropped: int) -> None:
    """Write the lines of one call under the guest's name; line breaks in them are shown."""
    for line in lines:
        level = LEVELS[line.level] if line.level < len(LEVELS) else logging.ERROR
        if logger.isEnabledFor(level):
            logger.log(level, "%s: %s%s", name, _shown(line.text), " (cut)" if line.cut else "")
    if dropped:
        logger.warning("%s logged %d lines more than one call may", name, dropped)


def _shown(text: str) -> str:
    """A guest must not write lines that look like the node's own."""
    return text if text.isprintable() else text.encode("unicode_escape", "replace").decode()
