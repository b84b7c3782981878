"""Keeps the index beside the store: made at a start, told of each commit, seen to, compared."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from caxton.errors import StorageError
from caxton.memory.backend import Fault
from caxton.memory.embedded import snapshot
from caxton.memory.embedded.index import Index, IndexModel
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.rebuilding import built, differences, replay, same_entities
from caxton.memory.embedded.store import Changed, Store

__all__ = ["Holder"]

logger = logging.getLogger("caxton.memory")

REPLAYABLE: Final = 20_000
"""Changed entities that a start may have to read again; after more there is a new snapshot."""
FEW: Final = 1_000
"""Changed entities for which no snapshot is written at the end."""

REST: Final = 60.0
"""Seconds until what failed is tried again."""

T = TypeVar("T")


class Holder:
    """The index of an open store.

    Args:
        store: tells ``apply`` what it commits.
        folder: of snapshots.
        model: whose vectors are searched.
        flat_below: see ``VectorIndex``.
        snapshot_above: vectors above which there are snapshots.
        clock: seconds.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        model: IndexModel,
        *,
        flat_below: int,
        snapshot_above: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.index = Index(model, flat_below=flat_below)
        self._store = store
        self._folder = folder
        self._model = model
        self._flat_below = flat_below
        self._snapshot_above = snapshot_above
        self._applying = threading.Lock()
        """Held while a commit is taken up: who holds it sees an index that stands still."""
        self._behind = False
        """Whether a commit could not be taken up, so that the index has to be made anew."""
        self._changed = 0
        """Entities since the last snapshot, or since the log was last cut."""
        self._turn = asyncio.Lock()
        """Held by what makes the index anew or cuts the log, which would not go together."""
        self._rest_until = -math.inf
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="caxton-memory-index")

    async def _run(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    # --- made at a start ---------------------------------------------------------------------

    async def load(self) -> None:
        """Make the index: of the snapshot and what changed since, or of all that the store has.

        Raises:
            StorageError, ValueError: the store does not read.
        """
        await self._run(self._load)
        await self._cut_log()

    def _load(self) -> None:
        with self._store.reader.moment() as moment:
            token = moment.snapshot.decode("ascii", "replace")
            found = self._from_snapshot(moment, token) if token else None
            self.index = found or built(moment, self._model, flat_below=self._flat_below)
        snapshot.forget_others(self._folder, token if found else "")

    def _from_snapshot(self, moment: Moment, token: str) -> Index | None:
        try:
            index = snapshot.read(self._folder, token, self._model, flat_below=self._flat_below)
            self._changed = replay(index, moment)
            differs = same_entities(index, moment)
        except (snapshot.SnapshotInvalid, LookupError, ValueError) as error:
            differs = str(error)
        if differs:
            logger.info("the index of the memory is made anew, without its snapshot: %s", differs)
            return None
        return index

    # --- told of each commit -----------------------------------------------------------------

    def apply(self, seq: int, changed: Sequence[Changed]) -> None:
        """Take up a commit; on the writer's thread."""
        with self._applying:
            self._changed += len(changed)
            try:
                self.index.apply(seq, changed)
            except Exception:
                # Whatever it was: what was written is kept, and the index is made anew of it.
                logger.exception("the index of the memory missed the change %d", seq)
                self._behind = True

    # --- seen to -----------------------------------------------------------------------------

    @property
    def wants_care(self) -> bool:
        """Whether ``care`` has something to do."""
        if self._clock() < self._rest_until:
            return False
        return self._behind or self._changed > REPLAYABLE or self.index.wants_care

    async def care(self, *, whole: bool = False) -> list[str]:
        """Make the index smaller and quicker, and its snapshot or the store's log short; what was
        done, in words. One at a time.

        Args:
            whole: also where little is to be gained.

        Raises:
            StorageError: the snapshot cannot be written, or the store does not read.
        """
        async with self._turn:
            # Where it fails it is not tried again with each write.
            self._rest_until = self._clock() + REST
            done = await self._care(whole)
            self._rest_until = -math.inf
        return done

    async def _care(self, whole: bool) -> list[str]:
        done = []
        if self._behind:
            await self._run(self._rebuild)
            done.append("made the index anew")
        done += await self._run(lambda: self.index.care(whole=whole))
        if whole or self._changed > REPLAYABLE:
            if self._has_snapshots:
                await self._write_snapshot()
                done.append("wrote a snapshot of the index")
            else:
                await self._cut_log()
        return done

    @property
    def _has_snapshots(self) -> bool:
        return len(self.index.vectors) > self._snapshot_above

    async def _write_snapshot(self) -> None:
        self._changed = 0
        captured = await self._run(snapshot.capture, self.index)
        token = await self._run(snapshot.write, self._folder, captured)
        # From here on the store knows it; until then a start takes the one before.
        await self._store.trim(captured.seq, snapshot=token.encode())
        await self._run(snapshot.forget_others, self._folder, token)

    async def _cut_log(self) -> None:
        """Without snapshots every start reads everything: what changed need not be noted."""
        if not self._has_snapshots:
            self._changed = 0
            await self._store.trim(self.index.seq)

    def _rebuild(self) -> None:
        """Make the index anew while writes go on; the log tells what it misses."""
        with self._store.reader.moment() as moment:
            fresh = built(moment, self._model, flat_below=self._flat_below)
        with self._applying, self._store.reader.moment() as moment:
            replay(fresh, moment)
            self.index, self._behind = fresh, False

    # --- compared ----------------------------------------------------------------------------

    async def verify(self) -> list[Fault]:
        """Compare the index with the store, and make it anew where it differs.

        Raises:
            StorageError: the store does not read.
        """
        async with self._turn:
            differs = await self._run(self._compare)
            if not differs:
                return []
            logger.warning("the index of the memory differs from its store: %s", differs)
            await self._run(self._rebuild)
        return [Fault(f"index: {differs}", mended=True)]

    def _compare(self) -> str:
        if self._behind:
            return "a commit could not be taken up"
        with contextlib.ExitStack() as held:
            try:
                with self._applying:
                    moment = held.enter_context(self._store.reader.moment())
                    # The store may be one commit ahead, which waits here to be taken up.
                    replay(self.index, moment)
                    captured = snapshot.capture(self.index)
                copy = snapshot.restored(captured, self._model, flat_below=self._flat_below)
                return differences(copy, moment)
            except (LookupError, ValueError) as error:
                return str(error)

    async def close(self) -> None:
        """End it; with a snapshot when a start would have much to read again."""
        try:
            async with self._turn:
                if self._has_snapshots and self._changed > FEW and not self._behind:
                    await self._write_snapshot()
        except StorageError as error:
            logger.warning("no snapshot of the memory's index was written: %s", error)
        finally:
            self.stop()

    def stop(self) -> None:
        """End its thread; nothing may be asked of it afterwards."""
        self._thread.shutdown(wait=True)
