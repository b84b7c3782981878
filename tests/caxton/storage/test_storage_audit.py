"""The audit trail: what is written with which change, and what a look at the chain finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest

from caxton.agents.definition import AgentDefinition
from caxton.errors import CaxtonError, StorageCorrupt
from caxton.storage.audit import AUDIT_EVENTS, AuditReader, AuditRecord
from caxton.storage.entries import BeatRecord, ClientRecord, StateRecord, StrategyRecord
from caxton.storage.registry import AgentRecord, Registry, ReloadRecord
from caxton.types import new_id

AGENT = new_id()


def agent(**fields: object) -> AgentRecord:
    row = AgentRecord(
        AGENT, "Echo", 0, "Echo.md", AgentDefinition(name="Echo", version="1.0"), "f1",
        ReloadRecord(at=1),
    )  # fmt: skip
    return msgspec.structs.replace(row, **fields)


def trail(folder: Path) -> list[tuple[str, str, str]]:
    reader = AuditReader(folder)
    found = [(one.kind, one.subject, one.detail) for one in reader.newest(1_000)]
    reader.close()
    return found


def test_each_change_is_told_with_it(tmp_path: Path) -> None:
    """Agents, their states, clients and strategies; heartbeats and what changes nothing are not."""
    registry = Registry(tmp_path / "registry")
    registry.write([agent()])
    registry.write([agent()])
    registry.write([agent(fingerprint="f2", definition=AgentDefinition(name="Echo"))])
    failed = ReloadRecord(state="failed", at=2, detail="line 3")
    registry.write([agent(fingerprint="f2", reload=failed)])
    registry.put([StateRecord(AGENT, "running", 1), BeatRecord(0, 1, 1)])
    registry.put([StateRecord(AGENT, "stopped", 2, "why not", stopped=True)])
    registry.put([StateRecord(AGENT, "stopped", 2, "why not")])
    registry.put([StrategyRecord("work", "priority", 1), StrategyRecord("work", "", 2)])
    client = ClientRecord(new_id(), "web", 1, 1)
    registry.put([client])
    registry.put([msgspec.structs.replace(client, metadata={"a": "b"})])
    registry.put([msgspec.structs.replace(client, removed=True)])
    registry.write([agent(removed=True)])
    registry.write([agent(removed=True)])
    registry.audit("breaker.reset", "Echo")
    with pytest.raises(ValueError, match="no audit event"):
        registry.audit("weather", "Echo")
    registry.close()
    assert [(kind, subject) for kind, subject, _ in trail(tmp_path)] == [
        ("agent.registered", "Echo"),
        ("agent.changed", "Echo"),
        ("agent.reload_failed", "Echo"),
        ("agent.state", "Echo"),
        ("agent.state", "Echo"),
        ("agent.held", "Echo"),
        ("agent.released", "Echo"),
        ("capability.strategy", "work"),
        ("capability.strategy", "work"),
        ("client.registered", "web"),
        ("client.changed", "web"),
        ("client.deregistered", "web"),
        ("agent.deregistered", "Echo"),
        ("breaker.reset", "Echo"),
    ]
    details = [detail for _, _, detail in trail(tmp_path)]
    assert details[:6] == [
        "Echo.md version 1.0 f1", "Echo.md version 0.1.0 f2", "Echo.md: line 3",
        "unloaded → running",
        "running → stopped: why not", "",
    ]  # fmt: skip
    reader = AuditReader(tmp_path)
    assert [one.subject for one in reader.newest(1, "client.registered")] == ["web"]
    verdict = reader.verify()
    assert (verdict.records, verdict.broken_at) == (14, 0)
    assert reader.has(bytes.fromhex(verdict.head))
    assert not reader.has(bytes(32))
    reader.close()


def change(folder: Path, work: Callable[[lmdb.Transaction, object], None]) -> None:
    with lmdb.open(str(folder / "registry"), max_dbs=9) as environment:
        table = environment.open_db(b"audit")
        with environment.begin(write=True, db=table) as txn:
            work(txn, table)


def key(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big")


def forge(txn: lmdb.Transaction, number: int, **fields: object) -> None:
    record = msgspec.msgpack.decode(txn.get(key(number)), type=AuditRecord)
    txn.put(key(number), msgspec.msgpack.encode(msgspec.structs.replace(record, **fields)))


@pytest.mark.parametrize(
    ("work", "broken_at", "reason"),
    [
        (lambda txn, _: forge(txn, 3, detail="nothing"), 3, "not those that were written"),
        (lambda txn, _: txn.delete(key(2)), 2, "record 3 follows record 1"),
        (lambda txn, _: txn.put(key(4), b"\xc1"), 4, "does not decode"),
        (lambda txn, _: forge(txn, 2, previous=hashlib.sha256(b"").digest()), 2, "one before"),
        (lambda txn, _: forge(txn, 5, sequence=6), 5, "record 5 follows record 4"),
    ],
    ids=["changed", "removed", "garbled", "relinked", "renumbered"],
)
def test_what_was_tampered_with_is_found(
    tmp_path: Path,
    work: Callable[[lmdb.Transaction, object], None],
    broken_at: int,
    reason: str,
) -> None:
    """The first record that does not fit is named, with why."""
    registry = Registry(tmp_path / "registry")
    for n in range(5):
        registry.audit("breaker.reset", f"agent-{n}")
    registry.close()
    change(tmp_path, work)
    reader = AuditReader(tmp_path)
    verdict = reader.verify()
    assert verdict.broken_at == broken_at
    assert reason in verdict.reason
    if reason == "does not decode":
        with pytest.raises(StorageCorrupt):
            reader.newest(5)
    reader.close()


def test_a_folder_without_a_trail(tmp_path: Path) -> None:
    """An empty chain is whole; no data folder is an error that says so."""
    with pytest.raises(CaxtonError):
        AuditReader(tmp_path)
    Registry(tmp_path / "registry").close()
    reader = AuditReader(tmp_path)
    assert reader.verify().head == ""
    assert reader.newest(5) == []
    reader.close()
    assert set(AUDIT_EVENTS) > {"agent.state"}
