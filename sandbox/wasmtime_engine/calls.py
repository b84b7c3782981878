"""How the engine's functions are called: stores, host functions, instances and their exports.

``PlainCalls`` uses the binding's public interface. It is right and slow: each call looks up the
function's type and boxes every number. ``fast_call`` does the same work through the C interface;
``calls`` gives whichever is there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Any, Final, Protocol, cast

import wasmtime

from sandbox.host import GuestMemory, Steps
from sandbox.wasi_streams import StreamFile

__all__ = [
    "BRIEF_BYTES",
    "BRIEF_FUEL",
    "BRIEF_MEMORY",
    "Calls",
    "Exports",
    "HostWork",
    "Memory",
    "PlainCalls",
    "Slices",
    "calls",
]

HostWork = Callable[..., Any]
"""The work of a host function: the guest's memory, then the numbers it was called with."""


BRIEF_FUEL: Final = 200_000
"""Fuel of a call on a thread that must not be held up, before it goes on elsewhere: about 0.1 ms of
work. It gives way at the half: then it may have been for the clock of another guest."""

BRIEF_BYTES: Final = 64 * 1024
"""Longest message whose call begins on such a thread."""

BRIEF_MEMORY: Final = 4 * 1024 * 1024
"""Largest memory of a guest whose calls begin there: one instruction may fill all of it."""


class Slices(Protocol):
    """The functions of an agent, called so that it gives way. Not for two calls at once.

    It gives way when an epoch passes, and after an amount of fuel; the next step may be another
    thread's. Closing a generator ends the guest where it is: then the instance must not be used.
    """

    keep_lock: bool
    """Whether the interpreter's lock is kept while the guest runs: for short slices."""

    alloc: Steps
    handle_message: Steps
    dealloc: Steps | None

    def every(self, fuel: int) -> None:
        """Between two calls: how much fuel a slice has; 0 for all there is. Then set the fuel."""
        ...


class Exports(Protocol):
    """What an instance exports. Names and types were checked before."""

    def function(self, name: str) -> Callable[..., Any] | None:
        """A function of at most two i32 parameters and one result; None: not exported.

        Numbers go in and come out as signed or unsigned. Raises what the engine raises.
        """
        ...

    def memory(self) -> GuestMemory:
        """The memory exported under this name."""
        ...

    def slices(self) -> Slices | None:
        """An agent's functions in slices, once its initialisers ran; None: it cannot give way.

        From here on an epoch that passes does not end the guest, and its functions are called in
        no other way.
        """
        ...


class Calls(Protocol):
    """One way of calling."""

    def store(self, engine: wasmtime.Engine) -> wasmtime.Store:
        """A fresh store."""
        ...

    def define(
        self,
        linker: wasmtime.Linker,
        module: str,
        name: str,
        params: int,
        result: str,
        do: HostWork,
    ) -> object:
        """Define a host function of ``params`` i32 parameters.

        ``do`` records its own failures and raises to make the guest trap. What this gives must live
        as long as the linker and all instances made with it.
        """
        ...

    def input(self, wasi: wasmtime.WasiConfig, data: bytes) -> AbstractContextManager[object]:
        """Make ``data`` the standard input; the configuration is used inside the context."""
        ...

    def instantiate(self, prepared: wasmtime.InstancePre, store: wasmtime.Store) -> Exports:
        """A fresh instance; its start function runs. Raises what the engine raises."""
        ...


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


class PlainExports:
    """``Exports`` through the public interface."""

    def __init__(self, instance: wasmtime.Instance, store: wasmtime.Store) -> None:
        self._exports = instance.exports(store)
        self._store = store

    def function(self, name: str) -> Callable[..., Any] | None:
        """See ``Exports``."""
        found = self._exports.get(name)
        return partial(found, self._store) if isinstance(found, wasmtime.Func) else None

    def memory(self) -> GuestMemory:
        """See ``Exports``."""
        return Memory(self._store, cast("wasmtime.Memory", self._exports["memory"]))

    def slices(self) -> Slices | None:
        """See ``Exports``."""
        return None


class PlainCalls:
    """``Calls`` through the public interface."""

    def store(self, engine: wasmtime.Engine) -> wasmtime.Store:
        """See ``Calls``."""
        return wasmtime.Store(engine)

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

        def called(caller: wasmtime.Caller, *numbers: int) -> Any:
            return do(Memory(caller, cast("wasmtime.Memory", caller["memory"])), *numbers)

        kind = function_type(params, result)
        linker.define_func(module, name, kind, called, access_caller=True)
        return called

    def input(self, wasi: wasmtime.WasiConfig, data: bytes) -> AbstractContextManager[object]:
        """See ``Calls``."""
        stream = StreamFile(data)
        wasi.stdin_file = stream.path
        return stream

    def instantiate(self, prepared: wasmtime.InstancePre, store: wasmtime.Store) -> Exports:
        """See ``Calls``."""
        return PlainExports(prepared.instantiate(store), store)


def function_type(params: int, result: str) -> wasmtime.FuncType:
    """The type of a function of ``params`` i32 parameters; ``result`` is empty, i32 or i64."""
    kinds = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}
    return wasmtime.FuncType([kinds["i32"]()] * params, [kinds[result]()] if result else [])


@lru_cache(maxsize=1)
def calls() -> Calls:
    """The fast way where it is proven to give what the plain one gives, else the plain one."""
    from sandbox.wasmtime_engine.fast_call import FastCalls
    from sandbox.wasmtime_engine.proof import proven

    return FastCalls() if proven() else PlainCalls()
