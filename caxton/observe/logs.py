"""Logs: JSON lines in the data folder, plain lines on a terminal.

Every process of a node appends to ``logs/caxton.log``; a line is one write, so lines do not mix.
The file may be rotated by any tool: it is opened again when it was moved away.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

import orjson

from caxton.config import Config

__all__ = ["JsonLines", "start_logging"]

MAX_LINE = 16_384
"""Characters of a message that a line keeps."""


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "message": record.getMessage()[:MAX_LINE],
            "logger": record.name,
            "process": self._process,
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)[-MAX_LINE:]
        return orjson.dumps(line).decode()


def start_logging(config: Config, process: str, *, console: bool) -> None:
    """Send the logs of this process to the node's log file, and to stderr when ``console``."""
    folder = config.data / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = WatchedFileHandler(folder / "caxton.log", encoding="utf-8")
    file.setFormatter(JsonLines(process))
    handlers: list[logging.Handler] = [file]
    if console:
        shown = logging.StreamHandler(sys.stderr)
        shown.setLevel(logging.WARNING)
        shown.setFormatter(
            logging.Formatter("%(levelname)s %(message)s")
            if sys.stderr.isatty()
            else JsonLines(process)
        )
        handlers.append(shown)
    logging.basicConfig(level=config.log_level.upper(), handlers=handlers, force=True)
    for noisy in ("watchdog", "httpx2", "httpcore2", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
