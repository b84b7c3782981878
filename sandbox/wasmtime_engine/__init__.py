"""The engine: wasmtime. The only module that imports it; import this one where it is needed.

Source: wasmtime's ``Config`` and ``Store`` documentation. Feature flags are constants here and
never come from a user: some combinations abort the process.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import wasmtime
from wasmtime import Trap, TrapCode, WasmtimeError

from sandbox.engine import CommandResult, Compiled, GuestReply, load_failed
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.host import (
    U32,
    HostAbort,
    HostCalls,
    check_message,
    check_output,
    exchange,
    host_failed,
    out_of_fuel,
    timed_out,
    trapped,
)
from sandbox.limits import Limits
from sandbox.module import WASI, Export, Import
from sandbox.ticker import Ticker, ticks
from sandbox.wasi_poll import poll_oneoff
from sandbox.wasi_streams import StreamFile

LOADED_MODULES: Final = 32
"""Most modules an engine keeps loaded; the least recently used goes first."""

_OFF: Final = (
    "wasm_threads",
    "wasm_tail_call",
    "wasm_multi_memory",
    "wasm_memory64",
    "wasm_relaxed_simd",
    # The C interface aborts the process when it describes a function with a v128 parameter.
    "wasm_simd",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_wide_arithmetic",
    "wasm_custom_page_sizes",
    "wasm_stack_switching",
    "wasm_component_model",
    "shared_memory",
)


def _config(stack_bytes: int) -> wasmtime.Config:
    config = wasmtime.Config()
    config.strategy = "cranelift"
    config.consume_fuel = True
    config.epoch_interruption = True
    config.max_wasm_stack = stack_bytes
    for flag in _OFF:
        setattr(config, flag, False)
    return config


def _describe(kind: object) -> str:
    if isinstance(kind, wasmtime.FuncType):
        params = ",".join(str(item) for item in kind.params)
        results = ",".join(str(item) for item in kind.results)
        return f"func({params})->({results})"
    if isinstance(kind, wasmtime.MemoryType):
        return "memory"
    return "table" if isinstance(kind, wasmtime.TableType) else "global"


def _func_type(params: int, *results: str) -> wasmtime.FuncType:
    kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
    return wasmtime.FuncType([kinds["i32"]()] * params, [kinds[name]() for name in results])


class _Memory:
    """A guest's memory through its own address; ranges are checked by the callers."""

    def __init__(self, store: Any, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory

    def size(self) -> int:
        return self._memory.data_len(self._store)

    def read(self, start: int, length: int) -> bytes:
        return ctypes.string_at(self._address() + start, length)

    def write(self, start: int, data: bytes) -> None:
        ctypes.memmove(self._address() + start, data, len(data))

    def _address(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)


class _Run:
    """One call into a guest: its store, budgets and what its host functions did."""

    def __init__(self, store: wasmtime.Store, limits: Limits) -> None:
        self.store = store
        self.limits = limits
        self.started = time.monotonic()
        self.deadline = self.started + limits.wall_ms / 1000
        self.host = HostCalls(limits, self)
        self.trapped = False
        store.set_fuel(limits.fuel)
        store.set_epoch_deadline(ticks(limits.wall_ms))

    def charge(self, cost: int) -> bool:
        left = self.store.get_fuel()
        self.store.set_fuel(max(0, left - cost))
        return left >= cost

    def fuel_used(self) -> int:
        return self.limits.fuel - self.store.get_fuel()

    def wall_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000

    def error(self, raised: Exception) -> SandboxError:
        """Classify by what this call knows of itself.

        A host function's exception may reach another thread's call, so ``raised`` is read only
        when it is this call's own trap object.
        """
        if self.host.failure is not None:
            return self.host.failure
        code = raised.trap_code if isinstance(raised, Trap) else None
        if code is TrapCode.OUT_OF_FUEL or self.store.get_fuel() == 0:
            return out_of_fuel(self.limits)
        if code is TrapCode.INTERRUPT or time.monotonic() >= self.deadline:
            return timed_out(self.limits)
        return trapped(code.name.lower() if code is not None else "unknown")


HostFunction = Callable[[_Run], Callable[..., Any]]
"""Picks the work of a host function out of the call it belongs to."""


class _Platform:
    """An engine of one stack size and one use (agent or command), with its loaded modules."""

    def __init__(self, stack_bytes: int, use: str) -> None:
        self.engine = wasmtime.Engine(_config(stack_bytes))
        self.ticker = Ticker(self.engine.increment_epoch)
        self._current = threading.local()
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Path, wasmtime.InstancePre] = OrderedDict()
        self._linker = self._agent_linker() if use == "agent" else self._command_linker()

    @contextmanager
    def run(
        self, store: wasmtime.Store, limits: Limits, give_up: Callable[[], bool] | None = None
    ) -> Iterator[_Run]:
        """Budgets, clock and this thread's current call; errors come out classified."""
        run = _Run(store, limits)
        self._current.run = run
        try:
            with self.ticker.running(give_up):
                yield run
        except (Trap, WasmtimeError, HostAbort) as raised:
            run.trapped = True
            raise run.error(raised) from None
        finally:
            self._current.run = None

    def prepared(self, artifact: Path) -> wasmtime.InstancePre:
        """The module with its imports resolved; loads the artifact at first use."""
        with self._lock:
            found = self._loaded.get(artifact)
            if found is None:
                try:
                    module = wasmtime.Module.deserialize_file(self.engine, str(artifact))
                    found = self._linker.instantiate_pre(module)
                except WasmtimeError as error:
                    raise load_failed(artifact, str(error).splitlines()[0]) from None
                self._loaded[artifact] = found
                while len(self._loaded) > LOADED_MODULES:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(artifact)
            return found

    def store(self, limits: Limits) -> wasmtime.Store:
        store = wasmtime.Store(self.engine)
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=1,
            tables=4,
            memories=1,
        )
        return store

    def _agent_linker(self) -> wasmtime.Linker:
        linker = wasmtime.Linker(self.engine)
        define = self._definer(linker)

        define("caxton", "log", _func_type(3), lambda run: run.host.log)
        define("caxton", "now", _func_type(0, "i64"), lambda run: run.host.now)
        define("caxton", "random", _func_type(2), lambda run: run.host.random)
        define("caxton", "send", _func_type(2, "i32"), lambda run: run.host.send)
        define("env", "abort", _func_type(4), lambda run: run.host.abort)
        return linker

    def _command_linker(self) -> wasmtime.Linker:
        linker = wasmtime.Linker(self.engine)
        linker.define_wasi()
        linker.allow_shadowing = True

        def poll(run: _Run) -> Callable[..., int]:
            return partial(_poll, run)

        self._definer(linker)(WASI, "poll_oneoff", _func_type(4, "i32"), poll)
        return linker

    def _definer(
        self, linker: wasmtime.Linker
    ) -> Callable[[str, str, wasmtime.FuncType, HostFunction], None]:
        def define(module: str, name: str, kind: wasmtime.FuncType, work: HostFunction) -> None:
            def called(caller: wasmtime.Caller, *numbers: int) -> Any:
                run: _Run = self._current.run
                try:
                    memory = _Memory(caller, cast("wasmtime.Memory", caller["memory"]))
                    return work(run)(memory, *numbers)
                except HostAbort:
                    raise
                except Exception as error:
                    raise run.host.fail(host_failed(f"{module}.{name}", error)) from error

            linker.define_func(module, name, kind, called, access_caller=True)

        return define


class WasmtimeAgent:
    """A live instance of an agent module. Dead after any trap, abort or bad pointer."""

    def __init__(self, platform: _Platform, artifact: Path, limits: Limits) -> None:
        self._platform = platform
        self._limits = limits
        self._dead: str | None = None
        self._busy = threading.Lock()
        self._store = platform.store(limits)
        prepared = platform.prepared(artifact)
        try:
            with platform.run(self._store, limits):
                instance = _instantiate(prepared, self._store, limits)
                exports = instance.exports(self._store)
                initialize = exports.get("_initialize")
                if isinstance(initialize, wasmtime.Func):
                    initialize(self._store)
        except SandboxError:
            self._store.close()
            raise
        self._memory = _Memory(self._store, cast("wasmtime.Memory", exports["memory"]))
        alloc = partial(cast("wasmtime.Func", exports["alloc"]), self._store)
        handle = partial(cast("wasmtime.Func", exports["handle_message"]), self._store)
        free = exports.get("dealloc")
        dealloc = partial(free, self._store) if isinstance(free, wasmtime.Func) else None
        memory = _Memory(self._store, cast("wasmtime.Memory", exports["memory"]))
        self._exchange = partial(exchange, memory, alloc, handle, dealloc, limits=limits)

    def call(self, data: bytes) -> GuestReply:
        """Deliver one message and take the reply. See ``AgentInstance``."""
        if not self._busy.acquire(blocking=False):
            raise SandboxError(
                Reason.HOST_ERROR, "the guest is in a call; calls on one guest follow each other"
            )
        try:
            return self._call(data)
        finally:
            self._busy.release()

    def close(self) -> None:
        """Free the instance; waits for a call in flight."""
        with self._busy:
            self._kill("it was closed")

    def _call(self, data: bytes) -> GuestReply:
        limits = self._limits
        if self._dead is not None:
            raise SandboxError(
                Reason.INSTANCE_DEAD,
                f"the guest ended earlier ({self._dead}); open a new one",
                cause=self._dead,
            )
        check_message("the message", data, limits)
        run: _Run | None = None
        try:
            with self._platform.run(self._store, limits) as run:
                reply = self._exchange(data=data)
                return GuestReply(
                    reply,
                    tuple(run.host.sent),
                    tuple(run.host.logs),
                    run.host.logs_dropped,
                    run.fuel_used(),
                    run.wall_ms(),
                )
        except SandboxError as error:
            if run is None or run.trapped or error.reason is Reason.BAD_POINTER:
                self._kill(error.reason)
            raise

    def _kill(self, why: str) -> None:
        if self._dead is None:
            self._dead = str(why)
            self._store.close()


class WasmtimeEngine:
    """``sandbox.engine.Engine`` on wasmtime. Loads artifacts lazily; safe to share by threads."""

    def __init__(self) -> None:
        self._platforms: dict[tuple[int, str], _Platform] = {}
        self._lock = threading.Lock()
        self._one_command = threading.Lock()

    def compile(self, data: bytes) -> Compiled:
        """Validate and compile. Costs memory and time in proportion to hostility of ``data``:
        call it in a limited process only.
        """
        try:
            module = wasmtime.Module(wasmtime.Engine(_config(Limits().stack_bytes)), data)
        except WasmtimeError as error:
            text = " ".join(str(error).split())[:500]
            raise SandboxError(Reason.COMPILE_FAILED, text, size=len(data)) from None
        return Compiled(
            bytes(module.serialize()),
            tuple(Import(i.module, i.name or "", _describe(i.type)) for i in module.imports),
            tuple(Export(e.name, _describe(e.type)) for e in module.exports),
        )

    def open_agent(self, artifact: Path, limits: Limits) -> WasmtimeAgent:
        """See ``Engine``."""
        return WasmtimeAgent(self._platform(limits.stack_bytes, "agent"), artifact, limits)

    def run_command(
        self,
        artifact: Path,
        *,
        stdin: bytes,
        limits: Limits,
        grants: Grants,
        args: tuple[str, ...] = (),
    ) -> CommandResult:
        """See ``Engine``."""
        platform = self._platform(limits.stack_bytes, "command")
        check_message("standard input", stdin, limits)
        prepared = platform.prepared(artifact)
        with (
            self._one_command,
            StreamFile(stdin) as source,
            StreamFile() as stdout,
            StreamFile() as stderr,
            platform.store(limits) as store,
        ):
            store.set_wasi(_wasi((source, stdout, stderr), grants, args))
            try:
                with platform.run(store, limits, stdout.longer_than(limits.stdout_bytes)) as run:
                    code = _start(prepared, store, limits)
            finally:
                # Said first: a flood also runs out of fuel or time, but this is its cause.
                check_output(stdout.size(), limits)
            return CommandResult(
                stdout.read(limits.stdout_bytes),
                stderr.read(limits.stderr_bytes),
                code,
                run.fuel_used(),
                run.wall_ms(),
            )

    def _platform(self, stack_bytes: int, use: str) -> _Platform:
        with self._lock:
            if (stack_bytes, use) not in self._platforms:
                self._platforms[stack_bytes, use] = _Platform(stack_bytes, use)
            return self._platforms[stack_bytes, use]


def _wasi(
    streams: tuple[StreamFile, StreamFile, StreamFile], grants: Grants, args: tuple[str, ...]
) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["tool", *args]
    wasi.env = list(grants.env)
    wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = (item.path for item in streams)
    for folder in grants.folders:
        wasi.preopen_dir(str(folder.host), folder.guest, folder.write)
    return wasi


def _start(prepared: wasmtime.InstancePre, store: wasmtime.Store, limits: Limits) -> int:
    try:
        instance = _instantiate(prepared, store, limits)
        cast("wasmtime.Func", instance.exports(store)["_start"])(store)
    except wasmtime.ExitTrap as ended:
        return ended.code
    return 0


def _instantiate(
    prepared: wasmtime.InstancePre, store: wasmtime.Store, limits: Limits
) -> wasmtime.Instance:
    """Instantiate; what is refused without a trap declares more than its limits."""
    try:
        return prepared.instantiate(store)
    except wasmtime.ExitTrap:
        raise
    except WasmtimeError as error:
        if store.get_fuel() == 0:
            raise
        why = str(error).splitlines()[0]
        raise SandboxError(
            Reason.MODULE_TOO_LARGE,
            f"the module does not fit its limits of {limits.memory_bytes} bytes of memory and "
            f"{limits.table_elements} table elements ({why}); raise them",
            memory_bytes=limits.memory_bytes,
            table_elements=limits.table_elements,
        ) from None


def _poll(run: _Run, memory: _Memory, *numbers: int) -> int:
    errno = poll_oneoff(memory, *(n & U32 for n in numbers), deadline=run.deadline)
    if errno is None:
        raise run.host.fail(timed_out(run.limits))
    return errno


def assemble(text: str) -> bytes:
    """The binary form of WebAssembly text, for tests; modules from users are never text."""
    return bytes(wasmtime.wat2wasm(text))
