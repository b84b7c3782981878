"""The audit trail: who and what came, changed and went, in a chain of hashes that only grows.

Each record holds the hash of the one before it and its own (SHA-256 over the former and its
fields), so a record that is changed, removed or put in between breaks the chain from there on. It
is written in the transaction of what it tells. A trail that was cut off at its end still fits
together: keep the last hash elsewhere, and look for it with ``has``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import lmdb
import msgspec

from caxton.errors import StorageCorrupt
from caxton.storage.environment import Environment, storage_errors

__all__ = ["AUDIT_EVENTS", "AuditReader", "AuditRecord", "Verdict", "append"]

TABLE: Final = "audit"
_KEY = struct.Struct(">Q")
START: Final = bytes(32)
"""What stands before the first record."""

AUDIT_EVENTS: Final[dict[str, str]] = {
    "agent.registered": "an agent file was put into service for the first time",
    "agent.changed": "another version of an agent was put into service",
    "agent.reload_failed": "a changed agent file was refused; the version before goes on",
    "agent.deregistered": "an agent's file is gone",
    "agent.state": "an agent came to another state of its life",
    "agent.held": "an operator wants an agent out of service, over every restart",
    "agent.released": "an operator wants an agent in service again",
    "client.registered": "a client identity may send",
    "client.changed": "the metadata of a client identity changed",
    "client.deregistered": "a client identity may send no more",
    "capability.strategy": "how a provider of a capability is chosen was set",
    "breaker.reset": "an operator closed the circuit breakers of an agent",
    "memory.configured": "an operator changed how the memory works",
    "dead_letter.retried": "an operator had a dead letter handled once more",
    "grant.used": "a tool or WebAssembly agent used what it was granted, told once a minute",
    "grant.refused": "a tool or WebAssembly agent was refused what it was not granted",
    "dead_letter.discarded": "an operator removed a dead letter",
}
"""Every kind of record."""

_encode = msgspec.msgpack.Encoder().encode


class AuditRecord(msgspec.Struct, array_like=True, frozen=True):
    """One thing that happened."""

    sequence: int
    """From 1, without gaps."""
    at: int
    """Milliseconds since 1970."""
    kind: str
    """One of ``AUDIT_EVENTS``."""
    subject: str
    """Name of the agent, client or capability; id of the letter."""
    detail: str
    previous: bytes
    hash: bytes


class Verdict(msgspec.Struct, frozen=True):
    """What a look at the whole chain came to."""

    records: int
    head: str
    """Hash of the last record, in hex; empty when there is none."""
    broken_at: int = 0
    """The first record that does not fit; 0 when all do."""
    reason: str = ""


def _hash(previous: bytes, sequence: int, at: int, kind: str, subject: str, detail: str) -> bytes:
    return hashlib.sha256(previous + _encode((sequence, at, kind, subject, detail))).digest()


def append(
    txn: lmdb.Transaction[bytes],
    environment: Environment,
    events: Iterable[tuple[str, str, str]],
    at: int,
) -> int:
    """Add events (kind, subject, detail) to the chain, in a transaction; returns how many.

    Raises:
        ValueError: a kind is not in the table.
    """
    cursor = txn.cursor(environment.tables[TABLE])
    sequence, previous = 0, START
    if cursor.last():
        last = msgspec.msgpack.decode(cursor.value(), type=AuditRecord)
        sequence, previous = last.sequence, last.hash
    count = 0
    for kind, subject, detail in events:
        if kind not in AUDIT_EVENTS:
            raise ValueError(f"{kind} is no audit event")
        sequence += 1
        digest = _hash(previous, sequence, at, kind, subject, detail)
        record = AuditRecord(sequence, at, kind, subject, detail, previous, digest)
        cursor.put(_KEY.pack(sequence), _encode(record))
        previous = digest
        count += 1
    return count


class AuditReader:
    """Reads the trail of a data folder, also while its node runs.

    Args:
        data: the node's data folder.

    Raises:
        StorageError: there is none, or it does not read.
    """

    def __init__(self, data: Path) -> None:
        self._environment = Environment(
            data / "registry", (TABLE,), map_bytes=4 * 1024**3, readonly=True
        )
        self._decoder = msgspec.msgpack.Decoder(AuditRecord)

    def newest(self, limit: int, kind: str | None = None) -> list[AuditRecord]:
        """The last records, oldest first; of one kind when given."""
        found: list[AuditRecord] = []
        with storage_errors("audit"), self._environment.begin() as reading:
            cursor = reading.cursor(self._environment.tables[TABLE])
            for raw in cursor.iterprev(keys=False) if cursor.last() else ():
                record = self._read(raw)
                if kind is None or record.kind == kind:
                    found.append(record)
                if len(found) == limit:
                    break
        return found[::-1]

    def _read(self, raw: bytes) -> AuditRecord:
        try:
            return self._decoder.decode(raw)
        except msgspec.MsgspecError as error:
            raise StorageCorrupt(store="audit", reason=str(error)) from error

    def _all(self) -> Iterator[tuple[int, bytes]]:
        with storage_errors("audit"), self._environment.begin() as reading:
            for key, raw in reading.cursor(self._environment.tables[TABLE]):
                yield int(_KEY.unpack(key)[0]), raw

    def verify(self) -> Verdict:
        """Whether every record is there and as it was written."""
        count, previous = 0, START
        for sequence, raw in self._all():
            try:
                one = self._decoder.decode(raw)
            except msgspec.MsgspecError:
                return Verdict(count, previous.hex(), count + 1, "it does not decode")
            fields = (one.sequence, one.at, one.kind, one.subject, one.detail)
            if sequence != count + 1 or one.sequence != sequence:
                reason = f"record {sequence} follows record {count}"
            elif one.previous != previous:
                reason = "it does not follow from the one before"
            elif one.hash != _hash(previous, *fields):
                reason = "its fields are not those that were written"
            else:
                count, previous = sequence, one.hash
                continue
            return Verdict(count, previous.hex(), count + 1, reason)
        return Verdict(count, previous.hex() if count else "")

    def has(self, digest: bytes) -> bool:
        """Whether a record has this hash."""
        return any(self._read(raw).hash == digest for _, raw in self._all())

    def close(self) -> None:
        """Close it."""
        self._environment.close()
