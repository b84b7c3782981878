"""Agent ABI v1 on the host's side, apart from any engine.

An agent is a core module. It exports ``memory``, ``alloc(n) -> address`` (0 refuses) and
``handle_message(address, n) -> i64``, whose result is the reply's address in the upper and its
length in the lower 32 bits; both are unsigned. The bytes from ``alloc`` belong to the guest once
``handle_message`` is called. Optional: ``_initialize()``, called once before the first message,
and ``dealloc(address, n)``, called when a reply that is not empty has been copied.

It may import from ``caxton``: ``log(level, address, n)``, ``now() -> i64`` (Unix time in ms),
``random(address, n)`` and ``send(address, n) -> i32`` (0 accepted, -1 too large, -2 too many);
from ``env``: AssemblyScript's ``abort``.

The guest's numbers arrive signed or unsigned, depending on the engine; every pointer and length
is masked to 32 bits and checked against the memory before it is used. Each host function costs
fuel: an engine counts only the guest's own instructions, and a loop of host calls would
otherwise buy seconds of host time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from sandbox.engine import LogLine
from sandbox.errors import Reason, SandboxError
from sandbox.limits import Limits

HOST_CALL_FUEL: Final = 5_000
"""Fuel one host call costs, plus one per byte moved: about the work done in the same time."""

RANDOM_BYTES: Final = 64 * 1024
"""Most random bytes of one call."""

ABORT_CHARS: Final = 200
"""Longest part of an abort's message that is reported."""

SEND_OK: Final = 0
SEND_TOO_LARGE: Final = -1
SEND_TOO_MANY: Final = -2

U32: Final = 0xFFFF_FFFF


class GuestMemory(Protocol):
    """Linear memory of a guest. ``read`` and ``write`` are called with checked ranges only."""

    def size(self) -> int:
        """Current size in bytes."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Copy of a range."""
        ...

    def write(self, start: int, data: bytes) -> None:
        """Overwrite a range."""
        ...


class Meter(Protocol):
    """The guest's fuel."""

    def charge(self, cost: int) -> bool:
        """Take ``cost`` from the budget; False, leaving nothing, when it is not there."""
        ...


class HostAbort(Exception):
    """Raised inside a host function to make the engine trap; the reason is in ``HostCalls``."""


class HostCalls:
    """What one call of a guest did through its host functions, and how it failed.

    The failure is kept here and not read from the engine's exception: an engine's binding may
    hand one thread's exception to another.
    """

    def __init__(self, limits: Limits, meter: Meter) -> None:
        self.failure: SandboxError | None = None
        self.logs: list[LogLine] = []
        self.logs_dropped = 0
        self.sent: list[bytes] = []
        self._sent_bytes = 0
        self._limits = limits
        self._meter = meter

    def log(self, memory: GuestMemory, level: int, ptr: int, length: int) -> None:
        """Keep a line, cut to ``log_line_bytes``; lines over ``log_lines`` are counted."""
        length &= U32
        self._charge(min(length, self._limits.log_line_bytes))
        self._check(memory, "log", ptr, length)
        if len(self.logs) >= self._limits.log_lines:
            self.logs_dropped += 1
            return
        kept = min(length, self._limits.log_line_bytes)
        text = memory.read(ptr & U32, kept).decode("utf-8", errors="replace")
        self.logs.append(LogLine(level & U32, text, cut=kept < length))

    def now(self, _memory: GuestMemory) -> int:
        """Unix time in milliseconds."""
        self._charge(0)
        return time.time_ns() // 1_000_000

    def random(self, memory: GuestMemory, ptr: int, length: int) -> None:
        """Fill a range with random bytes of the operating system; at most 64 KiB at once."""
        length &= U32
        self._charge(min(length, RANDOM_BYTES))
        self._check(memory, "random", ptr, length)
        if length > RANDOM_BYTES:
            raise self.fail(
                SandboxError(
                    Reason.MESSAGE_TOO_LARGE,
                    f"random asked for {length} bytes, the limit is {RANDOM_BYTES} at once",
                    given=length,
                    limit=RANDOM_BYTES,
                )
            )
        memory.write(ptr & U32, os.urandom(length))

    def send(self, memory: GuestMemory, ptr: int, length: int) -> int:
        """Collect an outgoing message. 0 accepted, -1 no room for its size, -2 too many."""
        length &= U32
        room = self._limits.sent_bytes - self._sent_bytes
        self._charge(min(length, max(room, 0)))
        self._check(memory, "send", ptr, length)
        if length > room:
            return SEND_TOO_LARGE
        if len(self.sent) >= self._limits.sent_messages:
            return SEND_TOO_MANY
        self.sent.append(memory.read(ptr & U32, length))
        self._sent_bytes += length
        return SEND_OK

    def abort(self, memory: GuestMemory, text: int, _file: int, line: int, column: int) -> None:
        """AssemblyScript's ``env.abort``: ends the call with the guest's own message."""
        said = _assemblyscript_text(memory, text & U32)
        raise self.fail(
            SandboxError(
                Reason.GUEST_ABORT,
                f"the guest aborted at line {line & U32}, column {column & U32}: {said}",
                line=line & U32,
                column=column & U32,
                text=said,
            )
        )

    def fail(self, error: SandboxError) -> HostAbort:
        """Record the first failure; raise what this returns to make the engine trap."""
        self.failure = self.failure or error
        return HostAbort()

    def _charge(self, moved: int) -> None:
        if not self._meter.charge(HOST_CALL_FUEL + moved):
            raise self.fail(out_of_fuel(self._limits))

    def _check(self, memory: GuestMemory, function: str, ptr: int, length: int) -> None:
        error = range_error(memory, function, ptr & U32, length)
        if error:
            raise self.fail(error)


def range_error(memory: GuestMemory, what: str, ptr: int, length: int) -> SandboxError | None:
    """The error for a range that is not inside the memory, or None. Both unsigned."""
    size = memory.size()
    if ptr + length <= size:
        return None
    return SandboxError(
        Reason.BAD_POINTER,
        f"{what}: bytes {ptr} to {ptr + length} are outside the guest's memory of {size} bytes",
        pointer=ptr,
        length=length,
        memory=size,
    )


def out_of_fuel(limits: Limits) -> SandboxError:
    """The error for a spent budget."""
    return SandboxError(
        Reason.OUT_OF_FUEL,
        f"the call used up its {limits.fuel} units of fuel; give it less work or raise fuel",
        limit=limits.fuel,
    )


def timed_out(limits: Limits) -> SandboxError:
    """The error for a passed wall clock."""
    return SandboxError(
        Reason.TIMEOUT,
        f"the call took longer than {limits.wall_ms} ms; give it less work or raise wall_ms",
        limit_ms=limits.wall_ms,
    )


def trapped(trap: str) -> SandboxError:
    """The error for a trap, by the engine's name of it."""
    return SandboxError(
        Reason.TRAP,
        f"the guest trapped: {trap.replace('_', ' ')}; this is an error in the guest",
        trap=trap,
    )


def host_failed(function: str, error: Exception) -> SandboxError:
    """The error for an exception in a host function: ours, not the guest's."""
    return SandboxError(
        Reason.HOST_ERROR, f"host function {function} failed: {error!r}", function=function
    )


def too_large(reason: Reason, what: str, given: int, field: str, limit: int) -> SandboxError:
    """The error for a size over a limit, naming the field that holds it."""
    return SandboxError(
        reason,
        f"{what} has {given} bytes, the limit {field} is {limit}",
        given=given,
        limit=limit,
        field=field,
    )


def check_message(what: str, data: bytes, limits: Limits) -> None:
    """Refuse input over ``message_bytes``, before the guest sees any of it."""
    if len(data) > limits.message_bytes:
        raise too_large(
            Reason.MESSAGE_TOO_LARGE, what, len(data), "message_bytes", limits.message_bytes
        )


def check_output(size: int, limits: Limits) -> None:
    """Refuse what a command printed when it is over ``stdout_bytes``."""
    if size > limits.stdout_bytes:
        raise too_large(
            Reason.REPLY_TOO_LARGE, "standard output", size, "stdout_bytes", limits.stdout_bytes
        ) from None


def exchange(
    memory: GuestMemory,
    alloc: Callable[[int], int],
    handle_message: Callable[[int, int], int],
    dealloc: Callable[[int, int], None] | None,
    data: bytes,
    limits: Limits,
) -> bytes:
    """One message through agent ABI v1: the guest's own alloc, its handler, a copy of its reply.

    The request's bytes belong to the guest from here on; the reply's are given back through
    ``dealloc`` once copied. Pointers are passed and taken as the 32 bits of a signed integer.
    """
    ptr = 0
    if data:
        ptr = alloc(len(data)) & U32
        if ptr == 0:
            raise SandboxError(
                Reason.MESSAGE_TOO_LARGE,
                f"the guest's alloc refused {len(data)} bytes; send less",
                given=len(data),
            )
        if error := range_error(memory, "alloc", ptr, len(data)):
            raise error
        memory.write(ptr, data)
    packed = handle_message(_signed(ptr), len(data))
    start, length = packed >> 32 & U32, packed & U32
    if length > limits.reply_bytes:
        raise too_large(
            Reason.REPLY_TOO_LARGE, "the reply", length, "reply_bytes", limits.reply_bytes
        )
    if error := range_error(memory, "handle_message", start, length):
        raise error
    reply = memory.read(start, length)
    if dealloc is not None and length:
        dealloc(_signed(start), length)
    return reply


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def _assemblyscript_text(memory: GuestMemory, ptr: int) -> str:
    """An AssemblyScript string: UTF-16LE, its length in bytes in the word before it."""
    size = memory.size()
    if ptr < 4 or ptr > size:
        return ""
    length = int.from_bytes(memory.read(ptr - 4, 4), "little")
    length = min(length, 2 * ABORT_CHARS, size - ptr)
    return memory.read(ptr, length - length % 2).decode("utf-16-le", errors="replace")
