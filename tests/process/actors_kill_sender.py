"""The sending side of the kill tests, and the laws that its record must obey."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Final

from actors_kill_shard import BEGIN, GREETING, HANDLED, NUMBERS, decode_number, encode

from actors import Identity, Link, LinkClient

WINDOW: Final = 1_000
"""Numbers that may be unconfirmed."""


class Sender:
    """Sends numbers to one child, in batches, and again to its replacement what is unconfirmed."""

    def __init__(self, path: Path, name: str, child: str, token: bytes, rng: random.Random) -> None:
        self.name = name
        self.child = child
        self.confirmed = 0
        self.begins: dict[int, int] = {}
        """The number that each process was told to begin with."""
        self.sent = 0
        self.wrong: list[str] = []
        """What a child said that it should not."""
        self.goes_on = True
        self._next = 1
        self._random = rng
        self.client = LinkClient(path, Identity(name, token), child, self)

    @property
    def done(self) -> bool:
        """Whether all that was ever sent is confirmed."""
        assert not self.wrong, f"{self.name} of {self.child}: {self.wrong}"
        return self.confirmed == self.sent

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A child is new, or has handled something."""
        number = decode_number(payload)
        if kind == GREETING:
            self._next = self.confirmed + 1
            if number in self.begins:
                self.wrong.append(f"process {number} greeted twice")
            self.begins[number] = self._next
            link.send(BEGIN, encode([number, self._next]))
        else:
            if kind != HANDLED or not self.confirmed < number <= self.sent:
                self.wrong.append(f"frame {kind}: {number} after {self.confirmed} of {self.sent}")
            self.confirmed = number
        self.pump()

    def pump(self) -> None:
        """Send what the window allows; after ``goes_on`` only what was sent before."""
        while self.begins and (room := self.confirmed + WINDOW - self._next + 1) > 0:
            last = self.sent if not self.goes_on else self._next + room
            size = min(self._random.randint(1, 60), room, last - self._next + 1)
            if size <= 0:
                return
            numbers = list(range(self._next, self._next + size))
            self.client.link.send(NUMBERS, encode(numbers))
            self._next += size
            self.sent = max(self.sent, self._next - 1)

    def on_up(self, link: Link, fresh: bool) -> None:
        """The link sends again what the other side has not taken."""

    def on_down(self, link: Link) -> None:
        """What is sent meanwhile waits."""


def check_record(record: Path, sender: Sender) -> dict[str, int]:
    """Check what a child's lives wrote of one sender; returns figures.

    Every confirmed number was handled. In one life each comes once, in order, without a gap,
    from the one that it was told to begin with. What was handled in two lives was unconfirmed
    when the second began.
    """
    lives: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for line in record.read_text().splitlines():
        process, name, what, number = line.split()
        if name == sender.name:
            lives[int(process)].append((what, int(number)))
    handled: set[int] = set()
    again = 0
    for pid, (first, *rest) in lives.items():
        where = f"{sender.name} to process {pid} of {sender.child}"
        assert first == ("begin", sender.begins[pid]), where
        numbers = [count for _, count in rest]
        assert {what for what, _ in rest} <= {"handled"}, where
        assert numbers[:1] in ([], [first[1]]), f"{where}: begins with {numbers[0]}, not {first}"
        for one, other in pairwise(numbers):
            assert other == one + 1, f"{where}: {other} came after {one}"
        # All below the first one were confirmed before, so nothing confirmed comes again.
        assert handled.issuperset(range(1, first[1])), where
        again += len(handled.intersection(numbers))
        handled.update(numbers)
    missing = set(range(1, sender.confirmed + 1)) - handled
    assert not missing, f"{sender.name}: {len(missing)} confirmed but not handled: {min(missing)}"
    return {"confirmed": sender.confirmed, "lives": len(lives), "again": again}
