"""One row of the route table, and what it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from caxton.api.edge import Edge

__all__ = ["Good", "Parameter", "Route"]

Handler = Callable[[Request, Edge], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a route."""

    name: str
    description: str
    schema: dict[str, Any]
    where: str = "query"
    """``query``, ``path`` or ``header``."""
    required: bool = False
    """Besides those in the path, which always are."""


@dataclass(frozen=True, slots=True)
class Good:
    """One answer that is no problem document."""

    status: int
    description: str
    schema: str = ""
    """Name of the component; empty for a body that is no JSON."""
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """One row."""

    method: str
    path: str
    handler: Handler
    summary: str
    good: tuple[Good, ...]
    problems: tuple[int, ...] = ()
    """Statuses with a problem document, besides those of every route."""
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    """Name of the request body's component."""
    match: str = ""
    """The path as requests are matched with it, where a parameter may hold slashes."""
    query: frozenset[str] = field(init=False)
    """Names of the query parameters."""

    def __post_init__(self) -> None:
        """Collect what is looked up for every request."""
        names = frozenset(one.name for one in self.parameters if one.where == "query")
        object.__setattr__(self, "query", names)
