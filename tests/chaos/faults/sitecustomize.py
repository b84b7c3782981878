"""Runs at the start of each process of a node under test that has this folder on its path.

A small file that the test and all processes map says what goes wrong: how far the wall clock is
off, how slow commits are, and whether the next commit of a shard is its last.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AHEAD = struct.Struct("<q")
"""At 0: nanoseconds that the wall clock is ahead."""
WAIT = struct.Struct("<I")
"""At 8: microseconds that a commit waits."""
END = 12
"""Where a byte says at which boundary of a commit a shard ends: 1 before it is written, 2 after."""
PATCHED = "caxton.storage.environment"

with open(os.environ["CHAOS_FAULTS"], "r+b") as _file:
    FAULTS = mmap.mmap(_file.fileno(), 16)

_time_ns = time.time_ns
time.time_ns = lambda: _time_ns() + AHEAD.unpack_from(FAULTS)[0]
time.time = lambda: time.time_ns() / 1e9


class Commit:
    """A write transaction with faults at its boundaries.

    Args:
        transaction: of LMDB.
        shard: whether it is of a shard; other processes do not end here.
    """

    def __init__(self, transaction: Any, *, shard: bool) -> None:
        self._transaction = transaction
        self._shard = shard

    def __enter__(self) -> Any:
        return self._transaction.__enter__()

    def __exit__(self, *ended: object) -> Any:
        time.sleep(WAIT.unpack_from(FAULTS, 8)[0] / 1e6)
        self._end_at(1)
        result = self._transaction.__exit__(*ended)
        self._end_at(2)
        return result

    def _end_at(self, boundary: int) -> None:
        if self._shard and FAULTS[END] == boundary:
            FAULTS[END] = 0
            os.kill(os.getpid(), signal.SIGKILL)


class Finder:
    """Puts the faults into the one module that opens stores, when it is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != PATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            begin = module.Environment.begin

            def faulty(self: Any, *, write: bool = False) -> Any:
                transaction = begin(self, write=write)
                if not write:
                    return transaction
                return Commit(transaction, shard=self.name.startswith("shard-"))

            module.Environment.begin = faulty

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
