"""How long a request may take; the service ends it then, and those who ask wait a little longer."""

from __future__ import annotations

from typing import Any, Final

from caxton.memory.requests import Clear, ExportPage, Import, Maintain, Request, Search

__all__ = ["deadline_s"]

DEADLINE_S: Final = 30.0
DEADLINES_S: Final[dict[type[Any], float]] = {
    Search: 15.0,
    Clear: 600.0,
    Import: 120.0,
    ExportPage: 120.0,
    Maintain: 3_600.0,
}


def deadline_s(request: Request) -> float:
    """Longest time that ``request`` may take, in seconds."""
    return DEADLINES_S.get(type(request), DEADLINE_S)
