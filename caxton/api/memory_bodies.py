"""The bodies of the memory's routes: read into structs, from which the OpenAPI schema comes too."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from caxton.api.edge import Edge
from caxton.errors import AgentNotFound, EntityTooLarge, MemoryUnavailable, ValidationError
from caxton.memory.client import Memory
from caxton.memory.model import EntityName, EntityType, RelationType, Scope
from caxton.memory.requests import EntityDraft, RelationDraft
from caxton.moments import parse_time
from caxton.types import AgentName, format_id

__all__ = [
    "BATCH",
    "ENTITY_BYTES",
    "MEMORY_BODY_TYPES",
    "OBSERVATION_BYTES",
    "SCOPE",
    "DeleteObservationsBody",
    "DeleteRelationBody",
    "EntityBatchBody",
    "EntityBody",
    "EntityFields",
    "MaintenanceBody",
    "MergeBody",
    "ObservationsBody",
    "RelationBody",
    "check_sizes",
    "entity_draft",
    "memory_of",
    "read_body",
    "relation_draft",
    "who",
]

T = TypeVar("T")

BATCH: Final = 100
"""Entities of one batch."""
OBSERVATION_BYTES: Final = 1024 * 1024
ENTITY_BYTES: Final = 10 * 1024 * 1024
OBSERVATIONS: Final = 10_000
SCOPE: Final = "agent|agent-only|agent_only|workspace|global|agent:[A-Za-z][A-Za-z0-9_-]{0,99}"

Agent = Annotated[
    str, msgspec.Meta(min_length=1, max_length=int(AgentName.high), description="name or id")
]
ScopeText = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^({SCOPE})$",
        description="agent (of agent_id), agent:NAME, workspace or global",
    ),
]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=int(EntityName.high), pattern=r"\S")]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=int(EntityType.high), pattern=r"\S")]
Verb = Annotated[str, msgspec.Meta(min_length=1, max_length=int(RelationType.high), pattern=r"\S")]
Text = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        pattern=r"\S",
        description="at most 1 MiB in UTF-8",
        # Not checked by length: what is too long has a status of its own.
        extra_json_schema={"maxLength": OBSERVATION_BYTES},
    ),
]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=OBSERVATIONS)]
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Source = Annotated[str, msgspec.Meta(max_length=200, description="id of a message")]
Metadata = Annotated[dict[str, Any], msgspec.Meta(description="at most 64 KiB as JSON")]


class EntityFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entity to remember, or more of one that is known."""

    entity_name: Name
    entity_type: Kind
    observations: Annotated[tuple[Text, ...], msgspec.Meta(max_length=OBSERVATIONS)] = ()
    metadata: Metadata = {}
    valid_from: Time | None = None
    valid_to: Time | None = None
    importance: Ratio | None = None
    source: Source = ""


class EntityBody(EntityFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entity to remember, and where."""

    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class EntityBatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """1 to 100 entities. With ``atomic`` all of them are stored or none."""

    entities: Annotated[tuple[EntityFields, ...], msgspec.Meta(min_length=1, max_length=BATCH)]
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None
    atomic: bool = False


class ObservationsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """More observations of a known entity."""

    observations: Texts
    source: Source = ""
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class DeleteObservationsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Observations to forget, by their texts."""

    entity_name: Name
    observations: Texts
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class RelationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relation to remember, or to change."""

    from_entity: Name
    to_entity: Name
    relation_type: Verb
    strength: Ratio | None = None
    confidence: Ratio | None = None
    metadata: Metadata = {}
    valid_from: Time | None = None
    valid_to: Time | None = None
    bidirectional: bool = False
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class DeleteRelationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relation to forget."""

    from_entity: Name
    to_entity: Name
    relation_type: Verb
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class MergeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two entities that are the same: what ``other`` has goes to ``into``."""

    into: Name
    other: Name
    agent_id: Agent | None = None
    memory_scope: ScopeText | None = None


class MaintenanceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do."""

    task: Literal["verify", "optimize", "embed"]


MEMORY_BODY_TYPES: Final = (
    DeleteObservationsBody, DeleteRelationBody, EntityBatchBody, EntityBody, EntityFields,
    MaintenanceBody, MergeBody, ObservationsBody, RelationBody,
)  # fmt: skip

# --- reading ---------------------------------------------------------------------------------

_PLACE: Final = re.compile(r"^(.*?)(?: - at `\$?\.?(.*?)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)


def read_body(body: object, kind: type[T]) -> T:
    """A parsed body as ``kind``.

    Raises:
        ValidationError: it names the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise ValidationError(field="body", value=type(body).__name__, allowed="a JSON object")
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise _told(str(error), body, kind) from None


def _told(text: str, body: object, kind: type[Any]) -> ValidationError:
    """What msgspec says, as an error that names field, value and what is allowed."""
    found = _PLACE.match(text)
    said, place = (found[1], found[2] or "") if found is not None else (text, "")
    steps = [one for one in re.split(r"[.\[\]]+", place) if one]
    known = _FIELD.match(said)
    if known is not None:
        field = ".".join([*steps, known[2][:100]])
        if known[1].startswith("missing"):
            return ValidationError(field=field, value="nothing", allowed="a value")
        return ValidationError(
            field=field, value="an unknown field", allowed=_near(known[2], steps, kind)
        )
    return ValidationError(field=".".join(steps) or "body", value=_at(body, steps), allowed=said)


def _near(name: str, steps: list[str], kind: type[Any]) -> str:
    shown = EntityFields if steps[:1] == ["entities"] else kind
    names = sorted(shown.__struct_fields__)
    near = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}one of {', '.join(names)}"


def _at(body: object, steps: list[str]) -> object:
    """The value at a place; what is around it where that cannot be told."""
    for step in steps:
        if isinstance(body, Mapping) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isdigit() and int(step) < len(body):
            body = body[int(step)]
        else:
            break
    return body if isinstance(body, str | int | float | bool | None) else type(body).__name__


def check_sizes(observations: tuple[str, ...], field: str) -> None:
    """Refuse what is longer than an entity may be.

    Raises:
        EntityTooLarge: an observation has more than 1 MiB, or all of them more than 10 MiB.
    """
    total = 0
    for index, one in enumerate(observations):
        size = len(one.encode())
        if size > OBSERVATION_BYTES:
            raise EntityTooLarge(field=f"{field}.{index}", size=size, limit=OBSERVATION_BYTES)
        total += size
    if total > ENTITY_BYTES:
        raise EntityTooLarge(field=field, size=total, limit=ENTITY_BYTES)


def entity_draft(body: EntityFields, prefix: str = "") -> EntityDraft:
    """The entity that a body asks to remember.

    Args:
        body: what was sent.
        prefix: of the names of its fields in errors.

    Raises:
        ValidationError: a time is none.
        EntityTooLarge: the observations are too long.
    """
    check_sizes(body.observations, f"{prefix}observations")
    return EntityDraft(
        entity_name=body.entity_name,
        entity_type=body.entity_type,
        observations=body.observations,
        metadata=body.metadata,
        valid_from_ms=_when(body.valid_from, f"{prefix}valid_from"),
        valid_to_ms=_when(body.valid_to, f"{prefix}valid_to"),
        importance=body.importance,
        source=body.source,
    )


def relation_draft(body: RelationBody) -> RelationDraft:
    """The relation that a body asks to remember.

    Raises:
        ValidationError: a time is none.
    """
    return RelationDraft(
        from_entity=body.from_entity,
        to_entity=body.to_entity,
        relation_type=body.relation_type,
        strength=body.strength,
        confidence=body.confidence,
        metadata=body.metadata,
        valid_from_ms=_when(body.valid_from, "valid_from"),
        valid_to_ms=_when(body.valid_to, "valid_to"),
        bidirectional=body.bidirectional,
    )


def _when(text: str | None, field: str) -> int | None:
    return None if text is None else parse_time(text, field)


def memory_of(edge: Edge) -> Memory:
    """The memory of the node.

    Raises:
        MemoryUnavailable: it has none.
    """
    memory = edge.entry.memory
    if memory is None:
        raise MemoryUnavailable(backend="none", reason="`memory.enabled` is false")
    return memory


def who(
    edge: Edge, agent_id: str | None, memory_scope: str | None, place: str = ""
) -> dict[str, Any]:
    """On whose behalf a request is made, and of which scope: fields of every request.

    Args:
        edge: of the node.
        agent_id: name or id of an agent; None for an operator.
        memory_scope: as it was given.
        place: begins the names of the fields in errors.

    Raises:
        AgentNotFound: there is no such agent.
        ValidationError: it is no scope.
    """
    agent = None
    if agent_id is not None:
        identity = edge.entry.agent_id(agent_id, f"{place}agent_id")
        agent = edge.entry.agent_name(identity)
        if agent == format_id(identity):
            raise AgentNotFound(agent=agent_id, near="")
    if memory_scope is not None:
        try:
            memory_scope = Scope.parse(memory_scope, agent).key
        except ValidationError as error:
            raise ValidationError(
                field=f"{place}memory_scope", value=memory_scope,
                allowed=str(error.fields["allowed"]),
            ) from None  # fmt: skip
    return {"agent": agent, "memory_scope": memory_scope}
