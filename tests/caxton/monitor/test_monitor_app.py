from __future__ import annotations

import fcntl
import io
import os
import pty
import queue
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from monitor_views import ManualClock, agent, conversation, node
from rich.console import Console
from rich.theme import Theme

from caxton.cli.output import STYLES
from caxton.errors import NodeUnreachable
from caxton.monitor.app import Monitor
from caxton.monitor.feed import Feed, Heard, Lost, read_snapshot
from caxton.monitor.keys import KeyReader, decode
from caxton.monitor.screen import Screen
from caxton.monitor.state import Snapshot
from caxton.views import Event

DEADLINE_S = 20.0


def an_event(number: int) -> Event:
    return Event(number, "2026-01-02T03:04:05.000Z", "agent.loaded", "analyst", f"number {number}")


class FakeClient:
    """A node that is there while ``up`` is set."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self.followed = 0
        self.opened = 0
        self.closed = 0

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1

    def _check(self) -> None:
        if not self.up.is_set():
            raise NodeUnreachable(url="http://x", reason="gone")

    def node(self) -> Any:
        self._check()
        return node()

    def agents(self) -> list[Any]:
        return [agent("analyst")]

    def conversations(self, limit: int) -> list[Any]:
        return [conversation(1)]

    def events(self, idle_s: float) -> Iterator[Event | None]:
        self.followed += 1
        self._check()
        yield an_event(7)
        while True:
            self._check()
            time.sleep(0.002)
            yield None


def until(heard: queue.Queue[Heard], wanted: Callable[[Heard], bool]) -> Heard:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        got = heard.get(timeout=max(0.01, deadline - time.monotonic()))
        if wanted(got):
            return got


def is_snapshot(what: Heard) -> bool:
    return isinstance(what, Snapshot)


def test_the_feed_goes_on_through_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that goes away and comes back is read again, its events too."""
    monkeypatch.setattr("caxton.monitor.feed.FIRST_RETRY_S", 0.01)
    client = FakeClient()
    heard: queue.Queue[Heard] = queue.Queue(1_000)
    feed = Feed(lambda: client, heard, period_s=0.01)  # type: ignore[arg-type,return-value]
    feed.start()
    try:
        until(heard, is_snapshot)
        until(heard, lambda what: isinstance(what, Event) and what.id == 7)
        client.up.clear()
        lost = until(heard, lambda what: isinstance(what, Lost))
        assert isinstance(lost, Lost)
        assert "gone" in lost.reason
        client.up.set()
        until(heard, is_snapshot)
        until(heard, lambda what: isinstance(what, Event) and what.id == 7)
        assert client.followed >= 2
    finally:
        feed.close(DEADLINE_S)
    assert client.opened == client.closed


def test_a_full_queue_drops_and_does_not_block() -> None:
    """A screen that is not drawn costs no memory."""
    feed = Feed(FakeClient, queue.Queue(1))  # type: ignore[arg-type]
    feed._tell("one")
    feed._tell("two")
    assert feed._heard.qsize() == 1


def test_a_snapshot_is_all_that_a_frame_needs() -> None:
    """Node, agents and conversations are read together."""
    got = read_snapshot(FakeClient())  # type: ignore[arg-type]
    assert got.agents[0].name == "analyst"
    assert len(got.conversations) == 1


def test_one_picture_has_the_recent_events() -> None:
    """``once`` reads a snapshot and the events it is given, and closes the client."""
    client = FakeClient()
    watching = Monitor(lambda: client, clock=ManualClock())  # type: ignore[arg-type,return-value]
    console = Console(file=io.StringIO(), width=100, record=True, theme=Theme(STYLES))
    console.print(watching.once(lambda _: iter([an_event(3)]), width=100))
    text = console.export_text()
    assert "analyst" in text
    assert "number 3" in text
    assert client.closed == 1


def test_what_is_heard_changes_the_state() -> None:
    """Snapshots, losses, events and keys each go where they belong."""
    watching = Monitor(FakeClient, clock=ManualClock())  # type: ignore[arg-type]
    watching.take(read_snapshot(FakeClient()))  # type: ignore[arg-type]
    watching.take(an_event(1))
    assert watching.state.connected
    watching.take(Lost("gone"))
    assert not watching.state.connected
    watching.take("3")
    assert watching.screen.view == "conversations"
    assert watching.state.picture().events[0].id == 1


# --- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q1s/", ["q", "1", "s", "/"]),
        (b"\x1b[A\x1b[B\x1bOA\x1b[5~\x1b[6~", ["up", "down", "up", "page_up", "page_down"]),
        (b"\x1b", ["escape"]),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b[15;2~x", ["x"]),
        (b"\x1b[1", []),
        (b"\r\n\x7f\x08", ["enter", "enter", "backspace", "backspace"]),
        ("äß→😀".encode(), ["ä", "ß", "→", "😀"]),
        (b"\x04", ["q"]),
        (b"\x01\xff\xc3", []),
        (b"", []),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str]) -> None:
    """Printable characters are themselves, known sequences have names, others are left out."""
    assert decode(data) == keys


def test_the_terminal_is_as_it_was_after_reading_keys() -> None:
    """While keys are read there is no echo; afterwards the settings are those from before."""
    master, slave = pty.openpty()
    try:
        before = termios.tcgetattr(slave)
        heard: queue.Queue[str] = queue.Queue()
        with KeyReader(slave, heard.put):
            assert not termios.tcgetattr(slave)[3] & termios.ECHO
            os.write(master, b"s")
            assert heard.get(timeout=DEADLINE_S) == "s"
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_that_goes_away_quits() -> None:
    """A closed window is as good as the key q."""
    master, slave = pty.openpty()
    heard: queue.Queue[str] = queue.Queue()
    reader = KeyReader(slave, heard.put)
    with reader:
        os.close(master)
        assert heard.get(timeout=DEADLINE_S) == "q"
        spare = pty.openpty()
        os.dup2(spare[1], slave)
    for fd in (*spare, slave):
        os.close(fd)


class TerminalIn:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def test_the_monitor_draws_and_obeys_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real terminal frames appear, keys change them, a resize redraws, q ends with 0."""
    client = FakeClient()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    monkeypatch.setattr(sys, "stdin", TerminalIn(slave))
    monkeypatch.setenv("TERM", "xterm-256color")
    seen = bytearray()
    failures: list[str] = []

    def read_until(text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        start = len(seen)
        while text.encode() not in bytes(seen[start:]):
            if time.monotonic() > deadline:
                failures.append(f"no {text!r} in {bytes(seen[start:])[-2_000:]!r}")
                return
            if select.select([master], [], [], 0.1)[0]:
                seen.extend(os.read(master, 65_536))

    def user() -> None:
        read_until("agents by trouble")
        os.write(master, b"3")
        read_until("conversations, 1 to 1")
        client.up.clear()
        read_until("RECONNECTING")
        os.kill(os.getpid(), signal.SIGWINCH)
        os.write(master, b"q")
        while user_thread.is_alive() and not done.wait(0.05):
            if select.select([master], [], [], 0)[0]:
                seen.extend(os.read(master, 65_536))

    done = threading.Event()
    user_thread = threading.Thread(target=user)
    console = Console(
        file=open(slave, "w", encoding="utf-8", closefd=False),  # noqa: SIM115
        force_terminal=True,
        width=80,
        height=24,
        theme=Theme(STYLES),
    )
    user_thread.start()
    try:
        watching = Monitor(lambda: client, screen=Screen())  # type: ignore[arg-type,return-value]
        assert watching.run(console) == 0
    finally:
        done.set()
        user_thread.join()
        console.file.close()
        os.close(master)
        os.close(slave)
    assert failures == []
    assert client.opened == client.closed
    assert signal.getsignal(signal.SIGWINCH) == signal.SIG_DFL
