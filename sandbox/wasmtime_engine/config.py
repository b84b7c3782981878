"""How the engine is set, and how its types are told. Source: wasmtime's ``Config``.

Feature flags are constants here and never come from a user: some combinations abort the process.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import wasmtime

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

_FOR_COMPONENTS: Final = ("wasm_component_model", "wasm_multi_memory", "wasm_tail_call")


def config_of(stack_bytes: int) -> wasmtime.Config:
    """The settings of an engine whose guests have a stack of ``stack_bytes``."""
    config = wasmtime.Config()
    config.strategy = "cranelift"
    config.consume_fuel = True
    config.epoch_interruption = True
    config.max_wasm_stack = stack_bytes
    for flag in _OFF:
        setattr(config, flag, False)
    return config


def component_config_of(stack_bytes: int) -> wasmtime.Config:
    """The settings of an engine for components.

    What joins two components is a core module with two memories, which the engine makes itself and
    then validates: without ``wasm_multi_memory`` it aborts. QuickJS as a component uses tail calls.
    """
    config = config_of(stack_bytes)
    for flag in _FOR_COMPONENTS:
        setattr(config, flag, True)
    config.wasm_component_model_map = False
    config.wasm_component_model_implements = False
    return config


def describe(kind: object) -> str:
    """A type as this package writes it: ``func(i32)->(i32)``, ``memory``, ``table``, ``global``."""
    if isinstance(kind, wasmtime.FuncType):
        params = ",".join(str(item) for item in kind.params)
        results = ",".join(str(item) for item in kind.results)
        return f"func({params})->({results})"
    if isinstance(kind, wasmtime.MemoryType):
        return "memory"
    return "table" if isinstance(kind, wasmtime.TableType) else "global"


def func_type(params: int, *results: str) -> wasmtime.FuncType:
    """The type of a function of ``params`` i32 parameters."""
    kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
    return wasmtime.FuncType([kinds["i32"]()] * params, [kinds[name]() for name in results])


class Memory:
    """A guest's memory through its own address; ranges are checked by the callers."""

    def __init__(self, store: Any, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory

    def size(self) -> int:
        """See ``GuestMemory``."""
        return self._memory.data_len(self._store)

    def read(self, start: int, length: int) -> bytes:
        """See ``GuestMemory``."""
        return ctypes.string_at(self._address() + start, length)

    def write(self, start: int, data: bytes) -> None:
        """See ``GuestMemory``."""
        ctypes.memmove(self._address() + start, data, len(data))

    def _address(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)
