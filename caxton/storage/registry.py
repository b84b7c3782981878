"""The registry: agents, their last reload, and who else is there. One writer, many readers.

Each change gets the next revision; a reader that knows revision *r* reads only what came after,
so a lost notice costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import msgspec

from caxton.agents.definition import AgentDefinition
from caxton.message import now_ms
from caxton.storage.audit import append
from caxton.storage.entries import ClientRecord, Entry, StateRecord, StrategyRecord, entry_key
from caxton.storage.environment import Environment, storage_errors
from caxton.types import format_id, new_id

__all__ = ["AgentRecord", "Registry", "ReloadRecord"]

TABLES = ("agents", "audit", "changes", "entries", "entry_changes", "node")
_REVISION = struct.Struct(">Q")
MAP_BYTES = 4 * 1024**3


class ReloadRecord(msgspec.Struct, array_like=True, frozen=True):
    """How the last change of the file went."""

    state: str = "loaded"
    """``loaded``, ``reloaded`` or ``failed``."""
    at: int = 0
    """Milliseconds since 1970."""
    took_us: int = 0
    detail: str = ""
    line: int = 0
    column: int = 0
    warnings: tuple[str, ...] = ()


class AgentRecord(msgspec.Struct, array_like=True, frozen=True):
    """One agent as it is registered."""

    id: bytes
    name: str
    revision: int
    file: str
    """Path relative to the agents folder."""
    definition: AgentDefinition | None
    """The version in service; None when no version of the file was ever valid."""
    fingerprint: str
    """Hash of the file and of what it refers to, as last looked at."""
    reload: ReloadRecord
    removed: bool = False

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it offers."""
        return tuple(self.definition.capabilities) if self.definition else ()

    @property
    def priority(self) -> int:
        """Among providers of one capability; higher is asked first."""
        return self.definition.priority if self.definition else 0

    def capability_version(self, capability: str) -> str:
        """The version in which it offers ``capability``."""
        return self.definition.capability_version(capability) if self.definition else ""

    @property
    def in_service(self) -> bool:
        """Whether it takes messages."""
        return self.definition is not None and not self.removed


AuditEvent = tuple[str, str, str]
"""Kind, subject, detail."""


def _agent_events(before: AgentRecord | None, record: AgentRecord) -> Iterator[AuditEvent]:
    name, reload = record.name, record.reload
    there = before is not None and before.in_service
    if record.removed:
        if there:
            yield "agent.deregistered", name, record.file
    elif reload.state == "failed" and (before is None or before.reload.at != reload.at):
        yield "agent.reload_failed", name, f"{record.file}: {reload.detail}"
    elif record.definition is not None:
        detail = f"{record.file} version {record.definition.version} {record.fingerprint}"
        if not there:
            yield "agent.registered", name, detail
        elif before is not None and before.fingerprint != record.fingerprint:
            yield "agent.changed", name, detail


def _state_events(before: Entry | None, entry: StateRecord, name: str) -> Iterator[AuditEvent]:
    known = before if isinstance(before, StateRecord) else None
    state = known.state if known else "unloaded"
    if state != entry.state:
        why = f": {entry.reason}" if entry.reason else ""
        yield "agent.state", name, f"{state} → {entry.state}{why}"
    if entry.stopped != (known is not None and known.stopped):
        yield ("agent.held" if entry.stopped else "agent.released"), name, ""


def _entry_events(
    before: Entry | None, entry: ClientRecord | StrategyRecord
) -> Iterator[AuditEvent]:
    if isinstance(entry, StrategyRecord):
        yield "capability.strategy", entry.capability, entry.strategy or "the node's default"
    elif entry.removed:
        yield "client.deregistered", entry.name, format_id(entry.id)
    else:
        there = isinstance(before, ClientRecord) and not before.removed
        kind = "client.changed" if there else "client.registered"
        yield kind, entry.name, format_id(entry.id)


class _Numbered(msgspec.Struct, array_like=True, frozen=True):
    revision: int
    entry: Entry


class Registry:
    """The registry store."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self._env = Environment(path, TABLES, map_bytes=MAP_BYTES, sync=True, readonly=readonly)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(AgentRecord)
        self._entries = msgspec.msgpack.Decoder(_Numbered)
        self.revision = self._last_revision("changes")
        self.entry_revision = self._last_revision("entry_changes")

    def _last_revision(self, table: str) -> int:
        with storage_errors("registry"), self._env.begin() as reading:
            cursor = reading.cursor(self._env.tables[table])
            return int(_REVISION.unpack(cursor.key())[0]) if cursor.last() else 0

    def write(self, records: list[AgentRecord]) -> list[AgentRecord]:
        """Store changed records under new revisions, in one transaction; returns them so."""
        revision = self.revision
        stored = []
        agents, changes = self._env.tables["agents"], self._env.tables["changes"]
        told: list[AuditEvent] = []
        with storage_errors("registry"), self._env.begin(write=True) as txn:
            for record in records:
                before = txn.get(record.id, db=agents)
                known = None if before is None else self._decoder.decode(before)
                if known is not None:
                    txn.delete(_REVISION.pack(known.revision), db=changes)
                told += _agent_events(known, record)
                revision += 1
                numbered = msgspec.structs.replace(record, revision=revision)
                txn.put(record.id, self._encode(numbered), db=agents)
                txn.put(_REVISION.pack(revision), record.id, db=changes)
                stored.append(numbered)
            append(txn, self._env, told, now_ms())
        self.revision = revision
        return stored

    def since(self, revision: int) -> list[AgentRecord]:
        """The records that changed after ``revision``, oldest change first."""
        found = []
        agents, changes = self._env.tables["agents"], self._env.tables["changes"]
        with storage_errors("registry"), self._env.begin() as reading:
            cursor = reading.cursor(changes)
            if cursor.set_range(_REVISION.pack(revision + 1)):
                for key in cursor.iternext(keys=False):
                    raw = reading.get(key, db=agents)
                    if raw is not None:
                        found.append(self._decoder.decode(raw))
        return found

    def put(self, entries: Sequence[Entry]) -> int:
        """Store entries under new revisions, in one transaction; returns the last revision."""
        revision = self.entry_revision
        told: list[AuditEvent] = []
        table, changes = self._env.tables["entries"], self._env.tables["entry_changes"]
        with storage_errors("registry"), self._env.begin(write=True) as txn:
            for entry in entries:
                key = entry_key(entry)
                before = txn.get(key, db=table)
                known = None if before is None else self._entries.decode(before)
                if known is not None:
                    txn.delete(_REVISION.pack(known.revision), db=changes)
                if isinstance(entry, StateRecord):
                    name = self._name(txn, entry.id)
                    told += _state_events(known.entry if known else None, entry, name)
                elif isinstance(entry, ClientRecord | StrategyRecord):
                    told += _entry_events(known.entry if known else None, entry)
                revision += 1
                txn.put(key, self._encode(_Numbered(revision, entry)), db=table)
                txn.put(_REVISION.pack(revision), key, db=changes)
            append(txn, self._env, told, now_ms())
        self.entry_revision = revision
        return revision

    def audit(self, kind: str, subject: str, detail: str = "") -> None:
        """Note in the audit trail what changes nothing here."""
        with storage_errors("registry"), self._env.begin(write=True) as txn:
            append(txn, self._env, [(kind, subject, detail)], now_ms())

    def _name(self, txn: lmdb.Transaction[bytes], agent_id: bytes) -> str:
        raw = txn.get(agent_id, db=self._env.tables["agents"])
        return format_id(agent_id) if raw is None else self._decoder.decode(raw).name

    def entries_since(self, revision: int) -> tuple[int, list[Entry]]:
        """The entries that changed after ``revision``, oldest change first, and the last one's."""
        found: list[Entry] = []
        table, changes = self._env.tables["entries"], self._env.tables["entry_changes"]
        with storage_errors("registry"), self._env.begin() as reading:
            cursor = reading.cursor(changes)
            if cursor.set_range(_REVISION.pack(revision + 1)):
                for key in cursor.iternext(keys=False):
                    raw = reading.get(key, db=table)
                    if raw is not None:
                        numbered = self._entries.decode(raw)
                        revision = numbered.revision
                        found.append(numbered.entry)
        return revision, found

    def node_id(self) -> bytes:
        """The node's id, made at the first call."""
        known = self._env.read("node", b"id")
        if known is not None:
            return known
        made = new_id()
        with storage_errors("registry"), self._env.begin(write=True) as txn:
            txn.put(b"id", made, db=self._env.tables["node"])
        return made

    def close(self) -> None:
        """Close it."""
        self._env.close()
