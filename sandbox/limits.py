"""Limits on what a guest may use. Every call has all of them; none can be switched off."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from sandbox.errors import InvalidSetting

KIB: Final = 1024
MIB: Final = 1024 * KIB

_STACKS: Final = tuple(64 * KIB << n for n in range(5))

_RANGES: Final[dict[str, tuple[int, int]]] = {
    "fuel": (1, 10**12),
    "memory_bytes": (64 * KIB, 512 * MIB),
    "table_elements": (0, 1_000_000),
    "stack_bytes": (_STACKS[0], _STACKS[-1]),
    "wall_ms": (1, 600_000),
    "message_bytes": (0, 32 * MIB),
    "reply_bytes": (0, 32 * MIB),
    "stdout_bytes": (0, 32 * MIB),
    "stderr_bytes": (0, MIB),
    "log_lines": (0, 10_000),
    "log_line_bytes": (0, MIB),
    "sent_messages": (0, 10_000),
    "sent_bytes": (0, 32 * MIB),
    "asks": (0, 100_000),
    "ask_bytes": (0, 32 * MIB),
    "answer_bytes": (0, 32 * MIB),
    "kv_bytes": (0, 32 * MIB),
}


_values: Final = attrgetter(*_RANGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call of a guest may use. The defaults suit an agent; see ``for_command``.

    Raises ``InvalidSetting`` naming the field when a value is out of range.
    """

    fuel: int = 100_000_000
    """Budget of work, about one per WebAssembly instruction, deterministic for the same input.
    Host functions are charged too. 1 to 10^12; default 100 million, 0.01 to 0.2 s of work."""

    memory_bytes: int = 16 * MIB
    """Largest linear memory, in bytes. 64 KiB to 512 MiB; default 16 MiB."""

    table_elements: int = 10_000
    """Most elements of each table. 0 to 1,000,000; default 10,000."""

    stack_bytes: int = 512 * KIB
    """Call stack of the guest, in bytes: 64, 128, 256, 512 KiB or 1 MiB; default 512 KiB."""

    wall_ms: int = 1_000
    """Wall clock of one call, in milliseconds. 1 to 600,000; default 1 s."""

    message_bytes: int = 10 * MIB
    """Largest request or standard input, in bytes. 0 to 32 MiB; default 10 MiB."""

    reply_bytes: int = 10 * MIB
    """Largest reply of ``handle_message``, in bytes. 0 to 32 MiB; default 10 MiB."""

    stdout_bytes: int = 10 * MIB
    """Most a command may print, in bytes; more ends it. 0 to 32 MiB; default 10 MiB."""

    stderr_bytes: int = 64 * KIB
    """Standard error kept, in bytes; the rest is dropped. 0 to 1 MiB; default 64 KiB."""

    log_lines: int = 256
    """Log lines kept of one call; the rest are counted. 0 to 10,000; default 256."""

    log_line_bytes: int = 4 * KIB
    """Longest log line, in bytes; the rest is cut. 0 to 1 MiB; default 4 KiB."""

    sent_messages: int = 64
    """Most messages one call may send. 0 to 10,000; default 64."""

    sent_bytes: int = MIB
    """Most bytes one call may send, over all its messages. 0 to 32 MiB; default 1 MiB."""

    asks: int = 1_000
    """Most questions of one call to its host: keys, requests, queries. 0 to 100,000; default
    1,000."""

    ask_bytes: int = MIB
    """Largest question, in bytes. 0 to 32 MiB; default 1 MiB."""

    answer_bytes: int = 10 * MIB
    """Largest answer, in bytes. 0 to 32 MiB; default 10 MiB."""

    kv_bytes: int = MIB
    """Most bytes of keys and values one call may write. 0 to 32 MiB; default 1 MiB."""

    def __post_init__(self) -> None:
        # Made anew in a worker with each call, so the fields are not looked up one by one.
        for value, (name, (low, high)) in zip(_values(self), _RANGES.items(), strict=True):
            if type(value) is not int or not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")
        if self.stack_bytes not in _STACKS:
            raise InvalidSetting(
                "stack_bytes", self.stack_bytes, f"one of {', '.join(map(str, _STACKS))}"
            )

    @classmethod
    def for_command(
        cls, *, fuel: int = 3_000_000_000, memory_bytes: int = 64 * MIB, wall_ms: int = 5_000
    ) -> Limits:
        """Limits for a WASI command, which does its whole work in one call.

        Enough to read a file of 10 MB: fuel 3 * 10^9, memory 64 MiB, wall clock 5 s.
        """
        usual = _COMMAND
        if (fuel, memory_bytes, wall_ms) == (usual.fuel, usual.memory_bytes, usual.wall_ms):
            return usual
        return cls(fuel=fuel, memory_bytes=memory_bytes, wall_ms=wall_ms)

    @classmethod
    def for_component(
        cls, *, fuel: int = 3_000_000_000, memory_bytes: int = 128 * MIB, wall_ms: int = 5_000
    ) -> Limits:
        """Limits for one call of a component, in which a Python may have to fit.

        Fuel 3 * 10^9, memory 128 MiB, wall clock 5 s, 50,000 table elements.
        """
        usual = _COMPONENT
        if (fuel, memory_bytes, wall_ms) == (usual.fuel, usual.memory_bytes, usual.wall_ms):
            return usual
        return cls(fuel=fuel, memory_bytes=memory_bytes, wall_ms=wall_ms, table_elements=50_000)

    def as_dict(self) -> dict[str, int]:
        """The fields by name, for a frame to a worker."""
        return dict(zip(_RANGES, _values(self), strict=True))


_COMMAND: Final = Limits(fuel=3_000_000_000, memory_bytes=64 * MIB, wall_ms=5_000)
_COMPONENT: Final = Limits(
    fuel=3_000_000_000, memory_bytes=128 * MIB, wall_ms=5_000, table_elements=50_000
)
