"""The sandbox as its users see it: bytes to modules, modules to commands and agents."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.abi import Level
from sandbox.compiler import CompileLimits, Compiler, Progress
from sandbox.component_guest import ComponentGuest
from sandbox.engine import CommandResult, ComponentResult, Engine
from sandbox.engines import EngineName, check_engine, commands_only
from sandbox.errors import InvalidSetting, Reason, SandboxBusy, SandboxError
from sandbox.grants import Grants
from sandbox.guest import CommandGuest, Guest
from sandbox.guest_threads import GuestThreads
from sandbox.inline import InlineGuest, LoopTurn
from sandbox.limits import Limits
from sandbox.module import Kind, Module
from sandbox.policy import Policy
from sandbox.pool import WorkerPool
from sandbox.prepared import Prepared
from sandbox.process_guest import ProcessGuest
from sandbox.questions import Questions

GUESTS: Final = 10_000
"""Most live agents of a process: each reserves 4 GiB of address space and four mappings."""

OWN_WORKERS: Final = 64
"""Most agents of a process that have a worker of their own, about 24 MiB each."""

AGENT_THREADS: Final = 4
"""Threads for agents' long calls; a runaway one holds its thread until its deadline."""


class Sandbox:
    """Runs WebAssembly with limits. Belongs to one event loop; an async context manager.

    ``cache_dir`` is made with mode 0700 and must stay private: compiled modules in it are
    trusted. ``workers`` is the number of processes for commands; they start with the first.
    ``pool`` replaces the pool, for other bounds. ``questions`` answers what guests ask.
    ``progress`` is told every second of a compilation that takes long.
    ``engine`` is what runs WASI commands: ``wasmer`` is an extra that can do nothing else. A
    ``pool`` must be given the same one. Raises ``InvalidSetting`` when it is not installed.
    """

    def __init__(
        self,
        cache_dir: Path,
        workers: int = 2,
        *,
        compile_limits: CompileLimits | None = None,
        progress: Progress | None = None,
        pool: WorkerPool | None = None,
        questions: Questions | None = None,
        engine: EngineName = "wasmtime",
    ) -> None:
        self._engine_name = check_engine(engine)
        self._questions = questions or Questions()
        self._pool = pool or WorkerPool(workers, questions=self._questions, engine=engine)
        if self._pool.engine != engine:
            raise InvalidSetting("pool", self._pool.engine, f"a pool with engine {engine}")
        self._compiler = Compiler(cache_dir, compile_limits, progress, engine)
        self._threads: GuestThreads | None = None
        self._turn = LoopTurn()
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._guests = 0
        self._own_workers: set[ProcessGuest] = set()
        self._opening = 0
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

    async def load(
        self,
        data: bytes,
        policy: Policy | None = None,
        *,
        workspace: Path | None = None,
        limits: Limits | None = None,
        grants: Grants | None = None,
    ) -> Prepared:
        """Validate and compile a module, and keep what it is opened with by default.

        What ``policy`` asks for is granted, with folders below ``workspace`` (the current one) and
        variables of this process; its limits stand in place of the usual ones. ``limits`` and
        ``grants`` stand in place of both.

        Raises ``SandboxError``; nothing of the module runs here. Raises ``PolicyError`` when what
        the policy asks for is not there.
        """
        module = await self.prepare(data)
        if limits is None:
            limits = default_limits(module.kind)
            limits = limits if policy is None else policy.limits(limits)
        if grants is None and policy is not None:
            grants = policy.grants(workspace or Path.cwd(), os.environ)
        return Prepared(self, module, limits, grants or Grants())

    async def open(self, module: Module, limits: Limits, grants: Grants, owner: str) -> Guest:
        """See ``Prepared.open``."""
        if module.kind is Kind.CORE_AGENT:
            return await self.open_agent(module, limits, grants, owner=owner)
        if module.kind is Kind.COMPONENT:
            return ComponentGuest(self, module, limits, grants, owner)
        return CommandGuest(self._pool, module, limits, grants, owner=owner)

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
        *,
        owner: str = "",
    ) -> CommandResult:
        """Run a WASI command in a fresh instance in a worker. See ``WorkerPool.run_command``."""
        try:
            return await self._pool.run_command(module, stdin, limits, grants, args, owner=owner)
        except SandboxError as error:
            if error.details.get("stage") != "load":
                raise
        again = await self._compile_again(module)
        return await self._pool.run_command(again, stdin, limits, grants, args, owner=owner)

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
        """Call a component's function in a worker. See ``WorkerPool.call_component``."""
        given = (function, arguments, limits, grants)
        try:
            return await self._pool.call_component(module, *given, owner=owner)
        except SandboxError as error:
            if error.details.get("stage") != "load":
                raise
        again = await self._compile_again(module)
        return await self._pool.call_component(again, *given, owner=owner)

    async def open_agent(
        self,
        module: Module,
        limits: Limits | None = None,
        grants: Grants | None = None,
        *,
        owner: str = "",
    ) -> InlineGuest | ProcessGuest:
        """Open an agent module; its initialisers run within ``limits``.

        It lives in this process, or in a worker of its own where ``Module.level`` says so. In this
        process it has no way to folders or variables: such grants are an ``InvalidSetting``.
        Raises ``SandboxError``; ``SandboxBusy`` at 10,000 agents, 64 in own workers.
        """
        if self._engine_name == "wasmer":
            raise commands_only()
        limits = limits or Limits()
        grants = grants or Grants()
        if module.level is Level.INLINE and (grants.folders or grants.env):
            raise InvalidSetting("grants", grants, "no folders and variables without WASI")
        if module.kind is not Kind.CORE_AGENT:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"open_agent needs a {Kind.CORE_AGENT} module, this is a {module.kind}",
                kind=str(module.kind),
            )
        if self._closed:
            raise SandboxError(Reason.HOST_ERROR, "the sandbox is closed")
        if module.level is Level.PROCESS:
            return await self._open_outside(module, limits, grants, owner)
        if self._guests >= GUESTS:
            raise _full("agents are open", self._guests, GUESTS)
        self._guests += 1
        try:
            return await self._open(module, limits, grants, owner)
        except BaseException:
            self._forget()
            raise

    async def close(self) -> None:
        """End compilations, kill workers, end threads. No process is left when it returns."""
        self._closed = True
        own = (guest.close() for guest in tuple(self._own_workers))
        await asyncio.gather(self._compiler.close(), self._pool.close(), *own)
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.close)

    async def _open(
        self, module: Module, limits: Limits, grants: Grants, owner: str
    ) -> InlineGuest:
        try:
            return await self._instantiate(module, limits, grants, owner)
        except SandboxError as error:
            if error.details.get("stage") != "load":
                raise
        return await self._instantiate(await self._compile_again(module), limits, grants, owner)

    async def _instantiate(
        self, module: Module, limits: Limits, grants: Grants, owner: str
    ) -> InlineGuest:
        if self._threads is None:
            self._threads = GuestThreads(AGENT_THREADS)
        ask = self._questions.inline(grants, owner)
        instance = await self._threads.call(
            lambda: self._loaded_engine().open_agent(module.artifact, limits, ask=ask)
        )
        return InlineGuest(instance, self._threads, self._turn, self._forget)

    async def _open_outside(
        self, module: Module, limits: Limits, grants: Grants, owner: str
    ) -> ProcessGuest:
        if len(self._own_workers) + self._opening >= OWN_WORKERS:
            raise _full("agents have workers of their own", len(self._own_workers), OWN_WORKERS)
        self._opening += 1
        try:
            try:
                return await self._start_outside(module, limits, grants, owner)
            except SandboxError as error:
                if error.details.get("stage") != "load":
                    raise
            return await self._start_outside(
                await self._compile_again(module), limits, grants, owner
            )
        finally:
            self._opening -= 1

    async def _start_outside(
        self, module: Module, limits: Limits, grants: Grants, owner: str
    ) -> ProcessGuest:
        guest: list[ProcessGuest] = []

        def closed() -> None:
            self._own_workers.difference_update(guest)

        guest.append(
            await ProcessGuest.open(module, limits, grants, self._questions, closed, owner)
        )
        self._own_workers.update(guest)
        if self._closed:
            await guest[0].close()
            raise SandboxError(Reason.HOST_ERROR, "the sandbox is closed")
        return guest[0]

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


def default_limits(kind: Kind) -> Limits:
    """What a guest of this kind may use when nobody said otherwise."""
    if kind is Kind.COMPONENT:
        return Limits.for_component()
    return Limits() if kind is Kind.CORE_AGENT else Limits.for_command()


def _full(what: str, given: int, limit: int) -> SandboxBusy:
    return SandboxBusy(
        Reason.HOST_ERROR, f"{given} {what}, the limit of a process is {limit}", limit=limit
    )
