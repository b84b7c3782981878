"""Calls through wasmtime's C interface, without the detours of its Python binding.

A call of a function costs 2 µs here and 20 µs through the binding; a message to an agent is two or
three of them. The C interface is wasmtime's public one; that the binding's library is reached below
its public names is why ``proven`` compares both ways before this one is used.

An exception of a host function stays with its own call: the binding keeps the last one in a global
that any thread's call may raise.

Functions that run guest code release the interpreter's lock, so that clocks go on. The others take
less time than releasing it.
Source: wasmtime's C headers ``store.h``, ``func.h``, ``memory.h``, ``linker.h``, ``instance.h``.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from ctypes import POINTER, addressof, c_bool, c_char_p, c_size_t, c_uint64, c_void_p
from importlib import metadata
from typing import Any, Final, cast

import wasmtime
from wasmtime import Trap, WasmtimeError, _ffi

from sandbox.host import U32, GuestMemory
from sandbox.limits import Limits
from sandbox.wasmtime_engine.calls import Calls, Exports, HostWork, PlainCalls, function_type
from sandbox.wasmtime_engine.config import config_of

__all__ = ["FastCalls", "proven"]

_log = logging.getLogger(__name__)

MAJORS: Final = ("50",)
"""Versions whose C interface this module was written for."""

_short = ctypes.PyDLL(None, handle=_ffi.dll._handle)
_long = ctypes.CDLL(None, handle=_ffi.dll._handle)


def _bind(library: ctypes.CDLL, name: str, result: Any, *params: Any) -> Callable[..., Any]:
    function = library[f"wasmtime_{name}"]
    function.restype = result
    function.argtypes = params
    return function


_set_fuel = _bind(_short, "context_set_fuel", c_void_p, c_void_p, c_uint64)
_get_fuel = _bind(_short, "context_get_fuel", c_void_p, c_void_p, c_void_p)
_set_deadline = _bind(_short, "context_set_epoch_deadline", None, c_void_p, c_uint64)
_memory_data = _bind(_short, "memory_data", c_void_p, c_void_p, c_void_p)
_memory_size = _bind(_short, "memory_data_size", c_size_t, c_void_p, c_void_p)
_export = _bind(
    _short, "instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p
)
_caller_context = _bind(_short, "caller_context", c_void_p, c_void_p)
_caller_export = _bind(_short, "caller_export_get", c_bool, c_void_p, c_char_p, c_size_t, c_void_p)
_new_trap = _bind(_short, "trap_new", c_void_p, c_char_p, c_size_t)
_call = _bind(_long, "func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t,
              c_void_p)  # fmt: skip
_instantiate = _bind(_long, "instance_pre_instantiate", c_void_p, c_void_p, c_void_p, c_void_p,
                     c_void_p)  # fmt: skip
_new_bytes = _short.wasm_byte_vec_new
_new_bytes.restype, _new_bytes.argtypes = None, (c_void_p, c_size_t, c_char_p)
_set_input = _short.wasi_config_set_stdin_bytes
_set_input.restype, _set_input.argtypes = None, (c_void_p, c_void_p)
_HostFunction = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(c_uint64), c_size_t)
_NO_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)()
_define = _bind(_short, "linker_define_func_unchecked", c_void_p, c_void_p, c_char_p, c_size_t,
                c_char_p, c_size_t, c_void_p, _HostFunction, c_void_p,
                ctypes.CFUNCTYPE(None, c_void_p))  # fmt: skip

WORDS: Final = 2
"""Words of 64 bits that one number takes in the C interface: it has room for a vector."""


def _address(pointer: Any) -> int:
    """Where a pointer of the binding points."""
    return ctypes.cast(pointer, c_void_p).value or 0


def _raised(error: int | None, trap: int | None) -> Exception:
    """The exception for an error or a trap of the engine, which it then owns."""
    if error:
        return WasmtimeError._from_ptr(ctypes.cast(c_void_p(error), POINTER(_ffi.wasmtime_error_t)))
    return Trap._from_ptr(ctypes.cast(c_void_p(trap), POINTER(_ffi.wasm_trap_t)))


class FastStore(wasmtime.Store):
    """A store whose fuel and clock are set directly."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        super().__init__(engine)
        self._at: int | None = _address(self._context())
        self._left = c_uint64()
        self._left_at = addressof(self._left)

    @property
    def at(self) -> int:
        """Address of its context. Raises ``ValueError`` when it is closed."""
        if self._at is None:
            raise ValueError("the store is closed")
        return self._at

    def set_fuel(self, fuel: int) -> None:
        """See ``wasmtime.Store``."""
        if error := _set_fuel(self.at, fuel):
            raise _raised(error, None)

    def get_fuel(self) -> int:
        """See ``wasmtime.Store``."""
        if error := _get_fuel(self.at, self._left_at):
            raise _raised(error, None)
        return self._left.value

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """See ``wasmtime.Store``."""
        _set_deadline(self.at, ticks_after_current)

    def close(self) -> None:
        """See ``wasmtime.Store``."""
        self._at = None
        super().close()


class FastMemory:
    """A guest's memory through its own address; ranges are checked by the callers."""

    def __init__(self, store: FastStore, memory: Any) -> None:
        self._store = store
        self._memory = memory
        self._memory_at = addressof(memory)

    def size(self) -> int:
        """See ``GuestMemory``."""
        return cast("int", _memory_size(self._store.at, self._memory_at))

    def read(self, start: int, length: int) -> bytes:
        """See ``GuestMemory``."""
        return ctypes.string_at(_memory_data(self._store.at, self._memory_at) + start, length)

    def write(self, start: int, data: bytes) -> None:
        """See ``GuestMemory``."""
        ctypes.memmove(_memory_data(self._store.at, self._memory_at) + start, data, len(data))


class CallerMemory:
    """The memory of whoever calls a host function, looked up when it is first needed."""

    def __init__(self, caller: int) -> None:
        self._caller = caller
        self._context = 0
        self._memory_at = 0

    def size(self) -> int:
        """See ``GuestMemory``."""
        self._find()
        return cast("int", _memory_size(self._context, self._memory_at))

    def read(self, start: int, length: int) -> bytes:
        """See ``GuestMemory``."""
        self._find()
        return ctypes.string_at(_memory_data(self._context, self._memory_at) + start, length)

    def write(self, start: int, data: bytes) -> None:
        """See ``GuestMemory``."""
        self._find()
        ctypes.memmove(_memory_data(self._context, self._memory_at) + start, data, len(data))

    def _find(self) -> None:
        if self._context:
            return
        self._item = _ffi.wasmtime_extern_t()
        found = _caller_export(self._caller, b"memory", 6, addressof(self._item))
        if not found or int(self._item.kind) != _ffi.WASMTIME_EXTERN_MEMORY.value:
            raise LookupError("the guest exports no memory")
        self._memory_at = addressof(self._item.of.memory)
        self._context = _caller_context(self._caller)


class FastFunction:
    """An exported function. Its numbers travel in a buffer that all functions of a guest share."""

    def __init__(self, store: FastStore, function: Any, room: Room) -> None:
        self._store = store
        self._function = function
        self._function_at = addressof(function)
        self._room = room

    def __call__(self, first: int = 0, second: int = 0) -> int:
        room = self._room
        numbers = room.numbers
        numbers[0] = first & U32
        numbers[WORDS] = second & U32
        error = _call(self._store.at, self._function_at, room.numbers_at, WORDS, room.trap_at)
        if error or room.trap.value:
            raise room.raised(error)
        return numbers[0]


class Room:
    """Where numbers go in and results and traps come out. Not for two calls at once."""

    def __init__(self) -> None:
        self.numbers = (c_uint64 * (2 * WORDS))()
        self.numbers_at = addressof(self.numbers)
        self.trap = c_void_p()
        self.trap_at = addressof(self.trap)

    def raised(self, error: int | None) -> Exception:
        """The exception for what went wrong; the room is empty again."""
        raised = _raised(error, self.trap.value)
        self.trap.value = None
        return raised


class FastExports:
    """``Exports`` of an instance."""

    def __init__(self, store: FastStore, instance: Any, room: Room) -> None:
        self._store = store
        self._instance = instance
        self._room = room

    def function(self, name: str) -> Callable[..., Any] | None:
        """See ``Exports``."""
        item = self._item(name)
        if item is None or item.kind != _ffi.WASMTIME_EXTERN_FUNC.value:
            return None
        return FastFunction(self._store, item.of.func, self._room)

    def memory(self) -> GuestMemory:
        """See ``Exports``."""
        item = self._item("memory")
        if item is None or item.kind != _ffi.WASMTIME_EXTERN_MEMORY.value:
            raise LookupError("the guest exports no memory")
        return FastMemory(self._store, item.of.memory)

    def _item(self, name: str) -> Any:
        item = _ffi.wasmtime_extern_t()
        raw = name.encode()
        found = _export(self._store.at, addressof(self._instance), raw, len(raw), addressof(item))
        return item if found else None


class FastCalls:
    """``Calls`` through the C interface."""

    def store(self, engine: wasmtime.Engine) -> wasmtime.Store:
        """See ``Calls``."""
        return FastStore(engine)

    def define(
        self,
        linker: wasmtime.Linker,
        module: str,
        name: str,
        params: int,
        result: str,
        do: HostWork,
    ) -> object:
        """See ``Calls``."""
        places = tuple(range(0, params * WORDS, WORDS))
        said = f"{module}.{name} failed".encode()

        def called(_data: int, caller: int, numbers: Any, _count: int) -> int | None:
            try:
                got = do(CallerMemory(caller), *[numbers[place] & U32 for place in places])
            except BaseException:  # noqa: BLE001 - ``do`` recorded it; C has no exceptions
                return cast("int", _new_trap(said, len(said)))
            if result:
                numbers[0] = got & U32 if result == "i32" else got
            return None

        kind = function_type(params, result)
        function = _HostFunction(called)
        raw = (module.encode(), name.encode())
        error = _define(
            _address(linker.ptr()), raw[0], len(raw[0]), raw[1], len(raw[1]), _address(kind.ptr()),
            function, None, _NO_FINALIZER,
        )  # fmt: skip
        if error:
            raise _raised(error, None)
        return function

    def input(self, wasi: wasmtime.WasiConfig, data: bytes) -> AbstractContextManager[object]:
        """See ``Calls``. A file would be read on another thread of the engine: two hand-overs."""
        given = _ffi.wasm_byte_vec_t()
        _new_bytes(addressof(given), len(data), data)
        _set_input(_address(wasi.ptr()), addressof(given))
        return nullcontext()

    def instantiate(self, prepared: wasmtime.InstancePre, store: wasmtime.Store) -> Exports:
        """See ``Calls``."""
        if not isinstance(store, FastStore):
            raise TypeError("this store was made by another way of calling")
        instance, room = _ffi.wasmtime_instance_t(), Room()
        error = _instantiate(_address(prepared.ptr()), store.at, addressof(instance), room.trap_at)
        if error or room.trap.value:
            raise room.raised(error)
        return FastExports(store, instance, room)


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
