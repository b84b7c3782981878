"""The LMDB environment of the memory, shared by the writer and the readers of one process.

LMDB may map its file anew (to grow, or to open a compacted one) only while no transaction of the
process is open; so readers pass a gate that the writer can close for that moment.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb

from caxton.errors import ForeignFolder, StorageError
from caxton.memory.embedded.layout import HEAD, LAYOUT, TABLES, head_record
from caxton.storage.environment import Environment, storage_errors

__all__ = ["NAME", "Opened"]

NAME = "memory/store"
"""How errors and reports call it."""
WAIT_S = 30.0
"""How long one side of the gate waits for the other."""


class Opened:
    """The environment, behind a gate.

    Args:
        path: its folder.
        map_bytes: largest size.
        sync: flush each commit.
        readonly: another process writes it.

    Raises:
        StorageError: it does not open.
        ForeignFolder: a later version made it.
    """

    def __init__(
        self, path: Path, *, map_bytes: int, sync: bool = True, readonly: bool = False
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._map_bytes = map_bytes
        self._sync = sync
        self._changing = threading.Condition()
        self._reading = 0
        self._closed_to_readers = False
        self._ended = False
        self.environment = self._open()
        self._inode = self._file()

    def _open(self) -> Environment:
        environment = Environment(
            self.path,
            TABLES,
            map_bytes=self._map_bytes,
            sync=self._sync,
            readonly=self.readonly,
            name=NAME,
        )
        raw = environment.read("meta", HEAD)
        if raw is not None and (found := head_record(raw).layout) > LAYOUT:
            environment.close()
            raise ForeignFolder(
                data=str(self.path), reason=f"memory layout {found}, this is {LAYOUT}"
            )
        if not self.readonly:
            environment.lmdb.reader_check()
        return environment

    def _file(self) -> int:
        return (self.path / "data.mdb").stat().st_ino

    def _enter(self) -> None:
        with self._changing:
            if self._closed_to_readers and not self._changing.wait_for(
                lambda: not self._closed_to_readers, WAIT_S
            ):
                raise StorageError(store=NAME, reason=f"it was not free to read for {WAIT_S:g} s")
            if self._ended:
                raise StorageError(store=NAME, reason="it is closed")
            self._reading += 1

    def _leave(self) -> None:
        with self._changing:
            self._reading -= 1
            if not self._reading:
                self._changing.notify_all()

    @contextlib.contextmanager
    def reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        """A read transaction; never within another one of the same thread.

        Raises:
            StorageError: it cannot be read.
        """
        if self.readonly:
            self._follow()
        self._enter()
        try:
            with storage_errors(NAME):
                try:
                    transaction = self.environment.lmdb.begin()
                except lmdb.MapResizedError:
                    transaction = None
        except BaseException:
            self._leave()
            raise
        if transaction is None:
            self._leave()
            self._resize()
            self._enter()
            transaction = self.environment.lmdb.begin()
        try:
            with storage_errors(NAME), transaction:
                yield transaction
        finally:
            self._leave()

    def _resize(self) -> None:
        """Take over the size that the writing process gave the map."""
        with self.alone(), storage_errors(NAME):
            self.environment.lmdb.set_mapsize(0)

    def _follow(self) -> None:
        """Open the file that the writing process put in the place of ours."""
        with storage_errors(NAME):
            inode = self._file()
        if inode != self._inode:
            self.reopen()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While no transaction of this process is open.

        Raises:
            StorageError: a reader does not end.
        """
        with self._changing:
            if not self._changing.wait_for(lambda: not self._closed_to_readers, WAIT_S):
                raise StorageError(store=NAME, reason=f"it was not free for {WAIT_S:g} s")
            self._closed_to_readers = True
            if not self._changing.wait_for(lambda: not self._reading, WAIT_S):
                self._closed_to_readers = False
                self._changing.notify_all()
                raise StorageError(store=NAME, reason=f"it was read for {WAIT_S:g} s on end")
        try:
            yield
        finally:
            with self._changing:
                self._closed_to_readers = False
                self._changing.notify_all()

    def grow(self) -> bool:
        """Make the map larger; whether it is. The caller has no transaction open."""
        with self.alone():
            return self.environment.grow()

    def reopen(self) -> None:
        """Close it and open what is there now."""
        with self.replacing():
            pass

    @contextlib.contextmanager
    def replacing(self) -> Iterator[None]:
        """While it is closed; it is opened again afterwards."""
        with self.alone():
            self.environment.close()
            try:
                yield
            finally:
                self.environment = self._open()
                self._inode = self._file()

    def close(self) -> None:
        """Close it."""
        with self.alone():
            self._ended = True
            self.environment.close()

    @property
    def file_bytes(self) -> int:
        """What its file takes of the disk."""
        return os.stat(self.path / "data.mdb").st_blocks * 512
