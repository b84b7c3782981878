"""The machine: Python, cores, memory, disk and the limits of this user."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from caxton.cli.doctor.check import Check, Surroundings, fail, ok, warn
from caxton.monitor.quantities import size_text

__all__ = ["check_limits", "check_machine", "fsync_ms", "nearest_folder"]

GIB: Final = 1024**3
LEAST_MEMORY: Final = GIB
LEAST_DISK: Final = 2 * GIB
LEAST_FILES: Final = 4_096
SLOW_FSYNC_MS: Final = 20.0
SAMPLES: Final = 15


def nearest_folder(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def fsync_ms(folder: Path, samples: int = SAMPLES) -> float:
    """Median time of a flushed 4 KiB write in ``folder``, in ms. The file has no name.

    Raises:
        OSError: nothing can be written there.
    """
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(samples):
            file.write(b"\0" * 4_096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1_000)
    return statistics.median(times)


def check_machine(around: Surroundings) -> Iterator[Check]:
    """Python, cores, memory, disk."""
    version = platform.python_version()
    yield ok("python", f"{version} {platform.machine()} {platform.system()}")
    cores = len(os.sched_getaffinity(0))
    yield ok("cores", f"{cores} for this process")
    memory = psutil.virtual_memory()
    text = f"{size_text(memory.available)} free of {size_text(memory.total)}"
    if memory.available < LEAST_MEMORY:
        yield warn("memory", text, "a node with a few agents wants 1 GiB")
    else:
        yield ok("memory", text)
    folder = nearest_folder(around.invocation.folder)
    disk = shutil.disk_usage(folder)
    text = f"{size_text(disk.free)} free of {size_text(disk.total)} at {folder}"
    if disk.free < LEAST_DISK // 20:
        yield fail("disk", text, "free space: nothing is acknowledged when the disk is full")
    elif disk.free < LEAST_DISK:
        yield warn("disk", text, "free space, or give another --data folder")
    else:
        yield ok("disk", text)
    yield _fsync(folder)


def _fsync(folder: Path) -> Check:
    try:
        median = fsync_ms(folder)
    except OSError as error:
        return fail("fsync", f"{folder}: {error.strerror}", "give a --data folder you may write to")
    text = f"p50 {median:.2f} ms"
    if median > SLOW_FSYNC_MS:
        return warn("fsync", text, "a faster disk, or --durability process")
    return ok("fsync", text)


def check_limits(_: Surroundings) -> Iterator[Check]:
    """Open files, processes, core dumps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)} (hard {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        yield warn("open files", text, f"ulimit -n {LEAST_FILES}: a connection is a file")
    else:
        yield ok("open files", text)
    yield ok("processes", _limit(resource.getrlimit(resource.RLIMIT_NPROC)[0]))
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        yield warn(
            "address space", _limit(space), "ulimit -v unlimited: stores and sandboxes map much"
        )
    else:
        yield ok("address space", "unlimited")


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"
