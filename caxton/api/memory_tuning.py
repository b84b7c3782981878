"""The route of the memory's settings."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from caxton.api.bodies import json_body
from caxton.api.edge import Edge
from caxton.api.memory_asking import BODY, json_answer
from caxton.api.memory_bodies import memory_of
from caxton.errors import ValidationError
from caxton.memory.config_view import MemoryConfig
from caxton.memory.requests import Configure
from caxton.memory.tuning import TUNABLE, check_changes

__all__ = ["config", "set_config"]


async def config(_request: Request, edge: Edge) -> Response:
    """GET /api/v1/memory/config."""
    return json_answer(await memory_of(edge).config())


async def set_config(request: Request, edge: Edge) -> Response:
    """PUT /api/v1/memory/config. What is not named stays as it is."""
    async with json_body(request, edge, BODY) as given:
        if not isinstance(given, dict) or not given:
            raise ValidationError(
                field="body",
                value=type(given).__name__ if given or not isinstance(given, dict) else "nothing",
                allowed=f"an object with some of {', '.join(TUNABLE)}",
            )
        changes = check_changes(given)
    answer: MemoryConfig = await memory_of(edge).ask(Configure(changes=changes))
    return json_answer(answer)
