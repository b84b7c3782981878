"""How the memory lies in LMDB: tables, keys, and what is of fixed size.

======== ============================ ==================================================
table    key                          value
======== ============================ ==================================================
meta     ``head``                     ``Head``
meta     ``snapshot``                 what ``Store.trim`` was given
numbers  kind, text                   the small number of a scope, type or model
texts    kind, number u32             its text
terms    term                         its number u32
names    scope u32, folded name       ``Fact``: what is known of an entity besides texts
entities eid u64                      ``EntityRecord``
vectors  eid u64, part u16            float16, little-endian
words    eid u64                      numbers of its terms, u32 little-endian
out      from eid, type u24, to eid   ``RelationRecord``
into     to eid, type u24, from eid   nothing
changed  sequence u64                 the eids that a write changed, u64 little-endian
counts   kind, number u32             entities of a scope, type or model
======== ============================ ==================================================

Keys are big-endian, so that their order is that of the numbers. Numbers of entities (``eid``, 40
bits) only grow: rows of new ones are appended, which fills pages wholly.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec
import numpy as np

from caxton.memory.backend import ModelInfo

__all__ = [
    "ALWAYS_FROM",
    "ALWAYS_TO",
    "FACTS",
    "HEAD",
    "LAYOUT",
    "MODEL",
    "MOST_PARTS",
    "RELATION",
    "SCOPE",
    "SNAPSHOT",
    "TABLES",
    "TYPE",
    "U32",
    "U64",
    "VECTOR",
    "Fact",
    "Head",
    "head_record",
    "model_text",
    "name_key",
    "name_key_after",
    "number_key",
    "pack_fact",
    "relation_ends",
    "relation_key",
    "relation_prefix",
    "relation_turned",
    "term_key",
    "text_key",
]

TABLES: Final = (
    "meta", "numbers", "texts", "terms", "names", "entities", "vectors", "words", "out", "into",
    "changed", "counts",
)  # fmt: skip
LAYOUT: Final = 1
"""Version of what lies in these tables; a store with a later one is refused."""
HEAD: Final = b"head"
SNAPSHOT: Final = b"snapshot"
ALWAYS_FROM: Final = -(1 << 63)
"""Stands for a ``valid_from_ms`` of None."""
ALWAYS_TO: Final = (1 << 63) - 1
"""Stands for a ``valid_to_ms`` of None."""
MOST_PARTS: Final = (1 << 16) - 1
SCOPE, TYPE, RELATION, MODEL = b"s", b"t", b"r", b"m"
"""Kinds of what has small numbers."""
MOST: Final = {SCOPE: (1 << 32) - 1, TYPE: (1 << 32) - 1, RELATION: (1 << 24) - 1,
               MODEL: (1 << 16) - 1}  # fmt: skip
"""The largest number of each kind."""
U32: Final = struct.Struct(">I")
U64: Final = struct.Struct(">Q")
VECTOR: Final = struct.Struct(">QH")

_KEY_BYTES: Final = 511
"""Longest key that LMDB takes."""
_DIGEST_BYTES: Final = 20
_FACT: Final = struct.Struct("<QIHHIIqq")
_EID: Final = 40
_KIND: Final = 24
_EID_MASK: Final = (1 << _EID) - 1
_KIND_MASK: Final = (1 << _KIND) - 1
_RELATION_BYTES: Final = (2 * _EID + _KIND) // 8
FACTS: Final = np.dtype(
    [
        ("eid", "<u8"), ("type", "<u4"), ("model", "<u2"), ("parts", "<u2"), ("version", "<u4"),
        ("observations", "<u4"), ("valid_from", "<i8"), ("valid_to", "<i8"),
    ]
)  # fmt: skip
"""The values of ``names`` as numpy sees them."""


class Head(msgspec.Struct, array_like=True):
    """What the writer goes on with, and how much there is."""

    layout: int = LAYOUT
    next_eid: int = 1
    seq: int = 0
    """Of the last change of entities."""
    entities: int = 0
    relations: int = 0
    observations: int = 0
    vectors: int = 0
    terms: int = 0
    """Numbers of terms that were given."""
    given: dict[str, int] = {}
    """Kind to the last number that was given."""


pack_fact: Final = _FACT.pack
"""The bytes of a ``Fact`` from its fields, in their order."""
head_record: Final = msgspec.msgpack.Decoder(Head).decode


class Fact(msgspec.Struct, frozen=True):
    """What is known of an entity besides its texts."""

    eid: int
    type: int
    model: int
    """Number of the model of its vectors; 0 without."""
    parts: int
    version: int
    observations: int
    valid_from: int
    valid_to: int

    def pack(self) -> bytes:
        """As it is kept."""
        return pack_fact(
            self.eid, self.type, self.model, self.parts, self.version, self.observations,
            self.valid_from, self.valid_to,
        )  # fmt: skip

    @classmethod
    def unpack(cls, raw: bytes) -> Fact:
        """From what is kept.

        Raises:
            struct.error: it is none.
        """
        return cls(*_FACT.unpack(raw))


def _fitting(prefix: bytes, text: str) -> bytes:
    """A key of any text. Long ones end in their hash; its mark occurs in no UTF-8."""
    raw = text.encode()
    room = _KEY_BYTES - len(prefix)
    if len(raw) <= room:
        return prefix + raw
    digest = hashlib.blake2b(raw, digest_size=_DIGEST_BYTES).digest()
    return prefix + raw[: room - _DIGEST_BYTES - 1] + b"\xff" + digest


def name_key(scope: int, folded: str) -> bytes:
    """Key in ``names``.

    Raises:
        UnicodeEncodeError: the name is no Unicode text.
    """
    return _fitting(U32.pack(scope), folded)


def name_key_after(prefix: bytes, folded: str) -> bytes:
    """The same, after ``name_key(scope, "")``, for many names of a scope.

    Raises:
        UnicodeEncodeError: the name is no Unicode text.
    """
    key = prefix + folded.encode()
    return key if len(key) <= _KEY_BYTES else _fitting(prefix, folded)


def model_text(model: ModelInfo) -> str:
    """What a model is kept as."""
    return f"{model.name}@{model.sha256}"


def number_key(kind: bytes, text: str) -> bytes:
    """Key in ``numbers``."""
    return _fitting(kind, text)


def text_key(kind: bytes, number: int) -> bytes:
    """Key in ``texts`` and ``counts``."""
    return kind + U32.pack(number)


def term_key(term: str) -> bytes:
    """Key in ``terms``; no key is empty."""
    raw = term.encode()
    if len(raw) > _KEY_BYTES:
        return _fitting(b"", term)
    return raw or b"\xff"


def relation_key(first: int, kind: int, second: int) -> bytes:
    """Key in ``out`` (from, type, to) and ``into`` (to, type, from)."""
    return (((first << _KIND | kind) << _EID) | second).to_bytes(_RELATION_BYTES, "big")


def relation_prefix(eid: int) -> bytes:
    """What the keys of an entity's relations begin with."""
    return eid.to_bytes(_EID // 8, "big")


def relation_ends(key: bytes) -> tuple[int, int, int]:
    """What a key of ``out`` or ``into`` is made of."""
    number = int.from_bytes(key, "big")
    return number >> (_EID + _KIND), number >> _EID & _KIND_MASK, number & _EID_MASK


def relation_turned(key: bytes) -> bytes:
    """The key of the same relation in the other of both tables."""
    return key[8:] + key[5:8] + key[:5]
