"""Standard streams of a WASI command: anonymous files in memory, which an engine opens by path.

A stream written through a callback costs the host about 40 µs a write, and a guest with small
writes buys seconds of host time with little fuel; a file costs under 1 µs. Its growth is bounded
by the worker's file size limit, and what is taken out of it by the call's own limits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Self


class StreamFile:
    """A file that exists only while it is open; ``path`` can be opened again in this process."""

    def __init__(self, data: bytes = b"") -> None:
        self._fd = -1
        self._named: str | None = None
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("stream", os.MFD_CLOEXEC)
            self.path = f"/proc/self/fd/{self._fd}"
        else:
            self._fd, self._named = tempfile.mkstemp()
            self.path = self._named
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """The file is gone. May be called again."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        if self._named is not None:
            os.unlink(self._named)

    def __del__(self) -> None:
        self.close()

    def clear(self) -> None:
        """Empty it, for the next one to write."""
        os.ftruncate(self._fd, 0)

    def size(self) -> int:
        """Bytes written so far."""
        return os.fstat(self._fd).st_size

    def longer_than(self, limit: int) -> Callable[[], bool]:
        """A question for later: has it grown over ``limit``?"""
        return lambda: self.size() > limit

    def read(self, limit: int) -> bytes:
        """The first ``limit`` bytes, or all."""
        length = min(limit, self.size())
        return os.pread(self._fd, length, 0) if length else b""
