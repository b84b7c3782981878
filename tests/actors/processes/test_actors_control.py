"""Laws of the child's end of the control channel, in this process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
from actors_support import until

import actors.processes.control
from actors import ControlChannel
from actors.processes.control import ORPHANED


@pytest.fixture
async def ends(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ControlChannel, Connection]]:
    """A channel and the supervisor's end of its pipe; signals are as before after the test."""
    monkeypatch.setattr(actors.processes.control, "BEAT_S", 0.01)
    before = signal.getsignal(signal.SIGINT)
    ours, theirs = multiprocessing.Pipe()
    control = ControlChannel(theirs, "child")
    yield control, ours
    ours.close()
    control._ended.set()
    for thread in threading.enumerate():
        if thread.name.startswith("control-"):
            await asyncio.to_thread(thread.join, 5)
    control.close()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGINT, before)


def next_word(ours: Connection, word: str) -> Any:
    """The value of the next ``word``, past any heartbeats."""
    while ours.poll(5):
        said, value = ours.recv()
        if said == word:
            return value
    raise AssertionError(f"no {word} came")


async def test_ready_beats_and_tells(ends: tuple[ControlChannel, Connection]) -> None:
    """Ready carries its info, a tell its words, and heartbeats come with the loop's lag."""
    control, ours = ends
    control.ready(port=80)
    assert next_word(ours, "ready") == {"port": 80}
    control.tell("kind", 1, "two")
    assert next_word(ours, "tell") == ("kind", 1, "two")
    assert await asyncio.to_thread(next_word, ours, "beat") >= 0.0


async def test_the_lag_of_a_blocked_loop_is_told(
    ends: tuple[ControlChannel, Connection],
) -> None:
    """While the loop stands still the heartbeats go on and say for how long."""
    _, ours = ends
    lags = [next_word(ours, "beat") for _ in range(5)]
    assert lags == sorted(lags)
    assert lags[-1] > 0.01


async def test_drain_and_other_words(ends: tuple[ControlChannel, Connection]) -> None:
    """A drain wakes with its seconds; other words go to on_word, or nowhere without one."""
    control, ours = ends
    ours.send(("ignored", 1))
    seen: list[tuple[str, Any]] = []
    await asyncio.sleep(0)
    ours.send(("ignored", 2))
    control.on_word = lambda word, value: seen.append((word, value))
    ours.send(("colour", "red"))
    await until(lambda: ("colour", "red") in seen)
    ours.send(("drain", 2.5))
    async with asyncio.timeout(5):
        assert await control.wait_drain() == 2.5


async def test_sigterm_is_an_order_to_drain_and_sigint_none(
    ends: tuple[ControlChannel, Connection],
) -> None:
    """SIGTERM drains with the default time; SIGINT is ignored."""
    control, _ = ends
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await control.wait_drain() == actors.processes.control.ORPHAN_GRACE_S


async def test_an_orphan_drains_or_is_ended(
    ends: tuple[ControlChannel, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its supervisor a child drains, and ends with its own exit code after the grace."""
    codes: list[int] = []
    monkeypatch.setattr(actors.processes.control, "ORPHAN_GRACE_S", 0.01)
    monkeypatch.setattr(os, "_exit", codes.append)
    control, ours = ends
    ours.close()
    async with asyncio.timeout(5):
        await control.wait_drain()
    await until(lambda: codes == [ORPHANED])


async def test_words_to_nobody_are_no_error(ends: tuple[ControlChannel, Connection]) -> None:
    """After the supervisor's end is closed, telling raises nothing in the child."""
    control, ours = ends
    ours.close()
    control.tell("x")
    control.ready()
    async with asyncio.timeout(5):
        await control.wait_drain()
