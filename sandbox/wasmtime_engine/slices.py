"""Calls in slices: a guest that gives way, and goes on later or on another thread.

An agent's call takes some 20 µs, and its way to another thread and back ten times that. So a call
begins where it is made; a guest that is not done after a slice goes on elsewhere. The engine
runs such a guest on a stack of its own, which it keeps with the instance.

A guest gives way when its slice of fuel is used up. Host functions are charged by setting the fuel,
which begins a new slice; so a host function that finds the slice used up lets an epoch pass, and
the guest gives way at its next loop or function. What stops a call for good is the clock of whoever
runs it, looked at between slices.

The header's contract is kept: while a call is under way, only the guest's own host functions and
``wasmtime_call_future_poll`` touch its store.
Source: wasmtime's C header ``async.h``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from ctypes import addressof, c_bool, c_size_t, c_uint64, c_void_p
from typing import Any, Final

from sandbox.host import U32, Steps
from sandbox.wasmtime_engine.fast_call import FastStore, bind, held, raised_by, released

__all__ = ["GuestSlices"]

_begin = bind(held, "func_call_async", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p,
              c_size_t, c_void_p, c_void_p)  # fmt: skip
_poll_held = bind(held, "call_future_poll", c_bool, c_void_p)
_poll_released = bind(released, "call_future_poll", c_bool, c_void_p)
_interval = bind(held, "context_fuel_async_yield_interval", c_void_p, c_void_p, c_uint64)
_yield_at_deadline = bind(
    held, "context_epoch_deadline_async_yield_and_update", None, c_void_p, c_uint64
)

WORDS: Final = 4
"""Words of 64 bits of a number with its kind: the kind, then room for the largest of them."""


class GuestSlices:
    """``Slices`` of one instance.

    Args:
        store: of the instance.
        functions: its ``alloc``, ``handle_message`` and, where it has one, ``dealloc``.
    """

    def __init__(self, store: FastStore, functions: Mapping[str, Any]) -> None:
        self.keep_lock = False
        self._store = store
        # Kinds are 0, for i32, throughout: that is all an agent's functions take.
        self._given = (c_uint64 * (2 * WORDS))()
        self._got = (c_uint64 * WORDS)()
        self._trap, self._error = c_void_p(), c_void_p()
        self._given_at, self._got_at = addressof(self._given), addressof(self._got)
        self._trap_at, self._error_at = addressof(self._trap), addressof(self._error)
        self.alloc: Steps = self._steps(functions["alloc"], 1, 1)
        self.handle_message: Steps = self._steps(functions["handle_message"], 2, 1)
        dealloc = functions.get("dealloc")
        self.dealloc: Steps | None = self._steps(dealloc, 2, 0) if dealloc is not None else None
        _yield_at_deadline(store.at, 1)

    def every(self, fuel: int) -> None:
        """See ``Slices``."""
        if error := _interval(self._store.at, fuel):
            raise raised_by(error, None)

    def _steps(self, function: Any, params: int, results: int) -> Steps:
        function_at = addressof(function)

        def steps(first: int, second: int = 0) -> Generator[None, None, int]:
            self._given[1] = first & U32
            self._given[WORDS + 1] = second & U32
            call = _begin(
                self._store.at, function_at, self._given_at, params, self._got_at, results,
                self._trap_at, self._error_at,
            )  # fmt: skip
            self._store.began(call)
            try:
                while not (_poll_held if self.keep_lock else _poll_released)(call):
                    yield
            finally:
                self._store.end(call)
            if self._error.value or self._trap.value:
                raised = raised_by(self._error.value, self._trap.value)
                self._error.value = self._trap.value = None
                raise raised
            return self._got[1]

        # The address is of no use without the thing.
        steps.function = function  # type: ignore[attr-defined]  # kept alive, not read
        return steps
