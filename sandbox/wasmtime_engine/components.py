"""Components on wasmtime: compile and describe one, and call one of its functions.

Each call has a store and an instance of its own: nothing of one call is seen by another, and
nothing that trapped is used again. WASI 0.2 is linked for all of them, with the folders and
variables that are granted and nothing else; it can block where neither fuel nor epoch reaches,
which is why components run in workers that can be killed.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import wasmtime
from wasmtime import WasmtimeError
from wasmtime import component as wc

from sandbox.call_errors import check_message, check_output, host_failed, too_large
from sandbox.components.functions import Function
from sandbox.components.types import Case, Result
from sandbox.components.values import InvalidValue, parse, read_fields, to_json
from sandbox.components.world import HOST
from sandbox.engine import Compiled, ComponentResult, load_failed
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.host import HostAbort
from sandbox.limits import Limits
from sandbox.services.request import Ask, nobody
from sandbox.ticker import Ticker
from sandbox.wasi_streams import StreamFile
from sandbox.wasmtime_engine.commands import grant
from sandbox.wasmtime_engine.component_host import ComponentHost
from sandbox.wasmtime_engine.component_types import exports_of, imports_of
from sandbox.wasmtime_engine.component_values import call
from sandbox.wasmtime_engine.config import component_config_of
from sandbox.wasmtime_engine.platform import Run

__all__ = ["ComponentPlatform", "compile_component"]

LOADED_COMPONENTS: Final = 16
"""Most components an engine keeps loaded; the least recently used goes first."""

INSTANCES: Final = 100
"""Most core instances of one component: those of Python tools have about 30."""

MEMORIES: Final = 4
"""Most memories of one component, each of at most ``memory_bytes``; the worker's own limit bounds
their sum."""

TABLES: Final = 32

TRAP_CHARS: Final = 200
"""Longest part of the engine's words about a trap that is told."""


def compile_component(data: bytes) -> Compiled:
    """Validate, compile and describe a component. Call it in a limited process only.

    Raises ``SandboxError`` (``compile_failed``, ``module_too_large``).
    """
    engine = wasmtime.Engine(component_config_of(Limits().stack_bytes))
    try:
        component = wc.Component(engine, data)
    except WasmtimeError as error:
        text = " ".join(str(error).split())[:500]
        raise SandboxError(Reason.COMPILE_FAILED, text, size=len(data)) from None
    return Compiled(
        bytes(component.serialize()),
        imports_of(component, engine),
        exports_of(component, engine, data),
    )


class _Printed:
    """What one call prints through WASI: standard output and error, nothing where it has none."""

    def __init__(self) -> None:
        self._streams: list[StreamFile] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._open.close()

    def open(self, grants: Grants) -> wasmtime.WasiConfig:
        """What the guest sees: granted folders and variables; nothing can be read."""
        self._streams = [self._open.enter_context(StreamFile()) for _ in range(2)]
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["tool"]
        wasi.stdout_file, wasi.stderr_file = (item.path for item in self._streams)
        grant(wasi, grants)
        return wasi

    def size(self) -> int:
        """Bytes printed so far."""
        return sum(item.size() for item in self._streams)

    def read(self, limit: int) -> bytes:
        """Standard output, then standard error, up to ``limit`` bytes in all."""
        return b"".join(item.read(limit) for item in self._streams)[:limit]


class ComponentPlatform:
    """An engine of one stack size with its loaded components. One call at a time."""

    def __init__(self, stack_bytes: int) -> None:
        self.engine = wasmtime.Engine(component_config_of(stack_bytes))
        self.ticker = Ticker(self.engine.increment_epoch)
        self._one_call = threading.Lock()
        self._run: Run | None = None
        self._loaded: OrderedDict[Path, tuple[wc.Component, bool]] = OrderedDict()
        self._linker = self._link()

    def call(
        self,
        artifact: Path,
        function: Function,
        arguments: bytes,
        limits: Limits,
        grants: Grants,
        ask: Ask = nobody,
    ) -> ComponentResult:
        """Call ``function`` in a fresh instance. See ``Engine.call_component``."""
        check_message("the arguments", arguments, limits)
        if function.refused:
            raise SandboxError(
                Reason.MISSING_EXPORT,
                f"{function.export} cannot be called with JSON: {function.refused}",
                export=function.export,
            )
        try:
            given = read_fields(function.params, parse(arguments))
        except InvalidValue as error:
            raise _bad_arguments(function, error) from None
        with self._one_call:
            component, uses_wasi = self._component(artifact)
            with self._store(limits) as store, _Printed() as printed:
                if uses_wasi:
                    store.set_wasi(printed.open(grants))
                run = self._run = Run(store, limits, ask)
                try:
                    value = self._value(run, component, function, given, printed)
                finally:
                    self._run = None
                return _result(run, function, value, printed.read(limits.stderr_bytes))

    def _value(
        self,
        run: Run,
        component: wc.Component,
        function: Function,
        given: tuple[Any, ...],
        printed: _Printed,
    ) -> Any:
        """Instantiate and call. A flood of output ends the call: see ``Ticker.running``."""
        store, limits = run.store, run.limits
        kinds = tuple(kind for _, kind in function.params)
        try:
            with self.ticker.running(lambda: printed.size() > limits.stdout_bytes):
                run.keep_time()
                found = _exported(self._instantiate(component, store, limits), store, function)
                return call(store, found, kinds, function.result, given, limits)
        except WasmtimeError as raised:
            # Said first: a flood also runs out of fuel or time, but this is its cause.
            check_output(printed.size(), limits)
            raise _told(run, raised) from None

    def _component(self, artifact: Path) -> tuple[wc.Component, bool]:
        """The component, loaded at first use, and whether it imports anything of WASI."""
        found = self._loaded.get(artifact)
        if found is None:
            try:
                component = wc.Component.deserialize_file(self.engine, str(artifact))
            except WasmtimeError as error:
                raise load_failed(artifact, str(error).splitlines()[0]) from None
            imports = component.type.imports(self.engine)
            found = component, any(name.startswith("wasi:") for name in imports)
            self._loaded[artifact] = found
            while len(self._loaded) > LOADED_COMPONENTS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(artifact)
        return found

    def _store(self, limits: Limits) -> wasmtime.Store:
        store = wasmtime.Store(self.engine)
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=INSTANCES,
            tables=TABLES,
            memories=MEMORIES,
        )
        return store

    def _instantiate(
        self, component: wc.Component, store: wasmtime.Store, limits: Limits
    ) -> wc.Instance:
        """Instantiate; what is refused before anything ran declares more than its limits."""
        try:
            return self._linker.instantiate(store, component)
        except WasmtimeError as error:
            if store.get_fuel() < limits.fuel:
                raise
            why = str(error).splitlines()[0][:TRAP_CHARS]
            raise SandboxError(
                Reason.MODULE_TOO_LARGE,
                f"the component does not fit its limits of {limits.memory_bytes} bytes of memory, "
                f"{limits.table_elements} table elements and {MEMORIES} memories ({why}); raise "
                "them",
                memory_bytes=limits.memory_bytes,
                table_elements=limits.table_elements,
            ) from None

    def _link(self) -> wc.Linker:
        linker = wc.Linker(self.engine)
        linker.add_wasip2()
        with linker.root() as root, root.add_instance(HOST) as host:
            for name, work in ComponentHost.FUNCTIONS.items():
                host.add_func(name, self._of_host(name, work))
        return linker

    def _of_host(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def called(_store: wasmtime.StoreContext, *given: Any) -> Any:
            run = self._run
            assert run is not None  # noqa: S101 - a guest runs inside a call only
            try:
                return work(ComponentHost(run.host), *given)
            except HostAbort:
                # The only exception the binding does not keep for whoever enters a guest next.
                raise WasmtimeError("ended by the host") from None
            except Exception as error:
                run.host.fail(host_failed(f"{HOST}.{name}", error))
                raise WasmtimeError("a host function failed") from error

        return called


def _exported(instance: wc.Instance, store: wasmtime.Store, function: Function) -> wc.Func:
    inside = None
    if function.interface:
        inside = instance.get_export_index(store, function.interface)
    index = instance.get_export_index(store, function.name, inside)
    found = None if index is None else instance.get_func(store, index)
    if found is None:
        raise SandboxError(
            Reason.MISSING_EXPORT,
            f"the component has no function {function.export}",
            export=function.export,
        )
    return found


def _result(run: Run, function: Function, value: Any, printed: bytes) -> ComponentResult:
    data, failed = _encoded(function, value, run.limits)
    host = run.host
    return ComponentResult(
        data,
        failed,
        run.fuel_used(),
        run.wall_ms(),
        printed,
        tuple(host.logs),
        host.logs_dropped,
        {} if failed else host.written,
        host.asked,
    )


def _encoded(function: Function, value: Any, limits: Limits) -> tuple[bytes, bool]:
    """The result as JSON, and whether it is the ``err`` of a result."""
    kind, failed = function.result, False
    if isinstance(kind, Result) and isinstance(value, Case):
        failed = value.name == "err"
        kind, value = (kind.err if failed else kind.ok), value.value
    plain = None if kind is None else to_json(kind, value)
    data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > limits.reply_bytes:
        raise too_large(
            Reason.REPLY_TOO_LARGE, "the result", len(data), "reply_bytes", limits.reply_bytes
        )
    return data, failed


def _told(run: Run, raised: Exception) -> SandboxError:
    """What a call failed with, by what it knows of itself; a trap in the engine's own words.

    In components a trap is no exception of its own. Its words are told, never matched.
    """
    error = run.error(raised)
    if error.reason is not Reason.TRAP:
        return error
    said = [line.strip() for line in str(raised).splitlines() if line.strip()]
    words = (said[-1] if said else "unknown").removeprefix("wasm trap: ")[:TRAP_CHARS]
    return SandboxError(
        Reason.TRAP, f"the guest trapped: {words}; this is an error in the guest", trap=words
    )


def _bad_arguments(function: Function, error: InvalidValue) -> SandboxError:
    return SandboxError(
        Reason.BAD_ARGUMENTS,
        f"arguments of {function.export}: {error}",
        path=error.path,
        function=function.export,
    )
