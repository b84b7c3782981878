"""Descriptions of exported functions, out of a component's ``package-docs`` section.

The section is one byte, the version (0 or 1), and a JSON object: ``interfaces`` by name, each with
``funcs`` by name, and ``worlds``, whose ``funcs`` and ``func_exports`` are at the top. A function's
entry is its text (version 0) or an object with ``docs``. What does not fit is no description.
"""

from __future__ import annotations

import json
from typing import Final

__all__ = ["DOCS_CHARS", "Docs", "custom_section"]

SECTION: Final = "package-docs"

DOCS_CHARS: Final = 4_000
"""Longest description that is kept, in characters."""

SECTION_BYTES: Final = 1 << 20
"""Largest section that is read."""

_HEADER: Final = 8
_CUSTOM: Final = 0


class Docs:
    """The descriptions in a component's bytes."""

    def __init__(self, component: bytes) -> None:
        self._package = _package(component)

    def of(self, interface: str, name: str) -> str:
        """The description of a function, or an empty text."""
        short = interface.partition("@")[0].rpartition("/")[2]
        places: list[object] = []
        for world in _parts(self._package, "worlds"):
            if interface:
                places += [_part(world, each) for each in ("interface_exports", "interfaces")]
            else:
                places += [_part(world, each) for each in ("func_exports", "funcs")]
        if interface:
            places.append(_part(self._package, "interfaces"))
            places = [_part(_part(place, short), "funcs") for place in places]
        for place in places:
            found = _part(place, name)
            text = found if isinstance(found, str) else _part(found, "docs")
            if isinstance(text, str) and text.strip():
                return text.strip()[:DOCS_CHARS]
        return ""


def custom_section(component: bytes, name: str) -> bytes | None:
    """The content of the first custom section of this name at the top; None if there is none."""
    at, end = _HEADER, len(component)
    while at < end:
        kind = component[at]
        size, at = _leb128(component, at + 1)
        if size is None or at + size > end:
            return None
        if kind == _CUSTOM:
            length, start = _leb128(component, at)
            if length is None or start + length > at + size:
                return None
            if component[start : start + length] == name.encode():
                return component[start + length : at + size]
        at += size
    return None


def _package(component: bytes) -> object:
    section = custom_section(component, SECTION)
    if not section or len(section) > SECTION_BYTES or section[0] > 1:
        return {}
    try:
        return json.loads(section[1:])
    except (ValueError, RecursionError):
        return {}


def _part(of: object, name: str) -> object:
    return of.get(name) if isinstance(of, dict) else None


def _parts(of: object, name: str) -> list[object]:
    part = _part(of, name)
    return list(part.values()) if isinstance(part, dict) else []


def _leb128(data: bytes, at: int) -> tuple[int | None, int]:
    value = shift = 0
    for byte in data[at : at + 5]:
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    return None, at
