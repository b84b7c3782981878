"""Takes up an import page by page, whatever it comes from and wherever the memory is.

Entities are taken up as they come. Relations wait in a file until all entities are there: in some
files they come before the entities they connect.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from caxton.errors import EntityConflict, ImportInvalid
from caxton.memory.answer_views import Imported
from caxton.memory.client import Memory
from caxton.memory.exchange import ImportReader, Read
from caxton.memory.model import Relation, fold
from caxton.memory.requests import Import, ImportEntity, ImportReport, Strategy

__all__ = ["Importer"]

PAGE_ITEMS: Final = 200
"""Entities or relations of one request: embedding them takes a second or two."""
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Text and vectors of one request, or one entity that has more."""
IN_MEMORY: Final = 8 * 1024 * 1024
"""Relations that wait beyond so many bytes do so on disk."""
NOTES: Final = 20
_PLACE: Final = re.compile(r"(?:entities|relations)\[(\d+)\]")
"""How the service names an item of a page; a page holds entities, or relations."""


class _Waiting(msgspec.Struct):
    """A relation in the file."""

    place: str
    relation: Relation


class Importer:
    """One import. A context manager.

    Args:
        memory: where it goes.
        reader: what it is read by.
        memory_scope: the one scope it goes to; None for the scopes that it names.
        merge_strategy: what happens to what is known.
        progress: called after each page with the entities and relations that were taken up.
        aim: called before the first item with what stands beside the import in the same object.
    """

    def __init__(
        self,
        memory: Memory,
        reader: ImportReader,
        *,
        memory_scope: str | None = None,
        merge_strategy: Strategy = "update_existing",
        progress: Callable[[int, int], None] = lambda _entities, _relations: None,
        aim: Callable[[Importer, dict[str, str]], None] = lambda _importer, _envelope: None,
    ) -> None:
        self.memory = memory
        self.memory_scope = memory_scope
        self.merge_strategy = merge_strategy
        self._reader = reader
        self._progress = progress
        self._aim = aim
        self._page: list[Read] = []
        self._bytes = 0
        self._waiting: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # closed by the block
        self._counts = dict.fromkeys(ImportReport.__struct_fields__, 0)
        self._notes: list[str] = []
        self._done = [0, 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.close()

    @property
    def report(self) -> Imported:
        """What became of it so far."""
        return Imported(**self._counts, notes=tuple(self._notes))

    async def feed(self, data: bytes) -> None:
        """Take up what ``data`` completes.

        Raises:
            ImportInvalid: it does not read, or a part of it cannot be taken up.
            EntityConflict: it is known, and the strategy is ``error_on_conflict``.
            CaxtonError: the memory does not take it.
        """
        for read in self._reader.feed(data):
            await self._take(read)

    async def close(self) -> Imported:
        """Take up the rest. Raises as ``feed``."""
        for read in self._reader.close():
            await self._take(read)
        self._settle()
        await self._flush()
        self._waiting.seek(0)
        for line in self._waiting:
            waiting = msgspec.json.decode(line, type=_Waiting)
            await self._add(Read(waiting.place, waiting.relation), len(line))
        await self._flush()
        return self.report

    def _settle(self) -> None:
        envelope = self._reader.envelope
        if envelope:
            self._reader.envelope = {}
            self._aim(self, envelope)

    async def _take(self, read: Read) -> None:
        self._settle()
        if isinstance(read.value, Relation):
            self._waiting.write(msgspec.json.encode(_Waiting(read.place, read.value)) + b"\n")
        else:
            await self._add(read, _size(read.value))

    async def _add(self, read: Read, size: int) -> None:
        if self._page and (len(self._page) >= PAGE_ITEMS or self._bytes + size > PAGE_BYTES):
            await self._flush()
        self._page.append(read)
        self._bytes += size

    async def _flush(self) -> None:
        page, self._page, self._bytes = self._page, [], 0
        while page:
            try:
                await self._send(page)
                break
            except EntityConflict as error:
                raise self._conflict(page, error) from None
            except ImportInvalid as error:
                page = self._without(page, error)
        self._progress(*self._done)

    async def _send(self, page: list[Read]) -> None:
        values = [one.value for one in page]
        entities = tuple(one for one in values if isinstance(one, ImportEntity))
        relations = tuple(one for one in values if isinstance(one, Relation))
        request = Import(
            entities=entities,
            relations=relations,
            model=self._reader.model,
            merge_strategy=self.merge_strategy,
            memory_scope=self.memory_scope,
        )
        report = await self.memory.import_page(request)
        for name in self._counts:
            self._counts[name] += getattr(report, name)
        self._done[0] += len(entities)
        self._done[1] += len(relations)

    def _conflict(self, page: list[Read], error: EntityConflict) -> EntityConflict:
        """The error with the place at which it is."""
        named = fold(str(error.fields.get("entity_name", "")))
        for read in page:
            one = read.value
            name = one.from_entity if isinstance(one, Relation) else one.entity.entity_name
            if fold(name) == named:
                fields = {**error.fields, "reason": f"{error.fields.get('reason')} ({read.place})"}
                return EntityConflict(**fields)
        return error

    def _without(self, page: list[Read], error: ImportInvalid) -> list[Read]:
        """The page without the relation at fault.

        Raises:
            ImportInvalid: it is something else that is wrong.
        """
        found = _PLACE.fullmatch(str(error.fields.get("place", "")))
        number = int(found[1]) if found is not None else len(page)
        if number >= len(page):
            raise error
        read, reason = page[number], str(error.fields.get("reason", ""))
        if not (self._reader.foreign and isinstance(read.value, Relation)):
            raise ImportInvalid(source=self._reader.source, place=read.place, reason=reason)
        # That server keeps relations whose ends were forgotten or never made.
        self._counts["relations_skipped"] += 1
        self._done[1] += 1
        self._note(f"{read.place}: passed over, {reason}")
        return page[:number] + page[number + 1 :]

    def _note(self, text: str) -> None:
        if len(self._notes) < NOTES:
            self._notes.append(text)


def _size(one: ImportEntity) -> int:
    text = sum(len(seen.text) for seen in one.entity.observations)
    return text + sum(len(vector) for vector in one.vectors)
