"""Backup of a data folder while its node runs, restore, and compaction while it does not.

A backup holds one moment of every store. The moments of two stores are not the same, and a message
may pass from one shard to another in between: it would be handled in the one and not yet be in the
other. So the moments are taken together, within less time than a message takes from one shard's
commit to the other's, and again when that did not work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb
import msgspec
import orjson

from caxton.errors import ForeignFolder, StorageCorrupt, StorageError
from caxton.moments import format_time
from caxton.processes.data_folder import DataFolder
from caxton.storage.environment import storage_errors
from caxton.upkeep.check import open_store, stores, verify

__all__ = ["NOTE", "BackupReport", "backup", "compact", "restore"]

NOTE: Final = "backup.json"
TOGETHER_S: Final = 0.0002
"""Within so long the moments of all stores are taken."""
TRIES: Final = 1_000
EXTRAS: Final = ("shards/shards.json", "memory/settings.json")
"""Files that belong to the stores."""


class BackupReport(msgspec.Struct):
    """What a backup, restore or compaction did."""

    at: str
    stores: dict[str, int]
    """Store to its bytes, as written."""
    before: dict[str, int] = {}
    """Store to its bytes before it was compacted."""


def backup(
    data: Path, target: Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> BackupReport:
    """Copy the stores of ``data`` to the new folder ``target``; its node may run.

    Raises:
        ForeignFolder: ``data`` is no data folder, or ``target`` is there already.
        StorageError: a store does not read, or the copy cannot be written.
    """
    names = stores(data)
    if target.exists():
        raise ForeignFolder(data=str(target), reason="it is there already; name a new folder")
    unfinished = target.with_name(f"{target.name}.unfinished")
    report = BackupReport(format_time(now_ms()), {})
    with contextlib.ExitStack() as stack, storage_errors("backup"):
        opened = {name: stack.enter_context(open_store(data / name)) for name in names}
        moments = _together(opened)
        for moment in moments.values():
            stack.callback(moment.abort)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        for name, environment in opened.items():
            _copy(environment, unfinished / name, moments[name])
            report.stores[name] = (unfinished / name / "data.mdb").stat().st_size
        for name in EXTRAS:
            if (data / name).exists():
                (unfinished / name).parent.mkdir(mode=0o700, exist_ok=True)
                shutil.copyfile(data / name, unfinished / name)
        (unfinished / NOTE).write_bytes(orjson.dumps(msgspec.to_builtins(report)))
        _flush(unfinished)
        unfinished.rename(target)
    return report


def _together(opened: dict[str, lmdb.Environment]) -> dict[str, lmdb.Transaction]:
    """A moment of each store, all within ``TOGETHER_S``."""
    for _ in range(TRIES):
        started = time.perf_counter()
        moments: dict[str, lmdb.Transaction] = {
            name: environment.begin() for name, environment in opened.items()
        }
        if time.perf_counter() - started <= TOGETHER_S * len(moments):
            return moments
        for moment in moments.values():
            moment.abort()
    raise StorageError(
        store="backup", reason="the machine is too busy to see all stores at one moment"
    )


def _copy(environment: lmdb.Environment, folder: Path, moment: lmdb.Transaction | None) -> None:
    folder.mkdir(mode=0o700, parents=True)
    environment.copy(str(folder), compact=True, txn=moment)
    (folder / "data.mdb").chmod(0o600)


def _flush(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def restore(source: Path, data: Path) -> BackupReport:
    """Make the data folder ``data`` from a backup, which is verified first.

    Raises:
        ForeignFolder: ``source`` is no backup, or ``data`` is there already.
        StorageCorrupt: the backup is not whole.
    """
    if not (source / NOTE).is_file():
        raise ForeignFolder(data=str(source), reason=f"it is no backup: {NOTE} is not there")
    if data.exists() and any(data.iterdir()):
        raise ForeignFolder(data=str(data), reason="it is not empty; name a new folder")
    for one in verify(source):
        if one.faults:
            raise StorageCorrupt(store=f"{source}/{one.store}", reason=one.faults[0])
    unfinished = data.with_name(f"{data.name}.unfinished")
    with storage_errors("restore"):
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(NOTE, "lock.mdb"))
        unfinished.chmod(0o700)
        _flush(unfinished)
        if data.exists():
            data.rmdir()
        unfinished.rename(data)
    return msgspec.convert(orjson.loads((source / NOTE).read_bytes()), BackupReport)


def compact(
    data: Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
) -> BackupReport:
    """Give back the room that removed records left in the stores. Its node must not run.

    Raises:
        NodeAlreadyRunning: it runs.
        ForeignFolder: it is no data folder.
    """
    names = stores(data)
    folder = DataFolder(data)
    report = BackupReport(format_time(now_ms()), {})
    try:
        for name in names:
            path = data / name
            fresh = path.with_name(f"{path.name}.compact")
            shutil.rmtree(fresh, ignore_errors=True)
            with storage_errors(name):
                report.before[name] = (path / "data.mdb").stat().st_size
                with open_store(path) as environment:
                    _copy(environment, fresh, None)
                _flush(fresh)
                # One rename: a crash leaves the old file or the new one.
                (fresh / "data.mdb").replace(path / "data.mdb")
                _flush(path)
                report.stores[name] = (path / "data.mdb").stat().st_size
                shutil.rmtree(fresh, ignore_errors=True)
    finally:
        folder.close()
    return report
