"""What ``perf/actors.py`` measures of the actor runtime; each function runs in a process alone."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from actors import (
    Actor,
    ActorSystem,
    AskTimeout,
    ChildSpec,
    ControlChannel,
    CooperativeDispatcher,
    MailboxSpec,
    ProcessSpec,
    ProcessSupervisor,
    RestartPolicy,
    SupervisorSpec,
)
from actors.errors import RemoteError
from actors.remote import RemoteNode

ROOMY = MailboxSpec(capacity=10_000_000)
WAITING = 8 * 1024 * 1024
"""Bytes on their way, beyond which a sender waits."""


class Counting(Actor):
    """Counts what it is told, answers what it is asked, fails on ``"boom"``."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise RuntimeError("boom")
        self.count += 1
        return message


class Idle(Actor):
    """Does nothing."""


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _run(work: Coroutine[Any, Any, dict[str, float]], loop: str) -> dict[str, float]:
    """Run on a new loop of ``asyncio`` or ``uvloop``."""
    factory = importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


async def _tells(count: int) -> dict[str, float]:
    system = ActorSystem("perf")
    refs = [system.spawn(Counting, mailbox=ROOMY) for _ in range(100)]
    tells = [ref.tell for ref in refs]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // 10_000):
        for _ in range(100):
            for tell in tells:
                tell(1)
        await asyncio.sleep(0)
    while sum(ref.actor_inbox.handled for ref in refs) < count:
        await asyncio.sleep(0)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await system.stop(10)
    return {"per_s": count / took, "cpu_us": cpu / count * 1e6}


def tells(count: int, loop: str = "asyncio") -> dict[str, float]:
    """Tells to 100 actors from the loop that they run on."""
    return _run(_tells(count // 10_000 * 10_000), loop)


def tells_from_thread(count: int) -> dict[str, float]:
    """Tells to 100 actors from another thread."""
    dispatcher = CooperativeDispatcher.on_thread("perf")
    system = ActorSystem("perf", dispatcher=dispatcher)
    refs = [system.spawn(Counting, mailbox=ROOMY) for _ in range(100)]
    tells = [ref.tell for ref in refs]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // 100):
        for tell in tells:
            tell(1)
    for ref in refs:
        ref.ask(0, timeout=60)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    for ref in refs:
        ref.stop(block=False)
    dispatcher.close()
    return {"per_s": count / took, "cpu_us": cpu / count * 1e6}


async def _asks(count: int, outstanding: int, limit_s: float | None) -> dict[str, float]:
    system = ActorSystem("perf")
    ref = system.spawn(Counting, mailbox=ROOMY)
    latencies: list[float] = []
    left = count
    clock = time.perf_counter
    begun, cpu = clock(), time.process_time()

    async def asker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            asked = clock()
            await ref.ask(1, block=False, timeout=limit_s)
            latencies.append(clock() - asked)

    await asyncio.gather(*(asker() for _ in range(outstanding)))
    took, cpu = clock() - begun, time.process_time() - cpu
    await system.stop(10)
    p50, p99 = _quantiles(latencies)
    return {
        "per_s": len(latencies) / took,
        "cpu_us": cpu / len(latencies) * 1e6,
        "p50_us": p50 * 1e6,
        "p99_us": p99 * 1e6,
    }


def ask(
    count: int, outstanding: int, timeout: float | None = None, loop: str = "asyncio"
) -> dict[str, float]:
    """Asks that are awaited, by ``outstanding`` askers at once."""
    return _run(_asks(count, outstanding, timeout), loop)


async def _spawn(count: int, supervised: bool, traced: bool) -> dict[str, float]:
    system = ActorSystem("perf")
    supervisor = system.supervise(SupervisorSpec())
    await supervisor.started
    gc.collect()
    rss = _rss()
    if traced:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
    begun = time.perf_counter()
    if supervised:
        refs = await supervisor.start_copies(ChildSpec(id="idle", actor=Idle), count)
    else:
        refs = [system.spawn(Idle) for _ in range(count)]
    took = time.perf_counter() - begun
    gc.collect()
    found = {"us": took / count * 1e6, "rss_bytes": (_rss() - rss) / count}
    if traced:
        found = {"bytes": (tracemalloc.get_traced_memory()[0] - before) / count}
    if len(refs) != count:
        raise SystemExit(f"{len(refs)} of {count} actors were started")
    return found


def spawn(count: int, supervised: bool) -> dict[str, float]:
    """Start idle actors: time of each, and the growth of the process."""
    return asyncio.run(_spawn(count, supervised, False))


def spawn_bytes(count: int, supervised: bool) -> dict[str, float]:
    """Start idle actors: bytes of each that Python allocated, refs held by the caller included."""
    return asyncio.run(_spawn(count, supervised, True))


async def _restart(times: int, supervised: bool) -> dict[str, float]:
    logging.disable()
    system = ActorSystem("perf")
    if supervised:
        spec = SupervisorSpec(intensity=10_000, children=[ChildSpec(id="failing", actor=Counting)])
        supervisor = system.supervise(spec)
        await supervisor.started
        ref = (await supervisor.children())[0].ref
    else:
        ref = system.spawn(Counting, restart=RestartPolicy(min_backoff_s=0.0, intensity=10_000))
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        ref.tell("boom")
        await ref.ask(1, block=False)
        seconds.append(time.perf_counter() - begun)
    await system.stop(10)
    p50, p99 = _quantiles(seconds)
    return {"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def restart(times: int, supervised: bool) -> dict[str, float]:
    """From the tell that makes an actor fail to the answer of its next instance."""
    return asyncio.run(_restart(times, supervised))


# --- processes -----------------------------------------------------------------------------------


async def echo_process(control: ControlChannel) -> None:
    """A child that is ready at once."""
    control.ready(pid=os.getpid())
    await control.wait_drain()


async def _killed(times: int) -> dict[str, float]:
    logging.disable()
    ready = asyncio.Event()

    def on_event(kind: str, name: str, text: str) -> None:
        if kind == "ready":
            ready.set()

    policy = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, intensity=1_000)
    supervisor = ProcessSupervisor("perf", on_event=on_event)
    await supervisor.start([ProcessSpec("child", echo_process, restart=policy)])
    seconds = []
    for _ in range(times):
        ready.clear()
        begun = time.perf_counter()
        os.kill(supervisor.children()[0].pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            await ready.wait()
        seconds.append(time.perf_counter() - begun)
    await supervisor.stop(10)
    p50, p99 = _quantiles(seconds)
    return {"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def killed_process(times: int) -> dict[str, float]:
    """From SIGKILL of a child process to the readiness of its replacement."""
    return asyncio.run(_killed(times))


class Sink(Actor):
    """Counts what comes from another process."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        if message == "count":
            return self.count
        self.count += 1
        return None


async def sink_process(control: ControlChannel, path: Path, token: bytes) -> None:
    """A child that exports a sink."""
    system = ActorSystem("sinks")
    node = RemoteNode(system, "sinks", token)
    node.export("sink", system.spawn(Sink, mailbox=ROOMY))
    await node.listen(path)
    control.ready()
    await control.wait_drain()
    await node.close()
    await system.stop(5)


async def _remote(count: int, batch: int, folder: Path) -> dict[str, float]:
    token = os.urandom(16)
    supervisor = ProcessSupervisor("perf", on_event=lambda *_: None)
    await supervisor.start([ProcessSpec("sinks", sink_process, (folder / "s", token))])
    system = ActorSystem("perf")
    node = RemoteNode(system, "sources", token)
    node.connect("sinks", folder / "s")
    ref = node.ref("sinks", "sink")
    await ref.ask("count", block=False)
    link = node.link("sinks")
    child = psutil.Process(supervisor.children()[0].pid)
    spent = sum(child.cpu_times()[:2])
    messages = ["x" * 100] * batch
    begun, cpu = time.perf_counter(), time.process_time()
    for turn in range(count // batch):
        if batch == 1:
            ref.tell(messages[0])
        else:
            ref.tell_many(messages)
        # A batch of its own each, as far as that is what is measured.
        if batch > 1 or turn % 32 == 0:
            await asyncio.sleep(0)
        while link.waiting > WAITING:
            await asyncio.sleep(0.0005)
    await asyncio.sleep(0)
    while link.waiting:
        await asyncio.sleep(0.0005)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    spent = sum(child.cpu_times()[:2]) - spent
    handled = await ref.ask("count", block=False)
    if handled != count // batch * batch:
        raise SystemExit(f"{handled} of {count} messages were handled")
    await node.close()
    await supervisor.stop(10)
    await system.stop(10)
    return {
        "per_s": handled / took,
        "cpu_us": cpu / handled * 1e6,
        "consumer_cpu_us": spent / handled * 1e6,
    }


def remote(count: int, batch: int, loop: str = "asyncio") -> dict[str, float]:
    """Messages of 100 bytes to an actor of another process, until all are confirmed as handled."""
    with tempfile.TemporaryDirectory(prefix="actors-perf-") as folder:
        return _run(_remote(count, batch, Path(folder)), loop)


async def _killed_answers(times: int, folder: Path) -> dict[str, float]:
    logging.disable()
    token = os.urandom(16)
    policy = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, intensity=1_000)
    supervisor = ProcessSupervisor("perf", on_event=lambda *_: None)
    spec = ProcessSpec("sinks", sink_process, (folder / "s", token), restart=policy)
    await supervisor.start([spec])
    system = ActorSystem("perf")
    node = RemoteNode(system, "sources", token)
    node.connect("sinks", folder / "s")
    ref = node.ref("sinks", "sink")
    await ref.ask("count", block=False)
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        os.kill(supervisor.children()[0].pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:
                try:
                    await ref.ask("count", block=False, timeout=5)
                except (RemoteError, AskTimeout):
                    # It was under way when its process was lost; who wants an answer asks again.
                    await asyncio.sleep(0.001)
                else:
                    break
        seconds.append(time.perf_counter() - begun)
    await node.close()
    await supervisor.stop(10)
    await system.stop(10)
    p50, p99 = _quantiles(seconds)
    return {"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3}


def killed_answers(times: int) -> dict[str, float]:
    """From SIGKILL of a child process to an answer of its replacement's actor."""
    with tempfile.TemporaryDirectory(prefix="actors-perf-") as folder:
        return asyncio.run(_killed_answers(times, Path(folder)))
