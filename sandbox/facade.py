"""The sandbox as its users see it: bytes to modules, modules to commands and agents."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.compiler import CompileLimits, Compiler
from sandbox.engine import CommandResult, Engine
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.grants import Grants
from sandbox.guest_threads import GuestThreads
from sandbox.inline import InlineGuest
from sandbox.limits import Limits
from sandbox.module import Kind, Module
from sandbox.pool import WorkerPool

GUESTS: Final = 10_000
"""Most live agents of a process: each reserves 4 GiB of address space and two mappings."""

AGENT_THREADS: Final = 4
"""Threads on which agents run; a runaway one holds its thread until its deadline."""


class Sandbox:
    """Runs WebAssembly with limits. Belongs to one event loop; an async context manager.

    ``cache_dir`` is made with mode 0700 and must stay private: compiled modules in it are
    trusted. ``workers`` is the number of processes for commands; they start with the first.
    ``pool`` replaces the pool, for other bounds.
    """

    def __init__(
        self,
        cache_dir: Path,
        workers: int = 2,
        *,
        compile_limits: CompileLimits | None = None,
        pool: WorkerPool | None = None,
    ) -> None:
        self._compiler = Compiler(cache_dir, compile_limits)
        self._pool = pool or WorkerPool(workers)
        self._threads: GuestThreads | None = None
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._guests = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return self._pool.pids

    async def start(self) -> None:
        """Start the workers now instead of with the first command."""
        await self._pool.start()

    async def prepare(self, data: bytes) -> Module:
        """Validate and compile a binary module in a limited process, or find it in the cache.

        Raises ``SandboxError``; nothing of the module runs here.
        """
        return await self._compiler.prepare(data)

    async def run_command(
        self,
        module: Module,
        stdin: bytes = b"",
        limits: Limits | None = None,
        grants: Grants | None = None,
        args: tuple[str, ...] = (),
    ) -> CommandResult:
        """Run a WASI command in a fresh instance in a worker. See ``WorkerPool.run_command``."""
        try:
            return await self._pool.run_command(module, stdin, limits, grants, args)
        except SandboxError as error:
            if error.details.get("stage") != "load":
                raise
        again = await self._compile_again(module)
        return await self._pool.run_command(again, stdin, limits, grants, args)

    async def open_agent(
        self, module: Module, limits: Limits | None = None, grants: Grants | None = None
    ) -> InlineGuest:
        """Open an agent module in this process; its initialisers run within ``limits``.

        An agent module has no import that reaches folders or variables: a non-empty ``grants``
        is an ``InvalidSetting``. Raises ``SandboxError``; ``SandboxBusy`` at 10,000 live agents.
        """
        limits = limits or Limits()
        if grants:
            raise InvalidSetting("grants", grants, "none for a core-agent module")
        if module.kind is not Kind.CORE_AGENT:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"open_agent needs a {Kind.CORE_AGENT} module, this is a {module.kind}",
                kind=str(module.kind),
            )
        if self._closed:
            raise SandboxError(Reason.HOST_ERROR, "the sandbox is closed")
        if self._guests >= GUESTS:
            raise SandboxBusy(
                Reason.HOST_ERROR,
                f"{self._guests} agents are open, the limit of a process is {GUESTS}",
                limit=GUESTS,
            )
        self._guests += 1
        try:
            return await self._open(module, limits)
        except BaseException:
            self._forget()
            raise

    async def close(self) -> None:
        """End compilations, kill workers, end threads. No process is left when it returns."""
        self._closed = True
        await asyncio.gather(self._compiler.close(), self._pool.close())
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.close)

    async def _open(self, module: Module, limits: Limits) -> InlineGuest:
        try:
            return await self._instantiate(module, limits)
        except SandboxError as error:
            if error.details.get("stage") != "load":
                raise
        return await self._instantiate(await self._compile_again(module), limits)

    async def _instantiate(self, module: Module, limits: Limits) -> InlineGuest:
        if self._threads is None:
            self._threads = GuestThreads(AGENT_THREADS)
        opening = self._threads.submit(
            lambda: self._loaded_engine().open_agent(module.artifact, limits)
        )
        instance = await asyncio.wrap_future(opening)
        return InlineGuest(instance, self._threads, self._forget)

    async def _compile_again(self, module: Module) -> Module:
        """An artifact was evicted, or the machine's processor is another one."""
        self._compiler.discard(module)
        return await self._compiler.prepare(module.data)

    def _loaded_engine(self) -> Engine:
        with self._engine_lock:
            if self._engine is None:
                from sandbox.wasmtime_engine import WasmtimeEngine

                self._engine = WasmtimeEngine()
            return self._engine

    def _forget(self) -> None:
        self._guests -= 1
