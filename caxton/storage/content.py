"""Large contents, kept once by the hash of their bytes: results of tools no message should hold.

One process writes; every process may read. Beyond a size the oldest go first.
"""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import Final

from caxton.errors import StorageFull
from caxton.storage.environment import Environment, storage_errors

__all__ = ["HASH", "ContentReader", "ContentStore"]

TABLES: Final = ("content", "order")
HASH: Final = re.compile(r"[0-9a-f]{64}")
"""The name of a content: SHA-256 of its bytes, in hex."""
_NUMBER: Final = struct.Struct(">Q")
_KEPT: Final = struct.Struct(">32sQ")


class ContentStore:
    """The store in the process that writes it. Its methods block for a commit: call in a thread.

    Args:
        path: folder of the store.
        disk: whether a commit is flushed to the disk.
        map_bytes: largest size of the store.
        keep_bytes: most bytes of contents that are kept; the newest one always is.
    """

    def __init__(self, path: Path, *, disk: bool, map_bytes: int, keep_bytes: int) -> None:
        self._env = Environment(path, TABLES, map_bytes=map_bytes, sync=disk)
        self._keep_bytes = keep_bytes
        self._total, self._next = self._sum()

    @property
    def total_bytes(self) -> int:
        """Bytes of all contents."""
        return self._total

    def put(self, data: bytes) -> str:
        """Keep ``data``; gives its hash. What is there already is not written again.

        Raises:
            StorageError: it cannot be kept.
        """
        digest = hashlib.sha256(data).digest()
        while True:
            try:
                self._write(digest, data)
                return digest.hex()
            except StorageFull:
                if not self._env.grow():
                    raise

    def get(self, name: str) -> bytes | None:
        """The content of a hash, or None."""
        return self._env.read("content", bytes.fromhex(name)) if HASH.fullmatch(name) else None

    def close(self) -> None:
        """Close it."""
        self._env.close()

    def _write(self, digest: bytes, data: bytes) -> None:
        content, order = (self._env.tables[name] for name in TABLES)
        total = self._total
        with storage_errors(self._env.name), self._env.begin(write=True) as txn:
            if txn.get(digest, db=content) is not None:
                return
            txn.put(digest, data, db=content)
            txn.put(_NUMBER.pack(self._next), _KEPT.pack(digest, len(data)), db=order, append=True)
            total += len(data)
            oldest = txn.cursor(order)
            while total > self._keep_bytes and oldest.first():
                old, size = _KEPT.unpack(oldest.value())
                if old == digest:
                    break
                oldest.delete()
                txn.delete(old, db=content)
                total -= size
        self._total = total
        self._next += 1

    def _sum(self) -> tuple[int, int]:
        total, following = 0, 0
        with storage_errors(self._env.name), self._env.begin() as reading:
            for key, value in reading.cursor(self._env.tables["order"]):
                total += _KEPT.unpack(value)[1]
                following = _NUMBER.unpack(key)[0] + 1
        return total, following


class ContentReader:
    """Reads the store in a process that does not write it.

    Args:
        path: folder of the store. It need not be there yet.
        map_bytes: largest size of the store.
    """

    def __init__(self, path: Path, *, map_bytes: int) -> None:
        self._path = path
        self._map_bytes = map_bytes
        self._env: Environment | None = None

    def get(self, name: str) -> bytes | None:
        """The content of a hash, or None."""
        if not HASH.fullmatch(name):
            return None
        if self._env is None:
            if not (self._path / "data.mdb").exists():
                return None
            self._env = Environment(self._path, TABLES, map_bytes=self._map_bytes, readonly=True)
        return self._env.read("content", bytes.fromhex(name))

    def close(self) -> None:
        """Close it."""
        env, self._env = self._env, None
        if env is not None:
            env.close()
