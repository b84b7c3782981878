from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pytest
from fake_node import BROKEN, an_agent

DEADLINE_S = 30.0


def test_one_picture_is_printed(run, fake) -> None:
    """--once prints one frame with agents, processes and events; a pipe gets one too."""
    fake.agents = [an_agent("Billing", reload=BROKEN)]
    for words in (("monitor", "--once"), ("top",)):
        done = run(*words, "--url", fake.url)
        assert done.code == 0
        for text in ("READY", "Billing", "7:3", "supervisor", "agent.loaded"):
            assert text in done.out
    assert run("monitor", "--once", "--ascii", "--url", fake.url).out.isascii()
    assert "by trouble, 1 to 1" in run("monitor", "--view", "agents", "--url", fake.url).out


def test_one_snapshot_for_programs(run, fake) -> None:
    """--json is the node, its agents and its conversations."""
    snapshot = run("monitor", "--json", "--url", fake.url).json
    assert snapshot["node"]["state"] == "ready"
    assert snapshot["agents"][0]["name"] == "Greeter"
    assert len(snapshot["conversations"]) == 1


def test_no_node_is_3(run) -> None:
    """Without a node there is nothing to watch."""
    assert run("monitor").code == 3
    assert run("monitor", "--once", "--url", "http://127.0.0.1:1").code == 3


class Window:
    """The command in a terminal of its own."""

    def __init__(self, *words: str, columns: int = 80, lines: int = 24) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Whoever runs the tests in the background may have it ignored, and so would the child.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "caxton.cli.main", *words])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.text = ""

    def until(self, wanted: str) -> None:
        start = len(self.text)
        deadline = time.monotonic() + DEADLINE_S
        while wanted not in self.text[start:]:
            assert time.monotonic() < deadline, self.text[-2_000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65_536).decode("utf-8", "replace")

    def press(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def end(self) -> int:
        while True:
            try:
                data = os.read(self.fd, 65_536)
            except OSError:
                # The other end is closed.
                data = b""
            if not data:
                break
            self.text += data.decode("utf-8", "replace")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_live_monitor_in_a_terminal(fake) -> None:
    """Frames appear, keys change the view, q ends with 0 and gives the screen back."""
    window = Window("monitor", "--url", fake.url)
    window.until("Greeter")
    window.press(b"3")
    window.until("conversations, 1 to 1 of 1")
    window.press(b"2")
    window.until("agents by trouble, 1 to 1 of 1")
    window.press(b"/zzz\r")
    window.until("/ zzz")
    window.press(b"q")
    assert window.end() == 0
    assert "\x1b[?1049l" in window.text


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_ctrl_c_ends_the_live_monitor(fake) -> None:
    """Ctrl-C gives the screen back and ends with 130."""
    window = Window("monitor", "--url", fake.url)
    window.until("Greeter")
    window.press(b"\x03")
    assert window.end() == 130
    assert "\x1b[?1049l" in window.text
    assert "Traceback" not in window.text


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_interrupt_ends_following_events(fake) -> None:
    """``events -f`` shows what comes and ends with 130 on SIGINT, without a traceback."""
    window = Window("events", "-f", "--url", fake.url)
    window.until("agent.reload_failed")
    os.kill(window.pid, signal.SIGINT)
    assert window.end() == 130
    assert "Traceback" not in window.text
