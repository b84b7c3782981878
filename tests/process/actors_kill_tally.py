"""Remote refs in the kill tests: the child that counts, and who tells, asks and watches it."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from actors import (
    Actor,
    ActorError,
    ActorSystem,
    ControlChannel,
    MailboxSpec,
    Terminated,
)
from actors.remote.node import RemoteNode

OPEN: Final = 1_000
"""Messages that may be unconfirmed."""
ASK_S: Final = 2.0


class Tally(Actor):
    """Writes down what it is told; answers its pid."""

    def __init__(self, file: int) -> None:
        super().__init__()
        self.file = file

    def on_receive(self, message: Any) -> Any:
        if message == "pid":
            return os.getpid()
        teller, number = message
        os.write(self.file, f"{os.getpid()} {teller} {number}\n".encode())
        return None


async def run_tally(control: ControlChannel, path: str, token: bytes, record: str) -> None:
    """Main of the child."""
    file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    system = ActorSystem(control.name)
    control.on_dump = system.dump
    node = RemoteNode(system, control.name, token)
    node.export("tally", system.spawn(Tally, file, mailbox=MailboxSpec(capacity=100_000)))
    await node.listen(Path(path))
    control.ready()
    await control.wait_drain()
    await system.stop(1.0)
    await node.close()


class Watching:
    """One watch."""

    def __init__(self) -> None:
        self.pid = 0
        """The process that answered while it stood, so the one that it is about."""
        self.fired: list[str] = []


class Teller:
    """Tells one child numbers in order, asks it, and watches each of its lives."""

    def __init__(self, node: RemoteNode, path: Path, child: str, rng: random.Random) -> None:
        self.name = node.identity.name
        self.child = child
        self.told = 0
        self.goes_on = True
        self.watchings: list[Watching] = []
        self.answers: list[int] = []
        self.errors: list[str] = []
        self.confirmed_at: dict[int, int] = {}
        """What was confirmed when a process was struck."""
        self._frames: list[tuple[int, int]] = []
        self._confirmed = 0
        self._over = False
        self._random = rng
        self._node = node
        node.connect(child, path)
        link = node.link(child)
        assert link is not None
        self._link = link
        self._ref = node.ref(child, "tally")
        self._tasks = [asyncio.create_task(self._tell()), asyncio.create_task(self._watch())]

    @property
    def confirmed(self) -> int:
        """The last number that the child has handled for certain."""
        while self._frames and self._frames[0][0] <= self._link.confirmed:
            self._confirmed = self._frames.pop(0)[1]
        return self._confirmed

    async def _tell(self) -> None:
        while self.goes_on:
            size = self._random.randint(1, 100)
            if self.told + size - self.confirmed <= OPEN:
                numbers = range(self.told + 1, self.told + size + 1)
                self._ref.tell_many([self.name, number] for number in numbers)
                self.told += size
                # One frame for each batch, so that its number tells what is confirmed.
                self._node._flush()
                self._frames.append((self._link._next - 1, self.told))
            await asyncio.sleep(0.001)

    async def _watch(self) -> None:
        while True:
            watching = Watching()
            self.watchings.append(watching)
            ended = asyncio.Event()

            def told(
                terminated: Terminated, watching: Watching = watching, ended: asyncio.Event = ended
            ) -> None:
                if not self._over:
                    watching.fired.append(terminated.reason)
                ended.set()

            self._ref.watch_with(told)
            while not ended.is_set() and not watching.pid:
                try:
                    async with asyncio.timeout(ASK_S + 5):
                        pid = await self._ref.ask("pid", block=False, timeout=ASK_S)
                except ActorError as error:
                    self.errors.append(error.code)
                else:
                    self.answers.append(pid)
                    if not ended.is_set():
                        watching.pid = pid
            await ended.wait()

    def struck(self, pid: int) -> None:
        """A process is killed now."""
        self.confirmed_at[pid] = self.confirmed

    @property
    def attached(self) -> int:
        """The process that the last watch is about; 0 while that is not known."""
        return self.watchings[-1].pid if not self.watchings[-1].fired else 0

    async def close(self) -> None:
        """End the tasks; what one raised is raised. What fires from now on is of no interest."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


def check_tally(record: Path, teller: Teller, ended: set[int]) -> dict[str, int]:
    """Check what a child's lives wrote of one teller; returns figures.

    All that was told was handled. In one life each number comes once and in order, without a gap.
    What was confirmed when a life ended comes in no later one. A watch of a life that ended fired
    once, one of a life that goes on did not.
    """
    lives: dict[int, list[int]] = defaultdict(list)
    for line in record.read_text().splitlines():
        pid, name, number = line.split()
        if name == teller.name:
            lives[int(pid)].append(int(number))
    handled: set[int] = set()
    again = confirmed = 0
    for process, numbers in lives.items():
        where = f"{teller.name} to process {process} of {teller.child}"
        assert numbers[0] > confirmed, f"{where}: {numbers[0]} again, {confirmed} was confirmed"
        for one, other in pairwise(numbers):
            assert other == one + 1, f"{where}: {other} came after {one}"
        again += len(handled.intersection(numbers))
        handled.update(numbers)
        confirmed = max(confirmed, teller.confirmed_at.get(process, 0))
    missing = set(range(1, teller.told + 1)) - handled
    assert not missing, f"{teller.name}: {len(missing)} told but not handled: {min(missing)}"
    for watching in teller.watchings:
        assert len(watching.fired) <= 1, watching.fired
        if watching.pid:
            assert bool(watching.fired) == (watching.pid in ended), (watching.pid, watching.fired)
    fired = sum(len(watching.fired) for watching in teller.watchings)
    return {
        "told": teller.told,
        "lives": len(lives),
        "again": again,
        "watches": fired,
        "answers": len(teller.answers),
        "errors": len(teller.errors),
    }
