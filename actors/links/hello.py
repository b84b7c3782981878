"""What the two sides of a link say of themselves first, and what is agreed on by that."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import msgspec

__all__ = [
    "CONFIRM",
    "HELLO",
    "PING",
    "PROTOCOL",
    "VOID",
    "Hello",
    "Identity",
    "LinkCounters",
    "Window",
]

PROTOCOL: Final = 3
HELLO: Final = 100
CONFIRM: Final = 101
PING: Final = 102
VOID: Final = 103
"""A numbered frame whose content was withdrawn."""

U64 = Annotated[int, msgspec.Meta(ge=0)]


class Identity(msgspec.Struct, frozen=True):
    """Who this process is to its peers."""

    name: str
    token: bytes
    """Secret that all processes of one node share."""
    epoch: int = msgspec.field(default_factory=lambda: secrets.randbits(63))

    def __repr__(self) -> str:
        return f"Identity({self.name!r}, epoch={self.epoch})"


class Window(msgspec.Struct, frozen=True):
    """How much a producer may have unconfirmed, and how much may wait to be sent."""

    frames: int = 4_096
    messages: int = 65_536
    size: int = 16 * 1024 * 1024
    """Bytes."""
    waiting: int = 256 * 1024 * 1024
    """Bytes that may wait in the producer beyond the window."""


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First words of each side of a link."""

    protocol: int
    name: str
    epoch: U64
    token: bytes
    peer_epoch: U64
    """The epoch of the other side that this one knows; 0 for none."""
    taken: U64
    """The last number taken from that epoch."""
    first: U64
    """The number of the first frame that comes."""
    window_frames: U64
    window_messages: U64
    window_size: U64


class LinkCounters(msgspec.Struct):
    """What one side of a link has counted since it was made."""

    sent_frames: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0
    resent: int = 0
    """Frames among those sent that were sent before."""
    received_frames: int = 0
    received_messages: int = 0
    received_bytes: int = 0
    """Of payloads."""
    duplicates: int = 0
    """Frames that came again and were dropped."""
    poisoned: int = 0
    """Frames that failed again and again and were skipped."""
    refused: int = 0
    """Connections closed for what came over them."""
    reconnects: int = 0
    """Connections after the first on which both sides said hello."""
