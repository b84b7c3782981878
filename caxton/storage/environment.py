"""One LMDB environment: opened with its limits, versioned, its failures typed.

Each environment has one writing process. Others may read it (the registry) while it is written.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from caxton.errors import (
    CaxtonError,
    ForeignFolder,
    StorageBroken,
    StorageCorrupt,
    StorageError,
    StorageFull,
)

__all__ = ["Environment", "storage_errors"]

logger = logging.getLogger("caxton.storage")

SCHEMA = 1
"""Version of the record layouts; a folder with a later one is refused."""
MIGRATIONS: dict[int, Callable[[lmdb.Transaction[bytes], Mapping[str, Any]], None]] = {}
"""Version to what makes its records those of the next one. Run by the process that writes, all of
them in one transaction: a folder has either version, whatever happens meanwhile."""
FIRST_BYTES = 256 * 1024 * 1024
"""Size of a map at first; it doubles when it is full."""

NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not grow further (see `ulimit -f`)",
}
"""Failures that end when there is room, and how they are told."""


@contextlib.contextmanager
def storage_errors(store: str) -> Iterator[None]:
    """Turn LMDB and disk failures inside the block into our error tree.

    Raises:
        StorageFull: no room in the map or on the disk.
        StorageBroken: nothing is read or written before it is opened again.
        StorageCorrupt: the file does not read.
        StorageError: anything else the store says.
    """
    try:
        yield
    except lmdb.MapFullError as error:
        raise StorageFull(store=store, reason="its map is full") from error
    except lmdb.PanicError as error:
        raise StorageBroken(store=store, reason=str(error)) from error
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError) as error:
        raise StorageCorrupt(store=store, reason=str(error)) from error
    except lmdb.Error as error:
        # LMDB gives the system's words, without their number.
        for number, reason in NO_ROOM.items():
            if os.strerror(number) in str(error):
                raise StorageFull(store=store, reason=reason) from error
        raise StorageError(store=store, reason=str(error)) from error
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull(store=store, reason=NO_ROOM[error.errno]) from error
        raise StorageError(store=store, reason=str(error)) from error


class Environment:
    """An open LMDB environment with named tables and a schema version.

    Args:
        path: folder of the environment; made with mode 0700 when missing.
        tables: names of its tables.
        map_bytes: largest size. The map begins smaller and grows up to it.
        sync: flush each commit to the disk (power-safe) or only to the page cache.
        readonly: open for reading only; the environment must exist.
        name: how errors call it; the folder's name when empty.
    """

    def __init__(
        self,
        path: Path,
        tables: tuple[str, ...],
        *,
        map_bytes: int,
        sync: bool = True,
        readonly: bool = False,
        name: str = "",
    ) -> None:
        shard = path.parent.name == "shards"
        self.name = name or (f"shard-{path.name}" if shard else path.name)
        self.path = path
        self._map_bytes = map_bytes
        with storage_errors(self.name):
            if not readonly:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lmdb = lmdb.open(
                os.fspath(path),
                map_size=min(FIRST_BYTES, map_bytes),
                max_dbs=len(tables) + 1,
                max_readers=512,
                sync=sync,
                metasync=sync,
                readonly=readonly,
                readahead=False,
                mode=0o600,
            )
            try:
                self.tables = {
                    name: self.lmdb.open_db(name.encode(), create=not readonly)
                    for name in (*tables, "schema")
                }
                self._check_schema(readonly=readonly)
            except (lmdb.Error, CaxtonError):
                self.lmdb.close()
                raise

    def _check_schema(self, *, readonly: bool) -> None:
        table = self.tables["schema"]
        with self.begin() as reading:
            found = reading.get(b"version", db=table)
        if found is None:
            if readonly:
                raise ForeignFolder(data=str(self.path), reason="it has no schema version")
            with self.lmdb.begin(write=True) as writing:
                writing.put(b"version", str(SCHEMA).encode(), db=table)
        elif not found.isdigit() or int(found) > SCHEMA:
            raise ForeignFolder(
                data=str(self.path),
                reason=f"schema version {found.decode('ascii', 'replace')}, this is {SCHEMA}",
            )
        elif int(found) < SCHEMA:
            if readonly:
                raise ForeignFolder(
                    data=str(self.path),
                    reason=f"schema version {int(found)} is older than {SCHEMA}: a start of its "
                    "node brings it up to date",
                )
            self._migrate(int(found))

    def _migrate(self, version: int) -> None:
        logger.warning("%s goes from schema version %d to %d", self.path, version, SCHEMA)
        with self.lmdb.begin(write=True) as writing:
            for step in range(version, SCHEMA):
                MIGRATIONS[step](writing, self.tables)
            writing.put(b"version", str(SCHEMA).encode(), db=self.tables["schema"])

    def begin(self, *, write: bool = False) -> lmdb.Transaction[bytes]:
        """A transaction, also after the process that writes has made the map larger."""
        try:
            return self.lmdb.begin(write=write)
        except lmdb.MapResizedError:
            self.lmdb.set_mapsize(0)
            return self.lmdb.begin(write=write)

    def grow(self) -> bool:
        """Double the map, up to the largest size; whether it is larger now.

        No transaction of this process may be open.

        Raises:
            StorageError: the system gives no such map.
        """
        size = int(self.lmdb.info()["map_size"])
        larger = min(2 * size, self._map_bytes)
        if larger <= size:
            return False
        with storage_errors(self.name):
            self.lmdb.set_mapsize(larger)
        logger.info("the map of %s has %d MiB now", self.name, larger >> 20)
        return True

    def read(self, table: str, key: bytes) -> bytes | None:
        """One value, or None."""
        with storage_errors(self.name), self.begin() as reading:
            return reading.get(key, db=self.tables[table])

    @property
    def used_bytes(self) -> int:
        """Of its file up to the last page that was ever used."""
        info, pages = self.lmdb.info(), self.lmdb.stat()["psize"]
        return int((info["last_pgno"] + 1) * pages)

    def close(self) -> None:
        """Close it; nothing of it may be used afterwards."""
        self.lmdb.close()
