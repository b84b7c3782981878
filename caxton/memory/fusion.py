"""One score of several: cosine, words, neighbours, age, importance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from caxton.memory.backend import Candidate
from caxton.memory.model import Entity, EntityKey, Relation
from caxton.memory.requests import Weights

__all__ = ["Scored", "fuse", "neighbour_scores"]

_DAY_MS = 86_400_000


class Scored(msgspec.Struct, frozen=True):
    """A candidate with its score, 0 to 1."""

    entity: Entity
    score: float
    similarity: float | None


def fuse(
    candidates: Sequence[Candidate],
    weights: Weights,
    *,
    semantic: bool,
    now_ms: int,
    half_life_days: float,
    neighbours: Mapping[EntityKey, float] | None = None,
) -> list[Scored]:
    """Candidates with one score each, the best first; equal ones by name.

    The score is the mean of what each way to look at a candidate gives, by weight: its cosine, its
    words as a part of the best there is, the best score among its neighbours, 2^(-age/half-life),
    and its importance.

    Args:
        candidates: each once.
        weights: of the ways.
        semantic: whether vectors were compared; their weight does not count otherwise.
        now_ms: what an age is counted to.
        half_life_days: above 0.
        neighbours: the best score of the neighbours of each.
    """
    most = max((one.words for one in candidates), default=0.0)
    vector = weights.vector if semantic else 0.0
    near = weights.neighbours if neighbours is not None else 0.0
    total = vector + weights.words + near + weights.recency + weights.importance
    scored = []
    for one in candidates:
        entity = one.entity
        score = vector * max(0.0, one.similarity or 0.0)
        score += weights.words * (one.words / most if most else 0.0)
        if near and neighbours is not None:
            score += near * neighbours.get(entity.key, 0.0)
        if weights.recency:
            age = max(0, now_ms - entity.updated_ms) / _DAY_MS
            score += weights.recency * 2.0 ** (-age / half_life_days)
        score += weights.importance * entity.importance
        score = min(1.0, score / total) if total else 0.0
        scored.append(Scored(entity, score, one.similarity))
    scored.sort(key=lambda one: (-one.score, one.entity.key))
    return scored


def neighbour_scores(
    scored: Iterable[Scored], relations: Iterable[Relation]
) -> dict[EntityKey, float]:
    """The best score among the neighbours of each entity that has one."""
    own = {one.entity.key: one.score for one in scored}
    best: dict[EntityKey, float] = {}
    for relation in relations:
        key = relation.key
        ends = EntityKey(key.scope, key.from_entity), EntityKey(key.scope, key.to_entity)
        for here, there in (ends, ends[::-1]):
            if here != there and there in own:
                best[here] = max(best.get(here, 0.0), own[there])
    return best
