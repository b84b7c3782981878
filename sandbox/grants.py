"""What a guest may reach outside its own memory. Nothing is granted by default."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class FolderGrant:
    """One folder of the host, visible to the guest under another name; read-only by default.

    ``host`` must exist and be a directory; it is resolved when the grant is made, so a symlink
    that changes later changes nothing. ``guest`` is a path with ``/`` and without ``..``.
    WASI has no quota: a writable folder can be filled up to the worker's file size limit,
    once per file. Read what a guest wrote without following symlinks.

    Raises ``InvalidSetting`` for a missing folder, a special file directly inside it (opening a
    FIFO blocks where no limit of the engine reaches) or a guest path that climbs.
    """

    host: Path
    guest: str
    write: bool = False

    def __post_init__(self) -> None:
        try:
            resolved = Path(self.host).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidSetting("host", str(self.host), "an existing folder") from error
        if not resolved.is_dir():
            raise InvalidSetting("host", str(self.host), "a folder")
        object.__setattr__(self, "host", resolved)
        self._check_guest()
        refuse_special_files(resolved)

    def _check_guest(self) -> None:
        allowed = "a path such as 'data' or '/data', without '..', empty parts or NUL"
        parts = self.guest.removeprefix("/").split("/")
        if self.guest not in {"/", "."} and any(part in {"", ".", ".."} for part in parts):
            raise InvalidSetting("guest", self.guest, allowed)
        if "\0" in self.guest or "\\" in self.guest or len(self.guest) > 255:
            raise InvalidSetting("guest", self.guest, allowed)


@dataclass(frozen=True, slots=True)
class HostGrant:
    """One host a guest may speak HTTP to, through ``caxton.http`` only.

    ``host`` is a name, ``*.`` before a name for all names below it, an address, or ``*``. ``port``
    None: the usual one of the scheme. ``scheme`` is ``https``, ``http`` or ``*``. ``methods`` are
    upper case, empty for all. Addresses that are not public are refused unless ``private``.
    """

    host: str
    port: int | None = None
    scheme: str = "https"
    methods: frozenset[str] = frozenset()
    private: bool = False


@dataclass(frozen=True, slots=True)
class DatabaseGrant:
    """One database a guest may query by ``name``, through ``caxton.query`` only.

    ``source`` is a SQLite file or a URL. ``statements`` are the kinds of statement that are
    allowed, upper case, such as ``SELECT``; without ``write`` the database is opened read-only.
    """

    name: str
    source: str = field(repr=False)
    write: bool = False
    statements: frozenset[str] = frozenset({"SELECT"})


@dataclass(frozen=True, slots=True)
class Grants:
    """What a guest may reach. Empty by default.

    ``env`` is a tuple of (name, value). ``kv`` names the guest's own part of the key-value store;
    empty for none. Raises ``InvalidSetting`` when two folders have the same guest path or a
    variable is not a valid pair.
    """

    folders: tuple[FolderGrant, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    hosts: tuple[HostGrant, ...] = ()
    kv: str = ""
    databases: tuple[DatabaseGrant, ...] = ()
    memory: str = ""

    def __post_init__(self) -> None:
        names = [grant.guest for grant in self.folders]
        for name in names:
            if names.count(name) > 1:
                raise InvalidSetting("folders", name, "each guest path once")
        if len(names) > 32:
            raise InvalidSetting("folders", len(names), "at most 32 folders")
        for name, value in self.env:
            if not name or "=" in name or "\0" in name + value:
                raise InvalidSetting("env", name, "a name without '=', and no NUL")

    def __bool__(self) -> bool:
        return bool(
            self.folders or self.env or self.hosts or self.kv or self.databases or self.memory
        )


def refuse_special_files(folder: Path) -> None:
    """Refuse a folder that directly holds a FIFO, socket or device."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() or entry.is_dir(follow_symlinks=False):
                continue
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(mode):
                raise InvalidSetting(
                    "host", str(folder / entry.name), "a folder without FIFOs, sockets or devices"
                )
