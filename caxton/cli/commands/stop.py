"""``caxton stop``: end the node of a data folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import psutil

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import NodeNotReady, NodeUnreachable, Timeout

__all__ = ["lock_holder", "stop"]

SLACK_S: Final = 5.0
"""Past the shutdown timeout: the supervisor kills what does not drain, then ends itself."""
POLL_S: Final = 0.25
KILL_S: Final = 5.0


def lock_holder(data: Path) -> int | None:
    """The pid of the supervisor that holds this data folder; None when none does.

    A node locks ``run/node.lock`` and writes its pid there. The lock ends with its holder, so a
    pid found under a held lock is that of a live supervisor and not a number used again.

    Raises:
        NodeNotReady: the lock is held and its holder has not written its pid yet.
    """
    try:
        lock = os.open(data / "run" / "node.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            if not text.isdecimal():
                raise NodeNotReady(part=f"the node on {data}") from None
            return int(text)
        return None
    finally:
        os.close(lock)


@click.command(cls=CaxtonCommand)
@click.option("--force", is_flag=True, help="Kill its processes when it does not end in time.")
@pass_invocation
def stop(invocation: Invocation, force: bool) -> int:
    """Drain the node of the data folder and end it; waits until its processes are gone.

    It waits as long as the node's shutdown timeout (``--timeout`` otherwise). No acknowledged
    message is lost, not even with --force: it is in the journal. The exit code is 3 when no node
    runs on the data folder, and 8 when the node did not end in time.
    """
    from caxton.config import load

    folder = invocation.folder
    pid = lock_holder(folder)
    if pid is None:
        raise NodeUnreachable(url=str(folder), reason="no node runs on this data folder")
    limit_s = invocation.timeout_s
    if limit_s is None:
        configured = load(env=invocation.env).config.shutdown_timeout_ms
        limit_s = configured / 1_000 + SLACK_S
    output = invocation.output
    with output.progress(f"draining the node with pid {pid}") as say:
        family = _family(pid)
        for process in family[:1]:
            process.terminate()
        left = _wait(family, limit_s, say)
        if left and force:
            say("killing what is left")
            for process in left:
                _kill(process)
            left = _wait(left, KILL_S, say)
    if left:
        raise Timeout(
            what=f"end of pid {', '.join(str(one.pid) for one in left)}",
            timeout_ms=round(limit_s * 1_000),
        )
    if output.structured:
        output.value({"stopped": True, "pid": pid})
    else:
        output.talk(f"stopped the node with pid {pid}", "ok")
    return exit_codes.OK


def _family(pid: int) -> list[psutil.Process]:
    """The supervisor and all below it; psutil knows each by pid and start time."""
    try:
        supervisor = psutil.Process(pid)
        return [supervisor, *supervisor.children(recursive=True)]
    except psutil.NoSuchProcess:
        # It ended since the lock was looked at.
        return []


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _wait(
    processes: list[psutil.Process], limit_s: float, say: Callable[[str], None]
) -> list[psutil.Process]:
    """Wait until all are gone; those that are not when the time is over."""
    started = time.monotonic()
    left = [one for one in processes if not _gone(one)]
    while left and time.monotonic() - started < limit_s:
        waited = time.monotonic() - started
        say(f"waiting for {len(left)} processes ({waited:.0f} of {limit_s:.0f} s)")
        left = [one for one in psutil.wait_procs(left, timeout=POLL_S)[1] if not _gone(one)]
    return left
