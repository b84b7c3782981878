"""What reading front matter gives: plain values, and where in the file each of them is.

A place is a line and a column, both from 1, counted in the whole file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["MAX_DEPTH", "MAX_VALUES", "FrontMatter", "FrontMatterError", "Key", "Place"]

MAX_DEPTH: Final = 16
MAX_VALUES: Final = 5_000
"""Most values, counted with what each alias stands for: an alias bomb ends here."""

Place = tuple[int, int]
Key = tuple[str | int, ...]


class FrontMatterError(Exception):
    """The front matter cannot be read: where, and which rule it breaks."""

    def __init__(self, place: Place, rule: str, value: str = "") -> None:
        super().__init__(rule)
        self.place = place
        self.rule = rule
        self.value = value


@dataclass(slots=True)
class FrontMatter:
    """What was read."""

    data: dict[str, Any]
    body: str
    """All after the front matter, verbatim."""
    keys: dict[Key, Place] = field(default_factory=dict)
    """Where each key or list item begins, by its path."""
    values: dict[Key, Place] = field(default_factory=dict)
    """Where each value begins, by its path."""
    lenient: FrontMatterError | None = None
    """Set when it was not strict YAML and was read line by line: what the parser said."""
