"""Arrays that grow at their end. What was read from one stays valid when it grows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Column"]

LEAST: Final = 64


class Column:
    """A one-dimensional or two-dimensional array of a fixed kind of value, with room to grow.

    Args:
        dtype: of its values.
        width: values of a row; one value without a second dimension when 0.
    """

    def __init__(self, dtype: DTypeLike, width: int = 0) -> None:
        self._width = width
        self._room: NDArray[Any] = np.zeros(self._shape(0), dtype=dtype)
        self._size = 0

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (rows, self._width) if self._width else (rows,)

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        """All of it. Writing to it changes the column, until it grows."""
        return self._room[: self._size]

    @property
    def bytes(self) -> int:
        """Memory that it takes, room included."""
        return int(self._room.nbytes)

    def extend(self, values: NDArray[Any]) -> None:
        """Put ``values`` behind what is there."""
        size = self._size + len(values)
        if size > len(self._room):
            rows = max(LEAST, size, len(self._room) + len(self._room) // 2)
            room = np.zeros(self._shape(rows), dtype=self._room.dtype)
            room[: self._size] = self._room[: self._size]
            self._room = room
        self._room[self._size : size] = values
        self._size = size

    def replace(self, values: NDArray[Any]) -> None:
        """Hold a copy of ``values`` instead of what is there."""
        self._room = np.array(values, dtype=self._room.dtype)
        self._size = len(values)

    def clear(self) -> None:
        """Hold nothing; the room is kept for what comes."""
        self._size = 0
