"""Other processes that read the store: whole operations only, larger maps, and new files."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caxton.memory.backend import DeleteEntity, PutEntity, Selection
from caxton.memory.embedded.compaction import settle
from caxton.memory.embedded.reader import Reader
from caxton.memory.embedded.store import Store
from caxton.memory.model import WORKSPACE, Entity, EntityKey, Observation
from caxton.storage import environment

pytestmark = pytest.mark.process

READ = """
import sys
from pathlib import Path
from caxton.memory.backend import Selection
from caxton.memory.embedded.reader import Reader

reader = Reader(Path(sys.argv[1]), map_bytes=1 << 16)
print("ready", flush=True)
seen = set()
for line in sys.stdin:
    if line == "end\\n":
        break
    for _ in range(20):
        rows = reader.page(Selection()).rows
        found = {row.entity.version for row in rows}
        assert len(rows) == 20 and len(found) == 1, (len(rows), found)
        seen |= found
    print(max(seen), reader.verify(), flush=True)
reader.close()
"""


FILL = """
import asyncio, resource, sys
from pathlib import Path
from caxton.errors import StorageError
from caxton.memory.backend import PutEntity
from caxton.memory.embedded.store import Store
from caxton.memory.model import WORKSPACE, Entity, Observation

async def main():
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    store = Store(Path(sys.argv[1]), map_bytes=1 << 28, words=str.split)
    async def write(n):
        seen = (Observation("word " * 2_000, 0),)
        await store.write([PutEntity(Entity(WORKSPACE, f"n{n}", "t", seen))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
    full = None
    for n in range(1_000):
        try:
            await write(n)
        except StorageError as error:
            full = error
            break
    # LMDB calls a write that was cut short an input/output error.
    assert full.retryable and str(full).startswith("the store `memory/store`"), full
    assert store.reader.stats().entities == n
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    for _ in range(3):
        try:
            await write(n)
            break
        except StorageError as error:
            print(error, file=sys.stderr)
    assert store.reader.stats().entities == n + 1
    assert store.reader.verify() == []
    await store.close()
    print(n, "written")

asyncio.run(main())
"""


def operation(version: int) -> list[PutEntity]:
    text = Observation("word " * 20 * version, 0)
    return [
        PutEntity(Entity(WORKSPACE, f"n{n}", "thing", (text,), version=version)) for n in range(20)
    ]


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A store whose map begins small."""
    monkeypatch.setattr(environment, "FIRST_BYTES", 1 << 18)
    opened = Store(tmp_path / "memory" / "store", map_bytes=1 << 28, words=str.split, sync=False)
    yield opened
    await opened.close()


async def test_readers_never_see_half_an_operation(store: Store) -> None:
    """All entities of one operation have its version at every moment, also as the map grows."""
    await store.write(operation(1))
    folder = str(store._opened.path)
    with subprocess.Popen(
        [sys.executable, "-c", READ, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as reading:
        assert reading.stdin is not None
        assert reading.stdout is not None
        assert reading.stdout.readline() == "ready\n"
        for version in range(2, 40):
            reading.stdin.write("look\n")
            reading.stdin.flush()
            await store.write(operation(version))
        reading.stdin.write("look\nend\n")
        reading.stdin.flush()
        told = reading.stdout.read().splitlines()
        assert reading.wait(60) == 0
    assert len(told) == 39
    assert told[-1] == "39 []"
    assert store._opened.environment.lmdb.info()["map_size"] > 1 << 18


def test_a_full_disk_is_told_and_outlived(tmp_path: Path) -> None:
    """What was acknowledged is there; when there is room again, writes go on."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "memory" / "store")],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("written\n")


def _read(folder: str, asked: object, told: object) -> None:
    reader = Reader(Path(folder))
    while asked.recv():  # type: ignore[attr-defined]
        told.send([row.entity.entity_name for row in reader.page(Selection()).rows])  # type: ignore[attr-defined]
    reader.close()


async def test_a_store_that_others_read_is_not_replaced_under_them(store: Store) -> None:
    """Compaction leaves it while another process has it open; then it goes, and all is there."""
    text = (Observation("word " * 4_000, 0),)
    await store.write([PutEntity(Entity(WORKSPACE, f"n{n}", "t", text)) for n in range(300)])
    gone = [DeleteEntity(EntityKey.of(WORKSPACE, f"n{n}")) for n in range(298)]
    await store.write(gone)
    context = multiprocessing.get_context("spawn")
    (asked, ask), (tell, told) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(str(store._opened.path), asked, told))
    process.start()
    ask.send(True)
    assert tell.poll(60)
    assert tell.recv() == ["n298", "n299"]
    before, after = await store.compact()
    assert before == after
    await store.write([PutEntity(Entity(WORKSPACE, "new", "t"))])
    ask.send(True)
    assert tell.poll(60)
    assert tell.recv() == ["n298", "n299", "new"]
    ask.send(False)
    process.join(60)
    assert process.exitcode == 0
    before, after = await store.compact()
    assert after < before / 5
    assert store.reader.verify() == []


async def test_a_lock_that_tells_of_the_old_file_is_replaced(store: Store, tmp_path: Path) -> None:
    """A reader that opened the old file and then the new lock must not mislead the writer."""
    for version in range(1, 30):
        await store.write([PutEntity(Entity(WORKSPACE, "n", "t", version=version))])
    opened = store._opened
    opened.environment.lmdb.copy(str(tmp_path), compact=True)
    context = multiprocessing.get_context("spawn")
    (asked, ask), (tell, told) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(str(opened.path), asked, told))
    with opened.replacing():
        (opened.path / "lock.mdb").unlink()
        process.start()
        ask.send(True)
        assert tell.poll(60)
        assert tell.recv() == ["n"]
        (tmp_path / "data.mdb").replace(opened.path / "data.mdb")
    with opened.environment.lmdb.begin(write=True) as writing:
        misled = writing.id()
        writing.abort()
    assert misled > opened.environment.lmdb.info()["last_txnid"] + 1
    settle(opened)
    await store.write([PutEntity(Entity(WORKSPACE, "n", "t", version=30))])
    await store.write([PutEntity(Entity(WORKSPACE, "m", "t"))])
    assert store.reader.verify() == []
    ask.send(True)
    assert tell.poll(60)
    assert tell.recv() == ["m", "n"]
    ask.send(False)
    process.join(60)
    assert process.exitcode == 0
