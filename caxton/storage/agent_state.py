"""What WebAssembly agents and tools keep under keys, by namespace. It outlives them and the node.

One process writes (the tools process); every process may read. A write is all of one call's keys or
none, and is on the disk when it returns, as far as the node's durability says.

With a write goes what became of its message (``Outcome``). A message that comes again, because its
process died before the journal knew that it was handled, is answered with that instead of being
handled on top of what it did the first time.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import lmdb

from caxton.errors import StorageError, StorageFull, ValidationError
from caxton.storage.environment import Environment, storage_errors

__all__ = [
    "KEYS", "NAMESPACE_BYTES", "TOTAL_BYTES", "Outcome", "StateReader", "StateWriter", "Written",
]  # fmt: skip

logger = logging.getLogger("caxton.storage")

TABLE: Final = "state"
NAMESPACE_BYTES: Final = 200
"""Longest name of a namespace; with a key of 255 bytes it fits a key of the store."""
KEYS: Final = 10_000
"""Most keys of a namespace."""
TOTAL_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of a namespace, keys and values together."""
OUTCOMES: Final = 256
"""Outcomes kept of a namespace: more than messages between two commits of a journal."""
OUTCOME_BYTES: Final = 1 << 20
"""Most bytes of outcomes kept of a namespace, but for the newest one."""
GROW_S: Final = 30.0

Written = Mapping[bytes, bytes | None]
"""Keys to values; None removes the key."""
Outcome = tuple[bytes, bytes]
"""Id of a message, and what its handling gave."""

_DONE: Final = b"\xff"
"""What the places of outcomes begin with. No key does: keys are UTF-8."""
_ORDER: Final = struct.Struct(">Q")


_Write = tuple[str, Written, Outcome | None, asyncio.Future[None]]


class StateReader:
    """Reads the store in a process that does not write it. See ``sandbox.KeyReader``.

    Args:
        path: folder of the store. It need not be there yet: then nothing is in it.
        map_bytes: largest size of the store.
    """

    def __init__(self, path: Path, *, map_bytes: int) -> None:
        self._path = path
        self._map_bytes = map_bytes
        self._env: Environment | None = None

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        env = self._opened()
        return None if env is None else env.read(TABLE, _place(namespace, key))

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        env = self._opened()
        return [] if env is None else _keys(env, namespace, prefix)

    def outcome(self, namespace: str, message_id: bytes) -> bytes | None:
        """What the handling of a message gave that was kept with its writes; None for unknown."""
        return _outcome(self.get(namespace, _DONE + message_id))

    def close(self) -> None:
        """Close it."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def _opened(self) -> Environment | None:
        if self._env is None and (self._path / "data.mdb").exists():
            self._env = Environment(self._path, (TABLE,), map_bytes=self._map_bytes, readonly=True)
        return self._env


class StateWriter:
    """The store in the process that writes it; it reads too. Belongs to one event loop.

    Writes that come while one is under way go together in the next commit.

    Args:
        path: folder of the store.
        disk: whether a commit is flushed to the disk.
        map_bytes: largest size of the store.
    """

    def __init__(self, path: Path, *, disk: bool, map_bytes: int) -> None:
        self._env = Environment(path, (TABLE,), map_bytes=map_bytes, sync=disk)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-state")
        self._sizes: dict[str, tuple[int, int]] = {}
        """Keys and bytes of the namespaces that were written."""
        self._outcomes: dict[str, deque[tuple[bytes, int]]] = {}
        """Ids and sizes of the outcomes of a namespace, oldest first."""
        self._order = 0
        self._waiting: list[_Write] = []
        self._running: asyncio.Task[None] | None = None

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return self._env.read(TABLE, _place(namespace, key))

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        return _keys(self._env, namespace, prefix)

    def outcome(self, namespace: str, message_id: bytes) -> bytes | None:
        """What the handling of a message gave that was kept with its writes; None for unknown."""
        return _outcome(self.get(namespace, _DONE + message_id))

    async def write(self, namespace: str, written: Written, outcome: Outcome | None = None) -> None:
        """Keep all of ``written`` and the outcome; they are kept when this returns.

        Raises:
            ValidationError: a name is too long, or the namespace would be too large.
            StorageError: the store cannot write.
        """
        if not written:
            return
        if not 1 <= len(namespace.encode()) <= NAMESPACE_BYTES:
            raise ValidationError(
                field="kv.namespace", value=namespace[:40], allowed=f"1 to {NAMESPACE_BYTES} bytes"
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((namespace, written, outcome, future))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())
        await asyncio.shield(future)

    async def close(self) -> None:
        """Write what waits, then close."""
        while self._running is not None:
            await self._running
        self._thread.shutdown(wait=True)
        self._env.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    refused = await loop.run_in_executor(self._thread, self._commit, batch)
                except StorageFull as error:
                    if self._grown():
                        self._waiting = batch + self._waiting
                        continue
                    _tell(batch, [error] * len(batch))
                except StorageError as error:
                    _tell(batch, [error] * len(batch))
                else:
                    _tell(batch, refused)
        finally:
            self._running = None

    def _grown(self) -> bool:
        """Waited for on the loop: nothing of this process may read meanwhile."""
        try:
            return self._thread.submit(self._env.grow).result(GROW_S)
        except (StorageError, TimeoutError) as error:
            logger.error("the map of %s cannot grow: %s", self._env.name, error)
            return False

    def _commit(self, batch: Sequence[_Write]) -> list[Exception | None]:
        """Write what is within its bounds, in one transaction; the errors of the others."""
        table = self._env.tables[TABLE]
        sizes: dict[str, tuple[int, int]] = {}
        refused: list[Exception | None] = []
        outcomes: dict[str, deque[tuple[bytes, int]]] = {}
        with storage_errors(self._env.name), self._env.begin(write=True) as txn:
            for namespace, written, outcome, _ in batch:
                count, total = sizes.get(namespace) or self._size(txn, namespace)
                changes = []
                for key, value in written.items():
                    place = _place(namespace, key)
                    old = txn.get(place, db=table)
                    if old is not None:
                        count, total = count - 1, total - len(key) - len(old)
                    if value is not None:
                        count, total = count + 1, total + len(key) + len(value)
                    changes.append((place, value))
                error = _over(namespace, count, total)
                refused.append(error)
                if error is not None:
                    continue
                sizes[namespace] = (count, total)
                for place, value in changes:
                    if value is None:
                        txn.delete(place, db=table)
                    else:
                        txn.put(place, value, db=table)
                if outcome is not None:
                    kept = outcomes.get(namespace)
                    if kept is None:
                        kept = outcomes[namespace] = self._kept(txn, namespace)
                    self._keep(txn, namespace, kept, outcome)
        self._sizes.update(sizes)
        self._outcomes.update(outcomes)
        return refused

    def _keep(
        self,
        txn: lmdb.Transaction[bytes],
        namespace: str,
        kept: deque[tuple[bytes, int]],
        outcome: Outcome,
    ) -> None:
        """Write an outcome and remove the oldest ones that are over the bounds."""
        table = self._env.tables[TABLE]
        message_id, data = outcome
        self._order += 1
        txn.put(_place(namespace, _DONE + message_id), _ORDER.pack(self._order) + data, db=table)
        kept.append((message_id, len(data)))
        total = sum(size for _, size in kept)
        while len(kept) > OUTCOMES or (total > OUTCOME_BYTES and len(kept) > 1):
            old, size = kept.popleft()
            total -= size
            if old != message_id:
                txn.delete(_place(namespace, _DONE + old), db=table)

    def _kept(self, txn: lmdb.Transaction[bytes], namespace: str) -> deque[tuple[bytes, int]]:
        known = self._outcomes.get(namespace)
        if known is not None:
            # A copy: the transaction may come to nothing.
            return deque(known)
        start = _place(namespace, _DONE)
        found = []
        cursor = txn.cursor(self._env.tables[TABLE])
        more = cursor.set_range(start)
        while more and cursor.key().startswith(start):
            value = cursor.value()
            order = int(_ORDER.unpack_from(value)[0])
            found.append((order, bytes(cursor.key()[len(start) :]), len(value) - _ORDER.size))
            self._order = max(self._order, order)
            more = cursor.next()
        return deque((message_id, size) for _, message_id, size in sorted(found))

    def _size(self, txn: lmdb.Transaction[bytes], namespace: str) -> tuple[int, int]:
        known = self._sizes.get(namespace)
        if known is not None:
            return known
        count = total = 0
        start = _place(namespace, b"")
        cursor = txn.cursor(self._env.tables[TABLE])
        found = cursor.set_range(start)
        while found and cursor.key().startswith(start) and not _is_outcome(cursor.key(), start):
            count += 1
            total += len(cursor.key()) - len(start) + len(cursor.value())
            found = cursor.next()
        return count, total


def _over(namespace: str, count: int, total: int) -> ValidationError | None:
    if count > KEYS:
        return ValidationError(field="kv.keys", value=count, allowed=f"at most {KEYS} a namespace")
    if total > TOTAL_BYTES:
        return ValidationError(
            field="kv.bytes", value=total, allowed=f"at most {TOTAL_BYTES} a namespace"
        )
    return None


def _tell(
    batch: Sequence[_Write],
    errors: Sequence[Exception | None],
) -> None:
    for (*_, future), error in zip(batch, errors, strict=True):
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _is_outcome(place: bytes, start: bytes) -> bool:
    return place[len(start) : len(start) + 1] == _DONE


def _outcome(value: bytes | None) -> bytes | None:
    return None if value is None else value[_ORDER.size :]


def _place(namespace: str, key: bytes) -> bytes:
    return namespace.encode() + b"\0" + key


def _keys(env: Environment, namespace: str, prefix: bytes) -> list[bytes]:
    base = len(_place(namespace, b""))
    start = _place(namespace, prefix)
    found: list[bytes] = []
    with storage_errors(env.name), env.begin() as reading:
        cursor = reading.cursor(env.tables[TABLE])
        more = cursor.set_range(start)
        while more and cursor.key().startswith(start):
            if cursor.key()[base : base + 1] == _DONE:
                break
            found.append(bytes(cursor.key()[base:]))
            more = cursor.next()
    return found
