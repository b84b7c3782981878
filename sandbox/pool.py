"""Isolation level *process*: a pool of killable workers for WASI commands.

A guest that blocks in a file operation is reached by no limit of the engine, so each call has a
deadline after which its worker is killed and another one takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from typing import Final

from sandbox.child_process import STDERR_TAIL, command, environment
from sandbox.engine import CommandResult
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.frames import PREFIX, Header, pack, unpack_header, unpack_lengths
from sandbox.grants import Grants
from sandbox.host import check_message
from sandbox.limits import Limits
from sandbox.module import Kind, Module
from sandbox.worker import grants_to

_log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024

START_S: Final = 30.0
"""Longest start of a worker; it takes 0.2 s on a quiet machine."""

STOP_S: Final = 5.0
"""Longest wait for a killed worker to be gone."""

WORKER_OVERHEAD_BYTES: Final = 256 * MIB
"""Memory of a worker beyond its guest's: the interpreter, the engine and buffers."""

FATAL: Final = frozenset({Reason.TRAP, Reason.KILLED})
"""After these a worker is replaced: a fault went through native signal handling."""


class Worker:
    """One child process, seen from the parent."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.calls = 0
        self._process = process
        self._said = bytearray()
        self._drain = asyncio.create_task(self._read_stderr(), name="sandbox worker stderr")

    @classmethod
    async def start(cls, data_bytes: int, file_bytes: int) -> Worker:
        """Spawn and wait until it answers. Raises ``SandboxError`` (``host_error``)."""
        process = await asyncio.create_subprocess_exec(
            *command("sandbox.worker", str(data_bytes), str(file_bytes), str(os.getpid())),
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

    async def exchange(self, frame: bytes) -> tuple[Header, bytes]:
        """Send a request and read its answer; the caller bounds the time."""
        self.calls += 1
        writer = self._process.stdin
        assert writer is not None  # noqa: S101 - made with PIPE
        writer.write(frame)
        await writer.drain()
        return await self._receive()

    async def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        async with asyncio.timeout(STOP_S):
            await self._process.wait()
            await self._drain

    def said(self) -> str:
        """The end of what it wrote to standard error."""
        return self._said.decode(errors="replace").strip()

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


class WorkerPool:
    """A fixed number of warm workers. Belongs to one event loop; close it.

    ``size``: workers, 1 to 64. ``max_waiting``: calls that may wait for one, beyond which
    ``SandboxBusy``; ``wait_ms``: how long each may wait. ``calls_per_worker``: calls after which
    a worker is replaced. ``grace_ms``: how long after ``wall_ms`` a worker is killed.
    ``guest_memory_bytes``: the largest ``Limits.memory_bytes`` a call may ask for.
    ``file_bytes``: the largest file a guest may write, 64 MiB to 4 GiB; standard streams are
    such files too.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        max_waiting: int = 64,
        wait_ms: int = 30_000,
        calls_per_worker: int = 10_000,
        grace_ms: int = 250,
        guest_memory_bytes: int = 512 * MIB,
        file_bytes: int = 64 * MIB,
    ) -> None:
        for name, value, low, high in (
            ("size", size, 1, 64),
            ("max_waiting", max_waiting, 0, 100_000),
            ("wait_ms", wait_ms, 1, 600_000),
            ("calls_per_worker", calls_per_worker, 1, 10**9),
            ("grace_ms", grace_ms, 10, 60_000),
            ("file_bytes", file_bytes, 64 * MIB, 4096 * MIB),
        ):
            if not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")
        self._size = size
        self._max_waiting = max_waiting
        self._wait_s = wait_ms / 1000
        self._calls_per_worker = calls_per_worker
        self._grace_s = grace_ms / 1000
        self._guest_memory_bytes = guest_memory_bytes
        self._file_bytes = file_bytes
        self._idle: deque[Worker] = deque()
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._busy: set[Worker] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start all workers now instead of with the first call, and wait for them."""
        self._fill()
        await asyncio.gather(*self._starting)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the live workers."""
        return tuple(worker.pid for worker in (*self._idle, *self._busy))

    async def run_command(
        self,
        module: Module,
        stdin: bytes = b"",
        limits: Limits | None = None,
        grants: Grants | None = None,
        args: tuple[str, ...] = (),
    ) -> CommandResult:
        """Run a WASI command in a fresh instance. Defaults: ``Limits.for_command``, no grants.

        Raises ``SandboxError``; ``SandboxBusy`` when no worker is free in time. Cancelling kills
        the worker that runs it.
        """
        limits = limits or Limits.for_command()
        if module.kind is not Kind.WASI_COMMAND:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"run_command needs a {Kind.WASI_COMMAND} module, this is a {module.kind}",
                kind=str(module.kind),
            )
        if limits.memory_bytes > self._guest_memory_bytes:
            raise InvalidSetting(
                "memory_bytes",
                limits.memory_bytes,
                f"at most the pool's {self._guest_memory_bytes}",
            )
        check_message("standard input", stdin, limits)
        if any("\0" in arg for arg in args):
            raise InvalidSetting("args", args, "text without NUL")
        frame = pack(
            {
                "artifact": str(module.artifact),
                "limits": limits.as_dict(),
                "args": list(args),
                **grants_to(grants or Grants()),
            },
            stdin,
        )
        worker = await self._acquire()
        fate: Reason | None = Reason.KILLED
        try:
            result = _result(*await self._exchange(worker, frame, limits))
            fate = result.reason if isinstance(result, SandboxError) else None
        finally:
            self._release(worker, fate)
        if isinstance(result, SandboxError):
            raise result
        return result

    async def close(self) -> None:
        """Kill every worker; waiting calls fail. No process is left when it returns."""
        self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(_closed())
        for task in self._starting:
            task.cancel()
        for worker in (*self._idle, *self._busy):
            self._retire(worker)
        self._idle.clear()
        await asyncio.gather(*self._starting, *self._retiring, return_exceptions=True)

    async def _exchange(self, worker: Worker, frame: bytes, limits: Limits) -> tuple[Header, bytes]:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limits.wall_ms / 1000 + self._grace_s):
                return await worker.exchange(frame)
        except TimeoutError:
            raise SandboxError(
                Reason.TIMEOUT,
                f"the command did not end {limits.wall_ms} ms after its start, nor when told; "
                "its worker was killed. It was blocked in a file operation or the machine is "
                "overloaded",
                limit_ms=limits.wall_ms,
                waited_ms=int((time.monotonic() - begun) * 1000),
                killed=1,
            ) from None
        except (asyncio.IncompleteReadError, OSError):
            raise SandboxError(
                Reason.KILLED,
                "the worker died during the call, over its memory limit or killed from outside; "
                f"{worker.said() or 'it said nothing'}",
                pid=worker.pid,
                said=worker.said(),
            ) from None

    async def _acquire(self) -> Worker:
        if self._closed:
            raise _closed()
        while self._idle:
            worker = self._idle.popleft()
            if worker.alive:
                self._busy.add(worker)
                return worker
            self._retire(worker)
        self._fill()
        waiting = sum(not item.done() for item in self._waiting)
        # A call that a starting worker will take is not in a line behind others.
        if waiting >= self._max_waiting + len(self._starting):
            raise SandboxBusy(
                Reason.HOST_ERROR,
                f"all {self._size} workers are busy and {waiting} calls wait, the limit is "
                f"{self._max_waiting}; retry later or raise workers",
                waiting=waiting,
                limit=self._max_waiting,
            )
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        taken = False
        try:
            async with asyncio.timeout(self._wait_s):
                worker = await turn
            taken = True
            return worker
        except TimeoutError:
            raise SandboxBusy(
                Reason.HOST_ERROR,
                f"no worker became free in {int(self._wait_s * 1000)} ms; retry later or raise "
                "workers",
                waited_ms=int(self._wait_s * 1000),
            ) from None
        finally:
            if not taken:
                self._leave(turn)

    def _leave(self, turn: asyncio.Future[Worker]) -> None:
        """A worker handed over in the moment its caller gave up goes to the next one."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            self._release(turn.result(), None)

    def _release(self, worker: Worker, fate: Reason | None) -> None:
        if self._closed:
            return
        if fate in FATAL or worker.calls >= self._calls_per_worker:
            self._retire(worker)
            self._fill()
        else:
            self._offer(worker)

    def _offer(self, worker: Worker) -> None:
        self._busy.discard(worker)
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self._busy.add(worker)
                turn.set_result(worker)
                return
        self._idle.append(worker)

    def _retire(self, worker: Worker) -> None:
        self._busy.discard(worker)
        task = asyncio.create_task(worker.kill(), name="sandbox worker kill")
        self._retiring.add(task)
        task.add_done_callback(self._stopped)

    def _fill(self) -> None:
        live = len(self._idle) + len(self._busy) + len(self._starting)
        for _ in range(self._size - live):
            task = asyncio.create_task(self._add(), name="sandbox worker start")
            self._starting.add(task)
            task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        _log.error("a sandbox worker did not start: %s", task.exception())
        if self._waiting and not self._closed:
            # Each failed start fails one waiting call, so this ends.
            self._fill()

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a sandbox worker did not end: %r", task.exception())

    async def _add(self) -> None:
        try:
            worker = await Worker.start(
                self._guest_memory_bytes + WORKER_OVERHEAD_BYTES, self._file_bytes
            )
        except SandboxError as error:
            self._fail_next(error)
            raise
        if self._closed:
            await worker.kill()
            return
        self._offer(worker)

    def _fail_next(self, error: SandboxError) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)
                return


def _closed() -> SandboxError:
    return SandboxError(Reason.HOST_ERROR, "the worker pool is closed")


def _result(header: Header, body: bytes) -> CommandResult | SandboxError:
    """What a worker answered; nonsense is an error after which it is not used again."""
    try:
        if "reason" in header:
            return SandboxError(
                Reason(header["reason"]), str(header["message"]), **header["details"]
            )
        cut = int(header["stdout"])
        return CommandResult(
            body[:cut],
            body[cut:],
            int(header["exit_code"]),
            int(header["fuel_used"]),
            float(header["wall_ms"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        return SandboxError(Reason.KILLED, f"a worker gave no valid answer: {error!r}")
