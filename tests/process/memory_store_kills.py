"""Kills a process that writes the memory's store, again and again, and looks at what is left.

    python tests/process/memory_store_kills.py --kills 200 --seed 1

Four writers share commits; each operation puts entities with vectors, relates them, counts up, and
removes older ones, so that what has to be there follows from how far each writer came. After each
kill: everything acknowledged is there, nothing is there by half, and all of it verifies.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from caxton.memory.backend import (
    Change,
    DeleteEntity,
    ModelInfo,
    PutEntity,
    PutRelation,
    Selection,
)
from caxton.memory.embedded import compaction
from caxton.memory.embedded.reader import Reader
from caxton.memory.embedded.store import Store
from caxton.memory.model import Entity, EntityKey, Observation, Relation, Scope
from caxton.storage import environment

WRITERS = 4
DIMENSION = 64
MODEL = ModelInfo("stub", DIMENSION, "00")
MAP_BYTES = 1 << 30
SILENT_S = 60.0
"""A writer that acknowledges nothing for so long hangs."""


def scope_of(writer: int) -> Scope:
    return Scope.of_agent(f"writer{writer}")


def vector_of(writer: int, number: int, at: int) -> np.ndarray:
    vector = np.zeros((1, DIMENSION), np.float32)
    vector[0, :4] = writer, number % 2_048, at, 1
    return vector


def operation(writer: int, number: int) -> list[Change]:
    """The changes of one number of one writer."""
    scope = scope_of(writer)
    changes: list[Change] = []
    for at in range(3):
        seen = (Observation(f"note {number} of {writer} " * 8, number),)
        entity = Entity(scope, f"e{number}.{at}", f"kind{at}", seen)
        changes.append(PutEntity(entity, vector_of(writer, number, at)))
    related = [Relation(scope, f"e{number}.0", f"e{number}.{at}", "has") for at in (1, 2)]
    changes += [PutRelation(one) for one in related]
    count = Entity(scope, "count", "count", (Observation(str(number), 0),), version=number)
    changes.append(PutEntity(count))
    changes.append(PutRelation(Relation(scope, "count", f"e{number}.0", "made")))
    if number % 3 == 0:
        gone = (f"e{number - 2}.{at}" for at in range(3))
        changes += [DeleteEntity(EntityKey.of(scope, name)) for name in gone]
    return changes


def numbers_left(count: int) -> set[int]:
    """Which operations' entities are there after ``count`` of them."""
    return set(range(1, count + 1)) - {one - 2 for one in range(3, count + 1, 3)}


def counted(reader: Reader, writer: int) -> int:
    """How far a writer came."""
    (found,) = reader.entities([EntityKey.of(scope_of(writer), "count")])
    return 0 if found is None else int(found.observations[0].text)


# --- the process that is killed ------------------------------------------------------------------


async def write(folder: Path) -> None:
    environment.FIRST_BYTES = 1 << 20  # It has to grow many times,
    compaction.WORTH_BYTES = 0  # and is written anew however little that gives.
    compaction.WORTH = 0
    store = Store(folder, map_bytes=MAP_BYTES, words=str.split)
    store.use_model(MODEL)

    async def one(writer: int) -> None:
        number = counted(store.reader, writer)
        while True:
            number += 1
            await store.write(operation(writer, number))
            os.write(1, f"{writer} {number}\n".encode())
            if number % 8 == 0 and writer == 0:
                with store.reader.moment() as moment:
                    last = moment.last_seq
                await store.trim(last - 10)
                await store.compact()

    await asyncio.gather(*[one(writer) for writer in range(WRITERS)])


# --- the process that looks ----------------------------------------------------------------------


class Kills:
    """Kills writers of one folder, and checks it after each."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.acknowledged = dict.fromkeys(range(WRITERS), 0)
        self.written = 0
        self._unread = b""

    def kill(self) -> None:
        """Start a writer, kill it at a random moment, look at what is left."""
        writer = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", __file__, "--write", str(self.folder)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        try:
            self._read(writer, self.random.randrange(1, 60), self.random.random() * 0.02)
        finally:
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read()
            writer.stdout.close()
            writer.wait(30)
        self._note(self._unread + rest)
        self.check()

    def _read(self, writer: subprocess.Popen[bytes], lines: int, longer_s: float) -> None:
        """Until it acknowledged so many operations, and for a moment after that."""
        assert writer.stdout is not None
        raw = b""
        while raw.count(b"\n") < lines:
            ready, _, _ = select.select([writer.stdout], [], [], SILENT_S)
            if not ready:
                writer.send_signal(signal.SIGABRT)  # It tells where it is.
                writer.wait(30)
                raise AssertionError(f"it hangs, after {raw!r}")
            piece = os.read(writer.stdout.fileno(), 65_536)
            assert piece, f"it ended by itself with {writer.wait(30)}"
            raw += piece
        end = time.monotonic() + longer_s
        while (left := end - time.monotonic()) > 0:
            if select.select([writer.stdout], [], [], left)[0]:
                raw += os.read(writer.stdout.fileno(), 65_536)
        self._unread = raw

    def _note(self, raw: bytes) -> None:
        for line in raw.split(b"\n")[:-1]:
            writer, number = map(int, line.split())
            self.acknowledged[writer] = number
            self.written += 1

    def check(self) -> None:
        """Everything acknowledged is there, nothing by half, and all of it fits together."""
        reader = Reader(self.folder)
        try:
            assert reader.verify() == []
            for writer, acknowledged in self.acknowledged.items():
                count = counted(reader, writer)
                # One operation of each writer is on its way: all of it was written, or nothing.
                assert count in (acknowledged, acknowledged + 1)
                self._check_writer(reader, writer, count)
        finally:
            reader.close()

    def _check_writer(self, reader: Reader, writer: int, count: int) -> None:
        rows, after = [], b""
        while True:
            selection = Selection(scopes=(scope_of(writer),))
            page = reader.page(selection, after=after, vectors=True)
            rows += page.rows
            if page.after is None:
                break
            after = page.after
        left = numbers_left(count)
        expected = {f"e{number}.{at}" for number in left for at in range(3)}
        names = {row.entity.entity_name for row in rows} - {"count"}
        assert names == expected
        for row in rows:
            if row.entity.entity_name != "count":
                number, at = map(int, row.entity.entity_name[1:].split("."))
                assert row.entity.observations[0].at_ms == number
                np.testing.assert_array_equal(row.vectors, vector_of(writer, number, at))
        made = reader.relations([EntityKey.of(scope_of(writer), "count")], "out")
        assert {one.to_entity for one in made} == {f"e{number}.0" for number in left}
        self.acknowledged[writer] = count


def run(kills: int, seed: int, say: bool = False) -> Kills:
    """So many kills of writers of one folder.

    Raises:
        AssertionError: something was lost, or is there by half.
    """
    root = Path(tempfile.mkdtemp(prefix="caxton-memory-kills-"))
    try:
        looking = Kills(root / "memory" / "store", seed)
        for number in range(1, kills + 1):
            looking.kill()
            if say and number % 10 == 0:
                print(f"{number} kills, {looking.written} acknowledged, 0 lost", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return looking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        asyncio.run(write(given.write))
    run(given.kills, given.seed, say=True)


if __name__ == "__main__":
    main()
