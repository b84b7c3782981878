"""How the engine is set, and how its types are told. Source: wasmtime's ``Config``.

Feature flags are constants here and never come from a user: some combinations abort the process.
"""

from __future__ import annotations

from typing import Final

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
