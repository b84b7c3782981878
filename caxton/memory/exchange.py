"""The files that memories are exported to and imported from, without any I/O.

JSON Lines: a line of metadata, a line for each entity, one for each relation, and a last line that
says how many there were, so that a file that was cut off is recognised. JSON: one object with the
same in ``export_metadata``, ``entities`` and ``relations``. The file of the reference MCP memory
server is read as well. Docs: ``docs/reference/memory.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from caxton.errors import ImportInvalid, ValidationError
from caxton.memory.exchange_lines import (
    EndLine,
    EntityLine,
    Header,
    McpEntity,
    McpRelation,
    Probe,
    RelationLine,
    entity_line,
    entity_read,
    mcp_entity_read,
    mcp_relation_read,
    relation_line,
    relation_read,
)
from caxton.memory.json_pieces import Document, Lines, Malformed, Piece
from caxton.memory.model import Relation
from caxton.memory.requests import Exported, ImportEntity

__all__ = ["VERSION", "Form", "Header", "ImportReader", "Read", "Writer"]

T = TypeVar("T")

Form: TypeAlias = Literal["json", "jsonl"]
VERSION: Final = "1.0"
LONGEST: Final = 64 * 1024 * 1024
"""Bytes of one entity: 10 MiB of text may be escaped, and vectors come with it."""
_HEAD: Final = 64 * 1024
_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"((?:[^"\\]|\\.)*)"\s*:')
_LISTS: Final = ("entities", "relations")
_ENVELOPE: Final = ("agent_id", "memory_scope", "merge_strategy")
_DOCUMENT: Final = frozenset({*_LISTS, *_ENVELOPE, "export_metadata", "data"})
"""Members that an object begins with which is a whole export, no line of one."""
_encode = msgspec.json.Encoder().encode


class Writer:
    """Writes an export, page by page.

    Args:
        form: ``json`` or ``jsonl``.
        header: of the export.
    """

    def __init__(self, form: Form, header: Header) -> None:
        self._form = form
        self._header = header
        self._entities = 0
        self._relations = 0

    def begin(self) -> bytes:
        """What stands before the first page."""
        if self._form == "jsonl":
            return _encode(self._header) + b"\n"
        return b'{"export_metadata":' + _encode(self._header) + b',\n"entities":['

    def page(self, page: Exported) -> bytes:
        """The lines of a page."""
        entities = [_encode(entity_line(one)) for one in page.entities]
        relations = [_encode(relation_line(one)) for one in page.relations]
        if self._form == "jsonl":
            text = b"".join(line + b"\n" for line in (*entities, *relations))
        else:
            text = _listed(entities, first=not self._entities)
            if relations and not self._relations:
                text += b'],\n"relations":['
            text += _listed(relations, first=not self._relations)
        self._entities += len(entities)
        self._relations += len(relations)
        return text

    def end(self) -> bytes:
        """What stands after the last page."""
        if self._form == "jsonl":
            return _encode(EndLine(self._entities, self._relations)) + b"\n"
        return b"]}\n" if self._relations else b'],\n"relations":[]}\n'


def _listed(items: list[bytes], *, first: bool) -> bytes:
    text = b",\n".join(items)
    return (b"\n" if first else b",\n") + text if items else b""


@dataclass(frozen=True, slots=True)
class Read:
    """One thing that was read."""

    place: str
    """Where: its line, and which it is where several are on one."""
    value: ImportEntity | Relation


class ImportReader:
    """Reads an export or the file of the reference MCP memory server; tells them apart itself.

    Args:
        source: what is read, for errors.
        now_ms: the time of what tells none, in ms since 1970.
    """

    def __init__(self, source: str, *, now_ms: int) -> None:
        self.source = source
        self.header: Header | None = None
        """Of an export, once it was read."""
        self.foreign = False
        """It is the file of an MCP memory server."""
        self.envelope: dict[str, str] = {}
        """``agent_id``, ``memory_scope`` and ``merge_strategy``, where they stand beside it."""
        self.entities = 0
        self.relations = 0
        self._now_ms = now_ms
        self._begin: bytes | None = b""
        """What arrived before it was clear what it is; None after."""
        self._pieces: Document | Lines = Lines(LONGEST)
        self._ended = False

    @property
    def model(self) -> str:
        """The model of its vectors; empty when it has none."""
        return self.header.model if self.header is not None else ""

    def feed(self, data: bytes) -> Iterator[Read]:
        """What ``data`` completes.

        Raises:
            ImportInvalid: it does not read.
        """
        if self._begin is not None:
            self._begin += data
            if not self._recognise(last=False):
                return
            data, self._begin = self._begin, None
        yield from self._read(self._pieces.feed(data))

    def close(self) -> Iterator[Read]:
        """What the end completes.

        Raises:
            ImportInvalid: it does not read, is empty, or was cut off.
        """
        if self._begin is not None:
            self._recognise(last=True)
            data, self._begin = self._begin, None
            yield from self._read(self._pieces.feed(data))
        if isinstance(self._pieces, Document):
            try:
                self._pieces.close()
            except Malformed as error:
                raise self._fault(f"line {error.line}", error.reason) from None
        else:
            yield from self._read(self._pieces.close())
            if self.header is not None and not self._ended:
                raise self._fault("its end", "the last line is missing; the file was cut off")
        if self.header is None and not self.entities + self.relations:
            raise self._fault("its end", "there is nothing in it")

    # --- what it is --------------------------------------------------------------------------

    def _recognise(self, *, last: bool) -> bool:
        """Whether it is clear what this is. A whole object begins with a member of one."""
        begin = (self._begin or b"").removeprefix(b"\xef\xbb\xbf")
        found = _FIRST_KEY.match(begin)
        if found is None and not last and len(begin) < _HEAD:
            return False
        stripped = begin.lstrip()
        if stripped and stripped[:1] != b"{":
            line = begin[: len(begin) - len(stripped)].count(b"\n") + 1
            raise self._fault(f"line {line}", "a JSON object or JSON Lines expected")
        if found is not None and found[1].decode("utf-8", "replace") in _DOCUMENT:
            self._pieces = Document(_LISTS, ("data",), LONGEST)
        self._begin = begin
        return True

    def _fault(self, place: str, reason: str) -> ImportInvalid:
        return ImportInvalid(source=self.source, place=place, reason=reason)

    # --- pieces ------------------------------------------------------------------------------

    def _read(self, pieces: Iterator[Piece]) -> Iterator[Read]:
        try:
            for piece in pieces:
                read = self._piece(piece)
                if read is not None:
                    yield read
        except Malformed as error:
            raise self._fault(f"line {error.line}", error.reason) from None

    def _piece(self, piece: Piece) -> Read | None:
        place = f"line {piece.line}"
        if piece.element:
            place += f", number {piece.element} of {piece.member}"
        try:
            return self._value(piece, place)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._fault(place, str(error)) from None
        except ValidationError as error:
            raise self._fault(place, error.detail) from None

    def _value(self, piece: Piece, place: str) -> Read | None:
        if piece.member and not piece.element:
            self._member(piece, place)
            return None
        probe = _decode(piece.raw, Probe)
        if self._ended:
            raise self._fault(place, "there is more after the last line")
        if probe.type == "metadata":
            self._take_header(_decode(piece.raw, Header), place)
            return None
        if probe.type == "end":
            self._end(_decode(piece.raw, EndLine), place)
            return None
        read = self._item(piece.raw, probe, place)
        if isinstance(read, Relation):
            self.relations += 1
        else:
            self.entities += 1
        wanted = {"entities": ImportEntity, "relations": Relation}.get(piece.member)
        if wanted is not None and not isinstance(read, wanted):
            raise self._fault(place, f"this is none of {piece.member}")
        return Read(place, read)

    def _item(self, raw: bytes, probe: Probe, place: str) -> ImportEntity | Relation:
        if probe.entity_name is not None:
            return entity_read(_decode(raw, EntityLine), self._now_ms, self.model)
        if probe.from_entity is not None:
            return relation_read(_decode(raw, RelationLine), self._now_ms)
        if probe.name is not None:
            self.foreign = True
            return mcp_entity_read(_decode(raw, McpEntity), self._now_ms)
        if probe.from_ is not None:
            self.foreign = True
            return mcp_relation_read(_decode(raw, McpRelation), self._now_ms)
        raise self._fault(place, "this is neither an entity nor a relation")

    def _member(self, piece: Piece, place: str) -> None:
        if piece.member == "export_metadata":
            self._take_header(_decode(piece.raw, Header), place)
        elif piece.member in _ENVELOPE:
            if self.entities + self.relations:
                raise self._fault(place, f"`{piece.member}` must stand before what is imported")
            given = _decode(piece.raw, str | None)  # type: ignore[arg-type]  # a type at run time
            if given is not None:
                self.envelope[piece.member] = given
        else:
            known = ", ".join(sorted(_DOCUMENT))
            told = f"no member is called `{piece.member[:100]}`, but {known}"
            raise self._fault(place, told)

    def _take_header(self, header: Header, place: str) -> None:
        if header.version.partition(".")[0] != VERSION.partition(".")[0]:
            raise self._fault(
                place, f"it is of version {header.version[:20]}; this Caxton reads {VERSION}"
            )
        if self.entities + self.relations:
            raise self._fault(place, "the metadata must stand before what is imported")
        self.header = header

    def _end(self, end: EndLine, place: str) -> None:
        told = (end.entity_count, end.relation_count)
        if told != (self.entities, self.relations):
            raise self._fault(
                place,
                f"{told[0]:,} entities and {told[1]:,} relations were written, "
                f"{self.entities:,} and {self.relations:,} are here",
            )
        self._ended = True


def _decode(raw: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(raw, type=kind)
