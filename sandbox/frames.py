"""Frames between a pool and its workers: two lengths, a JSON header, raw bytes.

Eight bytes of lengths (header, body; big endian, 32 bits each), then both. JSON and not pickle:
a worker that was taken over by its guest must not run code in its parent.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

from sandbox.errors import Reason, SandboxError

PREFIX: Final = struct.Struct(">II")

HEADER_BYTES: Final = 256 * 1024
"""Largest header; grants and arguments are in it."""

BODY_BYTES: Final = 40 * 1024 * 1024
"""Largest body: the highest limit for output, plus standard error, with room."""

Header = dict[str, Any]

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def pack(header: Header, body: bytes = b"") -> bytes:
    """A whole frame. Raises ``SandboxError`` (``message_too_large``) over the frame's limits."""
    return pack_encoded(encode(header), body)


def encode(header: Header) -> bytes:
    """A header as it stands in a frame."""
    return _encode(header).encode()


def pack_encoded(header: bytes, body: bytes = b"") -> bytes:
    """``pack`` with a header from ``encode``."""
    check_lengths(len(header), len(body))
    return b"".join((PREFIX.pack(len(header), len(body)), header, body))


def unpack_lengths(prefix: bytes) -> tuple[int, int]:
    """Lengths of header and body, checked against the limits."""
    header, body = PREFIX.unpack(prefix)
    check_lengths(header, body)
    return header, body


def unpack_header(data: bytes) -> Header:
    """The header; anything but a JSON object is a ``SandboxError`` (``host_error``)."""
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SandboxError(Reason.HOST_ERROR, f"a frame's header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise SandboxError(Reason.HOST_ERROR, "a frame's header is not a JSON object")
    return header


def check_lengths(header: int, body: int) -> None:
    """Refuse a frame over its limits before anything is read or written."""
    for what, given, limit in (("header", header, HEADER_BYTES), ("body", body, BODY_BYTES)):
        if given > limit:
            raise SandboxError(
                Reason.MESSAGE_TOO_LARGE,
                f"the {what} of a frame to or from a worker has {given} bytes, the limit is "
                f"{limit}",
                given=given,
                limit=limit,
                part=what,
            )
