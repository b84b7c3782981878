"""The same work done by peers of the actor runtime; each function runs in a process alone.

pykka and plain asyncio are always there. The others are asked for with ``--peers`` and live in an
environment of their own, which ``--install-peers`` makes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACTORS = 100


@dataclass
class Note:
    """What autogen's agents are sent; their decorator looks for it among the module's names."""

    value: int


def _quantiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


def _rate(count: int, begun: float, cpu: float) -> dict[str, float]:
    took = time.perf_counter() - begun
    return {"per_s": count / took, "cpu_us": (time.process_time() - cpu) / count * 1e6}


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- pykka ---------------------------------------------------------------------------------------


def pykka_tells(count: int) -> dict[str, float]:
    """Tells to 100 ThreadingActors."""
    import pykka

    class Counting(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def on_receive(self, message: Any) -> Any:
            self.count += 1
            return self.count

    refs = [Counting.start() for _ in range(ACTORS)]
    tells = [ref.tell for ref in refs]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // ACTORS):
        for tell in tells:
            tell(1)
    for ref in refs:
        ref.ask(1)
    found = _rate(count, begun, cpu)
    pykka.ActorRegistry.stop_all()
    return found


def pykka_ask(count: int, outstanding: int) -> dict[str, float]:
    """Asks of one ThreadingActor, ``outstanding`` at once."""
    import pykka

    class Echo(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = Echo.start()
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // outstanding):
        futures = [ref.ask(1, block=False) for _ in range(outstanding)]
        for future in futures:
            future.get()
    found = _rate(count, begun, cpu)
    pykka.ActorRegistry.stop_all()
    return found


def pykka_spawn(count: int) -> dict[str, float]:
    """Idle ThreadingActors; far fewer than ours, since each takes a thread."""
    import pykka

    class Idle(pykka.ThreadingActor):
        pass

    rss = _rss()
    begun = time.perf_counter()
    refs = [Idle.start() for _ in range(count)]
    took = time.perf_counter() - begun
    found = {"us": took / count * 1e6, "rss_bytes": (_rss() - rss) / count}
    assert len(refs) == count
    pykka.ActorRegistry.stop_all()
    return found


# --- asyncio -------------------------------------------------------------------------------------


def asyncio_tells(count: int) -> dict[str, float]:
    """Messages to 100 tasks, each with a queue."""

    async def run() -> dict[str, float]:
        done = 0

        async def work(queue: asyncio.Queue[int]) -> None:
            nonlocal done
            while True:
                await queue.get()
                done += 1

        queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(ACTORS)]
        tasks = [asyncio.create_task(work(queue)) for queue in queues]
        begun, cpu = time.perf_counter(), time.process_time()
        for _ in range(count // 10_000):
            for _ in range(10_000 // ACTORS):
                for queue in queues:
                    queue.put_nowait(1)
            await asyncio.sleep(0)
        while done < count // 10_000 * 10_000:
            await asyncio.sleep(0)
        found = _rate(done, begun, cpu)
        for task in tasks:
            task.cancel()
        return found

    return asyncio.run(run())


def asyncio_ask(count: int, outstanding: int) -> dict[str, float]:
    """Questions to one task with a queue, answered by futures."""

    async def run() -> dict[str, float]:
        queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def work() -> None:
            while True:
                message, future = await queue.get()
                future.set_result(message)

        task = asyncio.create_task(work())
        left = count
        seconds: list[float] = []

        async def asker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                asked = time.perf_counter()
                future = loop.create_future()
                queue.put_nowait((1, future))
                await future
                seconds.append(time.perf_counter() - asked)

        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(asker() for _ in range(outstanding)))
        found = _rate(len(seconds), begun, cpu)
        task.cancel()
        p50, p99 = _quantiles(seconds)
        return {**found, "p50_us": p50 * 1e6, "p99_us": p99 * 1e6}

    return asyncio.run(run())


def asyncio_spawn(count: int) -> dict[str, float]:
    """Idle tasks, each with a queue."""

    async def run() -> dict[str, float]:
        async def idle(queue: asyncio.Queue[int]) -> None:
            await queue.get()

        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [asyncio.create_task(idle(asyncio.Queue())) for _ in range(count)]
        await asyncio.sleep(0)
        found = {"bytes": (tracemalloc.get_traced_memory()[0] - before) / count}
        tracemalloc.stop()
        begun = time.perf_counter()
        more = [asyncio.create_task(idle(asyncio.Queue())) for _ in range(count)]
        await asyncio.sleep(0)
        found["us"] = (time.perf_counter() - begun) / count * 1e6
        for task in [*tasks, *more]:
            task.cancel()
        return found

    return asyncio.run(run())


# --- peers of an environment of their own --------------------------------------------------------


def xoscar_tells(count: int) -> dict[str, float]:
    """One-way calls of 100 actors of a pool."""
    import xoscar

    class Counting(xoscar.Actor):
        def __init__(self) -> None:
            self.count = 0

        def add(self, value: int) -> int:
            self.count += value
            return self.count

    async def run() -> dict[str, float]:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            address = pool.external_address
            refs = [
                await xoscar.create_actor(Counting, address=address, uid=f"c{number}")
                for number in range(ACTORS)
            ]
            begun, cpu = time.perf_counter(), time.process_time()
            for _ in range(count // ACTORS):
                for ref in refs:
                    await ref.add.tell(1)
            for ref in refs:
                await ref.add(1)
            return _rate(count, begun, cpu)

    return asyncio.run(run())


def thespian_tells(count: int) -> dict[str, float]:
    """Tells to 100 actors of the simple system base, which is in one process."""
    from thespian.actors import Actor, ActorSystem

    class Counting(Actor):
        def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
            self.count = getattr(self, "count", 0) + 1
            if message == "ask":
                self.send(sender, self.count)

    system = ActorSystem("simpleSystemBase")
    refs = [system.createActor(Counting) for _ in range(ACTORS)]
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count // ACTORS):
        for ref in refs:
            system.tell(ref, 1)
    for ref in refs:
        system.ask(ref, "ask", 10)
    found = _rate(count, begun, cpu)
    system.shutdown()
    return found


def ray_tells(count: int) -> dict[str, float]:
    """Calls of one Ray actor whose results nobody takes, then one that is waited for."""
    import ray

    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)

    @ray.remote
    class Counting:
        def __init__(self) -> None:
            self.count = 0

        def add(self, value: int) -> int:
            self.count += value
            return self.count

    ref = Counting.remote()
    ray.get(ref.add.remote(1))
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        ref.add.remote(1)
    ray.get(ref.add.remote(1))
    found = _rate(count, begun, cpu)
    ray.shutdown()
    return found


def autogen_tells(count: int) -> dict[str, float]:
    """Messages to agents of autogen-core's single-threaded runtime."""
    from autogen_core import AgentId, RoutedAgent, SingleThreadedAgentRuntime, message_handler

    class Counting(RoutedAgent):
        def __init__(self) -> None:
            super().__init__("counts")
            self.count = 0

        @message_handler
        async def on_note(self, message: Note, ctx: Any) -> None:
            self.count += message.value

    async def run() -> dict[str, float]:
        runtime = SingleThreadedAgentRuntime()
        await Counting.register(runtime, "counting", Counting)
        runtime.start()
        ids = [AgentId("counting", str(number)) for number in range(ACTORS)]
        begun, cpu = time.perf_counter(), time.process_time()
        for number in range(count):
            await runtime.send_message(Note(1), ids[number % ACTORS])
        found = _rate(count, begun, cpu)
        await runtime.stop()
        return found

    return asyncio.run(run())
