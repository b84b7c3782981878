"""Where a child process begins, and how it is begun."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from actors.processes.control import ControlChannel
from actors.processes.spec import Main, ProcessSpec

__all__ = ["ending_of", "run_child", "spawn"]

_CONTEXT: SpawnContext = multiprocessing.get_context("spawn")


def run_child(
    main: Main, args: tuple[Any, ...], name: str, title: str, end: socket.socket, beat_s: float
) -> None:
    """Entry of a child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import setproctitle

    setproctitle.setproctitle(title)

    async def run() -> None:
        control = ControlChannel(end, name, beat_s=beat_s)
        try:
            await main(control, *args)
        finally:
            control.close()

    asyncio.run(run())


def spawn(spec: ProcessSpec, title: str, end: socket.socket, beat_s: float) -> BaseProcess:
    """Start the process of a child.

    A Ctrl-C goes to the whole group and must not kill a child before it can ignore it: the child
    begins with SIGINT blocked, which it inherits. One that comes to this process meanwhile is
    delivered after.

    Raises:
        OSError: there can be no more processes.
    """
    process = _CONTEXT.Process(
        target=run_child,
        args=(spec.main, spec.args, spec.name, title, end, beat_s),
        name=spec.name,
    )
    # Made by the first start, it would unblock SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def ending_of(process: BaseProcess) -> tuple[int, bool]:
    """A descriptor that is readable when the process has ended, and whether the caller owns it.

    A pidfd where there is one: the sentinel is a pipe, which a child can close too early and a
    grandchild keep open.
    """
    if hasattr(os, "pidfd_open") and process.pid is not None:
        try:
            return os.pidfd_open(process.pid), True
        except OSError:
            # It was reaped already, or the kernel has none.
            return process.sentinel, False
    return process.sentinel, False
