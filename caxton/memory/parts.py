"""The text of an entity in parts that a model reads whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from caxton.memory.model import Entity

__all__ = ["PARTS", "TOKENS", "parts_of"]

TOKENS: Final = 256
"""What the model reads of one text."""
PARTS: Final = 32
"""Most parts of one entity; those in between are found by words only."""
_LETTERS: Final = 3
"""Of one token, at the least: words are shorter in code than in prose."""
_HEAD_TOKENS: Final = 100


def _tokens(text: str) -> int:
    """About how many tokens a text has, rather too many: others than Latin letters count whole."""
    plain = len(text.encode("ascii", "ignore"))
    return plain // _LETTERS + (len(text) - plain) + 1


def _pieces(text: str, room: int) -> Iterator[str]:
    """A text cut between words, and within them where one is too long."""
    start = 0
    while start < len(text):
        end = start + room * _LETTERS
        while _tokens(text[start:end]) > room and end - start > 1:
            end = start + max(1, (end - start) // 2)
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = space if space > start + (end - start) // 2 else end
        yield text[start:end]
        start = end


def parts_of(entity: Entity) -> list[str]:
    """What is embedded of ``entity``: 1 to 32 texts, each with its name and type.

    A part that is full stays as it is when observations are added. Of more than there is room for,
    the first and the newest count.
    """
    head = f"{entity.entity_name} ({entity.entity_type})"
    room = TOKENS - min(_tokens(head), _HEAD_TOKENS)
    parts: list[list[str]] = []
    left = 0
    for observation in entity.observations:
        for piece in _pieces(observation.text, room):
            size = _tokens(piece)
            if size > left:
                parts.append([])
                left = room
            parts[-1].append(piece)
            left -= size
    kept = parts if len(parts) <= PARTS else [parts[0], *parts[1 - PARTS :]]
    return ["\n".join([head, *part]) for part in kept] or [head]
