"""Quotas of writable folders: what counts, and what ends a call that writes too much."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import FolderGrant, Grants, InvalidSetting, Reason, SandboxError
from sandbox.quota import QuotaExceeded, QuotaWatch, Usage, deleted_but_open, measure

KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB


def writable(folder: Path, quota: int) -> Grants:
    """One writable folder."""
    return Grants(folders=(FolderGrant(folder, "out", write=True, quota_bytes=quota),))


class TestMeasure:
    """What a folder holds."""

    def test_a_file_is_what_it_says_or_what_it_takes(self, tmp_path: Path) -> None:
        """The larger of both; folders below count."""
        assert measure(tmp_path) == Usage(0, 0)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").write_bytes(bytes(100 * KIB))
        usage = measure(tmp_path)
        assert usage.entries == 2
        assert 100 * KIB <= usage.bytes <= 120 * KIB

    def test_a_sparse_file_is_its_size(self, tmp_path: Path) -> None:
        """It takes nothing now and may take all of it later."""
        with open(tmp_path / "sparse", "wb") as file:
            try:
                file.truncate(TIB)
            except OSError:
                # Some file systems have no room for the size either.
                file.truncate(64 * MIB)
        size = (tmp_path / "sparse").stat().st_size
        assert (tmp_path / "sparse").stat().st_blocks * 512 < size
        assert measure(tmp_path).bytes == size

    def test_empty_files_count(self, tmp_path: Path) -> None:
        """Each takes an entry somewhere."""
        for n in range(100):
            (tmp_path / f"{n}").touch()
        assert measure(tmp_path).bytes >= 100 * 512

    def test_a_file_of_two_names_counts_once(self, tmp_path: Path) -> None:
        """In whichever folders the names are."""
        (tmp_path / "a").write_bytes(bytes(MIB))
        (tmp_path / "d").mkdir()
        for n in range(10):
            os.link(tmp_path / "a", tmp_path / "d" / f"{n}")
        assert MIB <= measure(tmp_path).bytes < 2 * MIB

    def test_symlinks_are_not_followed(self, tmp_path: Path) -> None:
        """Neither out nor round in circles."""
        outside, inside = tmp_path / "outside", tmp_path / "inside"
        outside.mkdir()
        inside.mkdir()
        (outside / "large").write_bytes(bytes(MIB))
        (inside / "out").symlink_to(outside)
        (inside / "file").symlink_to(outside / "large")
        (inside / "round").symlink_to(inside)
        usage = measure(inside)
        assert usage.entries == 3
        assert usage.bytes < 64 * KIB

    def test_the_walk_is_bounded(self, tmp_path: Path) -> None:
        """More entries than are looked at are said so."""
        for n in range(20):
            (tmp_path / f"{n}").touch()
        assert measure(tmp_path, most_entries=20).whole
        usage = measure(tmp_path, most_entries=19)
        assert (usage.whole, usage.entries) == (False, 20)

    def test_what_vanishes_does_not_count(self, tmp_path: Path) -> None:
        """The folder itself too."""
        assert measure(tmp_path / "gone") == Usage(0, 0)

    @pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
    def test_deleted_files_count_while_they_are_open(self, tmp_path: Path) -> None:
        """Once for all its descriptors, on the device in question only."""
        device = tmp_path.stat().st_dev
        before = deleted_but_open(os.getpid(), device)
        with open(tmp_path / "a", "wb") as file:
            file.write(bytes(MIB))
            file.flush()
            assert deleted_but_open(os.getpid(), device) == before
            (tmp_path / "a").unlink()
            other = os.dup(file.fileno())
            assert MIB <= deleted_but_open(os.getpid(), device) - before < 2 * MIB
            assert deleted_but_open(os.getpid(), device + 99) == 0
            os.close(other)
        assert deleted_but_open(os.getpid(), device) == before
        assert deleted_but_open(2**30, device) == 0


class Killed:
    """Stands for a worker."""

    def __init__(self) -> None:
        self.at = asyncio.Event()

    def __call__(self) -> None:
        assert not self.at.is_set()
        self.at.set()

    async def call(self) -> None:
        """A call that ends only by being killed."""
        async with asyncio.timeout(30):
            await self.at.wait()
        raise SandboxError(Reason.KILLED, "the worker died")


class TestWatch:
    """A call with a writable folder."""

    async def test_a_call_within_its_quota_is_left_alone(self, tmp_path: Path) -> None:
        """What was there and what is written fit together."""
        (tmp_path / "a").write_bytes(bytes(MIB))
        killed = Killed()
        async with QuotaWatch(writable(tmp_path, 4 * MIB), os.getpid(), killed):
            (tmp_path / "b").write_bytes(bytes(MIB))
        assert not killed.at.is_set()

    async def test_a_full_folder_does_not_start_a_call(self, tmp_path: Path) -> None:
        """The refusal has the numbers."""
        (tmp_path / "a").write_bytes(bytes(MIB))
        watch = QuotaWatch(writable(tmp_path, MIB - 1), os.getpid(), Killed())
        with pytest.raises(QuotaExceeded, match="not started") as error:
            async with watch:
                raise AssertionError("started")
        assert error.value.reason is Reason.KILLED
        details = error.value.details
        assert (details["folder"], details["quota"], details["stage"]) == (
            "out",
            MIB - 1,
            "before",
        )
        assert int(details["used"]) >= MIB

    async def test_a_call_that_writes_too_much_is_killed(self, tmp_path: Path) -> None:
        """While it runs; the error names the quota, not the death of the worker."""
        killed = Killed()

        async def run() -> None:
            async with QuotaWatch(writable(tmp_path, MIB), os.getpid(), killed):
                (tmp_path / "a").write_bytes(bytes(2 * MIB))
                await killed.call()

        with pytest.raises(QuotaExceeded) as error:
            await run()
        assert error.value.details["stage"] == "during"

    async def test_many_small_files_are_too_much(self, tmp_path: Path) -> None:
        """By their bytes or by their number."""

        async def run(folder: Path, quota: int, most: int) -> None:
            killed = Killed()
            watch = QuotaWatch(writable(folder, quota), os.getpid(), killed, most_entries=most)
            async with watch:
                for n in range(200):
                    (folder / f"{n}").touch()
                await killed.call()

        for quota, most in ((64 * KIB, 100_000), (64 * MIB, 150)):
            folder = tmp_path / f"{most}"
            folder.mkdir()
            with pytest.raises(QuotaExceeded):
                await run(folder, quota, most)

    async def test_a_deleted_file_that_grows_is_found(self, tmp_path: Path) -> None:
        """In a real process that hides what it writes."""
        program = (
            "import os, sys\n"
            f"f = open({str(tmp_path / 'a')!r}, 'wb')\n"
            "os.unlink(f.name)\n"
            "sys.stdin.readline()\n"
            "f.write(bytes(4 << 20)); f.flush()\n"
            "sys.stdin.readline()\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
            killed = Killed()

            def kill() -> None:
                process.kill()
                killed()

            async def run() -> None:
                async with QuotaWatch(writable(tmp_path, MIB), process.pid, kill):
                    assert process.stdin is not None
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                    await killed.call()

            with pytest.raises(QuotaExceeded):
                await run()
            assert list(tmp_path.iterdir()) == []

    async def test_too_much_at_the_end_is_an_error_too(self, tmp_path: Path) -> None:
        """Between the last look and the end."""
        killed = Killed()
        with pytest.raises(QuotaExceeded) as error:
            async with QuotaWatch(writable(tmp_path, MIB), os.getpid(), killed):
                (tmp_path / "a").write_bytes(bytes(2 * MIB))
        assert error.value.details["stage"] == "after"

    async def test_other_errors_and_cancellation_pass(self, tmp_path: Path) -> None:
        """Unless the quota caused them; a cancelled call stays cancelled."""
        grants = writable(tmp_path, MIB)
        with pytest.raises(SandboxError, match="trap"):
            async with QuotaWatch(grants, os.getpid(), Killed()):
                raise SandboxError(Reason.TRAP, "trap")

        async def cancelled() -> None:
            async with QuotaWatch(grants, os.getpid(), Killed()):
                (tmp_path / "a").write_bytes(bytes(2 * MIB))
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await cancelled()

    async def test_only_writable_folders_are_looked_at(self, tmp_path: Path) -> None:
        """One that cannot be written may hold anything."""
        (tmp_path / "a").write_bytes(bytes(MIB))
        grants = Grants(folders=(FolderGrant(tmp_path, "in", quota_bytes=0),))
        before = set(asyncio.all_tasks())
        async with QuotaWatch(grants, os.getpid(), Killed()):
            assert set(asyncio.all_tasks()) == before


@pytest.mark.parametrize("quota", [-1, TIB + 1, True, 1.5])
def test_a_quota_has_a_range(tmp_path: Path, quota: int) -> None:
    """0 to 1 TiB."""
    with pytest.raises(InvalidSetting, match="quota_bytes"):
        FolderGrant(tmp_path, "out", write=True, quota_bytes=quota)
