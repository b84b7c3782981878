"""Reads the memory's store: one read transaction for each answer, none across an ``await``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.backend import Direction, Graph, GraphQuery, PathQuery, Selection, Vectors
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope

__all__ = ["Facts", "Moment", "Page", "Reader", "RelationPage", "Row"]


class Facts(msgspec.Struct, frozen=True):
    """What is known of entities without their texts: one array for each column, by ``eid``."""

    eid: NDArray[np.uint64]
    scope: NDArray[np.uint32]
    type: NDArray[np.uint32]
    model: NDArray[np.uint16]
    """Number of the model of its vectors; 0 when it has none."""
    parts: NDArray[np.uint16]
    valid_from: NDArray[np.int64]
    valid_to: NDArray[np.int64]


class Row(msgspec.Struct, frozen=True):
    """An entity with what the store knows of it besides."""

    eid: int
    entity: Entity
    vectors: Vectors | None = None


class Page(msgspec.Struct, frozen=True):
    """Some rows, and after what the next ones begin; None at the end."""

    rows: list[Row]
    after: bytes | None


class RelationPage(msgspec.Struct, frozen=True):
    """Some relations, and after what the next ones begin; None at the end."""

    relations: list[Relation]
    after: bytes | None


class Moment:
    """One moment of the store. Valid within ``with reader.moment()`` only, on one thread."""

    @property
    def last_seq(self) -> int:
        """Number of the last change of entities."""
        raise NotImplementedError

    def facts(self) -> Facts:
        """Of all entities, ascending by ``eid``."""
        raise NotImplementedError

    def facts_of(self, eids: Sequence[int]) -> Facts:
        """Of some; unknown ones are left out."""
        raise NotImplementedError

    def vector_blocks(
        self, model: int, rows: int = 16_384
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float16]]]:
        """All vectors of a model, ascending by ``(eid, part)``: ``eids[n]``, ``vectors[n, d]``."""
        raise NotImplementedError

    def term_blocks(
        self, rows: int = 16_384
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]]:
        """The terms of all texts: ``eids[n]``, ``lengths[n]``, and all terms behind each other."""
        raise NotImplementedError

    def vectors(self, places: Sequence[tuple[int, int]], dimension: int) -> NDArray[np.float16]:
        """The vectors of many ``(eid, part)``: ``[n, dimension]``; zeros where there is none."""
        raise NotImplementedError

    def vectors_of(self, eid: int, model: int) -> NDArray[np.float16] | None:
        """``[parts, dimension]`` of one entity; None where it has none of ``model``."""
        raise NotImplementedError

    def terms_of(self, eid: int) -> NDArray[np.uint32]:
        """Numbers of the terms of an entity's text, in their order."""
        raise NotImplementedError

    def term_ids(self, terms: Sequence[str]) -> list[int | None]:
        """Numbers of terms; None for one that no text has had."""
        raise NotImplementedError

    def scope_ids(self, scopes: Sequence[Scope]) -> list[int]:
        """Numbers of scopes; those that have never held anything are left out."""
        raise NotImplementedError

    def type_ids(self, types: Sequence[str]) -> list[int]:
        """Numbers of entity types; unknown ones are left out."""
        raise NotImplementedError

    def changes_after(self, seq: int) -> Iterator[tuple[int, list[int]]]:
        """Sequence number and the entities it changed, ascending, after ``seq``.

        What became of them is read with ``facts_of``: those it leaves out are removed.
        """
        raise NotImplementedError

    @property
    def first_seq(self) -> int:
        """The first change that is still kept; ``last_seq + 1`` when there is none."""
        raise NotImplementedError

    def eid(self, key: EntityKey) -> int | None:
        """The number of an entity."""
        raise NotImplementedError

    def entity(self, eid: int) -> Entity | None:
        """An entity by its number."""
        raise NotImplementedError


class Reader:
    """The store for reading, also in other processes while it is written. Thread-safe.

    Args:
        path: folder of the LMDB environment.

    Raises:
        StorageError: it does not open.
    """

    def __init__(self, path: Path, *, map_bytes: int) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def moment(self) -> Iterator[Moment]:
        """One read transaction. Never hold it across an ``await``."""
        raise NotImplementedError

    def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """The entities of ``keys``, in order."""
        raise NotImplementedError

    def relations(
        self, keys: Sequence[EntityKey], direction: Direction = "both"
    ) -> list[Relation]:
        """All relations from and to the entities of ``keys``, once each."""
        raise NotImplementedError

    def relation(self, key: RelationKey) -> Relation | None:
        """One relation."""
        raise NotImplementedError

    def page(
        self,
        selection: Selection,
        *,
        after: bytes = b"",
        limit: int = 500,
        vectors_of: int = 0,
        lacking: int | None = None,
    ) -> Page:
        """Entities of a selection by scope and name, after those of an earlier page.

        Args:
            vectors_of: with their vectors of this model.
            lacking: only those that have no vectors of this model.
        """
        raise NotImplementedError

    def relation_page(
        self, scopes: Sequence[Scope] | None, *, after: bytes = b"", limit: int = 500
    ) -> RelationPage:
        """Relations of scopes in a fixed order, after those of an earlier page."""
        raise NotImplementedError

    def walk(self, query: GraphQuery) -> Graph:
        """What is around an entity."""
        raise NotImplementedError

    def path(self, query: PathQuery) -> Graph:
        """One shortest way."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError
