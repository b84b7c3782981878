"""Everything that is remembered, from one backend to another.

In pages that can be written again without harm, each noted in a file when it is there, so that a
migration that was cut off goes on where it was. In the end both are compared: counts, records, and
what searches find.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from caxton.errors import StorageError, ValidationError
from caxton.memory.backend import (
    BackendStats,
    Candidate,
    CandidateQuery,
    Change,
    EntityRow,
    MemoryBackend,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.model import Relation

__all__ = ["Migration", "MigrationReport", "Progress"]

T = TypeVar("T")
PAGE: Final = 200
"""Records of one write."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""About how much text one write has at most."""
RELATION_BYTES: Final = 500
"""About how much a relation is."""
SAMPLES: Final = 100
LIMIT: Final = 10
"""Of a sample query."""
TOLERANCE: Final = 2e-3
"""Between cosines: backends may keep vectors in half precision."""
AGREEMENT: Final = 0.95
"""Least part of the best answers that both backends must have in common: the index of a server
does not find every one."""
MOST_DIFFERENCES: Final = 20


class Progress(msgspec.Struct, frozen=True):
    """How far it is. What the file keeps."""

    source: str
    target: str
    phase: Literal["entities", "relations", "compare"] = "entities"
    entities: int = 0
    relations: int = 0
    """How many were copied."""
    last: str = ""
    """The one that was copied last, in this phase."""
    total_entities: int = 0
    total_relations: int = 0


class MigrationReport(msgspec.Struct, frozen=True):
    """What became of it."""

    source: str
    target: str
    entities: int
    relations: int
    observations: int
    vectors: int
    queries: int
    """How many sample queries were put to both."""
    agreement: float
    """Part of the best answers of the source that the target gave too: 0 to 1."""
    differences: tuple[str, ...] = ()
    """What is not the same in both; empty when all is well."""
    resumed: bool = False

    @property
    def right(self) -> bool:
        """Whether the target can take the place of the source."""
        return not self.differences


class Migration:
    """Copies from one started backend to another, which nobody else writes to meanwhile.

    Args:
        source: what is copied; nothing is changed in it.
        target: where it goes: empty, or with a part of the same source.
        names: what both are called, with their places, without secrets. A file of a migration
            between others is not gone on with.
        file: where the progress is kept; removed when all is done and right.
        tell: called with each step.
    """

    def __init__(
        self,
        source: MemoryBackend,
        target: MemoryBackend,
        *,
        names: tuple[str, str],
        file: Path,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._source = source
        self._target = target
        self._file = file
        self._tell = tell
        self._at = Progress(*names)
        self._resumed = False
        self._samples: list[EntityRow] = []
        self._random = random.Random(0)
        self._seen = 0

    async def run(self) -> MigrationReport:
        """Copy what is not copied yet, and compare.

        Raises:
            ValidationError: the target holds something else.
            StorageError: the progress cannot be written, or the target does not take something.
            MemoryUnavailable: one of them does not answer. Run again, it goes on.
        """
        before = await self._source.stats()
        self._begin(await self._target.stats(), before)
        await self._copy_entities()
        await self._copy_relations()
        report = await self._compare(before)
        if report.right:
            with contextlib.suppress(FileNotFoundError):
                self._file.unlink()
        return report

    # --- where it is -----------------------------------------------------------------------------

    def _begin(self, target: BackendStats, source: BackendStats) -> None:
        kept = self._kept()
        if kept is not None and (kept.source, kept.target) == (self._at.source, self._at.target):
            self._at = kept
            self._resumed = True
        elif target.entities:
            raise ValidationError(
                field="to",
                value=f"it holds {target.entities:,} entities: {self._at.target}",
                allowed="a memory that is empty; clear it, or name another database",
            )
        self._note(
            total_entities=source.entities, total_relations=source.relations, phase=self._at.phase
        )

    def _kept(self) -> Progress | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Progress)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StorageError(
                store=str(self._file),
                reason=f"it does not read ({error}); remove it, clear the target and begin anew",
            ) from error

    def _note(self, **changed: object) -> None:
        self._at = msgspec.structs.replace(self._at, **changed)
        beside = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_bytes(msgspec.json.encode(self._at))
            os.replace(beside, self._file)
        except OSError as error:
            raise StorageError(store=str(self._file), reason=str(error)) from error
        self._tell(self._at)

    # --- copying ---------------------------------------------------------------------------------

    async def _copy_entities(self) -> None:
        rows = self._sampled(self._source.scan(Selection(), vectors=True))
        if self._at.phase != "entities":
            # Gone through again for the samples only.
            async for _ in rows:
                pass
            return
        last = self._at.last
        rest = _after(rows, self._at.entities, lambda row: _row_name(row) == last)
        async for page in _pages(rest, _row_size):
            if page is None:
                # The order is another one than it was: all pages are written again.
                self._note(entities=0, last="")
                await self._copy_entities()
                return
            await self._target.write([_put(row) for row in page])
            self._note(entities=self._at.entities + len(page), last=_row_name(page[-1]))
        self._note(phase="relations", last="")

    async def _copy_relations(self) -> None:
        if self._at.phase != "relations":
            return
        last, rows = self._at.last, self._source.scan_relations(None)
        rest = _after(rows, self._at.relations, lambda one: _relation_name(one) == last)
        async for page in _pages(rest, lambda _: RELATION_BYTES):
            if page is None:
                self._note(relations=0, last="")
                await self._copy_relations()
                return
            changes: list[Change] = [PutRelation(one, restored=True) for one in page]
            await self._target.write(changes)
            self._note(relations=self._at.relations + len(page), last=_relation_name(page[-1]))
        self._note(phase="compare", last="")

    async def _sampled(self, rows: AsyncIterator[EntityRow]) -> AsyncIterator[EntityRow]:
        """The same rows; some of them, drawn evenly, are kept."""
        self._samples, self._seen = [], 0
        async for row in rows:
            self._seen += 1
            if len(self._samples) < SAMPLES:
                self._samples.append(row)
            elif (place := self._random.randrange(self._seen)) < SAMPLES:
                self._samples[place] = row
            yield row

    # --- comparing -------------------------------------------------------------------------------

    async def _compare(self, before: BackendStats) -> MigrationReport:
        differences: list[str] = []
        after, copied = await self._source.stats(), await self._target.stats()
        for field in ("entities", "relations", "observations", "vectors", "scopes"):
            was, now, there = (getattr(one, field) for one in (before, after, copied))
            if was != now:
                differences.append(f"{field} of the source changed meanwhile: {was} to {now}")
            elif now != there:
                differences.append(f"{field}: {now} in the source, {there} in the target")
        found = await self._target.entities([row.entity.key for row in self._samples])
        for row, other in zip(self._samples, found, strict=True):
            if other != row.entity:
                differences.append(f"{_row_name(row)} is not the same in the target")
        queries, common = 0, 0.0
        for row in self._samples:
            queries += 1
            share, difference = await self._ask_both(row)
            common += share
            if difference:
                differences.append(difference)
        agreement = common / queries if queries else 1.0
        if agreement < AGREEMENT:
            differences.append(
                f"the target finds {agreement:.0%} of what the source finds, {AGREEMENT:.0%} needed"
            )
        hidden = len(differences) - MOST_DIFFERENCES
        if hidden > 0:
            differences[MOST_DIFFERENCES:] = [f"and {hidden:,} more"]
        return MigrationReport(
            source=self._at.source,
            target=self._at.target,
            entities=copied.entities,
            relations=copied.relations,
            observations=copied.observations,
            vectors=copied.vectors,
            queries=queries,
            agreement=round(agreement, 4),
            differences=tuple(differences),
            resumed=self._resumed,
        )

    async def _ask_both(self, row: EntityRow) -> tuple[float, str]:
        """Ask both for what is near an entity, or has its name; what of it they have in common."""
        entity, selection = row.entity, Selection(scopes=(row.entity.scope,))
        if row.vectors is None:
            query = CandidateQuery(selection, LIMIT, entity.entity_name)
        else:
            query = CandidateQuery(selection, LIMIT, "", row.vectors[:1])
        mine = await self._source.candidates(query)
        theirs = await self._target.candidates(query)
        if row.vectors is None:
            share = float(bool(mine) == bool(theirs))
            return share, "" if share else f"{_row_name(row)} is not found by its name"
        return _share(mine, theirs), ""


def _share(mine: Sequence[Candidate], theirs: Sequence[Candidate]) -> float:
    """Part of the best of ``mine`` whose like is in ``theirs``: the same one, or one as near."""
    if not mine:
        return 1.0
    near = sorted((one.similarity or 0.0 for one in mine), reverse=True)
    least = near[-1] - TOLERANCE
    found = [one for one in theirs if (one.similarity or 0.0) >= least]
    cosines = {one.entity.key: one.similarity or 0.0 for one in found}
    wrong = sum(
        1
        for one in mine
        if one.entity.key in cosines
        and abs(cosines[one.entity.key] - (one.similarity or 0.0)) > TOLERANCE
    )
    return max(0, min(len(found), len(mine)) - wrong) / len(mine)


def _put(row: EntityRow) -> PutEntity:
    return PutEntity(row.entity, row.vectors, restored=True)


def _row_name(row: EntityRow) -> str:
    return f"{row.entity.scope.key} {row.entity.key.name}"


def _row_size(row: EntityRow) -> int:
    vectors = 0 if row.vectors is None else 4 * row.vectors.size
    return 500 + vectors + sum(len(one.text) for one in row.entity.observations)


def _relation_name(one: Relation) -> str:
    key = one.key
    return f"{key.scope.key} {key.from_entity} {key.relation_type} {key.to_entity}"


async def _after(
    rows: AsyncIterator[T], done: int, is_last: Callable[[T], bool]
) -> AsyncIterator[T | None]:
    """What comes after the first ``done``; None when the last of them is not the one it was."""
    count = 0
    async for row in rows:
        count += 1
        if count > done:
            yield row
        elif count == done and not is_last(row):
            yield None
            return
    if count < done:
        yield None


async def _pages(
    rows: AsyncIterator[T | None], size: Callable[[T], int]
) -> AsyncIterator[list[T] | None]:
    page: list[T] = []
    weight = 0
    async for row in rows:
        if row is None:
            yield None
            return
        page.append(row)
        weight += size(row)
        if len(page) >= PAGE or weight >= PAGE_BYTES:
            yield page
            page, weight = [], 0
    if page:
        yield page
