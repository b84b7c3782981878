"""Quotas of writable folders. WASI has none, so they are kept from outside the worker.

Three things together: the operating system bounds each file of a worker (RLIMIT_FSIZE), a folder
over its quota is refused before a call, and while the call runs the folder is measured again and
again and the worker killed when it grows over. A fast guest can write past the quota between two
looks, a tenth of a second at the worst; the next call is refused then.

What counts for a file is the larger of its size and its blocks, so a sparse file of 1 TiB is 1 TiB,
and at least one block for an entry, so that empty files count. A file with several names counts
once. Files that were deleted but are still open in the worker count too (Linux).
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.errors import Reason, SandboxError
from sandbox.grants import FolderGrant, Grants

__all__ = ["QuotaExceeded", "QuotaWatch", "Usage", "deleted_but_open", "measure"]

MOST_ENTRIES: Final = 50_000
"""Most files and folders in a writable folder: what can be looked at in a fraction of a second."""

ENTRY_BYTES: Final = 512
"""What an entry counts at least."""

BLOCK: Final = 512
"""Unit of ``st_blocks``, whatever the file system's own is."""

SHORTEST_S: Final = 0.02
LONGEST_S: Final = 0.1
SHARE: Final = 5
"""Measuring takes less than one part in so many of the time."""

RATE: Final = 1_000_000_000
"""Bytes a second a guest may write; with less room than that the next look comes sooner."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a folder holds. ``whole`` is False when it has more entries than are looked at."""

    bytes: int
    entries: int
    whole: bool = True


class QuotaExceeded(SandboxError):
    """A writable folder holds more than its quota. ``reason`` is ``killed``.

    ``details``: ``folder`` (the guest's name of it), ``used``, ``quota``, ``entries`` and
    ``stage``: ``before`` the call, which did not start; ``during`` it, the worker was killed;
    ``after`` it.
    """


def measure(folder: Path, *, most_entries: int = MOST_ENTRIES) -> Usage:
    """What a folder holds, without following symlinks.

    Stops at ``most_entries``. What vanishes meanwhile does not count; a folder that may not be read
    counts as itself.
    """
    total = entries = 0
    seen: set[tuple[int, int]] = set()
    left = [str(folder)]
    while left:
        try:
            listing = os.scandir(left.pop())
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        with listing:
            for entry in listing:
                entries += 1
                if entries > most_entries:
                    return Usage(total, entries, whole=False)
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += _cost(found)
                if stat.S_ISDIR(found.st_mode):
                    left.append(entry.path)
    return Usage(total, entries)


def deleted_but_open(pid: int, device: int) -> int:
    """Bytes of files on ``device`` that process ``pid`` holds open and that have no name any more.

    0 where the system does not tell.
    """
    total = 0
    seen: set[int] = set()
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return 0
    for descriptor in descriptors:
        try:
            found = os.stat(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if (
            found.st_nlink == 0
            and found.st_dev == device
            and stat.S_ISREG(found.st_mode)
            and found.st_ino not in seen
        ):
            seen.add(found.st_ino)
            total += _cost(found)
    return total


class QuotaWatch:
    """Keeps the quotas of one call's writable folders: an async context manager around the call.

    ``pid`` is the worker's process; ``kill`` ends it at once and must not block (it is called on
    the loop's thread, at most once). Entering raises ``QuotaExceeded`` when a folder is over
    already. Leaving raises it when the worker was killed for it, in place of the error that caused
    in the call, and when a folder is over at the end. Without a writable folder it does nothing.
    """

    def __init__(
        self,
        grants: Grants,
        pid: int,
        kill: Callable[[], None],
        *,
        most_entries: int = MOST_ENTRIES,
    ) -> None:
        self._folders: Sequence[FolderGrant] = [one for one in grants.folders if one.write]
        self._pid = pid
        self._kill = kill
        self._most_entries = most_entries
        self._over: SandboxError | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        if self._folders:
            # A thread of its own: a full default pool must not keep it from looking.
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox quota")
            try:
                _, over = await self._looked("before")
                if over is not None:
                    raise over
            except BaseException:
                self._thread.shutdown(wait=False)
                raise
            self._task = asyncio.create_task(self._watch(), name="sandbox quota")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is None or self._thread is None:
            return
        try:
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._over is None and error is None:
                _, self._over = await self._looked("after")
        finally:
            self._thread.shutdown(wait=False)
        if self._over is not None and not isinstance(error, asyncio.CancelledError):
            raise self._over from None

    async def _watch(self) -> None:
        pause = SHORTEST_S
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            try:
                room, self._over = await self._looked("during")
            except SandboxError as error:
                room, self._over = 0, error
            if self._over is not None:
                self._kill()
                return
            soon = min(max(SHORTEST_S, room / RATE), LONGEST_S)
            pause = max(soon, (time.monotonic() - begun) * SHARE)

    async def _looked(self, stage: str) -> tuple[int, QuotaExceeded | None]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, stage)
        except OSError as error:
            raise SandboxError(
                Reason.HOST_ERROR,
                f"a writable folder could not be measured ({error.strerror}); its quota cannot be "
                "kept",
                stage=stage,
            ) from error

    def _look(self, stage: str) -> tuple[int, QuotaExceeded | None]:
        """The least room of all folders, and the one that is over."""
        room = 1 << 62
        for folder in self._folders:
            usage = measure(folder.host, most_entries=self._most_entries)
            used = usage.bytes
            if stage != "before":
                used += deleted_but_open(self._pid, _device(folder.host))
            if used > folder.quota_bytes or not usage.whole:
                return 0, _exceeded(folder, used, usage, stage, self._most_entries)
            room = min(room, folder.quota_bytes - used)
        return room, None


def _exceeded(
    folder: FolderGrant, used: int, usage: Usage, stage: str, most_entries: int
) -> QuotaExceeded:
    what = {
        "before": "the call was not started",
        "during": "the worker was killed",
        "after": "the call itself had ended; the next one will not start",
    }[stage]
    if used > folder.quota_bytes:
        why = f"holds {used} bytes, its quota is {folder.quota_bytes}"
    else:
        why = f"holds more than {most_entries} files and folders, the most that are allowed"
    return QuotaExceeded(
        Reason.KILLED,
        f"the writable folder {folder.guest} {why}; {what}. Delete files in it or raise its quota",
        folder=folder.guest,
        used=used,
        quota=folder.quota_bytes,
        entries=usage.entries,
        stage=stage,
    )


def _cost(found: os.stat_result) -> int:
    return max(found.st_size, found.st_blocks * BLOCK, ENTRY_BYTES)


def _device(folder: Path) -> int:
    try:
        return os.stat(folder).st_dev
    except FileNotFoundError:
        return -1
