"""A granted folder as a copy, for an engine that sees no folder of the host.

Read without following symlinks and bounded, because a guest elsewhere may have written it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from sandbox.errors import Reason, SandboxError
from sandbox.grants import FolderGrant

COPIED_BYTES: Final = 32 * 1024 * 1024
"""Most bytes of files that are copied for one call, over all its folders."""

COPIED_FILES: Final = 4_096
"""Most files that are copied for one call."""


def copies(folders: tuple[FolderGrant, ...]) -> dict[str, bytes]:
    """The regular files of the folders by their absolute guest path; symlinks are left out.

    Raises ``SandboxError`` (``message_too_large``) over 32 MiB or 4,096 files, and ``host_error``
    when a file cannot be read.
    """
    try:
        return _copies(folders)
    except OSError as error:
        raise SandboxError(
            Reason.HOST_ERROR,
            f"{error.filename} in a granted folder cannot be read: {error.strerror}",
            file=str(error.filename),
        ) from None


def _copies(folders: tuple[FolderGrant, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    left = COPIED_BYTES
    for folder in folders:
        guest = folder.guest.strip("/.")
        for parent, _, names, fd in os.fwalk(folder.host, onerror=_raise, follow_symlinks=False):
            inside = os.path.relpath(parent, folder.host)
            for name in names:
                data = _read(fd, name, left)
                if data is None:
                    continue
                left -= len(data)
                found["/" + os.path.normpath(f"{guest}/{inside}/{name}").lstrip("/")] = data
                if left < 0 or len(found) > COPIED_FILES:
                    raise SandboxError(
                        Reason.MESSAGE_TOO_LARGE,
                        f"the granted folders hold more than {COPIED_BYTES} bytes or "
                        f"{COPIED_FILES} files, which engine wasmer would have to copy; grant "
                        "less or use engine wasmtime",
                        limit=COPIED_BYTES,
                        files=COPIED_FILES,
                    )
    return found


def _raise(error: OSError) -> None:
    raise error


def _read(folder: int, name: str, left: int) -> bytes | None:
    """A regular file, at most one byte over ``left``; None for anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        # A symlink, and a socket: neither is followed or opened.
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        raise
    with open(fd, "rb") as file:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return file.read(left + 1) if regular else None
