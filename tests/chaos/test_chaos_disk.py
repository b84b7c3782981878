"""A disk that is full: nothing is acknowledged that is not kept, and the node goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chaos import RunningNode
from chaos_faults import Faults

from caxton.api.drafts import draft
from caxton.client import AsyncClient
from caxton.errors import CaxtonError, StorageFull, Timeout
from caxton.types import format_id, new_id

# What is not answered within three seconds must be what has no room.
pytestmark = [pytest.mark.process, pytest.mark.alone, pytest.mark.timeout(180)]

DISK_MIB = 96
MOUNTED = """
import os, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size={size}m", "tmpfs", sys.argv[1]], check=True)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class SmallDisk:
    """A file system of its own for the data of a node, in its own mount namespace.

    Where the system lets nobody mount, the processes of the node are held to file sizes instead.

    Args:
        folder: what the file system is at.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        trial = ["unshare", "-rm", sys.executable, "-c", MOUNTED.format(size=1), str(folder)]
        try:
            tried = subprocess.run([*trial, "-c", ""], check=False, capture_output=True)
            self.mounts = tried.returncode == 0
        except FileNotFoundError:
            self.mounts = False

    @property
    def prefix(self) -> list[str]:
        """What starts a Python program on it."""
        if not self.mounts:
            return [sys.executable]
        code = MOUNTED.format(size=DISK_MIB)
        return ["unshare", "-rm", sys.executable, "-c", code, str(self._folder)]

    def fill(self, node: RunningNode) -> None:
        """Leave no room."""
        if not self.mounts:
            for one in node.family():
                Faults.fill(one)
            return
        ballast = self._ballast(node)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65_536))
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def empty(self, node: RunningNode) -> None:
        """Make room."""
        if not self.mounts:
            for one in node.family():
                Faults.empty(one)
            return
        self._ballast(node).unlink()

    def _ballast(self, node: RunningNode) -> Path:
        return Path(f"/proc/{node.process.pid}/root{self._folder}/ballast")


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_full_disk(tmp_path: Path, durability: str) -> None:
    """Refused with what it is; reading goes on; what waited is acknowledged when there is room."""
    disk = SmallDisk(tmp_path / "caxton-data")
    node = RunningNode(tmp_path, "--shards", "1", "--durability", durability, prefix=disk.prefix)
    try:
        async with AsyncClient(node.url, timeout=3.0, retry=0.0) as client:
            key = format_id(new_id())
            first = await client.send("one", to="Echo", conversation_id=key)
            disk.fill(node)
            waiting = [draft("x" * 10_000, to="Echo", conversation_id=key) for _ in range(100)]
            # They wait for room: whether they are kept is not known yet.
            assert {type(one) for one in await client.send_many(waiting)} == {Timeout}
            with pytest.raises(StorageFull, match="is full"):
                await client.send("two", to="Echo", conversation_id=key)
            kept = (await client.conversation(key)).messages
            assert kept[0].message["message_id"] == first.message_id
            disk.empty(node)

        async with AsyncClient(node.url, timeout=5.0, retry=30.0) as client:
            outcomes = await client.send_many(waiting)
            assert not [one for one in outcomes if isinstance(one, CaxtonError)]
            ids = {body["message_id"] for body in waiting}
            while True:
                page = await client.conversation(key, limit=500)
                said = [one.message["message_id"] for one in page.messages]
                if len(said) >= 202:
                    break
                await asyncio.sleep(0.05)
            assert ids <= set(said)
            assert len(said) == len(set(said))
    finally:
        node.end()


async def test_a_full_map(tmp_path: Path) -> None:
    """A store at its limit refuses; a start with a larger limit has all that was acknowledged."""
    arguments = ("--shards", "1", "--durability", "process")
    node = RunningNode(tmp_path, *arguments, CAXTON_STORAGE_MAP_BYTES=str(16 << 20))
    acknowledged: list[str] = []
    key = format_id(new_id())
    try:
        async with AsyncClient(node.url, timeout=3.0, retry=0.0) as client:
            refusals: list[CaxtonError] = []
            while not any(isinstance(one, StorageFull) for one in refusals):
                assert len(acknowledged) < 16 << 10
                bodies = [draft("x" * 1_000, to="Echo", conversation_id=key) for _ in range(500)]
                outcomes = await client.send_many(bodies)
                refusals = [one for one in outcomes if isinstance(one, CaxtonError)]
                acknowledged += [
                    one.message_id for one in outcomes if not isinstance(one, CaxtonError)
                ]
    finally:
        node.end(signal.SIGKILL)

    node = RunningNode(tmp_path, *arguments)
    try:
        async with AsyncClient(node.url, timeout=10.0, retry=30.0) as client:
            answered: set[str] = set()
            async with asyncio.timeout(60):
                while not answered.issuperset(acknowledged):
                    answered = await answers(client, key)
    finally:
        node.end()


async def answers(client: AsyncClient, key: str) -> set[str]:
    """Which messages of a conversation have an answer in it."""
    found: set[str] = set()
    before = 0
    while True:
        page = await client.conversation(key, limit=500, before=before)
        found |= {one.message.get("in_reply_to", "") for one in page.messages}
        before = page.before
        if not before:
            return found
