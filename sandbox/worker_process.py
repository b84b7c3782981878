"""One worker process, seen from its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Final

from sandbox.child_process import STDERR_TAIL, command, environment
from sandbox.engines import EngineName
from sandbox.errors import Reason, SandboxError
from sandbox.frames import PREFIX, Header, unpack_header, unpack_lengths

MIB: Final = 1024 * 1024

START_S: Final = 30.0
"""Longest start of a worker; it takes 0.2 s on a quiet machine."""

STOP_S: Final = 5.0
"""Longest wait for a killed worker to be gone."""

WORKER_OVERHEAD_BYTES: Final[dict[EngineName, int]] = {"wasmtime": 256 * MIB, "wasmer": 512 * MIB}
"""Memory of a worker beyond its guest's: the interpreter, the engine, its threads, buffers."""

Answering = Callable[[Header, bytes], Awaitable[bytes]]
"""Gives the frame that answers a question of the worker's guest."""


class WorkerProcess:
    """A child process that runs guests. Made by ``start``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.calls = 0
        self._process = process
        self._said = bytearray()
        self._drain = asyncio.create_task(self._read_stderr(), name="sandbox worker stderr")

    @classmethod
    async def start(
        cls, guest_memory_bytes: int, file_bytes: int, engine: EngineName = "wasmtime"
    ) -> WorkerProcess:
        """Spawn and wait until it answers. Raises ``SandboxError`` (``host_error``)."""
        data_bytes = guest_memory_bytes + WORKER_OVERHEAD_BYTES[engine]
        numbers = (data_bytes, file_bytes, os.getpid())
        process = await asyncio.create_subprocess_exec(
            *command("sandbox.worker", *map(str, numbers), engine),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
            limit=MIB,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_S):
                await worker._receive()
        except (TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            await worker.kill()
            raise SandboxError(
                Reason.HOST_ERROR,
                f"a sandbox worker did not start ({type(error).__name__}): {worker.said()}",
                said=worker.said(),
            ) from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is known to run."""
        return self._process.returncode is None

    async def exchange(self, frame: bytes, answering: Answering) -> tuple[Header, bytes]:
        """Send a request, answer what its guest asks, and read the result.

        The caller bounds the time.
        """
        self.calls += 1
        await self._give(frame)
        while True:
            header, body = await self._receive()
            if "ask" not in header:
                return header, body
            await self._give(await answering(header, body))

    def kill_now(self) -> None:
        """SIGKILL; ``kill`` waits for its end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self.kill_now()
        async with asyncio.timeout(STOP_S):
            await self._process.wait()
            await self._drain

    def said(self) -> str:
        """The end of what it wrote to standard error."""
        return self._said.decode(errors="replace").strip()

    async def _give(self, frame: bytes) -> None:
        writer = self._process.stdin
        assert writer is not None  # noqa: S101 - made with PIPE
        writer.write(frame)
        await writer.drain()

    async def _receive(self) -> tuple[Header, bytes]:
        reader = self._process.stdout
        assert reader is not None  # noqa: S101 - made with PIPE
        lengths = unpack_lengths(await reader.readexactly(PREFIX.size))
        header = unpack_header(await reader.readexactly(lengths[0]))
        return header, await reader.readexactly(lengths[1])

    async def _read_stderr(self) -> None:
        reader = self._process.stderr
        assert reader is not None  # noqa: S101 - made with PIPE
        while chunk := await reader.read(4096):
            self._said += chunk
            del self._said[:-STDERR_TAIL]
