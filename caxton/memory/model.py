"""What is remembered: entities with observations, and typed relations, each in one scope."""

from __future__ import annotations

import enum
import unicodedata
from functools import lru_cache
from typing import Any, Final

import msgspec

from caxton.errors import ValidationError
from caxton.types import AgentName, Bound

__all__ = [
    "GLOBAL",
    "WORKSPACE",
    "Entity",
    "EntityKey",
    "EntityName",
    "EntityType",
    "Observation",
    "Relation",
    "RelationKey",
    "RelationType",
    "Scope",
    "ScopeKind",
    "embedding_text",
    "fold",
]

EntityName: Final = Bound("EntityName", str, 1, 200)
EntityType: Final = Bound("EntityType", str, 1, 100)
RelationType: Final = Bound("RelationType", str, 1, 100)
ObservationBytes: Final = Bound("ObservationBytes", int, 1, 1024 * 1024, unit="bytes")
EntityBytes: Final = Bound("EntityBytes", int, 1, 10 * 1024 * 1024, unit="bytes")
ObservationCount: Final = Bound("ObservationCount", int, 0, 10_000, unit="observations")
MetadataBytes: Final = Bound("MetadataBytes", int, 0, 64 * 1024, unit="bytes")
TimeMs: Final = Bound("TimeMs", int, -62_135_596_800_000, 253_402_300_799_999, unit="ms")
"""From year 1 to year 9999."""
Strength: Final = Bound("Strength", float, 0.0, 1.0, 0.5)
Confidence: Final = Bound("Confidence", float, 0.0, 1.0, 1.0)
Importance: Final = Bound("Importance", float, 0.0, 1.0, 0.5)

_ALIASES: Final = {"agent-only": "agent", "agent_only": "agent"}


class ScopeKind(enum.StrEnum):
    """Who shares a part of the memory."""

    AGENT = "agent"
    """One agent."""
    WORKSPACE = "workspace"
    """The agents of this node's workspace."""
    GLOBAL = "global"
    """Everybody."""


class Scope(msgspec.Struct, frozen=True, order=True):
    """One part of the memory, apart from the others. Names are unique within it."""

    kind: ScopeKind
    owner: str = ""
    """Name of the agent, folded, where ``kind`` is ``agent``."""

    @property
    def key(self) -> str:
        """Its one text: ``agent:NAME``, ``workspace`` or ``global``."""
        return f"{self.kind}:{self.owner}" if self.owner else str(self.kind)

    @classmethod
    def of_agent(cls, name: str) -> Scope:
        """The scope of the agent called ``name``.

        Raises:
            ValidationError: no agent can be called so.
        """
        return _scope_of_agent(name)

    @classmethod
    def parse(cls, text: str, agent: str | None = None) -> Scope:
        """A scope from its text. ``agent`` alone is that of the agent named ``agent``.

        Raises:
            ValidationError: it is none.
        """
        kind, _, owner = text.partition(":")
        kind = _ALIASES.get(kind, kind)
        if kind == ScopeKind.AGENT and (owner or agent):
            return cls.of_agent(owner or agent or "")
        if kind in (ScopeKind.WORKSPACE, ScopeKind.GLOBAL) and not owner:
            return cls(ScopeKind(kind))
        raise ValidationError(
            field="memory_scope", value=text, allowed="agent, agent:NAME, workspace or global"
        )


WORKSPACE: Final = Scope(ScopeKind.WORKSPACE)
GLOBAL: Final = Scope(ScopeKind.GLOBAL)


class EntityKey(msgspec.Struct, frozen=True, order=True):
    """What names an entity: its scope and its folded name."""

    scope: Scope
    name: str

    @classmethod
    def of(cls, scope: Scope, name: str) -> EntityKey:
        """The key of the entity called ``name``, however that is written."""
        return cls(scope, fold(name))


class RelationKey(msgspec.Struct, frozen=True, order=True):
    """What names a relation: both its ends, folded, and its type."""

    scope: Scope
    from_entity: str
    relation_type: str
    to_entity: str

    @classmethod
    def of(cls, scope: Scope, from_entity: str, relation_type: str, to_entity: str) -> RelationKey:
        """The key of a relation, however its ends are written."""
        return cls(scope, fold(from_entity), relation_type, fold(to_entity))


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One thing that was seen of an entity."""

    text: str
    at_ms: int
    """When it was noted, in ms since 1970."""
    source: str = ""
    """Id of the message it comes from."""


class Entity(msgspec.Struct, frozen=True, gc=False):
    """Something that is remembered. Holds no cycle, so that collections need not look at it."""

    scope: Scope
    entity_name: str
    """As it was first written; unique in its scope without regard to case."""
    entity_type: str
    observations: tuple[Observation, ...] = ()
    """In the order in which they came; no two have the same text."""
    metadata: dict[str, Any] = {}
    valid_from_ms: int | None = None
    """From when it holds; always, when None."""
    valid_to_ms: int | None = None
    """Until when it holds, that moment not included."""
    importance: float = 0.5
    """0 to 1; counts in a search only where that is asked for."""
    created_ms: int = 0
    updated_ms: int = 0
    version: int = 1
    """Grows by one with each change."""

    @property
    def key(self) -> EntityKey:
        """What names it."""
        return EntityKey.of(self.scope, self.entity_name)

    def holds_at(self, at_ms: int) -> bool:
        """Whether it holds at a moment."""
        return _holds(self.valid_from_ms, self.valid_to_ms, at_ms)


class Relation(msgspec.Struct, frozen=True, gc=False):
    """That one entity has to do with another of the same scope. One for each pair and type."""

    scope: Scope
    from_entity: str
    to_entity: str
    relation_type: str
    strength: float = 0.5
    """0 to 1."""
    confidence: float = 1.0
    """0 to 1."""
    metadata: dict[str, Any] = {}
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    created_ms: int = 0
    updated_ms: int = 0
    version: int = 1

    @property
    def key(self) -> RelationKey:
        """What names it."""
        return RelationKey.of(self.scope, self.from_entity, self.relation_type, self.to_entity)

    def holds_at(self, at_ms: int) -> bool:
        """Whether it holds at a moment."""
        return _holds(self.valid_from_ms, self.valid_to_ms, at_ms)


@lru_cache(4_096)
def _scope_of_agent(name: str) -> Scope:
    """Asked for with each request of an agent."""
    return Scope(ScopeKind.AGENT, fold(AgentName.parse(name, "agent_id")))


def _holds(start_ms: int | None, end_ms: int | None, at_ms: int) -> bool:
    return (start_ms is None or start_ms <= at_ms) and (end_ms is None or at_ms < end_ms)


def fold(name: str) -> str:
    """A name as names are compared: NFC, without case, spaces at its ends, or runs of them."""
    if name.isascii():
        return " ".join(name.lower().split())
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def embedding_text(entity: Entity) -> str:
    """What of an entity is embedded and searched for words: name, type, observations."""
    lines = [f"{entity.entity_name} ({entity.entity_type})"]
    lines += [one.text for one in entity.observations]
    return "\n".join(lines)
