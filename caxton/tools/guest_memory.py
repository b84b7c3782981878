"""The memory as tools and WebAssembly agents search it."""

from __future__ import annotations

from typing import Any

from caxton.errors import CaxtonError, NotAuthorized, ValidationError
from caxton.memory.client import Memory
from sandbox.services.answerer import MemorySearch
from sandbox.services.request import Refusal, ServiceError

__all__ = ["guest_search"]

SHOWN = 20
"""Observations of an entity that a guest is given; the newest."""
SHOWN_CHARACTERS = 2_000
"""Of one observation."""


def guest_search(memory: Memory | None) -> MemorySearch | None:
    """Searches the memory of the agent that granted it; its own scope only."""
    if memory is None:
        return None
    known = memory

    async def search(agent: str, query: str, limit: int) -> list[dict[str, Any]]:
        try:
            found = await known.of(agent).search(query, limit, memory_scope="agent")
        except NotAuthorized as error:
            raise ServiceError(Refusal.NOT_GRANTED, error.detail) from error
        except ValidationError as error:
            raise ServiceError(Refusal.BAD_REQUEST, error.detail) from error
        except CaxtonError as error:
            raise ServiceError(Refusal.UNAVAILABLE, error.detail) from error
        return [
            {
                "entity_name": one.entity.entity_name,
                "entity_type": one.entity.entity_type,
                "observations": [
                    seen.text[:SHOWN_CHARACTERS] for seen in one.entity.observations[-SHOWN:]
                ],
                "score": round(one.score, 4),
            }
            for one in found.results
        ]

    return search
