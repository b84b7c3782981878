"""Laws of dead letters, their log, events and the clock."""

from __future__ import annotations

import logging
import threading

import pytest
from pykka._envelope import Envelope

from actors import DeadLetter, DeadLetters, Event, EventStream, SystemClock
from actors.events import LOGGED, QUIET_S
from actors.testkit import ManualClock


def letter(message: object = "x") -> DeadLetter:
    return DeadLetter(Envelope(message), "/s/a", "stopped")


def test_the_log_is_throttled(caplog: pytest.LogCaptureFixture) -> None:
    """The first ten dead letters are logged, the rest counted, until it was quiet long enough."""
    caplog.set_level(logging.INFO, "actors")
    clock = ManualClock()
    letters = DeadLetters(clock)
    for _ in range(LOGGED * 3):
        letters.add(letter())
    assert letters.count == LOGGED * 3
    assert len(caplog.records) == LOGGED + 1
    assert "counted and not logged" in caplog.messages[-1]
    clock.advance(QUIET_S - 1)
    letters.add(letter())
    assert len(caplog.records) == LOGGED + 1
    clock.advance(1)
    letters.add(letter())
    assert len(caplog.records) == LOGGED + 2


def test_the_log_names_kind_and_path_but_not_the_content(caplog: pytest.LogCaptureFixture) -> None:
    """A dead letter's log line has its type, actor and reason, and nothing of its content."""
    caplog.set_level(logging.INFO, "actors")
    DeadLetters(ManualClock()).add(letter("secret words"))
    assert caplog.messages == ["dead letter str for /s/a: stopped"]


def test_subscribers_get_each_letter() -> None:
    """Each subscriber is given each dead letter in order."""
    letters = DeadLetters(ManualClock())
    seen: list[DeadLetter] = []
    letters.subscribe(seen.append)
    letters.subscribe(seen.append)
    letters.add(letter("a"))
    letters.add(letter("b"))
    assert [x.envelope.message for x in seen] == ["a", "a", "b", "b"]


def test_threads_lose_no_count() -> None:
    """Dead letters from several threads are all counted."""
    letters = DeadLetters(ManualClock())

    def add() -> None:
        for _ in range(1_000):
            letters.add(letter())

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert letters.count == 4_000


def test_events_reach_subscribers() -> None:
    """An event carries kind, path and detail to each subscriber."""
    stream = EventStream()
    stream.publish("started", "/s/a")
    seen: list[Event] = []
    stream.subscribe(seen.append)
    stream.publish("failed", "/s/a", "why")
    assert seen == [Event("failed", "/s/a", "why")]


def test_the_system_clock_never_goes_back() -> None:
    """Two looks at the machine's clock are in order."""
    clock = SystemClock()
    first = clock.now()
    assert clock.now() >= first
