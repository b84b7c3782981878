"""Frames: length-prefixed msgpack, each with the batch of one sentence.

Four bytes of length (big-endian), then a msgpack array of kind, sequence number, payload and the
number of messages in it.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, NamedTuple

import msgspec

from actors.errors import FrameError

__all__ = ["MAX_FRAME", "Frame", "FrameDecoder", "encode_frame"]

MAX_FRAME: Final = 64 * 1024 * 1024
"""Largest body of a frame, in bytes: a batch of the largest messages fits."""

_LENGTH = struct.Struct(">I")


class Frame(NamedTuple):
    """One decoded frame."""

    kind: int
    sequence: int
    payload: bytes
    messages: int = 1


_Count = Annotated[int, msgspec.Meta(ge=0)]
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[int, _Count, bytes, _Count])


def encode_frame(kind: int, sequence: int, payload: bytes, messages: int = 1) -> bytes:
    """The bytes of a frame.

    Raises:
        FrameError: ``too_long``.
    """
    body = _encode((kind, sequence, payload, messages))
    if len(body) > MAX_FRAME:
        raise FrameError("too_long", f"{len(body):,} bytes, at most {MAX_FRAME:,} allowed")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Cuts a byte stream into frames, however it arrives.

    Args:
        max_bytes: largest body accepted.
        first_bytes: largest body of the first frame: who has not said hello yet gets no memory.
    """

    def __init__(self, max_bytes: int = MAX_FRAME, first_bytes: int | None = None) -> None:
        self._max = max_bytes
        self._limit = max_bytes if first_bytes is None else first_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order.

        Raises:
            FrameError: ``too_long`` or ``malformed``; the stream cannot be read on.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        end = len(buffer)
        view = memoryview(buffer)
        try:
            while end - start >= 4:
                length = _LENGTH.unpack_from(buffer, start)[0]
                if length > self._limit:
                    raise FrameError(
                        "too_long", f"{length:,} bytes announced, at most {self._limit:,} allowed"
                    )
                if end - start - 4 < length:
                    break
                body = view[start + 4 : start + 4 + length]
                try:
                    frames.append(Frame(*_decoder.decode(body)))
                except msgspec.MsgspecError as error:
                    raise FrameError("malformed", str(error)) from error
                finally:
                    body.release()
                start += 4 + length
                self._limit = self._max
        finally:
            view.release()
            if start:
                del buffer[:start]
        return frames

    def end(self) -> None:
        """The stream has ended.

        Raises:
            FrameError: ``truncated``, when it ended inside a frame.
        """
        if self._buffer:
            raise FrameError("truncated", f"{len(self._buffer):,} bytes of an unfinished frame")
