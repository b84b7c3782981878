"""The host functions that guests may import, in one table: linkers, checks and docs are made of it.

ABI v1. Numbers are 32 bits and unsigned, also where an engine hands them over signed. See
``sandbox.host`` for what each function does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["ABI_VERSION", "FUNCTIONS", "WASI", "HostFunction", "Level"]

ABI_VERSION: Final = 1

WASI: Final = "wasi_snapshot_preview1"


class Level(StrEnum):
    """How a guest is kept apart from its host."""

    INLINE = "inline"
    """In the host's process, on a thread of its own. Only for guests that cannot block there."""
    PROCESS = "process"
    """In a worker process without secrets, killed at the deadline."""


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One import.

    ``params`` is the number of i32 parameters, ``result`` an empty text, ``i32`` or ``i64``. A
    guest that imports a function of level *process* runs there: its answer comes from elsewhere
    and may block. ``agents_only`` functions are refused to commands.
    """

    module: str
    name: str
    params: int
    result: str
    purpose: str
    level: Level = Level.INLINE
    agents_only: bool = False

    @property
    def type(self) -> str:
        """The type as it stands in a module: ``func(i32,i32)->(i32)``."""
        return f"func({','.join(['i32'] * self.params)})->({self.result})"


FUNCTIONS: Final = (
    HostFunction("caxton", "log", 3, "", "writes a line: level, text"),
    HostFunction("caxton", "now", 0, "i64", "Unix time in milliseconds"),
    HostFunction("caxton", "random", 2, "", "fills a range with random bytes, at most 64 KiB"),
    HostFunction("caxton", "send", 2, "i32", "sends a message: JSON", agents_only=True),
    HostFunction("caxton", "kv_get", 2, "i32", "asks for the value of a key"),
    HostFunction("caxton", "kv_put", 4, "i32", "sets a key to a value"),
    HostFunction("caxton", "kv_delete", 2, "i32", "removes a key"),
    HostFunction("caxton", "kv_list", 2, "i32", "asks for the keys that begin with a text"),
    HostFunction("caxton", "http", 2, "i32", "sends an HTTP request: JSON", Level.PROCESS),
    HostFunction("caxton", "query", 2, "i32", "asks a database: JSON", Level.PROCESS),
    HostFunction("caxton", "memory_search", 2, "i32", "searches the memory: JSON", Level.PROCESS),
    HostFunction("caxton", "take", 2, "i32", "copies the answer to the last question"),
    HostFunction("env", "abort", 4, "", "AssemblyScript's way to give up"),
)
"""All of them. ``caxton`` functions return the length of an answer, or -1 and -2: see ``host``."""
