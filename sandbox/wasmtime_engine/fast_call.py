"""Calls through wasmtime's C interface, without the detours of its Python binding.

A call of a function costs 2 µs here and 20 µs through the binding; a message to an agent is two or
three of them. The C interface is wasmtime's public one; that the binding's library is reached below
its public names is why ``proof`` compares both ways before this one is used.

An exception of a host function stays with its own call: the binding keeps the last one in a global
that any thread's call may raise.

Functions that run guest code release the interpreter's lock, so that clocks go on. The others take
less time than releasing it.
Source: wasmtime's C headers ``store.h``, ``func.h``, ``memory.h``, ``linker.h``, ``instance.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from ctypes import POINTER, addressof, c_bool, c_char_p, c_size_t, c_uint64, c_void_p
from typing import Any, Final, cast

import wasmtime
from wasmtime import Trap, WasmtimeError, _ffi

from sandbox.host import U32, GuestMemory
from sandbox.wasmtime_engine.calls import Exports, HostWork, Slices, function_type

__all__ = ["FastCalls", "FastExports", "FastStore", "bind", "held", "raised_by", "released"]

held = ctypes.PyDLL(None, handle=_ffi.dll._handle)
"""The engine's functions, called with the interpreter's lock held."""

released = ctypes.CDLL(None, handle=_ffi.dll._handle)
"""The same, without it."""


def bind(library: ctypes.CDLL, name: str, result: Any, *params: Any) -> Callable[..., Any]:
    """A function of the engine with its types."""
    function = library[f"wasmtime_{name}"]
    function.restype = result
    function.argtypes = params
    return function


_set_fuel = bind(held, "context_set_fuel", c_void_p, c_void_p, c_uint64)
_get_fuel = bind(held, "context_get_fuel", c_void_p, c_void_p, c_void_p)
_set_deadline = bind(held, "context_set_epoch_deadline", None, c_void_p, c_uint64)
_end_call = bind(held, "call_future_delete", None, c_void_p)
_memory_data = bind(held, "memory_data", c_void_p, c_void_p, c_void_p)
_memory_size = bind(held, "memory_data_size", c_size_t, c_void_p, c_void_p)
_export = bind(
    held, "instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p
)
_caller_context = bind(held, "caller_context", c_void_p, c_void_p)
_caller_export = bind(held, "caller_export_get", c_bool, c_void_p, c_char_p, c_size_t, c_void_p)
_new_trap = bind(held, "trap_new", c_void_p, c_char_p, c_size_t)
_call = bind(released, "func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t,
              c_void_p)  # fmt: skip
_instantiate = bind(released, "instance_pre_instantiate", c_void_p, c_void_p, c_void_p, c_void_p,
                     c_void_p)  # fmt: skip
_new_bytes = held.wasm_byte_vec_new
_new_bytes.restype, _new_bytes.argtypes = None, (c_void_p, c_size_t, c_char_p)
_set_input = held.wasi_config_set_stdin_bytes
_set_input.restype, _set_input.argtypes = None, (c_void_p, c_void_p)
_HostFunction = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(c_uint64), c_size_t)
_NO_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)()
_define = bind(held, "linker_define_func_unchecked", c_void_p, c_void_p, c_char_p, c_size_t,
                c_char_p, c_size_t, c_void_p, _HostFunction, c_void_p,
                ctypes.CFUNCTYPE(None, c_void_p))  # fmt: skip

WORDS: Final = 2
"""Words of 64 bits that one number takes in the C interface: it has room for a vector."""


def _address(pointer: Any) -> int:
    """Where a pointer of the binding points."""
    return ctypes.cast(pointer, c_void_p).value or 0


def raised_by(error: int | None, trap: int | None) -> Exception:
    """The exception for an error or a trap of the engine, which it then owns."""
    if error:
        return WasmtimeError._from_ptr(ctypes.cast(c_void_p(error), POINTER(_ffi.wasmtime_error_t)))
    return Trap._from_ptr(ctypes.cast(c_void_p(trap), POINTER(_ffi.wasm_trap_t)))


class FastStore(wasmtime.Store):
    """A store whose fuel and clock are set directly.

    It ends a call that gave way and was not gone on with before it goes itself: a collection of
    garbage may come to the store first.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        super().__init__(engine)
        self._under_way: int | None = None
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
            raise raised_by(error, None)

    def get_fuel(self) -> int:
        """See ``wasmtime.Store``."""
        if error := _get_fuel(self.at, self._left_at):
            raise raised_by(error, None)
        return self._left.value

    def set_epoch_deadline(self, ticks_after_current: int) -> None:
        """See ``wasmtime.Store``."""
        _set_deadline(self.at, ticks_after_current)

    def began(self, call: int) -> None:
        """A call that may give way is under way; one at a time."""
        self._under_way = call

    def end(self, call: int) -> None:
        """Such a call is done, or given up."""
        if self._under_way == call:
            self._under_way = None
            _end_call(call)

    def close(self) -> None:
        """See ``wasmtime.Store``."""
        if self._under_way is not None:
            self.end(self._under_way)
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
        raised = raised_by(error, self.trap.value)
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

    def slices(self) -> Slices | None:
        """See ``Exports``."""
        from sandbox.wasmtime_engine.proof import gives_way
        from sandbox.wasmtime_engine.slices import GuestSlices

        if not gives_way():
            return None
        return GuestSlices(self._store, self.functions("alloc", "handle_message", "dealloc"))

    def functions(self, *names: str) -> dict[str, Any]:
        """Those of the functions that are there, as the engine has them."""
        found = {name: self._item(name) for name in names}
        return {name: item.of.func for name, item in found.items() if item is not None}

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
            raise raised_by(error, None)
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
