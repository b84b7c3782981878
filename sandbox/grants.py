"""What a guest may reach outside its own memory. Nothing is granted by default."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sandbox.errors import InvalidSetting
from sandbox.host_names import host_pattern, pattern_matches

__all__ = [
    "STATEMENTS",
    "DatabaseGrant",
    "FolderGrant",
    "Grants",
    "HostGrant",
    "refuse_special_files",
]

MIB: Final = 1024 * 1024

QUOTA_BYTES: Final = 64 * MIB
"""What a writable folder may hold when its grant does not say."""

MOST_QUOTA_BYTES: Final = 1024 * 1024 * MIB

STATEMENTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "PRAGMA")
"""The kinds of SQL statement that can be granted. ``PRAGMA`` is reading the schema only."""

READING: Final = frozenset({"SELECT", "PRAGMA"})

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_DATABASE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_PORTS: Final = {"https": 443, "http": 80}
_NEVER_METHODS: Final = frozenset({"CONNECT", "TRACE"})


@dataclass(frozen=True, slots=True)
class FolderGrant:
    """One folder of the host, visible to the guest under another name; read-only by default.

    ``host`` must exist and be a directory; it is resolved when the grant is made, so a symlink
    that changes later changes nothing. ``guest`` is a path with ``/`` and without ``..``.
    ``quota_bytes`` is what a writable folder may hold, 0 to 1 TiB, with what is in it already;
    see ``sandbox.quota`` for how it is kept. Read what a guest wrote without following symlinks.

    Raises ``InvalidSetting`` for a missing folder, a special file directly inside it (opening a
    FIFO blocks where no limit of the engine reaches), a guest path that climbs or a quota out of
    range.
    """

    host: Path
    guest: str
    write: bool = False
    quota_bytes: int = QUOTA_BYTES

    def __post_init__(self) -> None:
        try:
            resolved = Path(self.host).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise InvalidSetting("host", str(self.host), "an existing folder") from error
        if not resolved.is_dir():
            raise InvalidSetting("host", str(self.host), "a folder")
        object.__setattr__(self, "host", resolved)
        self._check_guest()
        _check_integer("quota_bytes", self.quota_bytes, 0, MOST_QUOTA_BYTES)
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
    """Hosts a guest may speak HTTP to, through ``caxton.http`` only.

    ``host`` is a name, ``*.`` before a name for all names below it, an address, a range of
    addresses such as ``10.0.0.0/8`` (for URLs that name an address), or ``*``; it is kept in normal
    form. ``port`` is 1 to 65535, None for the usual one of the scheme. ``scheme`` is ``https``,
    ``http`` or ``*``. ``methods`` are upper case, empty for all but CONNECT and TRACE. Addresses
    that are not public are refused unless ``private``; link-local ones, where clouds keep
    credentials, unless ``host`` is such an address or range as well.

    Raises ``InvalidSetting``.
    """

    host: str
    port: int | None = None
    scheme: str = "https"
    methods: frozenset[str] = frozenset()
    private: bool = False

    def __post_init__(self) -> None:
        try:
            pattern = host_pattern(self.host)
        except ValueError as error:
            raise InvalidSetting(
                "host",
                self.host[:255],
                f"a name, '*.name', an address, a range or '*'; this is {error}",
            ) from None
        object.__setattr__(self, "host", pattern)
        if self.port is not None:
            _check_integer("port", self.port, 1, 65_535)
        if self.scheme not in (*_PORTS, "*"):
            raise InvalidSetting("scheme", self.scheme, "'https', 'http' or '*'")
        object.__setattr__(self, "methods", frozenset(self.methods))
        for method in self.methods:
            if not _METHOD.fullmatch(method) or method in _NEVER_METHODS:
                raise InvalidSetting(
                    "methods", method, "upper case names such as 'GET', not CONNECT or TRACE"
                )

    def names(self, host: str) -> bool:
        """Whether it names this host, in normal form, whatever the rest says."""
        return pattern_matches(self.host, host)

    def why_not(self, method: str, scheme: str, port: int) -> str | None:
        """What of a request to a host it names is not granted; None when all is."""
        if self.scheme not in (scheme, "*"):
            return f"only {self.scheme} is granted"
        if port != (self.port or _PORTS[scheme]):
            return f"only port {self.port or _PORTS[scheme]} is granted"
        if self.methods and method not in self.methods:
            return f"only {', '.join(sorted(self.methods))} is granted"
        return None


@dataclass(frozen=True, slots=True)
class DatabaseGrant:
    """One database a guest may query by ``name``, through ``caxton.query`` only.

    ``name`` is 1 to 64 letters, digits, ``_`` and ``-``, a letter first. ``source`` is a SQLite
    file, ``sqlite:///PATH``, or another URL for SQLAlchemy. ``statements`` are kinds out of
    ``STATEMENTS``; others than SELECT and PRAGMA need ``write``, without which the database is
    opened read-only.

    Raises ``InvalidSetting``, which never holds the source: it may hold a password.
    """

    name: str
    source: str = field(repr=False)
    write: bool = False
    statements: frozenset[str] = frozenset({"SELECT"})

    def __post_init__(self) -> None:
        if not _DATABASE.fullmatch(self.name):
            raise InvalidSetting(
                "name", self.name[:80], "1 to 64 letters, digits, '_' and '-', a letter first"
            )
        object.__setattr__(self, "source", self._checked_source())
        object.__setattr__(self, "statements", frozenset(self.statements))
        unknown = sorted(self.statements - set(STATEMENTS))
        if unknown or not self.statements:
            raise InvalidSetting(
                "statements", unknown or "empty", f"one or more of {', '.join(STATEMENTS)}"
            )
        writing = sorted(self.statements - READING)
        if writing and not self.write:
            raise InvalidSetting("statements", writing, "SELECT and PRAGMA, or more with write")

    def _checked_source(self) -> str:
        allowed = "a file, sqlite:///PATH or a database URL"
        source = str(self.source)
        if source.startswith("sqlite:///"):
            source = source.removeprefix("sqlite:///")
        elif _URL.match(source):
            return source
        if not source or ":memory:" in source or "\0" in source or source.startswith("file:"):
            raise InvalidSetting("source", f"<source of {self.name}>", allowed)
        return str(Path(source).absolute())

    @property
    def url(self) -> str | None:
        """The URL it is; None when it is a SQLite file."""
        return self.source if _URL.match(self.source) else None


@dataclass(frozen=True, slots=True)
class Grants:
    """What a guest may reach. Empty by default.

    ``env`` is a tuple of (name, value). ``kv`` names the guest's own part of the key-value store,
    ``memory`` the part of the memory it may search; empty for none. ``denied_hosts`` are patterns
    as in ``HostGrant.host`` that no grant overrides, ranges and addresses also for what a name
    resolves to.

    Raises ``InvalidSetting`` when two folders have the same guest path, two databases the same
    name, a variable is not a valid pair, or there are too many of a kind.
    """

    folders: tuple[FolderGrant, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    hosts: tuple[HostGrant, ...] = ()
    kv: str = ""
    databases: tuple[DatabaseGrant, ...] = ()
    memory: str = ""
    denied_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_distinct("folders", [grant.guest for grant in self.folders], "guest path", 32)
        _check_distinct("databases", [grant.name for grant in self.databases], "name", 32)
        _check_distinct("env", [name for name, _ in self.env], "name", 256)
        for kind, given in (("hosts", self.hosts), ("denied_hosts", self.denied_hosts)):
            if len(given) > 256:
                raise InvalidSetting(kind, len(given), f"at most 256 {kind}")
        for name, value in self.env:
            if not name or "=" in name or "\0" in name + value or len(name) > 255:
                raise InvalidSetting(
                    "env", name[:255], "a name of 1 to 255 characters without '=', and no NUL"
                )
        for kind, name in (("kv", self.kv), ("memory", self.memory)):
            if len(name) > 255 or not (name.isprintable() or not name):
                raise InvalidSetting(kind, name[:255], "at most 255 printable characters")
        object.__setattr__(self, "denied_hosts", tuple(map(_denied, self.denied_hosts)))

    def __bool__(self) -> bool:
        return bool(
            self.folders or self.env or self.hosts or self.kv or self.databases or self.memory
        )

    def database(self, name: str) -> DatabaseGrant | None:
        """The database granted under a name."""
        return next((grant for grant in self.databases if grant.name == name), None)


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


def _denied(pattern: str) -> str:
    try:
        return host_pattern(pattern)
    except ValueError as error:
        raise InvalidSetting(
            "denied_hosts",
            pattern[:255],
            f"a name, '*.name', an address, a range or '*'; this is {error}",
        ) from None


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidSetting(name, value, f"an integer from {low} to {high}")


def _check_distinct(kind: str, names: list[str], what: str, most: int) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidSetting(kind, name, f"each {what} once")
    if len(names) > most:
        raise InvalidSetting(kind, len(names), f"at most {most} {kind}")
