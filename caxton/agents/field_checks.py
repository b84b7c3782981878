"""Checking the values of an agent file: collects everything wrong, with its place.

``Checks`` walks the plain values of the front matter. A check that fails notes an error and gives
back ``None``, so that one look at a file finds all that is wrong with it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from caxton.agents.places import FrontMatter, Key, Place
from caxton.errors import AgentFileInvalid

__all__ = ["AgentFileWarning", "Checks", "Reader", "dotted"]

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000}
_UNITS_BYTES: Final = {
    "": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
    "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000,
}  # fmt: skip
_UNITS_RATE: Final = {"s": 1.0, "second": 1.0, "minute": 60.0, "min": 60.0, "hour": 3600.0}
_QUANTITY = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)\s*(?P<unit>[A-Za-z]{0,6})")
_RATE = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*/\s*(?P<unit>[a-z]+)")

Reader = Callable[["Checks", Any, Key], Any]
"""Checks one value and gives back its typed form, or None after noting an error."""


@dataclass(frozen=True, slots=True)
class AgentFileWarning:
    """Something an author should know; the agent runs all the same."""

    file: str
    line: int
    column: int
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} `{self.field}`: {self.text}"


def dotted(path: Key) -> str:
    """A path as people write it: ``llm.fallback[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"


def shown(value: object) -> str:
    """A given value, short enough for an error text."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 24 else f"{text[:23]}…"


class Checks:
    """The errors and warnings of one file."""

    def __init__(self, file: str, front: FrontMatter | None = None) -> None:
        self.file = file
        self.front = front
        self.errors: list[AgentFileInvalid] = []
        self.warnings: list[AgentFileWarning] = []

    def place(self, path: Key, *, of_key: bool = False) -> Place:
        """Where ``path`` is in the file, or the nearest thing around it that has a place."""
        if self.front is None:
            return (1, 1)
        first, second = self.front.values, self.front.keys
        if of_key:
            first, second = second, first
        while True:
            found = first.get(path) or second.get(path)
            if found is not None:
                return found
            if not path:
                return (1, 1)
            path = path[:-1]

    def fail(
        self,
        path: Key,
        value: object,
        rule: str,
        suggestion: str = "",
        *,
        place: Place | None = None,
    ) -> None:
        """Note an error. ``rule`` says what is given and what is allowed."""
        line, column = place or self.place(path)
        self.errors.append(
            AgentFileInvalid(
                file=self.file,
                line=line,
                column=column,
                field=dotted(path),
                value=shown(value),
                rule=rule,
                suggestion=suggestion,
            )
        )

    def refuse(self, path: Key, value: object, allowed: str, suggestion: str = "") -> None:
        """Note that a value is not what is allowed."""
        hint = f"; try {suggestion}" if suggestion else ""
        self.fail(path, value, f"{shown(value)} given, {allowed} allowed{hint}", suggestion)

    def warn(self, path: Key, text: str, *, of_key: bool = True) -> None:
        """Note a warning."""
        line, column = self.place(path, of_key=of_key)
        self.warnings.append(AgentFileWarning(self.file, line, column, dotted(path), text))

    def unknown(self, path: Key, known: Iterable[str], what: str = "key") -> None:
        """Warn of a key that means nothing here, with the nearest one that does."""
        name = str(path[-1])
        near = nearest(name, known)
        if near:
            self.warn(path, f"unknown {what} `{shown(name)}`, did you mean `{near}`?")
        else:
            self.warn(path, f"unknown {what} `{shown(name)}` is kept and has no effect")

    def table(
        self, value: Any, path: Key, rows: Mapping[str, tuple[str, Reader]]
    ) -> dict[str, Any]:
        """Read a mapping by its rows: key to (attribute, reader). Gives what was valid."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(path, value, f"a mapping with {', '.join(list(rows)[:4])}, …")
            return {}
        found: dict[str, Any] = {}
        for key, item in value.items():
            row = rows.get(key) or rows.get(key.replace("-", "_"))
            if row is None:
                self.unknown((*path, key), rows)
                continue
            attribute, reader = row
            if item is not None:
                read = reader(self, item, (*path, key))
                if read is not None:
                    found[attribute] = read
        return found

    # --- values ------------------------------------------------------------------------------

    def text(self, value: Any, path: Key, high: int) -> str | None:
        """A text of at most ``high`` characters."""
        if isinstance(value, str) and len(value) <= high and "\0" not in value:
            return value
        given = f"{len(value):,} characters" if isinstance(value, str) else value
        self.refuse(path, given, f"text of at most {high:,} characters")
        return None

    def integer(self, value: Any, path: Key, low: int, high: int) -> int | None:
        """A whole number from ``low`` to ``high``."""
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.refuse(path, value, f"a whole number from {low:,} to {high:,}")
        return None

    def number(self, value: Any, path: Key, low: float, high: float) -> float | None:
        """A number from ``low`` to ``high``."""
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self.refuse(path, value, f"{low:g} to {high:g}")
        return None

    def boolean(self, value: Any, path: Key) -> bool | None:
        """True or false."""
        if isinstance(value, bool):
            return value
        self.refuse(path, value, "true or false")
        return None

    def choice(self, value: Any, path: Key, options: tuple[str, ...]) -> str | None:
        """One of ``options``."""
        if isinstance(value, str) and value in options:
            return value
        near = nearest(value, options) if isinstance(value, str) else ""
        self.refuse(path, value, " or ".join(options), near)
        return None

    def duration_ms(self, value: Any, path: Key, low: int, high: int) -> int | None:
        """A time such as ``30s``, ``500ms`` or ``2m``; a bare number counts seconds."""
        found = None
        if isinstance(value, str):
            match = _QUANTITY.fullmatch(value.strip())
            unit = _UNITS_MS.get(match["unit"].lower() or "s") if match else None
            found = float(match["number"]) * unit if match and unit else None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = float(value) * 1_000
        if found is not None and math.isfinite(found) and low <= found <= high:
            return round(found)
        self.refuse(path, value, f"{low:,} ms to {high // 1_000:,} s, such as 30s")
        return None

    def size_bytes(self, value: Any, path: Key, low: int, high: int) -> int | None:
        """A size such as ``16MiB``; a bare number counts bytes."""
        found = None
        if isinstance(value, str):
            match = _QUANTITY.fullmatch(value.strip())
            unit = _UNITS_BYTES.get(match["unit"].lower()) if match else None
            found = float(match["number"]) * unit if match and unit else None
        elif isinstance(value, int) and not isinstance(value, bool):
            found = value
        if found is not None and low <= found <= high:
            return round(found)
        self.refuse(path, value, f"{low >> 10} KiB to {high >> 20} MiB, such as 16MiB")
        return None

    def rate(self, value: Any, path: Key) -> float | None:
        """Messages a second: a number, or a text such as ``100/minute``."""
        found: float | None = None
        if isinstance(value, str):
            match = _RATE.fullmatch(value.strip())
            per = _UNITS_RATE.get(match["unit"]) if match else None
            found = float(match["number"]) / per if match and per else None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = float(value)
        if found is not None and 0 < found <= 100_000:
            return found
        self.refuse(path, value, "up to 100,000 a second, such as 10/s or 100/minute")
        return None

    def names(
        self, value: Any, path: Key, pattern: re.Pattern[str], high: int, allowed: str
    ) -> tuple[tuple[str, Key], ...]:
        """A list of names, or a text with commas; each that matches, with its path."""
        items: list[tuple[Any, Key]]
        if isinstance(value, str):
            items = [(part, path) for part in split_commas(value)]
        elif isinstance(value, list):
            items = [(item, (*path, index)) for index, item in enumerate(value)]
        else:
            self.refuse(path, value, "a list of names, or names with commas")
            return ()
        if len(items) > high:
            self.refuse(path, f"{len(items)} names", f"at most {high}")
            return ()
        found: dict[str, Key] = {}
        for item, at in items:
            if isinstance(item, str) and pattern.fullmatch(item):
                found.setdefault(item, at)
            else:
                self.refuse(at, item, allowed)
        return tuple(found.items())


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that ``name`` was probably meant to be, or nothing."""
    plain = name.lower().replace("-", "_")[:64]
    found = difflib.get_close_matches(plain, list(known), n=1, cutoff=0.75)
    return found[0] if found else ""


def split_commas(text: str) -> list[str]:
    """The parts of a text with commas; commas inside parentheses do not part."""
    parts = re.findall(r"(?:[^,(]|\([^)]*\)?)+", text)
    return [part.strip() for part in parts if part.strip()]
