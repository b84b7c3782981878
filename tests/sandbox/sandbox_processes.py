"""What tests of the sandbox share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sandbox import Limits, Reason, Sandbox, SandboxError

ENDLESS = Limits(fuel=10**12, wall_ms=60_000)
"""Limits that end no guest during a test."""

MakeBox = Callable[..., Sandbox]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def children() -> list[str]:
    """Command lines of this process's children."""
    found = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            try:
                found.append(Path(f"/proc/{pid}/cmdline").read_text())
            except FileNotFoundError:
                continue
    return found


def reason_of(work: Callable[[], object]) -> Reason | None:
    """The reason with which something was refused, or None."""
    try:
        work()
    except SandboxError as error:
        return error.reason
    return None
