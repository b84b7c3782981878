"""Texts that are never printed."""

from __future__ import annotations

from typing import Self

__all__ = ["Secret"]


class Secret(str):
    """A text that shows as ``***`` wherever it is printed; ``reveal`` gives the value."""

    __slots__ = ()

    def __new__(cls, value: str = "") -> Self:
        """Wrap a text; wrapping twice is wrapping once."""
        if isinstance(value, Secret):
            value = value.reveal()
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return "'***'" if self else "''"

    def __str__(self) -> str:
        return "***" if self else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self) -> str:
        """The value itself, for the one place that must send it."""
        return str.__str__(self)
