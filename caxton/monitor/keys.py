"""Keys from a terminal: a thread that reads them one by one and gives each a name."""

from __future__ import annotations

import os
import select
import termios
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

__all__ = ["KeyReader", "decode"]

NAMES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1b[5~": "page_up",
    b"\x1b[6~": "page_down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x04": "q",
}
"""Control D ends the monitor as ``q`` does."""

_LONGEST_FIRST: Final = sorted(NAMES, key=len, reverse=True)
READ: Final = 1_024


def decode(data: bytes) -> list[str]:
    """The keys in ``data``: printable characters as they are, others by name.

    An unknown escape sequence is one key without a name and is left out.
    """
    keys: list[str] = []
    rest = data
    while rest:
        found = next((one for one in _LONGEST_FIRST if rest.startswith(one)), None)
        if found == b"\x1b" and len(rest) > 1 and rest[1:2] in (b"[", b"O"):
            rest = _after_sequence(rest)
        elif found is not None:
            keys.append(NAMES[found])
            rest = rest[len(found) :]
        else:
            size = _character(rest)
            text = rest[:size].decode("utf-8", "replace")
            keys += [text] if text.isprintable() and "\ufffd" not in text else []
            rest = rest[size:]
    return keys


def _after_sequence(data: bytes) -> bytes:
    """What follows an escape sequence (ECMA-48: it ends with a byte from 0x40 to 0x7E)."""
    for index in range(2, len(data)):
        if 0x40 <= data[index] <= 0x7E:
            return data[index + 1 :]
    return b""


def _character(data: bytes) -> int:
    """Bytes of the UTF-8 character at the start."""
    first = data[0]
    if first < 0xC0:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4


class KeyReader:
    """Reads keys while it is entered; then the terminal is as it was.

    Args:
        fd: a terminal.
        pressed: called in the reader's thread with each key.
    """

    def __init__(self, fd: int, pressed: Callable[[str], None]) -> None:
        self._fd = fd
        self._pressed = pressed
        self._before: list[object] = []
        self._thread: threading.Thread | None = None
        self._wake_read = self._wake_write = -1

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        raw = termios.tcgetattr(self._fd)
        # Each key at once and unseen; signals such as Ctrl-C stay.
        raw[3] &= ~(termios.ICANON | termios.ECHO)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, raw)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.write(self._wake_write, b"x")
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)
        termios.tcsetattr(self._fd, termios.TCSAFLUSH, self._before)  # type: ignore[arg-type]  # as tcgetattr gave it

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            try:
                data = os.read(self._fd, READ)
            except OSError:
                # The terminal is gone, as after a closed window.
                data = b""
            if not data:
                self._pressed("q")
                return
            for key in decode(data):
                self._pressed(key)
