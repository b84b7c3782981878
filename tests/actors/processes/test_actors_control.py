"""Laws of the child's end of the control channel, in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from actors_support import until

import actors.processes.control
from actors import ControlChannel
from actors.processes.control import ORPHANED
from actors.processes.wire import Wire


class SupervisorEnd:
    """The supervisor's end of a channel."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.wire = Wire(end)
        self.words: list[tuple[str, Any]] = []

    def take(self) -> None:
        """Read what has come."""
        self.words += self.wire.read()[0]

    def next(self, word: str) -> Any:
        """The value of the next ``word``, past any heartbeats."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            while self.words:
                said, value = self.words.pop(0)
                if said == word:
                    return value
            self.words += self.wire.read(wait=True)[0]
        raise AssertionError(f"no {word} came")


@pytest.fixture
async def ends(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[ControlChannel, SupervisorEnd]]:
    """A channel and the supervisor's end; signals are as before after the test.

    The channel ends its process when it is an orphan: here it only writes down that it would.
    """
    monkeypatch.setattr(actors.processes.control, "ORPHAN_GRACE_S", 0.01)
    monkeypatch.setattr(os, "_exit", EXITS.append)
    EXITS.clear()
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    ours, theirs = socket.socketpair()
    control = ControlChannel(theirs, "child", beat_s=0.01)
    yield control, SupervisorEnd(ours)
    control.close()
    ours.close()
    for thread in threading.enumerate():
        if thread.name.startswith("control-"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
    theirs.close()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    for number, handler in signals.items():
        signal.signal(number, handler)


EXITS: list[int] = []


async def test_ready_beats_and_tells(ends: tuple[ControlChannel, SupervisorEnd]) -> None:
    """Ready carries its info, a tell its words, and heartbeats come with the loop's lag."""
    control, ours = ends
    control.ready(port=80)
    assert ours.next("ready") == {"port": 80}
    control.tell("kind", 1, "two")
    assert ours.next("tell") == ("kind", 1, "two")
    assert await asyncio.to_thread(ours.next, "beat") >= 0.0


async def test_the_lag_of_a_blocked_loop_is_told(
    ends: tuple[ControlChannel, SupervisorEnd],
) -> None:
    """While the loop stands still the heartbeats go on and say for how long."""
    _, ours = ends
    lags = [ours.next("beat") for _ in range(5)]
    assert lags == sorted(lags)
    assert lags[-1] > 0.01


async def test_drain_and_other_words(ends: tuple[ControlChannel, SupervisorEnd]) -> None:
    """A drain wakes with its seconds; other words go to on_word, or nowhere without one."""
    control, ours = ends
    ours.wire.send("ignored", 1)
    seen: list[tuple[str, Any]] = []
    await asyncio.sleep(0)
    ours.wire.send("ignored", 2)
    control.on_word = lambda word, value: seen.append((word, value))
    ours.wire.send("colour", "red")
    await until(lambda: ("colour", "red") in seen)
    ours.wire.send("drain", 2.5)
    async with asyncio.timeout(5):
        assert await control.wait_drain() == 2.5


async def test_sigterm_is_an_order_to_drain_and_sigint_none(
    ends: tuple[ControlChannel, SupervisorEnd],
) -> None:
    """SIGTERM drains with the default time; SIGINT is ignored."""
    control, _ = ends
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await control.wait_drain() == actors.processes.control.ORPHAN_GRACE_S


async def test_an_orphan_drains_or_is_ended(ends: tuple[ControlChannel, SupervisorEnd]) -> None:
    """Without its supervisor a child drains, and ends with its own exit code after the grace."""
    control, ours = ends
    ours.socket.close()
    async with asyncio.timeout(5):
        await control.wait_drain()
    await until(lambda: [ORPHANED] == EXITS)


async def test_a_child_that_hangs_after_its_end_is_an_orphan_too(
    ends: tuple[ControlChannel, SupervisorEnd], caplog: pytest.LogCaptureFixture
) -> None:
    """After ``close`` the channel still ends the process when its supervisor goes, silently."""
    control, ours = ends
    control.close()
    assert ours.wire.read(wait=True)[1] or ours.wire.read(wait=True)[1]
    assert EXITS == []
    ours.socket.close()
    await until(lambda: [ORPHANED] == EXITS)
    assert "lost its supervisor" not in caplog.text


async def test_a_garbled_supervisor_is_none(
    ends: tuple[ControlChannel, SupervisorEnd], caplog: pytest.LogCaptureFixture
) -> None:
    """What is no word from the supervisor ends the child as the loss of it does."""
    control, ours = ends
    ours.socket.send(b"\0\0\0\5abcde")
    async with asyncio.timeout(5):
        await control.wait_drain()
    await until(lambda: [ORPHANED] == EXITS)
    assert "cannot hear its supervisor" in caplog.text


async def test_words_to_nobody_are_no_error(ends: tuple[ControlChannel, SupervisorEnd]) -> None:
    """After the supervisor's end is closed, telling raises nothing in the child."""
    control, ours = ends
    ours.socket.close()
    assert not control.tell("x")
    control.ready()
    async with asyncio.timeout(5):
        await control.wait_drain()


async def test_a_supervisor_that_does_not_read_blocks_nobody(
    ends: tuple[ControlChannel, SupervisorEnd],
) -> None:
    """What is told waits up to a bound and comes later in order; then it is dropped and counted."""
    control, ours = ends
    words = 0
    while control.tell("number", words, bytes(100_000)):
        words += 1
    assert 80 < words < 120
    assert control._wire.dropped == 1
    for number in range(words):
        told = await asyncio.to_thread(ours.next, "tell")
        assert told[1] == number
    await asyncio.to_thread(ours.next, "beat")
    assert control.tell("again")
    assert await asyncio.to_thread(ours.next, "tell") == ("again",)


async def test_last_words_are_said_within_bounds(
    ends: tuple[ControlChannel, SupervisorEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``close`` waits for what is told to be taken, but not for a supervisor that does not read."""
    monkeypatch.setattr(actors.processes.control, "_LAST_WORDS_S", 0.05)
    control, _ = ends
    control.tell("long", bytes(4_000_000))
    began = time.monotonic()
    control.close()
    assert 0.05 <= time.monotonic() - began < 2


@pytest.mark.parametrize("asked_by", ["signal", "supervisor"])
async def test_a_dump_shows_threads_and_more(
    ends: tuple[ControlChannel, SupervisorEnd], caplog: pytest.LogCaptureFixture, asked_by: str
) -> None:
    """On SIGUSR1 or the supervisor's word, each thread's stack and ``on_dump`` go to the log."""
    control, ours = ends
    control.on_dump = lambda: "the tree of actors"
    caplog.set_level(logging.CRITICAL)
    if asked_by == "signal":
        os.kill(os.getpid(), signal.SIGUSR1)
    else:
        ours.wire.send("dump", None)
    await until(lambda: "the tree of actors" in caplog.text)
    assert "dump of child" in caplog.text
    assert "thread MainThread" in caplog.text
    assert "run_forever" in caplog.text


async def test_a_dump_that_fails_is_said(
    ends: tuple[ControlChannel, SupervisorEnd], caplog: pytest.LogCaptureFixture
) -> None:
    """An ``on_dump`` that raises is logged; the channel goes on to listen."""

    def fails() -> str:
        raise LookupError("on purpose")

    control, ours = ends
    control.on_dump = fails
    ours.wire.send("dump", None)
    ours.wire.send("drain", 1.0)
    async with asyncio.timeout(5):
        await control.wait_drain()
    assert "on purpose" in caplog.text
    assert "thread MainThread" in caplog.text
