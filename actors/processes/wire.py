"""Words between a supervisor and a child: neither side ever waits for the other.

Four bytes of length (big-endian), then a pickle of ``(word, value)``. What the socket does not take
at once waits, up to a bound; half a word waits for its other half. The other side is a process of
the same user that was started from here, so pickle is no door that was not open already.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import threading
from typing import Any, Final

from actors.errors import WordGarbled

__all__ = ["MAX_WAITING", "MAX_WORD", "Wire"]

MAX_WORD: Final = 64 * 1024 * 1024
"""Longest word, in bytes."""
MAX_WAITING: Final = 8 * 1024 * 1024
"""Bytes that may wait for a side that does not read."""
_CHUNK: Final = 65_536
_TURN: Final = 16
"""Chunks read in one go, so that a side that talks all the time stops nothing else."""
_LENGTH: Final = struct.Struct(">I")


class Wire:
    """One end of a socket pair. ``send`` and ``flush`` may be called from any thread.

    Args:
        end: a connected stream socket; the wire owns it.
        max_waiting: bytes that may wait to be written; a word beyond them is dropped and counted.
    """

    def __init__(self, end: socket.socket, *, max_waiting: int = MAX_WAITING) -> None:
        self.dropped = 0
        """Words that were not sent because too much waited."""
        self.garbled: WordGarbled | None = None
        """What came that is no word; nothing is read any more."""
        self._socket = end
        self._max_waiting = max_waiting
        self._received = bytearray()
        self._waiting = bytearray()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Bytes that the socket did not take yet."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether it was closed on this side."""
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        """Of the socket; -1 when closed."""
        return self._socket.fileno()

    def send(self, word: str, value: Any) -> bool:
        """Send a word now, or as soon as ``flush`` is called; False when it was dropped.

        Raises:
            OSError: the other side is gone.
            WordGarbled: it cannot be pickled, or is longer than ``MAX_WORD``.
        """
        try:
            data = pickle.dumps((word, value), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise WordGarbled(f"{word!r} cannot be pickled ({error}); send plain values") from error
        if len(data) > MAX_WORD:
            raise WordGarbled(f"{word!r} has {len(data):,} bytes, at most {MAX_WORD:,} allowed")
        with self._lock:
            if self._waiting and len(self._waiting) + len(data) > self._max_waiting:
                self.dropped += 1
                return False
            self._waiting += _LENGTH.pack(len(data))
            self._waiting += data
            self._write()
        return True

    def flush(self) -> bool:
        """Write what the socket takes; True when nothing waits any more.

        Raises:
            OSError: the other side is gone.
        """
        with self._lock:
            self._write()
            return not self._waiting

    def flush_within(self, timeout_s: float) -> bool:
        """As ``flush``, once the socket takes something; waits for that, so not for an event loop.

        Raises:
            OSError: the other side is gone.
        """
        if self.closed:
            raise OSError("the wire is closed")
        ready = select.poll()
        ready.register(self._socket, select.POLLOUT)
        ready.poll(max(0.0, timeout_s) * 1_000)
        return self.flush()

    def _write(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                sent = self._socket.send(waiting, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            del waiting[:sent]

    def read(self, *, wait: bool = False) -> tuple[list[tuple[str, Any]], bool]:
        """The words that have come, and whether nothing more can come.

        That is so when the other side has ended, or when ``garbled`` says that it talks nonsense.

        Args:
            wait: until something comes; for a thread that does nothing else.
        """
        words: list[tuple[str, Any]] = []
        if self.garbled is not None:
            return words, True
        for _ in range(1 if wait else _TURN):
            try:
                data = self._socket.recv(_CHUNK, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                # Reset, or closed on this side: nothing more comes.
                data = b""
            if not data:
                return words, True
            self._received += data
            try:
                self._cut(words)
            except WordGarbled as error:
                self.garbled = error
                return words, True
        return words, False

    def _cut(self, words: list[tuple[str, Any]]) -> None:
        received = self._received
        start = 0
        while len(received) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, start)
            if length > MAX_WORD:
                raise WordGarbled(f"{length:,} bytes announced, at most {MAX_WORD:,} allowed")
            end = start + _LENGTH.size + length
            if len(received) < end:
                break
            words.append(_decode(bytes(received[start + _LENGTH.size : end])))
            start = end
        del received[:start]

    def end(self) -> None:
        """Nothing more is said from here; what the other side says can still be read."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            # Gone already, which is what this is for.
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _decode(data: bytes) -> tuple[str, Any]:
    try:
        said = pickle.loads(data)  # noqa: S301  # see the module
    except Exception as error:
        raise WordGarbled(f"no word: {error!r}") from error
    match said:
        case (str() as word, value):
            return word, value
    raise WordGarbled(f"a pair of word and value was meant, {type(said).__name__} came")
