"""Reads the memory's store: one read transaction for each answer, none across an ``await``."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from caxton.errors import StorageCorrupt
from caxton.memory.backend import (
    BackendStats,
    Direction,
    Fault,
    Graph,
    GraphQuery,
    PathQuery,
    Selection,
)
from caxton.memory.embedded import pages, verification, walking
from caxton.memory.embedded.blocks import Facts
from caxton.memory.embedded.layout import SCOPE, TYPE
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.opened import NAME, Opened
from caxton.memory.embedded.pages import Page, RelationPage, Row
from caxton.memory.model import Entity, EntityKey, Relation, RelationKey, Scope

__all__ = ["Facts", "Moment", "Page", "Reader", "RelationPage", "Row"]

MAP_BYTES: Final = 1 << 30


class Reader:
    """The store for reading, also in other processes while it is written. Thread-safe.

    Within the writing process it is ``Store.reader``.

    Args:
        path: folder of the LMDB environment.
        map_bytes: size of the map at first; it follows that of the writer.

    Raises:
        StorageError: it does not open.
        ForeignFolder: a later version made it.
    """

    def __init__(self, path: Path, *, map_bytes: int = MAP_BYTES) -> None:
        self._opened = Opened(path, map_bytes=map_bytes, readonly=True)
        self._texts: dict[tuple[bytes, int], str] = {}
        self._scopes: dict[int, Scope] = {}

    @classmethod
    def of(cls, opened: Opened) -> Reader:
        """A reader of what this process has open."""
        self = cls.__new__(cls)
        self._opened = opened
        self._texts = {}
        self._scopes = {}
        return self

    @contextlib.contextmanager
    def moment(self) -> Iterator[Moment]:
        """One read transaction. Never hold it across an ``await``, nor open another within it.

        Raises:
            StorageCorrupt: a record does not read.
            StorageError: the store does not read.
        """
        with self._opened.reading() as txn:
            try:
                yield Moment(txn, self._opened.environment.tables, self._texts, self._scopes)
            except (msgspec.MsgspecError, struct.error, UnicodeDecodeError) as error:
                raise StorageCorrupt(store=NAME, reason=str(error)) from error

    def entities(self, keys: Sequence[EntityKey]) -> list[Entity | None]:
        """The entities of ``keys``, in order; None for one that is not there."""
        with self.moment() as moment:
            eids = [moment.eid(key) for key in keys]
            return [None if eid is None else moment.entity(eid) for eid in eids]

    def by_eid(self, eids: Sequence[int]) -> list[Entity | None]:
        """The entities of numbers, in order; None for one that is removed."""
        with self.moment() as moment:
            return [moment.entity(eid) for eid in eids]

    def relations(self, keys: Sequence[EntityKey], direction: Direction = "both") -> list[Relation]:
        """All relations from and to the entities of ``keys``, once each, in the order of keys."""
        with self.moment() as moment:
            eids = [moment.eid(key) for key in keys]
            return moment.relations([one for one in eids if one is not None], direction)

    def relation(self, key: RelationKey) -> Relation | None:
        """One relation."""
        with self.moment() as moment:
            return moment.relation(key)

    def page(
        self,
        selection: Selection,
        *,
        after: bytes = b"",
        limit: int = 500,
        vectors: bool = False,
        lacking: int | None = None,
    ) -> Page:
        """Entities of a selection by scope and name, after those of an earlier page.

        A page may be short, or empty, before the end: ``Page.after`` tells.

        Args:
            selection: which.
            after: what the earlier page told; empty for the first.
            limit: most rows.
            vectors: with their vectors.
            lacking: only those that have no vectors of this model.
        """
        with self.moment() as moment:
            return pages.entity_page(moment, selection, after, limit, vectors, lacking)

    def relation_page(
        self, scopes: Sequence[Scope] | None, *, after: bytes = b"", limit: int = 500
    ) -> RelationPage:
        """Relations of scopes, by the names they come from, after those of an earlier page."""
        with self.moment() as moment:
            return pages.relation_page(moment, scopes, after, limit)

    def walk(self, query: GraphQuery) -> Graph:
        """What is around an entity; empty when it is not there."""
        with self.moment() as moment:
            return walking.walk(moment, query)

    def path(self, query: PathQuery) -> Graph:
        """One shortest way; empty when there is none."""
        with self.moment() as moment:
            return walking.path(moment, query)

    def stats(self) -> BackendStats:
        """How much there is; nothing about indexes."""
        with self.moment() as moment:
            head = moment.head()
            scopes, types = moment.counts(SCOPE), moment.counts(TYPE)
            return BackendStats(
                entities=head.entities,
                relations=head.relations,
                observations=head.observations,
                vectors=head.vectors,
                scopes={moment.text(SCOPE, one): count for one, count in scopes.items()},
                entity_types={moment.text(TYPE, one): count for one, count in types.items()},
                bytes=self._opened.file_bytes,
            )

    def verify(self) -> list[Fault]:
        """Look at every record and what refers to what; what is wrong, at most 100 of it."""
        with self.moment() as moment:
            return verification.verify(moment)

    def close(self) -> None:
        """Close it. That of a ``Store`` is closed with it."""
        if self._opened.readonly:
            self._opened.close()
