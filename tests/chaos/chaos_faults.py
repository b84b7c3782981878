"""What goes wrong inside a node under test besides the ends of its processes."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import psutil

__all__ = ["Faults"]

FOLDER = Path(__file__).resolve().parent / "faults"
AHEAD, WAIT, END = (struct.Struct("<q"), 0), (struct.Struct("<I"), 8), (struct.Struct("<B"), 12)
"""Fields of the file and where they are, as in ``faults/sitecustomize.py``."""
FULL = 4096
"""How large a file can become on a full disk: no page of a store but its first."""


class Faults:
    """The file that all processes of a node map, and what is in it.

    Args:
        file: made new.
    """

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 16)
        path = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {"CHAOS_FAULTS": str(file), "PYTHONPATH": os.pathsep.join(path)}

    def _set(self, field: tuple[struct.Struct, int], value: int) -> None:
        field[0].pack_into(self._map, field[1], value)

    def jump(self, seconds: float) -> None:
        """Set all wall clocks ahead by so much; back when negative."""
        self._set(AHEAD, int(seconds * 1e9))

    def slow(self, seconds: float) -> None:
        """Let each commit wait so long; 0 for none."""
        self._set(WAIT, int(seconds * 1e6))

    def end_at(self, boundary: int) -> None:
        """Kill the shard that commits next: before its commit is written (1) or after (2)."""
        self._set(END, boundary)

    @property
    def ended(self) -> bool:
        """Whether the kill that was asked for has come."""
        return bool(END[0].unpack_from(self._map, END[1])[0] == 0)

    @staticmethod
    def fill(process: psutil.Process) -> None:
        """Let no file of a process grow, and none of its stores be written."""
        _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (FULL, hard))

    @staticmethod
    def empty(process: psutil.Process) -> None:
        """There is room again."""
        _, hard = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
