"""Whether calls through the C interface give what the binding's public one gives.

The C interface is read below the binding's public names, so no guess is made: for the versions it
was written for, both ways run the same guest at the first use, and one difference is enough to do
without the fast one.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from importlib import metadata
from typing import Final

import wasmtime
from wasmtime import Trap, WasmtimeError

from sandbox.host import U32, GuestMemory
from sandbox.limits import Limits
from sandbox.wasmtime_engine.calls import Calls, PlainCalls
from sandbox.wasmtime_engine.config import config_of
from sandbox.wasmtime_engine.fast_call import FastCalls, FastExports
from sandbox.wasmtime_engine.slices import GuestSlices

__all__ = ["gives_way", "proven"]

_log = logging.getLogger(__name__)

MAJORS: Final = ("50",)
"""Versions whose C interface ``fast_call`` and ``slices`` were written for."""

PROOF: Final = """(module
  (import "host" "add" (func $add (param i32 i32) (result i32)))
  (import "host" "wide" (func $wide (result i64)))
  (import "host" "none" (func $none (param i32 i32 i32 i32)))
  (import "host" "fails" (func $fails))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "reads") (param i32 i32) (result i32)
    (i32.store (i32.const 32) (local.get 0)) (i32.store (i32.const 36) (local.get 1))
    (call $read (i32.const 0) (i32.const 32) (i32.const 1) (i32.const 40)))
  (func (export "one") (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))
  (func (export "two") (param i32 i32) (result i64)
    (call $none (i32.const 1) (i32.const -2) (i32.const 3) (i32.const -4))
    (i32.store (i32.const 8) (call $add (local.get 0) (local.get 1)))
    (call $wide))
  (func (export "traps") (unreachable))
  (func (export "stops") (call $fails))
  (func (export "spins") (loop $again (br $again))))"""
"""A module that does what guests do."""


def observe(way: Calls, engine: wasmtime.Engine, module: wasmtime.Module) -> list[object]:
    """What a guest and its host see of each other, called in one way."""
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    seen: list[object] = []

    def add(memory: GuestMemory, first: int, second: int) -> int:
        memory.write(16, memory.read(0, 4))
        seen.append(memory.size())
        return (first + second) & U32

    def none(_memory: GuestMemory, *numbers: int) -> None:
        seen.append([number & U32 for number in numbers])

    def fails(_memory: GuestMemory) -> None:
        raise LookupError

    kept = [
        way.define(linker, "host", "add", 2, "i32", lambda *given: _signed(add(*given))),
        way.define(linker, "host", "wide", 0, "i64", lambda _memory: -5),
        way.define(linker, "host", "none", 4, "", none),
        way.define(linker, "host", "fails", 0, "", fails),
    ]
    prepared = linker.instantiate_pre(module)
    wasi = wasmtime.WasiConfig()
    with way.input(wasi, b"in\0put"), way.store(engine) as store:
        store.set_wasi(wasi)
        store.set_fuel(10_000)
        store.set_epoch_deadline(1_000)
        exports = way.instantiate(prepared, store)
        memory = exports.memory()
        memory.write(0, b"word")
        work = (("one", (-7,)), ("two", (2**31 - 1, 9)), ("one", (0,)), ("reads", (64, 99)))
        for name, numbers in work:
            function = exports.function(name)
            mask = (1 << 64) - 1 if name == "two" else U32
            seen.append(function(*numbers) & mask if function else None)
        seen += [store.get_fuel(), memory.size(), memory.read(0, 72), exports.function("nothing")]
        for name in ("traps", "stops", "spins"):
            function = exports.function(name)
            try:
                seen.append(function and function())
            except Trap as trap:
                seen.append(trap.trap_code)
            except (LookupError, WasmtimeError):
                seen.append(None)
        seen.append(store.get_fuel())
    return [*seen, len(kept)]


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def proven() -> bool:
    """Whether this way gives what the binding's public one gives, and is for this version."""
    version = metadata.version("wasmtime")
    if version.split(".")[0] not in MAJORS:
        _log.info("wasmtime %s is called through its public interface", version)
        return False
    engine = wasmtime.Engine(config_of(Limits().stack_bytes))
    module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(PROOF)))
    ways: tuple[Calls, ...] = (PlainCalls(), FastCalls())
    plain, fast = (observe(way, engine, module) for way in ways)
    same = plain == fast
    if not same:
        _log.warning("wasmtime %s answers otherwise when called directly", version)
    return same


SLICED: Final = """(module
  (import "host" "told" (func $told (param i32)))
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) (i32.sub (local.get 0) (i32.const 2)))
  (func (export "handle_message") (param i32 i32) (result i64)
    (loop $again
      (if (i32.eqz (i32.rem_u (local.get 1) (i32.const 1000))) (then (call $told (local.get 1))))
      (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 0)))
      (br_if $again (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
    (i64.extend_i32_u (i32.load (i32.const 8))))
  (func (export "dealloc") (param i32 i32) (if (local.get 0) (then (unreachable)))))"""
"""An agent by its exports, whose handler runs as long as it is told."""


def in_slices(engine: wasmtime.Engine, module: wasmtime.Module, fuel: int) -> list[object]:
    """What calls give of which each slice has so much fuel, or, for 0, that are made plainly."""
    linker, seen = wasmtime.Linker(engine), list[object]()
    told = FastCalls().define(
        linker, "host", "told", 1, "", lambda _memory, number: seen.append(number)
    )
    with FastCalls().store(engine) as store:
        store.set_fuel(10**9)
        store.set_epoch_deadline(1_000)
        exports = FastCalls().instantiate(linker.instantiate_pre(module), store)
        if not isinstance(exports, FastExports):
            return []
        pauses = 0
        calls: tuple[tuple[str, tuple[int, ...]], ...] = (
            ("alloc", (-7,)), ("handle_message", (3, 5_000)), ("dealloc", (0, 1)),
            ("dealloc", (1, 1)),
        )  # fmt: skip
        sliced = (
            GuestSlices(store, exports.functions(*(name for name, _ in calls))) if fuel else None
        )
        if sliced is not None:
            sliced.every(fuel)
        store.set_fuel(10**6)
        for name, numbers in calls:
            try:
                if sliced is None:
                    function = exports.function(name)
                    got = function(*numbers) if function is not None else 0
                else:
                    steps = getattr(sliced, name)(*numbers)
                    while True:
                        try:
                            next(steps)
                            pauses += 1
                        except StopIteration as end:
                            got = end.value
                            break
                seen.append(got & U32 if name != "dealloc" else None)
            except (Trap, WasmtimeError) as trap:
                seen.append(getattr(trap, "trap_code", None))
        seen.append(store.get_fuel())
    return [seen, pauses > 1, told is not None]


@lru_cache(maxsize=1)
def gives_way() -> bool:
    """Whether calls in slices give what others give, and do give way.

    From Python 3.14 the interpreter watches the bounds of a thread's own stack, and a host function
    of such a guest runs on another one.
    """
    if sys.version_info >= (3, 14):
        return False
    engine = wasmtime.Engine(config_of(Limits().stack_bytes))
    module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(SLICED)))
    plain, sliced = (in_slices(engine, module, fuel) for fuel in (0, 5_000))
    same = plain[0] == sliced[0] and sliced[1] is True
    if not same:
        _log.warning("guests do not give way with this wasmtime; their calls go to threads")
    return same
