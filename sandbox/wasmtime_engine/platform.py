"""An engine with its clock, its linker and its loaded modules; and one call into a guest."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import wasmtime
from wasmtime import Trap, TrapCode, WasmtimeError

from sandbox.abi import FUNCTIONS, WASI, Level
from sandbox.call_errors import host_failed, out_of_fuel, timed_out, trapped
from sandbox.engine import load_failed
from sandbox.errors import Reason, SandboxError
from sandbox.host import U32, GuestMemory, HostAbort, HostCalls
from sandbox.limits import Limits
from sandbox.services.request import Ask, nobody
from sandbox.ticker import Ticker, ticks
from sandbox.wasi_poll import poll_oneoff
from sandbox.wasi_streams import StreamFile
from sandbox.wasmtime_engine.calls import BRIEF_FUEL, Exports, Slices, calls
from sandbox.wasmtime_engine.config import config_of, describe

LOADED_MODULES: Final = 32
"""Most modules an engine keeps loaded; the least recently used goes first."""


class Run:
    """One call into a guest: its store, budgets and what its host functions did."""

    def __init__(self, store: wasmtime.Store, limits: Limits, ask: Ask = nobody) -> None:
        self.store = store
        self.limits = limits
        self.started = time.monotonic()
        self.deadline = self.started + limits.wall_ms / 1000
        self.host = HostCalls(limits, self, ask)
        self.trapped = False
        self.exit_code: int | None = None
        store.set_fuel(limits.fuel)
        self.keep_time()

    def keep_time(self) -> None:
        """Begin to count epochs, once the ticker keeps time for this call."""
        self.store.set_epoch_deadline(ticks(self.limits.wall_ms))

    def charge(self, cost: int) -> bool:
        """See ``Meter``."""
        left = self.store.get_fuel()
        self.store.set_fuel(max(0, left - cost))
        return left >= cost

    def fuel_used(self) -> int:
        """Fuel this call has used so far."""
        return self.limits.fuel - self.store.get_fuel()

    def wall_ms(self) -> float:
        """Milliseconds since this call began."""
        return (time.monotonic() - self.started) * 1000

    def error(self, raised: Exception) -> SandboxError:
        """Classify by what this call knows of itself.

        A host function's exception may reach another thread's call, so ``raised`` is read only
        when it is this call's own trap object.
        """
        if self.host.failure is not None:
            return self.host.failure
        if self.exit_code is not None:
            return SandboxError(
                Reason.GUEST_ABORT,
                f"the guest ended itself with exit code {self.exit_code}",
                exit_code=self.exit_code,
            )
        code = raised.trap_code if isinstance(raised, Trap) else None
        if code is TrapCode.OUT_OF_FUEL or self.store.get_fuel() == 0:
            return out_of_fuel(self.limits)
        if code is TrapCode.INTERRUPT or time.monotonic() >= self.deadline:
            return timed_out(self.limits)
        return trapped(code.name.lower() if code is not None else "unknown")


class PlatformRun(Run):
    """A context: this thread's current call in it, with the clock going; errors of the engine come
    out classified.
    """

    def __init__(
        self,
        platform: Platform,
        store: wasmtime.Store,
        limits: Limits,
        ask: Ask,
        give_up: Callable[[], bool] | None,
    ) -> None:
        super().__init__(store, limits, ask)
        self._platform = platform
        self._give_up = give_up

    def __enter__(self) -> Self:
        self._platform.current.run = self
        self._platform.ticker.begin(self._give_up)
        self.keep_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._platform.current.run = None
        self._platform.ticker.end()
        if isinstance(error, Trap | WasmtimeError | HostAbort):
            self.trapped = True
            raise self.error(error) from None


class SlicedRun(Run):
    """One call of a guest that gives way. Whoever runs it looks at its clock between slices.

    Args:
        let_pass: lets an epoch of the engine pass. It ends no call: all that give way at it are
            looked at and go on.
        slices: of the guest.
        brief: each slice is short, for a thread that must not be held up.
    """

    def __init__(
        self,
        store: wasmtime.Store,
        limits: Limits,
        ask: Ask,
        let_pass: Callable[[], None],
        slices: Slices,
        *,
        brief: bool,
    ) -> None:
        self.brief = brief
        self.spent = False
        """Whether it is to leave at once where its slices are short."""
        self._let_pass = let_pass
        slices.keep_lock = brief
        slices.every(BRIEF_FUEL // 2 if brief else 0)
        super().__init__(store, limits, ask)

    def keep_time(self) -> None:
        """A brief slice ends with the epoch, another one with the call's deadline."""
        self.store.set_epoch_deadline(1 if self.brief else ticks(self.limits.wall_ms))

    def go_on(self) -> None:
        """It has another thread now: its clock begins anew, and its slices need not be short."""
        self.brief = False
        self.deadline = time.monotonic() + self.limits.wall_ms / 1000

    def charge(self, cost: int) -> bool:
        """See ``Meter``. To set the fuel begins a new slice, so that the old one is ended here."""
        enough = super().charge(cost)
        if self.brief and self.fuel_used() >= BRIEF_FUEL:
            self.spent = True
            self._let_pass()
        return enough


HostFunction = Callable[[Run], Callable[..., Any]]
"""Picks the work of a host function out of the call it belongs to."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module with its imports resolved, and the types of its exports as ``describe`` writes."""

    prepared: wasmtime.InstancePre
    exports: Mapping[str, str]


class Platform:
    """An engine of one stack size and one level, with its loaded modules.

    At the inline level WASI is not there: it may block where no limit reaches.
    """

    def __init__(self, stack_bytes: int, level: Level) -> None:
        self.engine = wasmtime.Engine(config_of(stack_bytes))
        self.ticker = Ticker(self.engine.increment_epoch)
        self.current = threading.local()
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Path, Loaded] = OrderedDict()
        self._host_functions: list[object] = []
        self._streams: tuple[StreamFile, StreamFile] | None = None
        self._linker = self._link(wasi=level is Level.PROCESS)

    def run(
        self,
        store: wasmtime.Store,
        limits: Limits,
        ask: Ask = nobody,
        give_up: Callable[[], bool] | None = None,
    ) -> PlatformRun:
        """One call into a guest, to be entered. ``give_up``: see ``Ticker.running``."""
        return PlatformRun(self, store, limits, ask, give_up)

    def prepared(self, artifact: Path) -> Loaded:
        """The module of an artifact; loads it at first use."""
        with self._lock:
            found = self._loaded.get(artifact)
            if found is None:
                try:
                    module = wasmtime.Module.deserialize_file(self.engine, str(artifact))
                    found = Loaded(
                        self._linker.instantiate_pre(module),
                        {export.name: describe(export.type) for export in module.exports},
                    )
                except WasmtimeError as error:
                    raise load_failed(artifact, str(error).splitlines()[0]) from None
                self._loaded[artifact] = found
                while len(self._loaded) > LOADED_MODULES:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(artifact)
            return found

    def store(self, limits: Limits) -> wasmtime.Store:
        """A fresh store for one instance, with its limits."""
        store = calls().store(self.engine)
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=1,
            tables=4,
            memories=1,
        )
        return store

    @contextmanager
    def streams(self) -> Iterator[tuple[StreamFile, StreamFile]]:
        """Two empty streams, kept from call to call: making and closing them is a fifth of a
        short command. For one call at a time.
        """
        if self._streams is None:
            self._streams = StreamFile(), StreamFile()
        try:
            yield self._streams
        finally:
            for stream in self._streams:
                if stream.size():
                    stream.clear()

    def _link(self, *, wasi: bool) -> wasmtime.Linker:
        linker = wasmtime.Linker(self.engine)
        if wasi:
            linker.define_wasi()
            linker.allow_shadowing = True
        define = self._definer(linker)
        if wasi:
            define(WASI, "poll_oneoff", 4, "i32", lambda run: partial(_poll, run))
            define(WASI, "proc_exit", 1, "", lambda run: partial(_exit, run))
        for item in FUNCTIONS:
            if wasi or item.level is Level.INLINE:
                work = partial(_of_host, name=item.name)
                define(item.module, item.name, item.params, item.result, work)
        return linker

    def _definer(
        self, linker: wasmtime.Linker
    ) -> Callable[[str, str, int, str, HostFunction], None]:
        def define(module: str, name: str, params: int, result: str, work: HostFunction) -> None:
            def called(memory: GuestMemory, *numbers: int) -> Any:
                run: Run = self.current.run
                try:
                    return work(run)(memory, *numbers)
                except HostAbort:
                    raise
                except Exception as error:
                    raise run.host.fail(host_failed(f"{module}.{name}", error)) from error

            kept = calls().define(linker, module, name, params, result, called)
            self._host_functions.append(kept)

        return define


def _of_host(run: Run, *, name: str) -> Callable[..., Any]:
    work: Callable[..., Any] = getattr(run.host, name)
    return work


def instantiate(loaded: Loaded, store: wasmtime.Store, limits: Limits) -> Exports:
    """Instantiate; what is refused without a trap declares more than its limits."""
    try:
        return calls().instantiate(loaded.prepared, store)
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


def _poll(run: Run, memory: GuestMemory, *numbers: int) -> int:
    errno = poll_oneoff(memory, *(n & U32 for n in numbers), deadline=run.deadline)
    if errno is None:
        raise run.host.fail(timed_out(run.limits))
    return errno


def _exit(run: Run, _memory: GuestMemory, code: int) -> None:
    """``proc_exit``: an engine's own version traps on 126 and above, which real programs use."""
    run.exit_code = code & U32
    raise HostAbort
