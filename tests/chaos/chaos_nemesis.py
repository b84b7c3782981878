"""What goes wrong in a chaos run: processes that are killed or stopped, by a seed."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import psutil

__all__ = ["Nemesis", "Victim"]

HANG_S = (0.1, 1.5)
"""How long a stopped process stays so."""


class Victim(Protocol):
    """A node that can be hurt."""

    def family(self) -> list[psutil.Process]:
        """The supervisor's children, theirs included."""
        ...

    def restart(self) -> None:
        """Kill the supervisor, which ends all the others, and start the node again."""
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
        )

    @property
    def kills(self) -> int:
        """Processes killed; a killed supervisor counts once."""
        return sum(count for kind, count in self.done.items() if not kind.startswith("hang"))

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
