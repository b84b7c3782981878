"""What LMDB environments have besides: versions of their records, maps that grow, log records of
earlier versions."""

from __future__ import annotations

import functools
from pathlib import Path

import lmdb
import msgspec
import pytest

from caxton.errors import ForeignFolder, StorageFull
from caxton.message import encode, make_message
from caxton.storage import environment
from caxton.storage.environment import Environment
from caxton.storage.journal import Journal
from caxton.storage.retention import Retention
from caxton.types import new_id

MAP = 64 * 1024 * 1024


def test_a_full_store_writes_nothing_of_the_batch(tmp_path: Path) -> None:
    """StorageFull leaves the journal as it was before the batch."""
    journal = Journal(tmp_path / "j", disk=True, map_bytes=16 * 1024 * 1024)
    journal.append(b"good")
    journal.commit(journal.seal(1))
    journal.append(b"x" * 20 * 1024 * 1024)
    batch = journal.seal(1)
    with pytest.raises(StorageFull, match="map is full"):
        journal.commit(batch)
    assert journal.newest(5) == [b"good"]
    journal.close()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    """A folder that a later version made is left alone."""
    env = Environment(tmp_path / "e", ("t",), map_bytes=MAP)
    with env.lmdb.begin(write=True) as txn:
        txn.put(b"version", b"99", db=env.tables["schema"])
    env.close()
    with pytest.raises(ForeignFolder, match="schema version 99"):
        Environment(tmp_path / "e", ("t",), map_bytes=MAP)


def older(folder: Path) -> None:
    """An environment of version 1 with one record."""
    env = Environment(folder, ("t",), map_bytes=MAP)
    with env.begin(write=True) as txn:
        txn.put(b"k", b"one", db=env.tables["t"])
    env.close()


def test_an_older_schema_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, by the process that writes; readers say what has to be done first."""
    older(tmp_path / "e")
    monkeypatch.setattr(environment, "SCHEMA", 3)
    steps = {
        version: lambda txn, tables, version=version: txn.put(
            b"k", txn.get(b"k", db=tables["t"]) + b" %d" % version, db=tables["t"]
        )
        for version in (1, 2)
    }
    monkeypatch.setattr(environment, "MIGRATIONS", steps)
    with pytest.raises(ForeignFolder, match="a start of its node"):
        Environment(tmp_path / "e", ("t",), map_bytes=MAP, readonly=True)
    for _ in range(2):
        env = Environment(tmp_path / "e", ("t",), map_bytes=MAP)
        assert env.read("t", b"k") == b"one 1 2"
        assert env.read("schema", b"version") == b"3"
        env.close()


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is that of the version before, and opens with it."""
    older(tmp_path / "e")

    def broken(txn: object, tables: object) -> None:
        txn.put(b"k", b"half", db=tables["t"])  # type: ignore[attr-defined, index]
        raise lmdb.Error("no")

    with monkeypatch.context() as later:
        later.setattr(environment, "SCHEMA", 2)
        later.setattr(environment, "MIGRATIONS", {1: broken})
        with pytest.raises(environment.StorageError):
            Environment(tmp_path / "e", ("t",), map_bytes=MAP)
    env = Environment(tmp_path / "e", ("t",), map_bytes=MAP)
    assert env.read("t", b"k") == b"one"
    env.close()


def test_every_version_has_its_migration() -> None:
    """A later schema cannot forget how to come from the one before."""
    assert set(environment.MIGRATIONS) == set(range(1, environment.SCHEMA))


def test_a_map_grows_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch that did not fit is written then; readers elsewhere see it."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1024 * 1024)
    journal = Journal(tmp_path / "j", disk=False, map_bytes=4 * 1024 * 1024)
    batches = 0
    with pytest.raises(StorageFull, match="map is full"):  # noqa: PT012 - how far it gets counts
        while True:
            journal.append(b"x" * 100_000)
            batch = journal.seal(1)
            try:
                journal.commit(batch)
            except StorageFull:
                if not journal.grow():
                    raise
                journal.commit(batch)
            batches += 1
    assert 30 < batches < 42
    assert len(journal.newest(100)) == batches
    journal._env.close()


def test_a_reader_follows_a_map_that_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another process as a rule, with the map that it opened."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1024 * 1024)
    env = Environment(tmp_path / "e", ("t",), map_bytes=MAP)
    resized = iter([lmdb.MapResizedError("resized")])
    begin = env.lmdb.begin

    class Other:
        """Its map is too small once."""

        def begin(self, *, write: bool) -> object:
            for error in resized:
                raise error
            return begin(write=write)

        def set_mapsize(self, size: int) -> None:
            assert size == 0

    with monkeypatch.context() as patched:
        patched.setattr(env, "lmdb", Other())
        assert env.read("t", b"k") is None
    env.close()


def test_records_without_a_time_have_that_of_their_first_message(tmp_path: Path) -> None:
    """Versions before did not note when a record was written."""
    now = 10_000_000
    opened = functools.partial(
        Journal, tmp_path / "j", disk=False, map_bytes=MAP, now_ms=lambda: now
    )
    journal = opened(keep=Retention(1_000, age_ms=5_000))
    for age in (6_000, 1_000, 0):
        message = make_message("inform", sender=new_id(), receiver=new_id(), created_at=now - age)
        journal.mark(journal.append(encode(message)))
        journal.commit(journal.seal(journal.next_sequence))
    table = journal._env.tables["log"]
    with journal._env.begin(write=True) as txn:
        for key, value in list(txn.cursor(table)):
            first, messages, handled, _ = msgspec.msgpack.decode(value)
            txn.put(key, msgspec.msgpack.encode((first, messages, handled)), db=table)
    journal.close()
    journal = opened(keep=Retention(1_000, age_ms=5_000))
    journal.commit(journal.seal(journal.next_sequence))
    assert journal.first_kept == 2
    journal.close()
