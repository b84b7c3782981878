"""Isolation level *process*: a pool of killable workers for WASI commands.

A guest that blocks in a file operation is reached by no limit of the engine, so each call has a
deadline after which its worker is killed and another one takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from sandbox.call_errors import check_message
from sandbox.engine import CommandResult, ComponentResult
from sandbox.engines import EngineName, check_engine, check_wasmer
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.frames import Header
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Kind, Module, exported
from sandbox.questions import Questions
from sandbox.quota import QuotaWatch
from sandbox.turns import Turns
from sandbox.worker_frames import command_result, component_result, failure
from sandbox.worker_process import WorkerProcess
from sandbox.worker_requests import NO_GRANTS, Asked, pack_request

_log = logging.getLogger(__name__)

MIB: Final = 1024 * 1024

Result = TypeVar("Result")

FATAL: Final = frozenset({Reason.TRAP, Reason.KILLED})
"""After these a worker is replaced: a fault went through native signal handling."""

WASMER_CALLS: Final = 64
"""Most calls of a worker with engine wasmer: each call leaves a thread with its stack behind."""


class WorkerPool:
    """A fixed number of warm workers. Belongs to one event loop; close it.

    ``size``: workers, 1 to 64. ``max_waiting``: calls that may wait for one, beyond which
    ``SandboxBusy``; ``wait_ms``: how long each may wait. Owners take turns; ``most_each`` is how
    many workers one owner may have at once, 0 for all. ``calls_per_worker``: calls after which a
    worker is replaced. ``grace_ms``: how long after ``wall_ms`` a worker is killed.
    ``guest_memory_bytes``: the largest ``Limits.memory_bytes`` a call may ask for.
    ``file_bytes``: the largest file a guest may write, 64 MiB to 4 GiB; standard streams are
    such files too. ``engine``: what runs in the workers; see ``sandbox.engines``.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        max_waiting: int = 64,
        wait_ms: int = 30_000,
        most_each: int = 0,
        calls_per_worker: int = 10_000,
        grace_ms: int = 250,
        guest_memory_bytes: int = 512 * MIB,
        file_bytes: int = 64 * MIB,
        questions: Questions | None = None,
        engine: EngineName = "wasmtime",
    ) -> None:
        for name, value, low, high in (
            ("size", size, 1, 64),
            ("max_waiting", max_waiting, 0, 100_000),
            ("wait_ms", wait_ms, 1, 600_000),
            ("most_each", most_each, 0, 64),
            ("calls_per_worker", calls_per_worker, 1, 10**9),
            ("grace_ms", grace_ms, 10, 60_000),
            ("file_bytes", file_bytes, 64 * MIB, 4096 * MIB),
        ):
            if not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")
        self._engine = check_engine(engine)
        self._size = size
        self._max_waiting = max_waiting
        self._wait_s = wait_ms / 1000
        if engine == "wasmer":
            calls_per_worker = min(calls_per_worker, WASMER_CALLS)
        self._calls_per_worker = calls_per_worker
        self._grace_s = grace_ms / 1000
        self._guest_memory_bytes = guest_memory_bytes
        self._file_bytes = file_bytes
        self._questions = questions or Questions()
        self._idle: deque[WorkerProcess] = deque()
        self._turns: Turns[WorkerProcess] = Turns(most_each)
        self._busy: set[WorkerProcess] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start all workers now instead of with the first call, and wait for them."""
        self._fill()
        await asyncio.gather(*self._starting)

    @property
    def engine(self) -> EngineName:
        """What runs in the workers."""
        return self._engine

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the live workers."""
        return tuple(worker.pid for worker in (*self._idle, *self._busy))

    @property
    def alive(self) -> int:
        """Workers that are there."""
        return len(self._idle) + len(self._busy)

    @property
    def busy(self) -> int:
        """Workers with a call."""
        return len(self._busy)

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return len(self._turns)

    async def run_command(
        self,
        module: Module,
        stdin: bytes = b"",
        limits: Limits | None = None,
        grants: Grants | None = None,
        args: tuple[str, ...] = (),
        *,
        owner: str = "",
    ) -> CommandResult:
        """Run a WASI command in a fresh instance. Defaults: ``Limits.for_command``, no grants.

        ``owner`` is whose call it is, for turns; what follows a slash in it is only told with the
        grants that are used. Raises ``SandboxError``; ``SandboxBusy`` when no
        worker is free in time. Cancelling kills the worker that runs it.
        """
        limits = limits or Limits.for_command()
        grants = grants or NO_GRANTS
        if module.kind is not Kind.WASI_COMMAND:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"run_command needs a {Kind.WASI_COMMAND} module, this is a {module.kind}",
                kind=str(module.kind),
            )
        check_message("standard input", stdin, limits)
        if any("\0" in arg for arg in args):
            raise InvalidSetting("args", args, "text without NUL")
        asked: Asked = (("op", "command"), ("args", tuple(args)))
        return await self.run(module, asked, stdin, limits, grants, command_result, owner)

    async def call_component(
        self,
        module: Module,
        function: str,
        arguments: bytes = b"{}",
        limits: Limits | None = None,
        grants: Grants | None = None,
        *,
        owner: str = "",
    ) -> ComponentResult:
        """Call a component's function, by its name among the exports, in a fresh instance.

        ``arguments`` is a JSON object by the names of its parameters. Defaults:
        ``Limits.for_component``, no grants. Raises as ``run_command``, and ``bad_arguments``.
        """
        limits = limits or Limits.for_component()
        found = exported(module, function)
        check_message("the arguments", arguments, limits)
        asked: Asked = (
            ("op", "component"),
            ("export", found.export),
            ("type", replace(found, docs="").to_text()),
        )
        grants = grants or NO_GRANTS
        return await self.run(module, asked, arguments, limits, grants, component_result, owner)

    async def run(
        self,
        module: Module,
        asked: Asked,
        body: bytes,
        limits: Limits,
        grants: Grants,
        read: Callable[[Header, bytes], Result],
        owner: str = "",
    ) -> Result:
        """Have a worker do what is ``asked`` with a fresh instance of ``module``.

        ``read`` makes the result of what the worker answered, and raises ``SandboxError`` on
        nonsense. Raises ``SandboxError``, also the one that the worker told.
        """
        if limits.memory_bytes > self._guest_memory_bytes:
            raise InvalidSetting(
                "memory_bytes",
                limits.memory_bytes,
                f"at most the pool's {self._guest_memory_bytes}",
            )
        if self._engine == "wasmer":
            check_wasmer(module, limits, grants)
        frame = pack_request(module.artifact, limits, grants, asked, body)
        group = owner.partition("/")[0]
        worker = await self._acquire(group)
        fate: Reason | None = Reason.KILLED
        try:
            self._questions.opened(grants, owner)
            async with QuotaWatch(grants, worker.pid, worker.kill_now):
                answer = await exchange(
                    worker, frame, limits, grants, self._questions, self._grace_s, owner
                )
            error = failure(answer[0])
            if error is None:
                result = read(*answer)
            fate = error.reason if error is not None else None
        finally:
            self._release(worker, group, fate)
        if error is not None:
            raise error
        return result

    async def close(self) -> None:
        """Kill every worker; waiting calls fail. No process is left when it returns."""
        self._closed = True
        self._turns.refuse(_closed(), all_of_them=True)
        for task in self._starting:
            task.cancel()
        for worker in (*self._idle, *self._busy):
            self._retire(worker)
        self._idle.clear()
        await asyncio.gather(*self._starting, *self._retiring, return_exceptions=True)

    async def _acquire(self, owner: str) -> WorkerProcess:
        if self._closed:
            raise _closed()
        while self._idle and self._turns.may_hold(owner):
            worker = self._idle.popleft()
            if worker.alive:
                self._busy.add(worker)
                self._turns.held(owner)
                return worker
            self._retire(worker)
        self._fill()
        waiting = len(self._turns)
        # A call that a starting worker will take is not in a line behind others.
        if waiting >= self._max_waiting + len(self._starting):
            raise SandboxBusy(
                Reason.HOST_ERROR,
                f"all {self._size} workers are busy and {waiting} calls wait, the limit is "
                f"{self._max_waiting}; retry later or raise workers",
                waiting=waiting,
                limit=self._max_waiting,
            )
        turn = self._turns.wait(owner)
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
                self._leave(owner, turn)

    def _leave(self, owner: str, turn: asyncio.Future[WorkerProcess]) -> None:
        """A worker handed over in the moment its caller gave up goes to the next one."""
        if self._turns.leave(owner, turn):
            return
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self._release(turn.result(), owner, None)

    def _release(self, worker: WorkerProcess, owner: str, fate: Reason | None) -> None:
        self._turns.given_back(owner)
        if self._closed:
            return
        # Whatever went wrong with wasmer, its guest may still run: only its process ends it.
        spent = fate in FATAL or (fate is not None and self._engine == "wasmer")
        if spent or not worker.alive or worker.calls >= self._calls_per_worker:
            self._retire(worker)
            self._fill()
            # The owner's next call may have waited for this one's end, not for a worker.
            while self._idle and self._turns.give(self._idle[0]):
                self._busy.add(self._idle.popleft())
        else:
            self._offer(worker)

    def _offer(self, worker: WorkerProcess) -> None:
        if self._turns.give(worker):
            self._busy.add(worker)
        else:
            self._busy.discard(worker)
            self._idle.append(worker)

    def _retire(self, worker: WorkerProcess) -> None:
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
        if len(self._turns) and not self._closed:
            # Each failed start fails one waiting call, so this ends.
            self._fill()

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a sandbox worker did not end: %r", task.exception())

    async def _add(self) -> None:
        try:
            worker = await WorkerProcess.start(
                self._guest_memory_bytes, self._file_bytes, self._engine
            )
        except SandboxError as error:
            self._turns.refuse(error)
            raise
        if self._closed:
            await worker.kill()
            return
        self._offer(worker)


async def exchange(
    worker: WorkerProcess,
    frame: bytes,
    limits: Limits,
    grants: Grants,
    questions: Questions,
    grace_s: float,
    owner: str,
) -> tuple[Header, bytes]:
    """One call of a worker, from its frame to its result.

    Raises ``SandboxError``: ``timeout`` when neither the guest nor the engine ended it in time,
    ``killed`` when the worker died or spoke nonsense. After these the worker is of no more use.
    """
    begun = time.monotonic()
    deadline = begun + limits.wall_ms / 1000

    async def answering(header: Header, body: bytes) -> bytes:
        return await questions.frame(header, body, grants, deadline, owner)

    try:
        async with asyncio.timeout(limits.wall_ms / 1000 + grace_s):
            return await worker.exchange(frame, answering)
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


def _closed() -> SandboxError:
    return SandboxError(Reason.HOST_ERROR, "the worker pool is closed")
