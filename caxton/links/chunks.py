"""Cutting batches so that every frame stays far below the largest one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

__all__ = ["CHUNK_BYTES", "CHUNK_ITEMS", "chunks"]

T = TypeVar("T")

CHUNK_ITEMS: Final = 512
CHUNK_BYTES: Final = 8 * 1024 * 1024


def chunks(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """``items`` in order, in parts of at most 512 items and 8 MiB; one item may be larger."""
    start = 0
    total = 0
    for position, item in enumerate(items):
        more = size(item)
        if position > start and (position - start >= CHUNK_ITEMS or total + more > CHUNK_BYTES):
            yield items[start:position]
            start, total = position, 0
        total += more
    if start < len(items):
        yield items[start:]
