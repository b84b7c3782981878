"""Main functions of the child processes that the tests start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
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
    control.on_dump = lambda: "more of the stuck one"
    control.ready()
    await asyncio.sleep(0.1)
    time.sleep(600)


async def frozen(control: ControlChannel) -> None:
    """Is ready, then runs code that lets no other thread run."""
    control.ready()
    await asyncio.sleep(0.1)
    re.match(r"(a+)+$", "a" * 60 + "b")


async def babbles(control: ControlChannel, said: bytes) -> None:
    """Is ready, then says what is no word."""
    control.ready()
    control._wire._socket.send(said)
    await control.wait_drain()


async def half_said(control: ControlChannel) -> None:
    """Is ready, then says half a word and stops reading and talking, but is alive."""
    control.ready()
    control._wire._socket.send(b"\0\0\1\0half")
    control._wire._lock.acquire()
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGSTOP)


async def hangs_at_exit(control: ControlChannel) -> None:
    """Drains, but a thread of its keeps the process from ending."""
    control.ready(pid=os.getpid())
    threading.Thread(target=time.sleep, args=(600,)).start()
    await control.wait_drain()


async def lists_signals(control: ControlChannel) -> None:
    """Tells which signals are blocked here."""
    control.ready(blocked=signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    await control.wait_drain()


async def waits_for(control: ControlChannel, path: str) -> None:
    """Writes its name to a file when it is ready and when it drains; ready once ``path.go`` is."""
    while not os.path.exists(f"{path}.go"):  # of a file that comes at once
        await asyncio.sleep(0.005)
    _note(path, f"up {control.name}")
    control.ready()
    await control.wait_drain()
    _note(path, f"down {control.name}")


def _note(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


async def stubborn(control: ControlChannel, ends_on_sigterm: bool) -> None:
    """Hears no drain, and SIGTERM only if told to."""
    ended = asyncio.Event()
    on_signal = ended.set if ends_on_sigterm else ended.clear
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    control.ready()
    await ended.wait()


async def parent(control: ControlChannel) -> None:
    """Supervises children of its own and tells their pids."""

    def on_event(kind: str, name: str, text: str) -> None:
        control.tell(kind, name, text)

    supervisor = ProcessSupervisor("inner", on_event=on_event)
    specs = [
        ProcessSpec("obedient", steady),
        ProcessSpec("deaf", deaf),
        ProcessSpec("hanging", hangs_at_exit_soon),
    ]
    await supervisor.start(specs)
    control.ready(pids=[child.pid for child in supervisor.children()])
    await control.wait_drain()
    await supervisor.stop(5)


async def deaf(control: ControlChannel) -> None:
    """Hears no drain; without a supervisor it has a moment left."""
    actors.processes.control.ORPHAN_GRACE_S = 0.1  # type: ignore[misc]  # final for everyone but this child
    control.ready()
    await asyncio.Event().wait()


async def hangs_at_exit_soon(control: ControlChannel) -> None:
    """As ``hangs_at_exit``, with less patience."""
    actors.processes.control.ORPHAN_GRACE_S = 0.1  # type: ignore[misc]  # final for everyone but this child
    await hangs_at_exit(control)
