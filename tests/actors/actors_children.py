"""Main functions of the child processes that the tests start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import actors.processes.control
from actors import ControlChannel, ProcessSpec, ProcessSupervisor


async def steady(control: ControlChannel) -> None:
    """Does nothing until its drain; tells back what it hears."""

    def heard(word: str, value: Any) -> None:
        control.tell("heard", word, value)

    control.on_word = heard
    control.ready(pid=os.getpid(), name=control.name)
    seconds = await control.wait_drain()
    control.tell("draining", control.name, seconds)


async def leader(control: ControlChannel) -> None:
    """As ``steady``, in a process group of its own."""
    os.setsid()
    await steady(control)


async def finishes(control: ControlChannel) -> None:
    """Is ready and has nothing to do."""
    control.ready()


async def unready(control: ControlChannel) -> None:
    """Never becomes ready."""
    await control.wait_drain()


async def dies(control: ControlChannel, after_ready: bool) -> None:
    """Ends with exit code 3 before or after it was ready."""
    if after_ready:
        control.ready()
    os._exit(3)


async def stuck(control: ControlChannel) -> None:
    """Is ready, then blocks its event loop; its heartbeats go on."""
    actors.processes.control.BEAT_S = 0.02  # type: ignore[misc]  # final for everyone but this child
    control.ready()
    await asyncio.sleep(0.1)
    time.sleep(600)


async def mute(control: ControlChannel) -> None:
    """Is ready, then beats no more."""
    control.ready()
    actors.processes.control.BEAT_S = 600.0  # type: ignore[misc]  # final for everyone but this child
    await control.wait_drain()


async def stubborn(control: ControlChannel, ends_on_sigterm: bool) -> None:
    """Hears no drain, and SIGTERM only if told to."""
    ended = asyncio.Event()
    on_signal = ended.set if ends_on_sigterm else ended.clear
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    control.ready()
    await ended.wait()


async def parent(control: ControlChannel) -> None:
    """Supervises a child of its own and tells its pid."""

    def on_event(kind: str, name: str, text: str) -> None:
        control.tell(kind, name, text)

    supervisor = ProcessSupervisor("inner", on_event=on_event)
    specs = [ProcessSpec("obedient", steady), ProcessSpec("deaf", deaf)]
    await supervisor.start(specs)
    control.ready(pids=[child.pid for child in supervisor.children()])
    await control.wait_drain()
    await supervisor.stop(5)


async def deaf(control: ControlChannel) -> None:
    """Hears no drain; without a supervisor it has a moment left."""
    actors.processes.control.ORPHAN_GRACE_S = 0.1  # type: ignore[misc]  # final for everyone but this child
    control.ready()
    await asyncio.Event().wait()
