"""Gives free pages of the store back to the disk, while the node runs."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from caxton.memory.embedded.opened import NAME, Opened
from caxton.storage.environment import storage_errors

__all__ = ["compact", "free_share"]

logger = logging.getLogger("caxton.memory")

WORTH: Final = 0.1
"""Least part of a file that has to be free for it to be written anew."""


def free_share(opened: Opened) -> float:
    """Part of the file that holds nothing, 0 to 1."""
    environment = opened.environment
    with opened.reading() as reading:
        pages = environment.lmdb.info()["last_pgno"] + 1
        used = 2 + _pages(environment.lmdb.stat())
        used += sum(_pages(reading.stat(table)) for table in environment.tables.values())
    return max(0.0, 1 - used / pages)


def _pages(stat: Any) -> int:
    return int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])


def compact(opened: Opened) -> tuple[int, int]:
    """Write the file anew without its free pages; its bytes before and after.

    On the thread that writes: nothing is written meanwhile. Where another process has it open, or
    little is free, it stays as it is.

    Raises:
        StorageError: there is no room for a copy.
    """
    data = opened.path / "data.mdb"
    before = data.stat().st_size
    if free_share(opened) < WORTH:
        return before, before
    fresh = opened.path.with_name(f"{opened.path.name}.compact")
    with storage_errors(NAME):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        try:
            opened.environment.lmdb.copy(os.fspath(fresh), compact=True)
            copy = fresh / "data.mdb"
            copy.chmod(0o600)
            _flush(copy)
            with opened.replacing(), _nobody_else(opened.path / "lock.mdb") as alone:
                if alone:
                    copy.replace(data)
                    # Readers that opened the old file go on with the old lock, together.
                    (opened.path / "lock.mdb").unlink()
                    _flush(opened.path)
                else:
                    logger.info("%s is open in another process, and stays as it is", data)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return before, data.stat().st_size


@contextmanager
def _nobody_else(lock: Path) -> Iterator[bool]:
    """Whether no process has the store open; none opens it meanwhile. LMDB's own lock."""
    handle = os.open(lock, os.O_RDWR)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
