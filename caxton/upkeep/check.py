"""Looks at every record of a data folder, without changing it, also while its node runs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from caxton.conversations.record import ConversationRecord
from caxton.errors import CaxtonError, ForeignFolder, ValidationError
from caxton.message import decode
from caxton.storage.audit import AuditReader
from caxton.storage.environment import storage_errors
from caxton.storage.records import DeadRecord, LogRecord, RetryRecord, State
from caxton.storage.registry import AgentRecord
from caxton.upkeep import memory

__all__ = ["StoreReport", "open_store", "stores", "verify"]

_SEQ = struct.Struct(">Q")
MOST = 20
"""Faults of one store that are told; the rest is counted."""


class StoreReport(msgspec.Struct):
    """What a look at one store came to."""

    store: str
    """``registry``, ``state``, ``content``, ``memory/store``, or ``shards/`` and a number."""
    bytes: int = 0
    """In use."""
    records: dict[str, int] = {}
    """Table to its number of records."""
    messages: int = 0
    """Kept in the journal."""
    pending: int = 0
    """Of them accepted and not handled, as far as the journal has written it down."""
    faults: list[str] = []
    more_faults: int = 0

    def fault(self, text: str) -> None:
        """Something is not as it was written."""
        if len(self.faults) < MOST:
            self.faults.append(text)
        else:
            self.more_faults += 1


def stores(data: Path) -> list[str]:
    """The stores of a data folder, by their paths in it.

    Raises:
        ForeignFolder: it is no data folder.
    """
    single = ("registry", "state", "content", memory.STORE)
    found = [one for one in single if (data / one / "data.mdb").exists()]
    shards = [one for one in (data / "shards").glob("*") if one.name.isdigit()]
    found += [f"shards/{one.name}" for one in sorted(shards, key=lambda one: int(one.name))]
    if not found:
        raise ForeignFolder(data=str(data), reason="it holds no stores of a node")
    return found


def open_store(path: Path) -> lmdb.Environment:
    """A store for reading. Its node may write it meanwhile.

    Raises:
        StorageError: it does not open.
    """
    with storage_errors(path.name):
        return lmdb.open(str(path), readonly=True, create=False, max_dbs=16, readahead=True)


def verify(data: Path) -> list[StoreReport]:
    """Read and decode every record of every store, and check what refers to what.

    Raises:
        ForeignFolder: it is no data folder.
    """
    reports = []
    for name in stores(data):
        report = StoreReport(name)
        try:
            _verify_one(data / name, report)
            if name == "registry":
                _verify_audit(data, report)
            elif name == memory.STORE:
                for fault in memory.verify_memory(data):
                    report.fault(fault)
        except (CaxtonError, lmdb.Error) as error:
            report.fault(str(error))
        reports.append(report)
    return reports


def _verify_one(path: Path, report: StoreReport) -> None:
    with open_store(path) as environment, environment.begin() as reading:
        info, pages = environment.info(), environment.stat()["psize"]
        report.bytes = int((info["last_pgno"] + 1) * pages)
        names = [bytes(key).decode() for key, _ in reading.cursor()]
        tables = {name: environment.open_db(name.encode(), txn=reading) for name in names}
        for name, table in tables.items():
            check = _CHECKS.get(name)
            count = 0
            for key, value in reading.cursor(table):
                count += 1
                if check is not None:
                    _try(report, name, key, value, check)
            report.records[name] = count
        if "log" in tables:
            _verify_log(reading, tables, report)


def _try(
    report: StoreReport, table: str, key: bytes, value: bytes, check: Callable[[bytes], Any]
) -> None:
    try:
        check(value)
    except (msgspec.MsgspecError, CaxtonError, struct.error) as error:
        report.fault(f"{table} {key.hex()}: {error}")


def _verify_log(reading: lmdb.Transaction, tables: dict[str, Any], report: StoreReport) -> None:
    following = 0
    kept: set[int] = set()
    handled: set[int] = set()
    for record in _log(reading, tables["log"], report):
        if following and record.first != following:
            report.fault(f"log: message {record.first} follows {following - 1}")
        following = record.first + len(record.messages)
        report.messages += len(record.messages)
        kept.update(range(record.first, following))
        handled.update(record.handled)
        for offset, raw in enumerate(record.messages):
            try:
                decode(raw)
            except ValidationError as error:
                report.fault(f"message {record.first + offset}: {error}")
    raw_state = reading.get(b"state", db=tables["meta"])
    if raw_state is None:
        if following:
            report.fault("meta: there are messages and no state")
        return
    state = msgspec.msgpack.decode(raw_state, type=State)
    if following and state.next_sequence != following:
        report.fault(
            f"meta: the next message is {state.next_sequence}, the log ends at {following}"
        )
    noted = {_SEQ.unpack(key)[0] for key, _ in reading.cursor(tables["pending"])}
    for sequence in sorted(noted - kept):
        report.fault(f"pending: message {sequence} is not in the log")
    recent = {one for one in kept - handled if one >= state.replay_from}
    report.pending = len(noted | recent)


def _log(reading: lmdb.Transaction, table: Any, report: StoreReport) -> Iterator[LogRecord]:
    for key, value in reading.cursor(table):
        try:
            yield msgspec.msgpack.decode(value, type=LogRecord)
        except msgspec.MsgspecError as error:
            report.fault(f"log {key.hex()}: {error}")


def _verify_audit(data: Path, report: StoreReport) -> None:
    reader = AuditReader(data)
    try:
        verdict = reader.verify()
    finally:
        reader.close()
    if verdict.broken_at:
        report.fault(f"audit: broken at record {verdict.broken_at}: {verdict.reason}")


def _whole(size: int) -> Callable[[bytes], None]:
    def check(value: bytes) -> None:
        if len(value) % size:
            raise struct.error(f"{len(value)} bytes, not a multiple of {size}")

    return check


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(kind).decode


_CHECKS: dict[str, Callable[[bytes], Any]] = {
    "conversations": _decoder(ConversationRecord),
    "history": _whole(8),
    "dead_letters": _decoder(DeadRecord),
    "retries": _decoder(RetryRecord),
    "agents": _decoder(AgentRecord),
}
"""What the values of a table are."""
