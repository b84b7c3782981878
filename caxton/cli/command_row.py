"""One row of the command table."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CommandRow"]


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command."""

    path: tuple[str, ...]
    """Words after ``caxton``."""
    target: str
    """``module:attribute`` of its click command, below ``caxton.cli.commands``."""
    section: str
    """Where the main help lists it."""
    summary: str
    """One line that does not repeat the command's words."""
    read_only: bool
    """True when it changes nothing on the node and on disk."""
    examples: tuple[str, ...]
    """Whole command lines."""
    also: tuple[tuple[str, ...], ...] = ()
    """Other paths to it that are shown as aliases."""

    @property
    def name(self) -> str:
        """As it is typed after ``caxton``."""
        return " ".join(self.path)
