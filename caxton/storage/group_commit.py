"""Group commit: while one commit runs, the next batch fills; one cumulative answer per commit.

No timer and no fixed size: a commit starts as soon as there is something and none is running, so a
lone message waits for nobody and a flood makes its own large batches (the gangway effect).

With ``disk`` durability the commit runs on a thread of its own, so that handlers go on during the
flush. With ``process`` durability a commit is a few hundred microseconds without a flush and runs
on the event loop itself: handing it to a thread would cost more than it takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from caxton.errors import StorageBroken, StorageError, StorageFull
from caxton.observe.histogram import Histogram
from caxton.storage.journal import Journal
from caxton.storage.records import Batch

__all__ = ["GroupCommit"]

logger = logging.getLogger("caxton.storage")

RETRY_S = 0.25
"""Between two tries of a batch that found no room."""
GROW_S = 30.0
"""How long the store may take to get a larger map, behind a flush that runs."""
SYNC_S = 1.0
"""Between two background flushes with ``process`` durability."""


def end_process(error: StorageError) -> None:
    """A store that has to be opened again is opened by the next process: a supervisor starts it,
    and it takes up what was acknowledged as after any crash."""
    logger.critical("the process ends, for its store has to be opened again: %s", error)
    logging.shutdown()
    os._exit(os.EX_IOERR)


class GroupCommit:
    """Drives a journal on an event loop.

    Args:
        journal: what is driven.
        disk: whether commits flush, and so run on a thread.
        prepare: called before a batch is sealed; adds snapshots and returns ``replay_from``.
        committed: called on the loop after each commit, in order.
        clock: monotonic seconds.
        broken: called when the journal has to be opened again.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        disk: bool,
        prepare: Callable[[Batch], int],
        committed: Callable[[Batch], None],
        clock: Callable[[], float],
        broken: Callable[[StorageError], None] = end_process,
    ) -> None:
        self.journal = journal
        self.commit_us = Histogram()
        self.batch_sizes = Histogram()
        self.commits = 0
        self.failure: StorageError | None = None
        """Why nothing is acknowledged just now; None when all is well."""
        self._disk = disk
        self._prepare = prepare
        self._committed = committed
        self._clock = clock
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-journal")
        self._scheduled = False
        self._running = False
        self._wanted = False
        """Whether there was a kick during the commit that runs."""
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._sync_timer: asyncio.TimerHandle | None = None

    def kick(self) -> None:
        """There is something to commit; it goes out after what the loop already has to do."""
        if self._running:
            self._wanted = True
        elif not self._scheduled and not self._closed:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        journal = self.journal
        replay_from = self._prepare(journal.open)
        if not journal.open:
            # Nothing to write, and nothing unwritten: what is owed can go out.
            self._committed(journal.open)
            if not self._scheduled:
                self._idle.set()
            return
        batch = journal.seal(replay_from)
        self._running = True
        self._write(batch)

    def _write(self, batch: Batch) -> None:
        started = self._clock()
        if self._disk:
            future = self._loop.run_in_executor(self._thread, self.journal.commit, batch)
            future.add_done_callback(lambda done: self._finish(batch, started, done.exception()))
            return
        try:
            self.journal.commit(batch)
        except Exception as error:  # noqa: BLE001 - told, and tried again
            self._finish(batch, started, error)
        else:
            self._finish(batch, started, None)

    def _finish(self, batch: Batch, started: float, error: BaseException | None) -> None:
        if isinstance(error, StorageFull) and self._grown():
            self._write(batch)
            return
        if isinstance(error, StorageBroken):
            self._broken(error)
        if error is not None:
            # The transaction is undone whatever it was, so the batch can be written again.
            if self.failure is None:
                known = isinstance(error, StorageError)
                logger.error(
                    "journal cannot write, nothing is acknowledged: %s",
                    error,
                    exc_info=None if known else error,
                )
            self.failure = (
                error
                if isinstance(error, StorageError)
                else StorageError(store=self.journal.name, reason=repr(error))
            )
            self._loop.call_later(RETRY_S, self._write, batch)
            return
        if self.failure is not None:
            logger.warning("journal writes again")
            self.failure = None
        self.commits += 1
        self.commit_us.add(int((self._clock() - started) * 1e6))
        self.batch_sizes.add(len(batch.messages))
        self._running = False
        wanted, self._wanted = self._wanted, False
        self._committed(batch)
        if self.journal.open or wanted:
            self.kick()
        elif not self._scheduled:
            self._idle.set()
        if not self._disk and self._sync_timer is None and not self._closed:
            self._sync_timer = self._loop.call_later(SYNC_S, self._sync)

    def _grown(self) -> bool:
        """Make room in the store. On its thread, and waited for: nothing reads meanwhile."""
        try:
            return self._thread.submit(self.journal.grow).result(GROW_S)
        except (StorageError, TimeoutError) as error:
            logger.error("the map of %s cannot grow: %s", self.journal.name, error)
            return False

    def _sync(self) -> None:
        self._sync_timer = None
        self._loop.run_in_executor(self._thread, self.journal.sync)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything is committed; False when ``timeout_s`` passed first."""
        self.kick()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_s: float) -> None:
        """Commit what is there, then close the journal."""
        await self.flush(timeout_s)
        self._closed = True
        if self._sync_timer is not None:
            self._sync_timer.cancel()
        await self._loop.run_in_executor(self._thread, self._thread_done)
        self._thread.shutdown(wait=True)
        self.journal.close()

    @staticmethod
    def _thread_done() -> None:
        """Runs after all work of the thread."""
