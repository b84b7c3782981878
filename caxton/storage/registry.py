"""The registry: agents, their versions and how their last reload went. One writer, many readers.

Each change gets the next revision; a reader that knows revision *r* reads only what came after,
so a lost notice costs nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from caxton.agents.definition import AgentDefinition
from caxton.storage.environment import Environment, storage_errors
from caxton.types import new_id

__all__ = ["AgentRecord", "Registry", "ReloadRecord"]

TABLES = ("agents", "changes", "node")
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


class Registry:
    """The registry store."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self._env = Environment(path, TABLES, map_bytes=MAP_BYTES, sync=True, readonly=readonly)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(AgentRecord)
        self.revision = self._last_revision()

    def _last_revision(self) -> int:
        with storage_errors("registry"), self._env.lmdb.begin() as reading:
            cursor = reading.cursor(self._env.tables["changes"])
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
