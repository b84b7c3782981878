"""The data folder: locked by one node at a time, private, and telling where the node is."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

import msgspec
import orjson

from actors.links.endpoint import MAX_SOCKET_PATH
from caxton.errors import ForeignFolder, NodeAlreadyRunning, StorageError

__all__ = ["DataFolder"]

LONGEST_SOCKET = len("/shard-31.sock")


class DataFolder:
    """An opened data folder.

    Args:
        path: absolute path; made with mode 0700 when missing.

    Raises:
        NodeAlreadyRunning: another node holds it; its pid is named.
        ForeignFolder: it holds something else than a node's data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "run"
        self._lock = -1
        try:
            self._check(path)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("run", "logs", "shards", "cache"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise StorageError(store=str(path), reason=str(error)) from error
        self.sockets = self._socket_folder()

    @staticmethod
    def _check(path: Path) -> None:
        if not path.exists():
            return
        if not path.is_dir():
            raise ForeignFolder(data=str(path), reason="it is not a folder")
        names = {entry.name for entry in path.iterdir()} - {"logs"}
        if names and not names & {"run", "registry", "shards"}:
            raise ForeignFolder(
                data=str(path), reason=f"it holds other files, such as {min(names)}"
            )

    def _take_lock(self) -> None:
        lock = os.open(self.run / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise NodeAlreadyRunning(pid=pid, data=str(self.path)) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _socket_folder(self) -> Path:
        """``run``, or a private short folder when a socket's path would be too long there."""
        if len(os.fsencode(self.run)) + LONGEST_SOCKET <= MAX_SOCKET_PATH:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"caxton-{os.getuid()}-{digest}"
        short.mkdir(mode=0o700, exist_ok=True)
        if short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
            raise ForeignFolder(data=str(short), reason="it is not private to this user")
        return short

    def announce(self, **facts: object) -> None:
        """Write ``run/node.json``, by which the command line finds the node."""
        temporary = self.run / "node.json.new"
        temporary.write_bytes(orjson.dumps(msgspec.to_builtins(facts)))
        temporary.chmod(0o600)
        temporary.replace(self.run / "node.json")

    def close(self) -> None:
        """Take back the announcement and the lock; remove what is left of sockets."""
        (self.run / "node.json").unlink(missing_ok=True)
        for left in self.sockets.glob("*.sock"):
            left.unlink(missing_ok=True)
        if self.sockets != self.run:
            self.sockets.rmdir()
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1
