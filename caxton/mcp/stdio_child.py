"""A stdio MCP server as a child process: bounded lines, its death noticed, its group killed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio
import anyio.abc
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from caxton.mcp.server_file import Redactor, ServerEntry

__all__ = ["stdio_child"]

logger = logging.getLogger("caxton.mcp")

LINE_BYTES: Final = 8 * 1024 * 1024
"""Longest line that a server may send; a longer one ends the connection."""
STDERR_LINE: Final = 2_000
"""Characters of a line of standard error that are logged."""
STDERR_LINES: Final = 100
"""Lines of standard error that are logged in a minute."""
GONE_S: Final = 0.2
"""How long a server that closed its output has to end, so that its exit code can be told."""
LEAVE_S: Final = 2.0
"""How long a server has to end after its standard input is closed, and again after SIGTERM."""
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER")
"""Of this process's environment; all else, keys of models too, is kept from servers."""

_Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@contextlib.asynccontextmanager
async def stdio_child(
    entry: ServerEntry, redact: Redactor, ended: Callable[[str], None]
) -> AsyncIterator[_Streams]:
    """Run the server of ``entry`` and exchange JSON-RPC messages with it, one a line.

    Args:
        entry: the server.
        redact: takes secrets out of what it says on standard error.
        ended: called once when it says no more, with the reason.

    Raises:
        OSError: it cannot be started.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        entry.command, *entry.args,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**environment, **entry.env},
        cwd=entry.cwd or None, start_new_session=True, limit=LINE_BYTES,
    )  # fmt: skip
    child = _Child(entry.name, process, redact, ended)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.read)
            tasks.start_soon(child.write)
            tasks.start_soon(child.listen)
            try:
                yield child.incoming, child.outgoing
            finally:
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await child.end()


class _Child:
    """The pipes of one process."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        redact: Redactor,
        ended: Callable[[str], None],
    ) -> None:
        self._name = name
        self._process = process
        self._redact = redact
        self._ended = ended
        self._arrived, self.incoming = anyio.create_memory_object_stream[
            SessionMessage | Exception
        ](0)
        self.outgoing, self._leaving = anyio.create_memory_object_stream[SessionMessage](0)

    async def read(self) -> None:
        """Pass on what the server says until it ends."""
        reader = self._process.stdout
        assert reader is not None  # noqa: S101 - made with PIPE
        reason = "it closed its standard output"
        try:
            async with self._arrived:
                while True:
                    try:
                        line = await reader.readline()
                    except ValueError:
                        self._ended(f"it sent a line of more than {LINE_BYTES:,} bytes")
                        return
                    if not line:
                        return
                    if line.strip():
                        await self._arrived.send(_message(line))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError) as error:
            reason = f"the connection ended: {type(error).__name__}"
        finally:
            with anyio.move_on_after(GONE_S, shield=True):
                await self._process.wait()
            self._ended(_end_of(self._process.returncode) or reason)

    async def write(self) -> None:
        """Pass on what is said to the server."""
        writer = self._process.stdin
        assert writer is not None  # noqa: S101 - made with PIPE
        try:
            async with self._leaving:
                async for message in self._leaving:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    writer.write(text.encode() + b"\n")
                    await writer.drain()
        except (ConnectionError, OSError) as error:
            await self._arrived.aclose()
            self._ended(f"it takes nothing more: {type(error).__name__}")

    async def listen(self) -> None:
        """Log what it says on standard error, without secrets and not without end."""
        reader = self._process.stderr
        assert reader is not None  # noqa: S101 - made with PIPE
        loop = asyncio.get_running_loop()
        since, left = loop.time(), STDERR_LINES
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                continue
            if not line:
                return
            if loop.time() - since > 60:
                since, left = loop.time(), STDERR_LINES
            left -= 1
            if left >= 0:
                text = self._redact(line.decode(errors="replace").strip())
                logger.info("MCP server %s says: %s", self._name, text[:STDERR_LINE])

    async def end(self) -> None:
        """Close its standard input, wait, then kill it and whatever it has started."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                self._signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await process.wait()
                    break
        # The server may have ended and left processes of its own behind.
        self._signal(signal.SIGKILL)
        for stream in (self.incoming, self.outgoing, self._arrived, self._leaving):
            await stream.aclose()
        # Whoever got out of the group may hold the pipes open; they are closed all the same.
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _end_of(code: int | None) -> str:
    if code is None:
        return ""
    return f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        # Its text would be in the error, and secrets may be in the text.
        return ValueError("a line that is no JSON-RPC message")
