"""How the sandbox's own child processes start: no inherited environment, hard resource limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Final

DESCRIPTORS: Final = 128
"""RLIMIT_NOFILE of a child: preopened folders, pipes and what a guest opens."""

STDERR_TAIL: Final = 2_000
"""Bytes of a dead child's standard error that are reported."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def command(module: str, *args: str) -> list[str]:
    """The command line that runs one of this package's modules with this interpreter."""
    return [sys.executable, "-s", "-P", "-m", module, *args]


def environment() -> dict[str, str]:
    """Where to import from, and nothing of the parent's environment but the loader's path."""
    env = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if os.path.isabs(p))}
    if loader := os.environ.get("LD_LIBRARY_PATH"):
        env["LD_LIBRARY_PATH"] = loader
    return env


def restrict(
    *, data_bytes: int, file_bytes: int, cpu_seconds: int | None = None, parent: int | None = None
) -> None:
    """Limit this process for good: memory, file size, descriptors, no core dumps, no setuid.

    ``cpu_seconds`` bounds its processor time. With ``parent``, it dies with that process.
    RLIMIT_AS is not used: each instance reserves gigabytes of address space it never touches.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if parent is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(0)
    limits = {
        resource.RLIMIT_DATA: data_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
    }
    if cpu_seconds is not None:
        limits[resource.RLIMIT_CPU] = cpu_seconds
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))
