"""A proxy between links of real processes that loses, delays, doubles and cuts off frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.errors import FrameError
from actors.links.frame import Frame, FrameDecoder, encode_frame
from actors.links.hello import HELLO
from actors.testkit.flaky import Faults

__all__ = ["FlakyProxy"]

_CALM = Faults()
_CHUNK = 65_536
_END_S = 1.0


class FlakyProxy:
    """Listens on one Unix socket and passes frames on to another, with faults by a seed.

    A ``LinkClient`` connects to ``path`` and reaches the ``LinkServer`` of ``target``. A stream
    loses bytes only together with its connection, so a dropped frame is soon followed by a cut.
    Which frames suffer depends on the seed, the number of the connection and the frames before;
    the moments depend on the machine.

    Args:
        path: of its own socket.
        target: socket of the real server; it may come and go.
        seed: of the faults; print it, so that a failure can be run again.
        faults: what happens to frames; may be changed at any time.
        round_s: length of a round of ``Faults.max_delay``, in seconds.
    """

    def __init__(
        self,
        path: Path,
        target: Path,
        *,
        seed: int,
        faults: Faults | None = None,
        round_s: float = 0.001,
    ) -> None:
        self.seed = seed
        self.faults = faults or _CALM
        self.connections = 0
        self.frames = 0
        """Passed on, copies included."""
        self.dropped = 0
        self.duplicated = 0
        self.delayed = 0
        self.cuts = 0
        self._path = path
        self._target = target
        self._round_s = round_s
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return (
            f"FlakyProxy(seed={self.seed}, connections={self.connections}, frames={self.frames}, "
            f"dropped={self.dropped}, duplicated={self.duplicated}, delayed={self.delayed}, "
            f"cuts={self.cuts})"
        )

    async def start(self) -> None:
        """Listen."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._take, os.fspath(self._path))
        finally:
            os.umask(before)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        number = self.connections
        self.connections += 1
        try:
            far = await asyncio.open_unix_connection(os.fspath(self._target))
        except OSError:
            # No server now: for the client it looks as if there were none here either.
            writer.transport.abort()
            return
        pipe = _Pipe(self, writer, far[1])
        self._pipes.add(pipe)
        ways = ((reader, far[1], "there"), (far[0], writer, "back"))
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink, way in ways:
                    fate = _Fate(self, random.Random(f"{self.seed}/{number}/{way}"), pipe.cut)
                    group.create_task(self._pass_on(source, sink, fate, pipe))
        finally:
            pipe.abort()
            self._pipes.discard(pipe)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        fate: _Fate,
        pipe: _Pipe,
    ) -> None:
        decoder = FrameDecoder()
        # Either side's end, or nonsense, ends both ways.
        with contextlib.suppress(OSError, FrameError):
            while data := await source.read(_CHUNK):
                for frame in decoder.feed(data):
                    for rounds in fate.of(frame):
                        if rounds:
                            await asyncio.sleep(rounds * self._round_s)
                        self.frames += 1
                        sink.write(encode_frame(*frame))
                await sink.drain()
        pipe.abort()

    def cut(self) -> None:
        """Cut every connection, with all that is under way."""
        for pipe in list(self._pipes):
            pipe.cut()

    def calm(self) -> None:
        """No more faults."""
        self.faults = _CALM

    async def close(self) -> None:
        """Cut every connection for good, and remove the socket."""
        if self._server is not None:
            self._server.close()
        for pipe in list(self._pipes):
            pipe.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_S)
        self._path.unlink(missing_ok=True)


class _Pipe:
    """One connection through the proxy: two sockets that end together."""

    def __init__(self, proxy: FlakyProxy, *writers: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = writers

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def cut(self) -> None:
        if not self._writers[0].transport.is_closing():
            self._proxy.cuts += 1
            self.abort()


class _Fate:
    """What comes of each frame of one way of one connection."""

    def __init__(self, proxy: FlakyProxy, rng: random.Random, cut: Callable[[], None]) -> None:
        self._proxy = proxy
        self._random = rng
        self._cut = cut

    def of(self, frame: Frame) -> list[int]:
        """The rounds that each copy waits; none for a frame that is lost."""
        proxy, faults = self._proxy, self._proxy.faults
        if frame.kind == HELLO or (faults.kinds is not None and frame.kind not in faults.kinds):
            return [0]
        chance = self._random.random
        if chance() < faults.cut:
            self._cut()
            return []
        if chance() < faults.drop:
            proxy.dropped += 1
            rounds = self._random.randint(0, faults.max_delay)
            asyncio.get_running_loop().call_later(rounds * proxy._round_s, self._cut)
            return []
        copies = [0]
        if chance() < faults.delay:
            proxy.delayed += 1
            copies = [self._random.randint(1, max(1, faults.max_delay))]
        if chance() < faults.duplicate:
            proxy.duplicated += 1
            copies.append(0)
        return copies
