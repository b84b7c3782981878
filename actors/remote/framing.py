"""Cutting the batch of a turn into frames, so that none is too long for a link or its window."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from actors.errors import NotEncodable
from actors.links.frame import MAX_FRAME
from actors.remote.codec import Codec
from actors.remote.outgoing import Tells

__all__ = ["FRAME_BYTES", "FRAME_MESSAGES", "MAX_ITEM", "Dead", "Group", "parts", "tell_frames"]

logger = logging.getLogger("actors.remote")

FRAME_MESSAGES: Final = 4_096
FRAME_BYTES: Final = 4 * 1024 * 1024
"""Beyond so much, a frame gets nothing more; one item may be larger."""
MAX_ITEM: Final = MAX_FRAME - 64 * 1024
"""Largest encoded message, in bytes."""

Group = tuple[str, str, bytes]
"""Actor, kind and encoded messages."""


class Dead(Protocol):
    """Takes messages that cannot be sent."""

    def __call__(self, actor: str, messages: Sequence[Any], reason: str, text: str = "") -> None:
        """They are dead letters for ``reason``; ``text`` says more."""
        ...


def parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Items of one kind in order, in lists that fit into frames."""
    part: list[Any] = []
    total = 0
    for item in items:
        more = _size(item)
        if part and (total + more > FRAME_BYTES or len(part) >= FRAME_MESSAGES):
            yield part
            part, total = [], 0
        part.append(item)
        total += more
    if part:
        yield part


def _size(item: Any) -> int:
    """About what an item takes in a frame, in bytes."""
    if not isinstance(item, tuple):
        return 64
    return 64 + sum(len(part) for part in item if isinstance(part, bytes | str))


def tell_frames(
    codec: Codec, tells: list[Tells], dead: Dead
) -> Iterator[tuple[list[Group], list[Tells], int]]:
    """Frames of tells: their groups, the messages in them, and how many these are."""
    groups: list[Group] = []
    inside: list[Tells] = []
    count = size = 0
    for actor, kind, messages in tells:
        for start in range(0, len(messages), FRAME_MESSAGES):
            some = messages[start : start + FRAME_MESSAGES]
            for part, data in _encoded(codec, actor, kind, some, dead):
                if groups and (
                    size + len(data) > FRAME_BYTES or count + len(part) > FRAME_MESSAGES
                ):
                    yield groups, inside, count
                    groups, inside, count, size = [], [], 0, 0
                groups.append((actor, kind, data))
                inside.append(Tells(actor, kind, part))
                count += len(part)
                size += len(data)
    if groups:
        yield groups, inside, count


def _encoded(
    codec: Codec, actor: str, kind: str, messages: list[Any], dead: Dead
) -> Iterator[tuple[list[Any], bytes]]:
    """Bytes of messages, in as many parts as they need; what cannot travel is dead."""
    try:
        data = codec.encode(kind, messages)
    except Exception as error:
        if len(messages) > 1:
            yield from _halves(codec, actor, kind, messages, dead)
            return
        if not isinstance(error, NotEncodable):
            logger.exception("the codec failed to encode a %s", kind or "plain value")
        dead(actor, messages, NotEncodable.code, str(error))
        return
    if len(data) <= FRAME_BYTES or (len(messages) == 1 and len(data) <= MAX_ITEM):
        yield messages, data
    elif len(messages) > 1:
        yield from _halves(codec, actor, kind, messages, dead)
    else:
        dead(actor, messages, "too_long", f"{len(data):,} bytes, at most {MAX_ITEM:,} allowed")


def _halves(
    codec: Codec, actor: str, kind: str, messages: list[Any], dead: Dead
) -> Iterator[tuple[list[Any], bytes]]:
    middle = len(messages) // 2
    yield from _encoded(codec, actor, kind, messages[:middle], dead)
    yield from _encoded(codec, actor, kind, messages[middle:], dead)
