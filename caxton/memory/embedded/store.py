"""The writer of the memory's store: operations that come together share one flushed commit."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

import lmdb
import msgspec

from caxton.errors import QueueFull, StorageBroken, StorageError, StorageFull
from caxton.memory.backend import Change, ModelInfo, Selection
from caxton.memory.embedded.compaction import compact
from caxton.memory.embedded.layout import (
    HEAD,
    MODEL,
    SNAPSHOT,
    U64,
    Head,
    head_record,
    model_text,
    text_key,
)
from caxton.memory.embedded.numbers import Numbers
from caxton.memory.embedded.opened import NAME, Opened
from caxton.memory.embedded.progress import Changed, Progress, Words
from caxton.memory.embedded.reader import Reader
from caxton.memory.embedded.writing import Writing
from caxton.storage.environment import storage_errors

__all__ = ["Changed", "Observer", "Operation", "Outcome", "Store", "Words"]

logger = logging.getLogger("caxton.memory")

Observer: TypeAlias = Callable[[int, list[Changed]], None]
"""Told of each commit that changed entities: the last sequence number, and what changed.

On the writer's thread, in the order of commits, after the flush and before the writes are
acknowledged. It must not raise.
"""
Operation: TypeAlias = Sequence[Change] | Selection
"""Changes to write, or what to clear."""
Outcome: TypeAlias = tuple[int, int] | Exception | None
"""None when written, the counts of what was cleared, or why it alone was not written."""
T = TypeVar("T")

TOGETHER: Final = 2_000
"""Changes that one commit takes at most, but for one operation that has more."""
WAITING: Final = 20_000
"""Changes that may wait for the writer."""


class _Spoilt(Exception):
    """One of several operations failed; all are undone."""


class Store:
    """The store of the memory, opened for writing. One for each folder.

    Args:
        path: folder of the LMDB environment; made when missing.
        map_bytes: largest size.
        words: makes the terms of a text; called on the writer's thread.
        observer: told what each commit changed.
        sync: flush each commit to the disk.

    Raises:
        StorageError: it does not open.
        ForeignFolder: a later version made it.
    """

    def __init__(
        self,
        path: Path,
        *,
        map_bytes: int,
        words: Words,
        observer: Observer | None = None,
        sync: bool = True,
    ) -> None:
        self.observer = observer
        self.observer_failures = 0
        self.commits = 0
        self.reader: Reader
        """Reads the same environment; from any thread of this process."""
        self._opened = Opened(path, map_bytes=map_bytes, sync=sync)
        self.reader = Reader.of(self._opened)
        self._words = words
        self._numbers = Numbers()
        self._model = (0, 0)
        self._head = self._load()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-memory")
        self._waiting: deque[tuple[Operation, int, asyncio.Future[Outcome]]] = deque()
        self._changes = 0
        """Of all operations that wait."""
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def _load(self) -> Head:
        raw = self._opened.environment.read("meta", HEAD)
        return Head() if raw is None else head_record(raw)

    def use_model(self, model: ModelInfo | None) -> int:
        """Vectors written from now on are of ``model``; its number, 0 for None.

        Call it before anything is written.

        Raises:
            StorageError: it cannot be noted.
        """
        if model is None:
            self._model = (0, 0)
            return 0
        while True:
            try:
                number = self._note_model(model)
            except StorageFull as error:
                # A map is as large as its file at first, and that may be full to its last page.
                if not isinstance(error.__cause__, lmdb.MapFullError) or not self._opened.grow():
                    raise
            else:
                self._model = (number, model.dimension)
                return number

    def _note_model(self, model: ModelInfo) -> int:
        head = _copy(self._head)
        try:
            with storage_errors(NAME), self._opened.environment.begin(write=True) as txn:
                tables = self._opened.environment.tables
                number = self._numbers.give(txn, tables, head, MODEL, model_text(model))
                txn.put(HEAD, msgspec.msgpack.encode(head), db=tables["meta"])
        except StorageError:
            self._numbers.undo((0, 0))
            raise
        self._numbers.keep()
        self._head = head
        return number

    # --- on the writer's thread ---------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Write operations in one flushed transaction; what became of each.

        One that fails is told by its error and leaves nothing behind; the others are written.
        Called on one thread only.

        Raises:
            StorageError: nothing was written.
        """
        while True:
            try:
                with storage_errors(NAME):
                    return self._commit(operations)
            except StorageFull as error:
                full = isinstance(error.__cause__, lmdb.MapFullError)
                if not full or not self._opened.grow():
                    raise
            except StorageBroken:
                self._opened.reopen()
                raise
            except StorageError as error:
                too_large = isinstance(error.__cause__, lmdb.TxnFullError)
                if not too_large or len(operations) == 1:
                    raise
                return [self._alone(one) for one in operations]

    def _alone(self, operation: Operation) -> Outcome:
        try:
            return self.commit([operation])[0]
        except StorageError as error:
            return error

    def _commit(self, operations: Sequence[Operation]) -> list[Outcome]:
        try:
            return self._together(operations, apart=False)
        except _Spoilt:
            # Rare, and so only then each gets a transaction of its own within the one for all.
            return self._together(operations, apart=True)

    def _together(self, operations: Sequence[Operation], *, apart: bool) -> list[Outcome]:
        env = self._opened.environment
        head, counts = _copy(self._head), Counter[tuple[bytes, int]]()
        changed: list[Changed] = []
        outcomes: list[Outcome] = []
        txn = env.begin(write=True)
        try:
            for operation in operations:
                inner = env.lmdb.begin(parent=txn, write=True) if apart else txn
                mark, next_head = self._numbers.mark(), _copy(head)
                progress = Progress(
                    inner, env.tables, next_head, self._numbers, self._words, self._model
                )
                try:
                    outcomes.append(_run(Writing(progress), operation))
                except lmdb.Error:
                    raise
                except Exception as error:
                    if not apart and len(operations) > 1:
                        raise _Spoilt from error
                    inner.abort()
                    self._numbers.undo(mark)
                    outcomes.append(error)
                    continue
                if apart:
                    inner.commit()
                head = next_head
                counts.update(progress.counts)
                changed += progress.changed
            if all(isinstance(one, Exception) for one in outcomes):
                txn.abort()
                return outcomes
            _finish(txn, env.tables, head, counts)
            txn.commit()
        except BaseException:
            txn.abort()
            self._numbers.undo((0, 0))
            raise
        self._numbers.keep()
        self._head = head
        self.commits += 1
        if self.commits % 1_000 == 0:
            # A reader that was killed would keep old pages from being used again.
            env.lmdb.reader_check()
        self._tell(changed)
        return outcomes

    def _tell(self, changed: list[Changed]) -> None:
        if not changed or self.observer is None:
            return
        try:
            self.observer(self._head.seq, changed)
        except Exception:
            # What was written is kept, and has to be acknowledged.
            self.observer_failures += 1
            logger.exception("an index of the memory missed the change %d", self._head.seq)

    def _trim(self, seq: int, snapshot: bytes | None) -> int:
        env, removed = self._opened.environment, 0
        with storage_errors(NAME), env.begin(write=True) as txn:
            cursor = txn.cursor(env.tables["changed"])
            while cursor.first() and U64.unpack(cursor.key())[0] <= seq:
                cursor.delete()
                removed += 1
            if snapshot is not None:
                txn.put(SNAPSHOT, snapshot, db=env.tables["meta"])
        return removed

    # --- on the event loop --------------------------------------------------------------------

    async def write(self, changes: Sequence[Change]) -> None:
        """Write all of ``changes``, or nothing; they are kept when this returns.

        Raises:
            EntityNotFound: an end of a relation, or an entity to delete, is not there.
            RelationNotFound: a relation to delete is not there.
            EntityConflict: a version is not the next one.
            ValidationError: a value cannot be kept.
            QueueFull: too much waits for the writer.
            StorageError: it cannot write.
        """
        await self._submit(tuple(changes), len(changes))

    async def clear(self, selection: Selection) -> tuple[int, int]:
        """Remove the entities of a selection with their relations; the numbers of both.

        Raises:
            QueueFull, StorageError: as ``write``.
        """
        return cast("tuple[int, int]", await self._submit(selection, 1))

    async def trim(self, seq: int, *, snapshot: bytes | None = None) -> int:
        """Forget the changes up to and including ``seq``, for a snapshot has them; how many.

        Args:
            seq: the last change of which nobody needs to know any more.
            snapshot: told by ``Moment.snapshot`` from now on; what was told before when None.
        """
        return await self._on_thread(self._trim, seq, snapshot)

    async def compact(self) -> tuple[int, int]:
        """Give free pages back to the disk; bytes of its file before and after.

        Writes wait meanwhile. They are the same when another process has it open just now.

        Raises:
            StorageError: there is no room for a copy.
        """
        return await self._on_thread(compact, self._opened)

    async def _on_thread(self, work: Callable[..., T], *given: object) -> T:
        if self._closed:
            raise StorageError(store=NAME, reason="it is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    async def _submit(self, operation: Operation, size: int) -> Outcome:
        if self._closed:
            raise StorageError(store=NAME, reason="it is closed")
        if self._waiting and self._changes + size > WAITING:
            raise QueueFull(queue="the memory's writer", depth=self._changes, limit=WAITING)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((operation, size, future))
        self._changes += size
        if not self._running:
            self._running = True
            self._idle.clear()
            loop.call_soon(self._start)
        return await future

    def _start(self) -> None:
        batch: list[tuple[Operation, asyncio.Future[Outcome]]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0][1] <= TOGETHER):
            operation, one, future = self._waiting.popleft()
            self._changes -= one
            if not future.cancelled():
                batch.append((operation, future))
                size += one
        if not batch:
            self._running = False
            self._idle.set()
            return
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, self.commit, [operation for operation, _ in batch]
        )
        work.add_done_callback(lambda done: self._done([future for _, future in batch], done))

    def _done(
        self, futures: list[asyncio.Future[Outcome]], done: asyncio.Future[list[Outcome]]
    ) -> None:
        error = done.exception()
        outcomes = [error] * len(futures) if error is not None else done.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._start()

    async def close(self) -> None:
        """Write what waits, then close it. Nothing may be asked of it, or read, afterwards."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._opened.close)
        self._thread.shutdown(wait=True)


def _run(writing: Writing, operation: Operation) -> tuple[int, int] | None:
    if isinstance(operation, Selection):
        return writing.clear(operation)
    writing.run(operation)
    return None


def _copy(head: Head) -> Head:
    return msgspec.structs.replace(head, given=dict(head.given))


def _finish(
    txn: lmdb.Transaction[bytes],
    tables: Mapping[str, Any],
    head: Head,
    counts: Counter[tuple[bytes, int]],
) -> None:
    for (kind, number_of), by in counts.items():
        if by:
            key = text_key(kind, number_of)
            raw = txn.get(key, db=tables["counts"])
            number = (U64.unpack(raw)[0] if raw else 0) + by
            if number:
                txn.put(key, U64.pack(number), db=tables["counts"])
            else:
                txn.delete(key, db=tables["counts"])
    txn.put(HEAD, msgspec.msgpack.encode(head), db=tables["meta"])
