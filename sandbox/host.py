"""Agent ABI v1 on the host's side, apart from any engine.

An agent is a core module. It exports ``memory``, ``alloc(n) -> address`` (0 refuses) and
``handle_message(address, n) -> i64``, whose result is the reply's address in the upper and its
length in the lower 32 bits; both are unsigned. The bytes from ``alloc`` belong to the guest once
``handle_message`` is called. Optional: ``_initialize()``, called once before the first message,
and ``dealloc(address, n)``, called when a reply that is not empty has been copied.

Agents and commands may import the functions of ``sandbox.abi``:

- ``log(level, address, n)``, ``now() -> i64`` (Unix time in ms), ``random(address, n)``,
- ``send(address, n) -> i32`` (0 accepted, -1 too large, -2 too many), for agents,
- ``kv_get(key, n)``, ``kv_list(prefix, n)``, ``http``, ``query`` and ``memory_search(address, n)``
  ask the host. They give the length of the answer, which ``take(address, room) -> i32`` copies
  and forgets; -1: there is no such key; -2: refused or failed, and the answer to take is a JSON
  object with ``code`` and ``message`` of at most 4,096 bytes,
- ``kv_put(key, n, value, m)`` gives 0, ``kv_delete(key, n)`` 1 when the key was there, else 0.
  What a call wrote is kept when the call succeeds, all of it or nothing.

The guest's numbers arrive signed or unsigned, depending on the engine; every pointer and length
is masked to 32 bits and checked against the memory before it is used. Each host function costs
fuel: an engine counts only the guest's own instructions, and a loop of host calls would
otherwise buy seconds of host time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from typing import Final, Protocol

from sandbox.call_errors import out_of_fuel, range_error, too_large
from sandbox.engine import LogLine
from sandbox.errors import Reason, SandboxError
from sandbox.limits import Limits
from sandbox.services.request import Ask, Refusal, Service, ServiceError, nobody

HOST_CALL_FUEL: Final = 5_000
"""Fuel one host call costs, plus one per byte moved: about the work done in the same time."""

ASK_FUEL: Final = 100_000
"""Fuel one question to the host costs, plus one per byte of it and of its answer."""

KEY_BYTES: Final = 255
"""Longest key of the key-value store."""

RANDOM_BYTES: Final = 64 * 1024
"""Most random bytes of one call."""

ABORT_CHARS: Final = 200
"""Longest part of an abort's message that is reported."""

SEND_OK: Final = 0
SEND_TOO_LARGE: Final = -1
SEND_TOO_MANY: Final = -2

ABSENT: Final = -1
REFUSED: Final = -2

U32: Final = 0xFFFF_FFFF

Steps = Callable[..., Generator[None, None, int]]
"""A function of a guest that yields whenever the guest gives way, and then gives its result."""


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

    def __init__(self, limits: Limits, meter: Meter, ask: Ask = nobody) -> None:
        self.failure: SandboxError | None = None
        self.logs: list[LogLine] = []
        self.logs_dropped = 0
        self.sent: list[bytes] = []
        self.written: dict[bytes, bytes | None] = {}
        """Keys that were set, or removed (None), to be kept when the call succeeds."""
        self._written_bytes = 0
        self._sent_bytes = 0
        self._limits = limits
        self._meter = meter
        self._ask_host = ask
        self.asked = 0  # questions to the host so far
        self._pending = b""

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

    def kv_get(self, memory: GuestMemory, key: int, length: int) -> int:
        """Ask for the value of a key; what this call wrote is seen."""
        return self._question(memory, Service.KV_GET, key, length, self._read_key)

    def kv_put(
        self, memory: GuestMemory, key: int, length: int, value: int, value_length: int
    ) -> int:
        """Set a key. Gives 0."""

        def put(name: bytes) -> bytes | None:
            size = value_length & U32
            self._check(memory, "kv_put", value, size)
            room = self._limits.kv_bytes - self._written_bytes - len(name)
            if size > room:
                raise ServiceError(
                    Refusal.TOO_LARGE,
                    f"{size} bytes; one call may write {self._limits.kv_bytes} in all",
                )
            self._may_write(name)
            self._written_bytes += size + len(name)
            self.written[name] = memory.read(value & U32, size)
            return b""

        return self._question(memory, Service.KV_PUT, key, length, put, moved=value_length & U32)

    def kv_delete(self, memory: GuestMemory, key: int, length: int) -> int:
        """Remove a key. Gives 1 when it was there, else 0."""

        def delete(name: bytes) -> bytes | None:
            there = self._read_key(name) is not None
            self._may_write(name)
            self.written[name] = None
            return b"1" if there else b""

        return self._question(memory, Service.KV_DELETE, key, length, delete, keep=False)

    def kv_list(self, memory: GuestMemory, prefix: int, length: int) -> int:
        """Ask for the keys that begin with a prefix: a JSON array in the order of their bytes."""

        def listed(start: bytes) -> bytes | None:
            answer = self._ask_host(Service.KV_LIST, start, b"")
            keys = {str(name) for name in json.loads(answer or b"[]")}
            for name, value in self.written.items():
                if name.startswith(start):
                    text = name.decode()
                    (keys.discard if value is None else keys.add)(text)
            return json.dumps(sorted(keys, key=str.encode)).encode()

        return self._question(memory, Service.KV_LIST, prefix, length, listed)

    def http(self, memory: GuestMemory, ptr: int, length: int) -> int:
        """Send an HTTP request, described in JSON."""
        return self._forward(memory, Service.HTTP, ptr, length)

    def query(self, memory: GuestMemory, ptr: int, length: int) -> int:
        """Ask a database, in JSON."""
        return self._forward(memory, Service.QUERY, ptr, length)

    def memory_search(self, memory: GuestMemory, ptr: int, length: int) -> int:
        """Search the memory, in JSON."""
        return self._forward(memory, Service.MEMORY_SEARCH, ptr, length)

    def take(self, memory: GuestMemory, ptr: int, room: int) -> int:
        """Copy the answer to the last question, as much as there is room for, and forget it."""
        pending, self._pending = self._pending[: room & U32], b""
        self._charge(len(pending))
        self._check(memory, "take", ptr, len(pending))
        memory.write(ptr & U32, pending)
        return len(pending)

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

    def _forward(self, memory: GuestMemory, service: Service, ptr: int, length: int) -> int:
        return self._question(
            memory, service, ptr, length, lambda body: self._ask_host(service, b"", body)
        )

    def _question(
        self,
        memory: GuestMemory,
        service: Service,
        ptr: int,
        length: int,
        answer: Callable[[bytes], bytes | None],
        *,
        moved: int = 0,
        keep: bool = True,
    ) -> int:
        """Ask, and keep the answer to be taken. Without ``keep`` the answer is its own length."""
        length &= U32
        limits = self._limits
        self._charge(min(length + moved, limits.ask_bytes), ASK_FUEL)
        self._check(memory, str(service), ptr, length)
        self.asked += 1
        try:
            if self.asked > limits.asks:
                raise ServiceError(
                    Refusal.TOO_LARGE, f"one call may ask its host {limits.asks} times"
                )
            if length > limits.ask_bytes:
                raise ServiceError(
                    Refusal.TOO_LARGE, f"{length} bytes; at most {limits.ask_bytes} may be asked"
                )
            given = answer(memory.read(ptr & U32, length))
        except ServiceError as error:
            self._pending = error.told()
            return REFUSED
        if given is None:
            self._pending = b""
            return ABSENT
        if len(given) > limits.answer_bytes:
            self._pending = ServiceError(
                Refusal.TOO_LARGE,
                f"the answer has {len(given)} bytes; at most {limits.answer_bytes} are given",
            ).told()
            return REFUSED
        self._charge(len(given), 0)
        self._pending = given if keep else b""
        return len(given)

    def _read_key(self, name: bytes) -> bytes | None:
        if name in self.written:
            return self.written[name]
        return self._ask_host(Service.KV_GET, name, b"")

    def _may_write(self, name: bytes) -> None:
        if not 1 <= len(name) <= KEY_BYTES:
            raise ServiceError(
                Refusal.BAD_REQUEST, f"a key has 1 to {KEY_BYTES} bytes, this one {len(name)}"
            )
        try:
            name.decode()
        except UnicodeDecodeError:
            raise ServiceError(Refusal.BAD_REQUEST, "a key is UTF-8") from None
        # Asks whether the store is granted at all, before anything is promised.
        if not self.written:
            self._ask_host(Service.KV_GET, name, b"")

    def _charge(self, moved: int, cost: int = HOST_CALL_FUEL) -> None:
        if not self._meter.charge(cost + moved):
            raise self.fail(out_of_fuel(self._limits))

    def _check(self, memory: GuestMemory, function: str, ptr: int, length: int) -> None:
        error = range_error(memory.size(), function, ptr & U32, length)
        if error:
            raise self.fail(error)


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
    ptr = alloc(len(data)) & U32 if data else 0
    _place(memory, ptr, data)
    start, length = _range_of(memory, handle_message(_signed(ptr), len(data)), limits)
    reply = memory.read(start, length)
    if dealloc is not None and length:
        dealloc(_signed(start), length)
    return reply


def exchange_in_slices(
    memory: GuestMemory,
    alloc: Steps,
    handle_message: Steps,
    dealloc: Steps | None,
    data: bytes,
    limits: Limits,
) -> Generator[None, None, bytes]:
    """The same with a guest that gives way: yields whenever it does."""
    ptr = (yield from alloc(len(data))) & U32 if data else 0
    _place(memory, ptr, data)
    packed = yield from handle_message(ptr, len(data))
    start, length = _range_of(memory, packed, limits)
    reply = memory.read(start, length)
    if dealloc is not None and length:
        yield from dealloc(start, length)
    return reply


def _place(memory: GuestMemory, ptr: int, data: bytes) -> None:
    """Write a message where the guest's own alloc said."""
    if not data:
        return
    if ptr == 0:
        raise SandboxError(
            Reason.MESSAGE_TOO_LARGE,
            f"the guest's alloc refused {len(data)} bytes; send less",
            given=len(data),
        )
    if error := range_error(memory.size(), "alloc", ptr, len(data)):
        raise error
    memory.write(ptr, data)


def _range_of(memory: GuestMemory, packed: int, limits: Limits) -> tuple[int, int]:
    """Where a reply is and how long, within the memory."""
    start, length = packed >> 32 & U32, packed & U32
    if length > limits.reply_bytes:
        raise too_large(
            Reason.REPLY_TOO_LARGE, "the reply", length, "reply_bytes", limits.reply_bytes
        )
    if error := range_error(memory.size(), "handle_message", start, length):
        raise error
    return start, length


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
