"""The registry: agents, their last reload, and who else is there. One writer, many readers.

Each change gets the next revision; a reader that knows revision *r* reads only what came after,
so a lost notice costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from caxton.agents.definition import AgentDefinition
from caxton.storage.entries import Entry, entry_key
from caxton.storage.environment import Environment, storage_errors
from caxton.types import new_id

__all__ = ["AgentRecord", "Registry", "ReloadRecord"]

TABLES = ("agents", "changes", "entries", "entry_changes", "node")
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
        with storage_errors("registry"), self._env.lmdb.begin() as reading:
            cursor = reading.cursor(self._env.tables[table])
            return int(_REVISION.unpack(cursor.key())[0]) if cursor.last() else 0

    def write(self, records: list[AgentRecord]) -> list[AgentRecord]:
        """Store changed records under new revisions, in one transaction; returns them so."""
        revision = self.revision
        stored = []
        agents, changes = self._env.tables["agents"], self._env.tables["changes"]
        with storage_errors("registry"), self._env.lmdb.begin(write=True) as txn:
            for record in records:
                before = txn.get(record.id, db=agents)
                if before is not None:
                    old = self._decoder.decode(before).revision
                    txn.delete(_REVISION.pack(old), db=changes)
                revision += 1
                numbered = msgspec.structs.replace(record, revision=revision)
                txn.put(record.id, self._encode(numbered), db=agents)
                txn.put(_REVISION.pack(revision), record.id, db=changes)
                stored.append(numbered)
        self.revision = revision
        return stored

    def since(self, revision: int) -> list[AgentRecord]:
        """The records that changed after ``revision``, oldest change first."""
        found = []
        agents, changes = self._env.tables["agents"], self._env.tables["changes"]
        with storage_errors("registry"), self._env.lmdb.begin() as reading:
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
        table, changes = self._env.tables["entries"], self._env.tables["entry_changes"]
        with storage_errors("registry"), self._env.lmdb.begin(write=True) as txn:
            for entry in entries:
                key = entry_key(entry)
                before = txn.get(key, db=table)
                if before is not None:
                    old = self._entries.decode(before).revision
                    txn.delete(_REVISION.pack(old), db=changes)
                revision += 1
                txn.put(key, self._encode(_Numbered(revision, entry)), db=table)
                txn.put(_REVISION.pack(revision), key, db=changes)
        self.entry_revision = revision
        return revision

    def entries_since(self, revision: int) -> tuple[int, list[Entry]]:
        """The entries that changed after ``revision``, oldest change first, and the last one's."""
        found: list[Entry] = []
        table, changes = self._env.tables["entries"], self._env.tables["entry_changes"]
        with storage_errors("registry"), self._env.lmdb.begin() as reading:
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
        with storage_errors("registry"), self._env.lmdb.begin(write=True) as txn:
            txn.put(b"id", made, db=self._env.tables["node"])
        return made

    def close(self) -> None:
        """Close it."""
        self._env.close()
