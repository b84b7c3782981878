"""The faults are real: a clock that jumps, a commit that ends its process, a disk that is full."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from chaos_faults import Faults

from caxton.storage.journal import Journal

WRITER = """
import sys, time
from pathlib import Path
from caxton.errors import StorageError
from caxton.storage.journal import Journal

journal = Journal(Path(sys.argv[1]), disk=False, map_bytes=64 << 20)
print(int(time.time()), flush=True)
for line in sys.stdin:
    journal.append(line.encode() * 2000)
    batch = journal.seal(1)
    try:
        journal.commit(batch)
    except StorageError as error:
        print(error, flush=True)
        print(input() and "again", journal.commit(batch), flush=True)
    print("ok", flush=True)
"""


class Writer:
    """A process with the faults of a node's, and a journal."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults(folder / "faults")
        self.folder = folder / "shards" / "0"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> int:
        """Its wall clock, in seconds since 1970."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.faults.environment,
        )
        return int(self.line())

    def line(self) -> str:
        """The next that it says; empty when it ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def write(self, text: str = "x") -> None:
        """Let it commit."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Kill it."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=10)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """One that was not started."""
    return Writer(tmp_path)


def test_a_wall_clock_jumps(writer: Writer) -> None:
    """That of every process that is told so."""
    writer.faults.jump(-7_200)
    assert abs(writer.start() + 7_200 - time.time()) < 60
    writer.end()


@pytest.mark.parametrize(("boundary", "kept"), [(1, 1), (2, 2)], ids=["before", "after"])
def test_a_commit_is_the_last(writer: Writer, boundary: int, kept: int) -> None:
    """What was written before it is there; it is there when the end came after it."""
    writer.start()
    writer.write()
    assert writer.line() == "ok"
    writer.faults.end_at(boundary)
    writer.write()
    assert writer.line() == ""
    assert writer.faults.ended
    writer.end()
    journal = Journal(writer.folder, disk=False, map_bytes=64 << 20)
    assert len(journal.newest(5)) == kept
    journal.close()


def test_a_slow_commit(writer: Writer) -> None:
    """It waits as long as it is told."""
    writer.start()
    writer.faults.slow(0.2)
    since = time.monotonic()
    writer.write()
    assert writer.line() == "ok"
    assert time.monotonic() - since >= 0.2
    writer.end()


def test_a_full_disk(writer: Writer) -> None:
    """A commit fails with what it is, changes nothing, and succeeds when there is room."""
    writer.start()
    assert writer.process is not None
    process = psutil.Process(writer.process.pid)
    writer.faults.fill(process)
    writer.write()
    assert "is full: a file may not grow further" in writer.line()
    writer.faults.empty(process)
    writer.write()
    assert writer.line() == "again None"
    assert writer.line() == "ok"
    writer.end()
    journal = Journal(writer.folder, disk=False, map_bytes=64 << 20)
    assert len(journal.newest(5)) == 1
    journal.close()
