"""The frames that two ``RemoteNode`` exchange: each is the batch of one turn of the event loop."""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["ASK", "ENDED", "REPLY", "STOP", "TELL", "TOLD", "UNWATCH", "WATCH", "decode", "encode"]

TELL: Final = 1
"""Groups: actor, kind, encoded messages."""
ASK: Final = 2
"""Reference, actor, kind, encoded message, deadline.

The deadline is a time of ``time.monotonic``, which all processes of one machine share: an ask that
waited for the link has used up that time.
"""
REPLY: Final = 3
"""Reference, kind, encoded answer; for an error the kind is ``!`` and the answer its code and
text."""
WATCH: Final = 4
"""Reference, actor."""
UNWATCH: Final = 5
"""References."""
ENDED: Final = 6
"""Reference of a watch, reason."""
STOP: Final = 7
"""Actors to stop."""
TOLD: Final = 8
"""What became of tells that no actor took: actor, reason, how many."""

_TYPES: Final[dict[int, Any]] = {
    TELL: list[tuple[str, str, bytes]],
    ASK: list[tuple[int, str, str, bytes, float]],
    REPLY: list[tuple[int, str, bytes]],
    WATCH: list[tuple[int, str]],
    UNWATCH: list[int],
    ENDED: list[tuple[int, str]],
    STOP: list[str],
    TOLD: list[tuple[str, str, int]],
}
_decoders = {kind: msgspec.msgpack.Decoder(shape) for kind, shape in _TYPES.items()}
encode = msgspec.msgpack.Encoder().encode


def decode(kind: int, payload: bytes) -> Any:
    """Read a payload.

    Raises:
        msgspec.MsgspecError: the kind is unknown, or the payload is not of it.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        raise msgspec.ValidationError(f"unknown frame kind {kind}")
    return decoder.decode(payload)
