"""A histogram of plain ints: cheap to add to, cheap to send, good to about 10 %."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Histogram"]

_SUB = 8
"""Buckets per doubling."""


class Histogram:
    """Counts of non-negative integers in buckets that grow by an eighth of a doubling.

    The answer of ``quantile`` is within 12.5 % of the true value.
    """

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0

    def add(self, value: int, times: int = 1) -> None:
        """Count ``value`` ``times`` times."""
        if value < _SUB:
            index = max(value, 0)
        else:
            shift = value.bit_length() - 4
            index = (shift << 3) + (value >> shift)
        self.buckets[index] = self.buckets.get(index, 0) + times
        self.count += times
        self.total += value * times

    def add_all(self, values: Sequence[int]) -> None:
        """Count each of many values."""
        buckets = self.buckets
        for value in values:
            if value < _SUB:
                index = max(value, 0)
            else:
                shift = value.bit_length() - 4
                index = (shift << 3) + (value >> shift)
            buckets[index] = buckets.get(index, 0) + 1
        self.count += len(values)
        self.total += sum(values)

    def quantile(self, q: float) -> int:
        """The value below which the share ``q`` of all values lies; 0 when there is none."""
        if not self.count:
            return 0
        left = q * self.count
        for index in sorted(self.buckets):
            left -= self.buckets[index]
            if left <= 0:
                return self._upper(index)
        return self._upper(max(self.buckets))

    @staticmethod
    def _upper(index: int) -> int:
        if index < 2 * _SUB:
            return index
        shift = (index >> 3) - 1
        base = index - (shift << 3)
        return ((base + 1) << shift) - 1

    def up_to(self, bounds: Sequence[int]) -> list[int]:
        """How many values are at most each of ``bounds``, which rise."""
        found: list[int] = []
        known = sorted(self.buckets)
        position = count = 0
        for bound in bounds:
            while position < len(known) and self._upper(known[position]) <= bound:
                count += self.buckets[known[position]]
                position += 1
            found.append(count)
        return found

    def clear(self) -> None:
        """Start again."""
        self.buckets.clear()
        self.count = 0
        self.total = 0
