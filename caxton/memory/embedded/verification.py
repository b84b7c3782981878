"""Looks at every record of the store, and at what refers to what, in one transaction."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from caxton.errors import CaxtonError
from caxton.memory.backend import Fault
from caxton.memory.embedded.layout import (
    LAYOUT,
    MODEL,
    RELATION,
    SCOPE,
    TYPE,
    U32,
    U64,
    VECTOR,
    Fact,
    name_key,
    number_key,
    relation_ends,
    relation_turned,
    text_key,
)
from caxton.memory.embedded.moment import Moment
from caxton.memory.embedded.records import entity_record, relation_record
from caxton.memory.model import fold

__all__ = ["verify"]

MOST: Final = 100
"""Faults that are told one by one; the rest is counted."""


class _Look:
    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.faults: list[Fault] = []
        self.more = 0
        self.names: dict[int, tuple[bytes, Fact]] = {}
        self.counts: Counter[bytes] = Counter()
        self.dimensions: dict[int, int] = {}

    def fault(self, text: str) -> None:
        if len(self.faults) < MOST:
            self.faults.append(Fault(text))
        else:
            self.more += 1

    def each(self, table: str, check: Callable[[bytes, bytes], None]) -> int:
        """Check all rows of a table; how many there are."""
        count = 0
        for key, value in self.moment.txn.cursor(self.moment.tables[table]):
            count += 1
            try:
                check(key, value)
            except (
                msgspec.MsgspecError, CaxtonError, struct.error, ValueError, IndexError
            ) as error:  # fmt: skip
                self.fault(f"{table} {key.hex()}: {error}")
        return count

    def compare(self, what: str, noted: int, found: int) -> None:
        if noted != found:
            self.fault(f"{what}: {noted} noted, {found} found")

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.moment.txn.get(key, db=self.moment.tables[table])

    # --- checks of one row --------------------------------------------------------------------

    def name(self, key: bytes, value: bytes) -> None:
        fact = Fact.unpack(value)
        if fact.eid in self.names:
            self.fault(f"names {key.hex()}: entity {fact.eid} has another name too")
        self.names[fact.eid] = (key, fact)
        scope = U32.unpack(key[:4])[0]
        for kind, number in ((SCOPE, scope), (TYPE, fact.type), (MODEL, fact.model)):
            self.counts[text_key(kind, number)] += 1
            if number or kind != MODEL:
                self.moment.text(kind, number)

    def entity(self, key: bytes, value: bytes) -> None:
        eid = U64.unpack(key)[0]
        record = entity_record(value)
        self.moment.entity_of(record)
        known = self.names.get(eid)
        if known is None:
            self.fault(f"entities {eid}: names has no row of it")
            return
        name, fact = known
        if name != name_key(record.scope, fold(record.name)):
            self.fault(f"entities {eid}: it is kept under another name")
        if (fact.type, fact.version, fact.observations) != (
            record.type, record.version, len(record.texts),
        ):  # fmt: skip
            self.fault(f"entities {eid}: names tells another type, version or length")

    def vector(self, key: bytes, value: bytes) -> None:
        eid, part = VECTOR.unpack(key)
        known = self.names.get(eid)
        if known is None or part >= known[1].parts:
            self.fault(f"vectors {eid}: part {part} belongs to no entity")
            return
        self.counts[b"v" + key[:8]] += 1
        expected = self.dimensions.setdefault(known[1].model, len(value))
        if not value or len(value) % 2 or len(value) != expected:
            self.fault(f"vectors {eid}: part {part} has {len(value)} bytes, others {expected}")

    def words(self, key: bytes, value: bytes) -> None:
        eid = U64.unpack(key)[0]
        if len(value) % 4:
            self.fault(f"words {eid}: {len(value)} bytes, not a multiple of 4")
        if eid not in self.names:
            self.fault(f"words {eid}: there is no such entity")

    def out(self, key: bytes, value: bytes) -> None:
        relation_record(value)
        first, kind, second = relation_ends(key)
        self.moment.text(RELATION, kind)
        ends = [self.names.get(first), self.names.get(second)]
        for eid, end in zip((first, second), ends, strict=True):
            if end is None:
                self.fault(f"out {key.hex()}: there is no entity {eid}")
        if ends[0] and ends[1] and ends[0][0][:4] != ends[1][0][:4]:
            self.fault(f"out {key.hex()}: its ends are in different scopes")
        if self.get("into", relation_turned(key)) is None:
            self.fault(f"out {key.hex()}: into has no row of it")

    def into(self, key: bytes, value: bytes) -> None:
        if len(key) != 13 or value:
            self.fault(f"into {key.hex()}: it is no such row")
        if self.get("out", relation_turned(key)) is None:
            self.fault(f"into {key.hex()}: out has no row of it")

    def number(self, key: bytes, value: bytes) -> None:
        text = self.moment.text(key[:1], U32.unpack(value)[0])
        if number_key(key[:1], text) != key:
            self.fault(f"numbers {key.hex()}: its number is that of another text")

    def text(self, key: bytes, value: bytes) -> None:
        if self.get("numbers", number_key(key[:1], value.decode())) != key[1:]:
            self.fault(f"texts {key.hex()}: its text has another number")

    def count(self, key: bytes, value: bytes) -> None:
        self.compare(f"counts {key.hex()}", U64.unpack(value)[0], self.counts.pop(key, 0))


def _nothing(_key: bytes, _value: bytes) -> None:
    """For tables whose rows refer to nothing."""


def verify(moment: Moment) -> list[Fault]:
    """Every record reads, and entities, names, vectors, words, relations and counts agree."""
    look = _Look(moment)
    try:
        head = moment.head()
    except msgspec.MsgspecError as error:
        return [Fault(f"meta: {error}")]
    if head.layout != LAYOUT:
        look.fault(f"meta: layout {head.layout}, this is {LAYOUT}")
    found: dict[str, int] = {}
    checks: dict[str, Callable[[bytes, bytes], Any]] = {
        "numbers": look.number, "texts": look.text, "terms": _whole_number, "names": look.name,
        "entities": look.entity, "vectors": look.vector, "words": look.words, "out": look.out,
        "into": look.into, "changed": _nothing, "counts": look.count,
    }  # fmt: skip
    for table, check in checks.items():
        found[table] = look.each(table, check)
    _whole(look, head.seq, head.next_eid)
    look.compare("meta: entities", head.entities, found["names"])
    look.compare("meta: relations", head.relations, found["out"])
    look.compare("meta: vectors", head.vectors, found["vectors"])
    look.compare("meta: terms", head.terms, found["terms"])
    facts = [fact for _, fact in look.names.values()]
    look.compare("meta: observations", head.observations, sum(one.observations for one in facts))
    if look.more:
        look.faults.append(Fault(f"{look.more} more faults"))
    return look.faults


def _whole_number(_key: bytes, value: bytes) -> None:
    U32.unpack(value)


def _whole(look: _Look, seq: int, next_eid: int) -> None:
    """What has to be there for what is there."""
    for eid, (_, fact) in look.names.items():
        key = U64.pack(eid)
        for table in ("entities", "words"):
            if look.get(table, key) is None:
                look.fault(f"names: entity {eid} has no row in {table}")
        if look.counts.pop(b"v" + key, 0) != fact.parts:
            look.fault(f"names: entity {eid} has not its {fact.parts} vectors")
        if eid >= next_eid:
            look.fault(f"meta: entity {eid} is there, the next would be {next_eid}")
    for key, count in look.counts.items():
        if count:
            look.fault(f"counts {key.hex()}: nothing noted, {count} found")
    cursor = look.moment.txn.cursor(look.moment.tables["changed"])
    if cursor.last() and cursor.key() != U64.pack(seq):
        look.fault(f"changed: the last row is {cursor.key().hex()}, meta tells {seq}")
