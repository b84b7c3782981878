"""What goes wrong in a chaos run, by a seed: processes are killed and stopped, disks are slow and
full, clocks jump, messages come in bursts and large."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import psutil
from chaos_faults import Faults

__all__ = ["Nemesis", "Victim"]

HANG_S = (0.1, 1.5)
"""How long a stopped process stays so, and a disk slow or full."""
JUMP_S = 7_200
"""How far a wall clock is from the true time, at most."""


class Victim(Protocol):
    """A node that can be hurt."""

    def family(self) -> list[psutil.Process]:
        """The supervisor's children, theirs included."""
        ...

    def restart(self) -> None:
        """Kill the supervisor, which ends all the others, and start the node again."""
        ...

    def burst(self, messages: int, size: int) -> None:
        """Send so many messages of so many bytes at once, besides all others."""
        ...

    @property
    def faults(self) -> Faults:
        """What can go wrong inside its processes."""
        ...


class Nemesis:
    """Does one harm after the other.

    Args:
        victim: whom.
        seed: of what comes in which order; a run with the same seed does the same.
        sleep: waits so many seconds.
    """

    def __init__(
        self, victim: Victim, seed: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.done: Counter[str] = Counter()
        self._victim = victim
        self._random = random.Random(seed)
        self._sleep = sleep
        self._harms: tuple[tuple[Callable[[], bool], int], ...] = (
            (lambda: self._kill("caxton shard-"), 50),
            (lambda: self._kill("caxton gateway"), 15),
            (lambda: self._kill("caxton tools"), 10),
            (lambda: self._hang("caxton shard-"), 10),
            (self._restart, 15),
            (self._end_in_commit, 15),
            (self._slow_disk, 5),
            (self._full_disk, 5),
            (self._jump, 5),
            (lambda: self._burst(20_000, 200), 2),
            (lambda: self._burst(1, 10 * 1024 * 1024), 3),
        )

    @property
    def kills(self) -> int:
        """Processes killed; a killed supervisor counts once."""
        return sum(count for kind, count in self.done.items() if kind.startswith("kill"))

    def harm(self, pause_s: float) -> None:
        """Wait for some part of ``pause_s`` seconds, then do one harm."""
        self._sleep(self._random.uniform(0.2, 1.0) * pause_s)
        harms, weights = zip(*self._harms, strict=True)
        while not self._random.choices(harms, weights)[0]():
            self._sleep(0.05)

    def _pick(self, title: str) -> psutil.Process | None:
        found = []
        for one in self._victim.family():
            try:
                line = one.cmdline()
            except psutil.Error:
                continue
            if line and line[0].startswith(title):
                found.append((line[0], one))
        found.sort(key=lambda pair: pair[0])
        return self._random.choice(found)[1] if found else None

    def _kill(self, title: str) -> bool:
        process = self._pick(title)
        if process is None:
            return False
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            return False
        self.done[f"kill {title.removeprefix('caxton ').rstrip('-')}"] += 1
        return True

    def _hang(self, title: str) -> bool:
        process = self._pick(title)
        if process is None:
            return False
        try:
            process.send_signal(signal.SIGSTOP)
            self._sleep(self._random.uniform(*HANG_S))
            process.send_signal(signal.SIGCONT)
        except psutil.Error:
            return False
        self.done[f"hang {title.removeprefix('caxton ').rstrip('-')}"] += 1
        return True

    def _restart(self) -> bool:
        self._victim.restart()
        self.done["kill supervisor"] += 1
        return True

    def _end_in_commit(self) -> bool:
        boundary = self._random.choice((1, 2))
        self._victim.faults.end_at(boundary)
        for _ in range(100):
            self._sleep(0.05)
            if self._victim.faults.ended:
                self.done[f"kill {'before' if boundary == 1 else 'after'} commit"] += 1
                return True
        self._victim.faults.end_at(0)
        return False

    def _slow_disk(self) -> bool:
        self._victim.faults.slow(self._random.uniform(0.01, 0.3))
        self._sleep(self._random.uniform(*HANG_S))
        self._victim.faults.slow(0)
        self.done["slow disk"] += 1
        return True

    def _full_disk(self) -> bool:
        process = self._pick("caxton shard-")
        if process is None:
            return False
        try:
            self._victim.faults.fill(process)
            self._sleep(self._random.uniform(*HANG_S))
            self._victim.faults.empty(process)
        except psutil.Error:
            return False
        self.done["full disk"] += 1
        return True

    def _jump(self) -> bool:
        self._victim.faults.jump(self._random.uniform(-JUMP_S, JUMP_S))
        self.done["jump of the clock"] += 1
        return True

    def _burst(self, messages: int, size: int) -> bool:
        self._victim.burst(messages, size)
        self.done["burst" if messages > 1 else "large message"] += 1
        return True
