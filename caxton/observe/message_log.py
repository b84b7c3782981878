"""A line in the log for a message that came to its end, with what correlates it.

Lines are collected on the event loop as plain tuples, and a thread encodes and writes them, many
with one write. What a slow disk would pile up is bounded: lines over the bound are counted and
left out, and a line says so. The file is opened for each write, so that it may be rotated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from caxton.config import Config
from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.observe.tracing import message_span, trace_id
from caxton.types import format_id

__all__ = ["FIELDS", "MessageLog", "make_message_log"]

logger = logging.getLogger("caxton.messages")

FLUSH_S: Final = 0.1
"""Between two writes."""
BOUND: Final = 50_000
"""Lines that wait to be written."""

FIELDS: Final[dict[str, str]] = {
    "timestamp": "when it ended, UTC, RFC 3339",
    "level": "`info` when it was handled, `warning` when not",
    "message": "`handled`, or why it was not",
    "logger": "`caxton.messages`",
    "process": "name of the process",
    "node_id": "the node",
    "trace_id": "its trace: [trace it](../operate/trace.md)",
    "span_id": "its `send` span",
    "message_id": "the message",
    "conversation_id": "its conversation",
    "performative": "the act",
    "sender": "name of who sent it",
    "agent_id": "the agent that it went to; not there when none was found",
    "agent": "name of that agent",
    "routing_time_us": "from its acceptance until its agent was chosen, in µs",
    "took_us": "from its acceptance until its end, in µs",
    "queue_depth": "messages of this shard that are with that agent or wait for it",
    "attempts": "how often it failed before",
    "code": "of the error, when it was not handled",
}
"""Every field of a line; the reference is made from it."""

_Line = tuple[float, Message, bytes | None, int, int, int, int, CaxtonError | None]


class MessageLog:
    """The lines of one process; use it on one event loop.

    Args:
        file: where they go.
        process: its name.
        node_id: the node.
        name_of: the name of an agent.
        all_handled: a line for each handled message; else for sampled ones only.
        handled: whether handled messages have lines at all.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        file: Path,
        process: str,
        node_id: bytes,
        name_of: Callable[[bytes], str],
        *,
        handled: bool,
        all_handled: bool,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.depth: Callable[[bytes], int] = lambda agent_id: 0
        self.handled = handled
        self.all_handled = all_handled and handled
        self._file = file
        self._process = process
        self._node = format_id(node_id)
        self._name_of = name_of
        self._wall = wall
        self._lines: list[_Line] = []
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-messages")
        self._writing: asyncio.Future[None] | None = None

    def ended(
        self,
        message: Message,
        agent_id: bytes | None,
        routing_us: int,
        took_us: int,
        attempts: int,
        error: CaxtonError | None,
    ) -> None:
        """A message that has a line came to its end."""
        if len(self._lines) >= BOUND:
            self._left_out += 1
            return
        depth = self.depth(agent_id) if agent_id is not None else 0
        self._lines.append(
            (self._wall(), message, agent_id, routing_us, took_us, depth, attempts, error)
        )
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._writing is not None and not self._writing.done():
            self._timer = loop.call_later(FLUSH_S, self._flush)
            return
        lines, self._lines = self._lines, []
        left_out, self._left_out = self._left_out, 0
        self._writing = loop.run_in_executor(self._thread, self._write, lines, left_out)

    def _write(self, lines: list[_Line], left_out: int) -> None:
        made = [orjson.dumps(self._line(*line)) for line in lines]
        if made:
            made.append(b"")
            try:
                with self._file.open("ab", buffering=0) as file:
                    file.write(b"\n".join(made))
            except OSError as error:
                logger.error("%d lines about messages cannot be written: %s", len(lines), error)
        if left_out:
            logger.warning("%d lines about messages were left out: the log is behind", left_out)

    def _line(
        self,
        at: float,
        message: Message,
        agent_id: bytes | None,
        routing_us: int,
        took_us: int,
        depth: int,
        attempts: int,
        error: CaxtonError | None,
    ) -> dict[str, Any]:
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "timestamp": moment,
            "level": "info" if error is None else "warning",
            "message": "handled" if error is None else error.detail,
            "logger": logger.name,
            "process": self._process,
            "node_id": self._node,
            "trace_id": f"{trace_id(message):032x}",
            "span_id": f"{message_span(message):016x}",
            "message_id": format_id(message.message_id),
            "conversation_id": format_id(message.conversation_id),
            "performative": message.performative.value,
            "sender": self._name_of(message.sender),
        }
        if agent_id is not None:
            line["agent_id"] = format_id(agent_id)
            line["agent"] = self._name_of(agent_id)
        line["routing_time_us"] = routing_us
        line["took_us"] = took_us
        line["queue_depth"] = depth
        line["attempts"] = attempts
        if error is not None:
            line["code"] = error.code
        return line

    async def close(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._write, self._lines, self._left_out)
        self._lines = []
        self._thread.shutdown(wait=True)


def make_message_log(
    config: Config, node_id: bytes, process: str, name_of: Callable[[bytes], str]
) -> MessageLog | None:
    """The message log of one process, as the settings say; None for none."""
    if config.log_messages == "none" or config.log_level == "error":
        return None
    return MessageLog(
        config.data / "logs" / "caxton.log",
        process,
        node_id,
        name_of,
        handled=config.log_messages != "failed" and config.log_level != "warning",
        all_handled=config.log_messages == "all",
    )
