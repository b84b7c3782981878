"""Two links over a connection that fails by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from actors.links.connection import Connection
from actors.links.frame import Frame, FrameDecoder, encode_frame
from actors.links.hello import HELLO, Hello
from actors.links.link import Link

__all__ = ["Faults", "FlakyPair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a flaky connection does to each frame, as probabilities between 0 and 1.

    A stream loses bytes only together with its connection, so a drop is soon followed by a cut.
    """

    drop: float = 0.0
    """The frame is lost; the connection is cut within ``max_delay`` rounds."""
    duplicate: float = 0.0
    """The frame comes twice."""
    delay: float = 0.0
    """The frame, and what comes after it, waits up to ``max_delay`` rounds of the event loop."""
    cut: float = 0.0
    """The connection is cut instead, with all that is under way behind the frame."""
    max_delay: int = 8
    kinds: frozenset[int] | None = None
    """Kinds of frames that suffer; None for all but the hello, which never does."""


_CALM = Faults()


@dataclass(slots=True)
class _Step:
    """What happens on the wire when what was written before has arrived."""

    rounds: int = 0
    """To wait before."""
    frame: Frame | None = None
    """Arrives."""
    cut_after: int | None = None
    """Rounds after which the connection is cut."""


class _MemoryTransport(asyncio.Transport):
    """One end of a connection in memory, and the wire from it to the other end."""

    def __init__(self, pair: FlakyPair, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self.other: _MemoryTransport | None = None
        self._pair = pair
        self._decoder = FrameDecoder()
        self._wire: deque[_Step] = deque()
        self._pumping = False
        self._lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost:
            return
        for frame in self._decoder.feed(bytes(data)):
            self._wire.extend(self._pair.fate(frame))
        self._pump_soon()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def _pump_soon(self) -> None:
        if not self._pumping and self._wire:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        while self._wire and not self._lost and self.other is not None:
            step = self._wire[0]
            if step.rounds > 0:
                step.rounds -= 1
                break
            self._wire.popleft()
            if step.frame is not None:
                self.other.protocol.data_received(encode_frame(*step.frame))
            if step.cut_after is not None:
                self._pair.cut_in(step.cut_after)
        self._pump_soon()

    def is_closing(self) -> bool:
        return self._lost

    def abort(self) -> None:
        self.lose()

    def close(self) -> None:
        self.lose()

    def lose(self) -> None:
        """Both ends are gone, with what was on the wire."""
        if self._lost:
            return
        self._lost = True
        self._wire.clear()
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        if self.other is not None:
            self.other.lose()
        self._pair.lost(self)


class FlakyPair:
    """Two links joined in memory, over a connection that fails by a seed and is made again.

    Args:
        left: connects, as a ``LinkClient``'s link.
        right: takes the connection, as a ``LinkServer``'s link.
        seed: of the faults; print it, so that a failure can be run again.
        faults: what happens to frames.
    """

    def __init__(self, left: Link, right: Link, *, seed: int, faults: Faults | None = None) -> None:
        self.left = left
        self.right = right
        self.seed = seed
        self.faults = faults or _CALM
        self.dropped = 0
        self.duplicated = 0
        self.delayed = 0
        self.cuts = 0
        self._random = random.Random(seed)
        self._end: _MemoryTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"FlakyPair(seed={self.seed}, dropped={self.dropped}, duplicated={self.duplicated}, "
            f"delayed={self.delayed}, cuts={self.cuts})"
        )

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._end is not None

    def connect(self) -> None:
        """Make a connection if there is none."""
        if self._closed or self._end is not None:
            return
        near = _MemoryTransport(self, Connection(self._answered))
        far = _MemoryTransport(self, Connection(self._greeted))
        near.other, far.other = far, near
        self._end = near
        near.protocol.connection_made(near)
        far.protocol.connection_made(far)
        self.left.connected(near.protocol)

    def _answered(self, connection: Connection, hello: Hello) -> None:
        self.left.check(hello)
        self.left.greeted(hello)

    def _greeted(self, connection: Connection, hello: Hello) -> None:
        self.right.check(hello)
        self.right.connected(connection)
        self.right.greeted(hello)

    def cut(self) -> None:
        """Cut the connection; a new one is made at once."""
        if self._end is not None:
            self.cuts += 1
            self._end.lose()

    def replace_right(self, link: Link) -> None:
        """A new process takes the place of the right one."""
        self.right = link
        self.cut()

    def calm(self) -> None:
        """No more faults."""
        self.faults = _CALM

    def close(self) -> None:
        """Cut the connection for good."""
        self._closed = True
        self.cut()

    def lost(self, transport: _MemoryTransport) -> None:
        """A connection is gone."""
        if self._end is not None and transport in (self._end, self._end.other):
            self._end = None
            asyncio.get_running_loop().call_soon(self._again)

    def _again(self) -> None:
        # One round later than connection_lost, as a new socket would come after the old one's end.
        asyncio.get_running_loop().call_soon(self.connect)

    def fate(self, frame: Frame) -> list[_Step]:
        """What comes of a frame."""
        faults = self.faults
        if frame.kind == HELLO or (faults.kinds is not None and frame.kind not in faults.kinds):
            return [_Step(frame=frame)]
        chance = self._random.random
        if chance() < faults.cut:
            return [_Step(cut_after=0)]
        if chance() < faults.drop:
            self.dropped += 1
            return [_Step(cut_after=self._random.randint(0, faults.max_delay))]
        rounds = 0
        if chance() < faults.delay:
            self.delayed += 1
            rounds = self._random.randint(1, max(1, faults.max_delay))
        steps = [_Step(rounds=rounds, frame=frame)]
        if chance() < faults.duplicate:
            self.duplicated += 1
            steps.append(_Step(frame=frame))
        return steps

    def cut_in(self, rounds: int) -> None:
        """Cut the connection that there is now, after so many rounds of the event loop."""
        self._cut_after(rounds, self._end)

    def _cut_after(self, rounds: int, end: _MemoryTransport | None) -> None:
        if rounds:
            asyncio.get_running_loop().call_soon(self._cut_after, rounds - 1, end)
        elif end is not None and end is self._end:
            self.cut()
