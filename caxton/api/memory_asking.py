"""What the handlers of the memory have in common."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from caxton.api.edge import Edge
from caxton.api.memory_bodies import ENTITY_BYTES, memory_of, who
from caxton.errors import ValidationError
from caxton.memory.model import EntityName, fold

__all__ = ["BODY", "TYPES", "ask", "asked_in", "json_answer", "name_in", "scope_text"]

TYPES: Final = 50
"""Types that may be named in one request."""
BODY: Final = 2 * ENTITY_BYTES + 64 * 1024
"""Largest body: its text may take two bytes for one, as in ``\\n``."""
_ONLY: Final = re.compile(r"^(entities|relations)\[0\]\.")
_INDEX: Final = re.compile(r"\[(\d+)\]")
_MS: Final = re.compile(r"\b(valid_from|valid_to)_ms\b")
_encode = msgspec.json.Encoder(enc_hook=str).encode


def json_answer(view: object, status: int = 200) -> Response:
    """The response that shows ``view``."""
    return Response(_encode(view), status, media_type="application/json")


def asked_in(request: Request, edge: Edge) -> dict[str, Any]:
    """On whose behalf, and of which scope: from the query."""
    given = request.query_params
    return who(edge, given.get("agent_id"), given.get("memory_scope"), "query.")


async def ask(edge: Edge, question: Any, asked: dict[str, Any], place: str = "") -> Any:
    """Put a question; what is wrong with it is named as it is called here.

    Args:
        edge: of the node.
        question: one of ``caxton.memory.requests``.
        asked: on whose behalf, and of which scope.
        place: begins the names of fields in errors.
    """
    try:
        return await memory_of(edge).ask(msgspec.structs.replace(question, **asked))
    except ValidationError as error:
        field = str(error.fields.get("field", ""))
        if len(getattr(question, "entities", getattr(question, "relations", ()))) == 1:
            field = _ONLY.sub("", field)
        error.fields["field"] = place + _INDEX.sub(r".\1", _MS.sub(r"\1", field))
        raise


def scope_text(asked: dict[str, Any]) -> str:
    """Where was looked, for an error."""
    return str(asked["memory_scope"] or "every scope that may be read")


def name_in(request: Request, parameter: str = "name") -> str:
    """The name of an entity in the path.

    Raises:
        ValidationError: no entity can be called so.
    """
    name = EntityName.parse(request.path_params[parameter], f"path.{parameter}")
    if not fold(name):
        raise ValidationError(field=f"path.{parameter}", value=name, allowed="more than spaces")
    return name
