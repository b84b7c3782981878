"""Compiled modules on disk, keyed by content.

An artifact is native code that the engine loads without checking it, so the folder is private:
owned by this user, mode 0700, never a symlink. Files are written aside and renamed, because an
artifact that is mapped must never change under the process that maps it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from sandbox.errors import Reason, SandboxError
from sandbox.module import Export, Import

CACHE_BYTES: Final = 1 << 30
"""Most bytes of artifacts kept; the least recently prepared go first."""

Shape = tuple[tuple[Import, ...], tuple[Export, ...]]


class ArtifactCache:
    """A private folder of artifacts. Raises ``SandboxError`` (``host_error``) if it is not."""

    def __init__(self, folder: Path, fingerprint: str, *, limit_bytes: int = CACHE_BYTES) -> None:
        self._folder = Path(os.path.abspath(folder))
        self._fingerprint = fingerprint
        self._limit_bytes = limit_bytes
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check_private()

    def check_private(self) -> None:
        """Refuse a folder that someone else could have written to."""
        status = self._folder.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or mode & 0o077:
            raise SandboxError(
                Reason.HOST_ERROR,
                f"cache folder {self._folder} must be a folder of user {os.geteuid()} with mode "
                f"0700; it has user {status.st_uid} and mode {mode:04o}. Correct it or choose "
                "another",
                mode=f"{mode:04o}",
                owner=status.st_uid,
            )

    def path(self, sha256: str) -> Path:
        """Where the artifact of a module is, if it is there."""
        return self._folder / f"{sha256}.{self._fingerprint}.cwasm"

    def find(self, sha256: str) -> Shape | None:
        """Imports and exports of a whole, private artifact; None when it must be compiled."""
        self.check_private()
        artifact = self.path(sha256)
        try:
            code = _read_private(artifact)
            record = json.loads(_read_private(artifact.with_suffix(".json")))
            if record["code"] != hashlib.sha256(code).hexdigest():
                return None
            os.utime(artifact)
            return _shape(record)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """A private file to write an artifact to; gone after the block unless stored."""
        path = self._folder / f".{secrets.token_hex(8)}.part"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def store(self, sha256: str, part: Path, record: dict[str, object]) -> Shape:
        """Move a finished artifact in place, with its record; then keep to the size limit."""
        shape = _shape(record)
        record["code"] = hashlib.sha256(part.read_bytes()).hexdigest()
        artifact = self.path(sha256)
        with self.aside() as written:
            written.write_text(json.dumps(record))
            os.replace(part, artifact)
            os.replace(written, artifact.with_suffix(".json"))
        self._evict(keep=artifact)
        return shape

    def discard(self, sha256: str) -> None:
        """Forget an artifact the engine refused."""
        self.path(sha256).unlink(missing_ok=True)

    def _evict(self, keep: Path) -> None:
        found = []
        for path in self._folder.glob("*.cwasm"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._limit_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
                total -= size


def _read_private(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(f"{path.name} could have been written by another user")
        return file.read()


def _shape(record: dict[str, object]) -> Shape:
    imports = cast("list[list[str]]", record["imports"])
    exports = cast("list[list[str]]", record["exports"])
    return tuple(Import(*item) for item in imports), tuple(Export(*item) for item in exports)
