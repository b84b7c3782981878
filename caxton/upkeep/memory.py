"""The memory's store among the stores of a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["STORE", "verify_memory"]

STORE: Final = "memory/store"


def verify_memory(data: Path) -> list[str]:
    """What is wrong with the memory of a data folder; its node may run.

    Raises:
        StorageError: it does not read.
    """
    # Only here: numpy is slow to import, and most folders are looked at without a memory.
    from caxton.memory.embedded.reader import Reader

    reader = Reader(data / STORE)
    try:
        return [one.what for one in reader.verify()]
    finally:
        reader.close()
