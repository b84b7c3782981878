"""Policy files: what a tool may reach and use, in the format of Wassette and policy-mcp 1.0.

Such a file is read as it is. What this sandbox adds is optional: more keys for hosts and folders,
``kv``, ``databases`` and ``memory_search`` under ``permissions``, and a ``resources`` block at the
top. A key inside an entry that is not known is an error, because it may have been meant to narrow
the entry; a whole kind of permission that is not known grants nothing and is a warning.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from sandbox.errors import InvalidSetting
from sandbox.grants import DatabaseGrant, Grants, HostGrant
from sandbox.host_names import address_of, host_pattern, network_of, why_not_public
from sandbox.limits import Limits
from sandbox.policy_resources import own_resources, policy_mcp_resources
from sandbox.policy_storage import SCHEME, StoragePath, folder_grants, inside, read_storage
from sandbox.policy_yaml import PolicyError, Value, read_value

__all__ = ["Policy", "PolicyError"]

HOST_KEYS: Final = ("host", "cidr", "methods", "port", "ports", "scheme", "private")
DATABASE_KEYS: Final = ("name", "uri", "statements", "write")
_VERSION: Final = re.compile(r"1\.\d{1,4}(?:\.\d{1,4})?")
_HOST: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[^\]]*\]|[^:/\[\]]*|[0-9A-Fa-f:.]*::?[0-9A-Fa-f:.]*)"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Database:
    name: str
    path: str | None
    write: bool
    statements: frozenset[str]
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy that was read. ``warnings`` say what of it has no effect here, with line numbers.

    ``environment`` are the names of variables the tool may see, ``database_names`` the databases it
    may query.
    """

    version: str
    description: str = ""
    warnings: tuple[str, ...] = ()
    storage: tuple[StoragePath, ...] = ()
    denied_storage: tuple[StoragePath, ...] = ()
    hosts: tuple[HostGrant, ...] = ()
    denied_hosts: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    kv: str = ""
    memory: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)
    databases: tuple[_Database, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a policy file's text. Raises ``PolicyError`` with the place of the first fault."""
        return cls(**_Reading(read_value(text)).fields())

    @property
    def database_names(self) -> tuple[str, ...]:
        """The databases it names."""
        return tuple(database.name for database in self.databases)

    def grants(
        self,
        workspace: Path,
        environ: Mapping[str, str],
        databases: Mapping[str, str] | None = None,
        *,
        outside: bool = False,
    ) -> Grants:
        """Grants out of it, for this machine.

        Relative ``fs://`` paths are below ``workspace``; others, and symlinks that lead out, are
        refused unless ``outside``. Variables that ``environ`` does not have are left out.
        ``databases`` gives the sources of named databases; it wins over a ``uri`` in the policy.

        Raises ``PolicyError`` for a folder or database that is not there or cannot be granted.
        """
        try:
            return Grants(
                folders=folder_grants(
                    self.storage, self.denied_storage, workspace, outside=outside
                ),
                env=tuple((name, environ[name]) for name in self.environment if name in environ),
                hosts=self.hosts,
                kv=self.kv,
                databases=tuple(
                    _database(one, workspace, databases or {}, outside=outside)
                    for one in self.databases
                ),
                memory=self.memory,
                denied_hosts=self.denied_hosts,
            )
        except InvalidSetting as error:
            raise PolicyError(1, 1, str(error)) from None

    def limits(self, default: Limits) -> Limits:
        """``default`` with what the policy sets."""
        return replace(default, **self.resources)


class _Reading:
    """One file on its way to a policy."""

    def __init__(self, top: Value) -> None:
        self.top = top
        self.warn: list[str] = []
        self.found: dict[str, Any] = {}

    def fields(self) -> dict[str, Any]:
        """The fields of ``Policy``."""
        top = self.top.mapping()
        for key, value in top.items():
            known = key in ("version", "description", "permissions", "resources")
            if not known and key != "$schema" and not key.startswith("x-"):
                self.warn.append(
                    f"line {value.key[0]}: {value.name} is not known and has no effect"
                )
        self._version(top.get("version"))
        description = top.get("description")
        if description is not None and description.data is not None:
            self.found["description"] = description.text()
        if "permissions" in top:
            self._permissions(top["permissions"].mapping())
        if "resources" in top:
            before = self.found.get("resources", {})
            self.found["resources"] = before | own_resources(top["resources"])
        return {**self.found, "warnings": tuple(self.warn)}

    def _version(self, version: Value | None) -> None:
        if version is None:
            raise self.top.error('lacks version; add version: "1.0"')
        if not isinstance(version.data, str) or not _VERSION.fullmatch(version.data):
            raise version.error("must be 1.0 or another of 1.x")
        self.found["version"] = version.data

    def _permissions(self, permissions: dict[str, Value]) -> None:
        readers = {
            "storage": self._storage,
            "network": self._network,
            "environment": self._environment,
            "resources": self._resources,
            "kv": lambda value: self._name("kv", value),
            "memory_search": lambda value: self._name("memory", value),
            "databases": self._databases,
        }
        for kind, value in permissions.items():
            reader = readers.get(kind)
            if reader is not None:
                reader(value)
            elif value.data is not None:
                self.warn.append(
                    f"line {value.key[0]}: permissions.{value.name} grants nothing here"
                )

    def _lists(self, value: Value, *kinds: str) -> list[list[Value]]:
        lists = value.mapping(kinds)
        return [list(lists[kind].items()) if kind in lists else [] for kind in kinds]

    def _storage(self, value: Value) -> None:
        allowed, denied = self._lists(value, "allow", "deny")
        read = [read_storage(entry, self.warn) for entry in allowed]
        refused = [read_storage(entry, self.warn, denial=True) for entry in denied]
        self.found["storage"] = tuple(one for one in read if one is not None)
        self.found["denied_storage"] = tuple(one for one in refused if one is not None)

    def _network(self, value: Value) -> None:
        allowed, denied = self._lists(value, "allow", "deny")
        hosts: list[HostGrant] = []
        for entry in allowed:
            hosts += self._hosts(entry)
        patterns: list[str] = []
        for entry in denied:
            entries = entry.mapping(("host", "cidr", "defaults"))
            if "defaults" in entries:
                raise entry.error("denies the list of defaults, which is not known here")
            pattern, _, _ = _pattern(entry)
            patterns.append(pattern)
            if pattern in ("*", "0.0.0.0/0", "::/0"):
                self.warn.append(
                    f"line {entry.line}: {pattern} is denied, which no entry of allow overrides"
                )
        self.found["hosts"], self.found["denied_hosts"] = tuple(hosts), tuple(patterns)

    def _hosts(self, entry: Value) -> list[HostGrant]:
        entries = entry.mapping((*HOST_KEYS, "defaults"))
        if "defaults" in entries:
            self.warn.append(
                f"line {entry.line}: defaults grants nothing; name the hosts the tool needs"
            )
            return []
        pattern, scheme, port = _pattern(entry)
        if "scheme" in entries:
            if scheme is not None:
                raise entries["scheme"].error("is given in the host already")
            scheme = entries["scheme"].text()
        ports: list[int | None] = [entries["port"].integer()] if "port" in entries else []
        if "ports" in entries:
            ports += [item.integer() for item in entries["ports"].items()]
        if port is not None and ports:
            raise entry.error("has a port in the host and another beside it")
        methods = frozenset(entries["methods"].words()) if "methods" in entries else frozenset()
        private = _only_private(pattern)
        if "private" in entries:
            private = entries["private"].flag()
        try:
            return [
                HostGrant(pattern, one, scheme or "*", methods, private)
                for one in (ports or [port])
            ]
        except InvalidSetting as error:
            raise entry.error(f"is not valid: {error}") from None

    def _environment(self, value: Value) -> None:
        (allowed,) = self._lists(value, "allow")
        names: list[str] = []
        for entry in allowed:
            entries = entry.mapping(("key",))
            if "key" not in entries:
                raise entry.error("lacks key")
            name = entries["key"].text()
            if not set(name).isdisjoint("*=\0") or len(name) > 255:
                raise entries["key"].error("must be one name, without * and =")
            if name not in names:
                names.append(name)
        self.found["environment"] = tuple(names)

    def _resources(self, value: Value) -> None:
        self.found["resources"] = policy_mcp_resources(value, self.warn)

    def _name(self, kind: str, value: Value) -> None:
        name = value.text()
        try:
            Grants(**{kind: name})  # type: ignore[arg-type]  # kv and memory are both texts
        except InvalidSetting as error:
            raise value.error(f"is not valid: {error}") from None
        self.found[kind] = name

    def _databases(self, value: Value) -> None:
        (allowed,) = self._lists(value, "allow")
        found: list[_Database] = []
        for entry in allowed:
            entries = entry.mapping(DATABASE_KEYS)
            if "name" not in entries:
                raise entry.error("lacks name")
            path = None
            if "uri" in entries:
                uri = entries["uri"].text()
                path = uri.removeprefix(SCHEME)
                if path == uri or not path or set(path) & set("*?[\\\0"):
                    raise entries["uri"].error("must be fs:// and the path of a SQLite file")
            statements = frozenset({"SELECT"})
            if "statements" in entries:
                statements = frozenset(word.upper() for word in entries["statements"].words())
            write = entries["write"].flag() if "write" in entries else False
            one = _Database(
                entries["name"].text(), path, write, statements, entry.line, entry.column
            )
            if one.name in [before.name for before in found]:
                raise entry.error(f"names {one.name[:80]}, which is named already")
            try:
                DatabaseGrant(one.name, "unknown", write=write, statements=statements)
            except InvalidSetting as error:
                raise entry.error(f"is not valid: {error}") from None
            found.append(one)
        self.found["databases"] = tuple(found)


def _pattern(entry: Value) -> tuple[str, str | None, int | None]:
    """Pattern, scheme and port of an entry with ``host`` or ``cidr``."""
    entries = entry.mapping()
    if ("host" in entries) == ("cidr" in entries):
        raise entry.error("needs a host or a cidr")
    if "cidr" in entries:
        text = entries["cidr"].text()
        try:
            return str(ipaddress.ip_network(text)), None, None
        except ValueError as error:
            raise entries["cidr"].error(f"is no range of addresses: {error}") from None
    match = _HOST.fullmatch(entries["host"].text())
    if match is None:
        raise entries["host"].error("must be a host, with https:// or a port if need be")
    try:
        pattern = host_pattern(match["host"])
    except ValueError as error:
        raise entries["host"].error(f"is {error}") from None
    scheme = match["scheme"].lower() if match["scheme"] else None
    return pattern, scheme, int(match["port"]) if match["port"] else None


def _only_private(pattern: str) -> bool:
    """Whether it can mean nothing but addresses that are not public."""
    if pattern == "localhost" or pattern.endswith(".localhost"):
        return True
    if (address := address_of(pattern)) is not None:
        return why_not_public(address) is not None
    if (network := network_of(pattern)) is not None:
        first = why_not_public(network.network_address)
        return first is not None and first == why_not_public(network.broadcast_address)
    return False


def _database(
    one: _Database, workspace: Path, sources: Mapping[str, str], *, outside: bool
) -> DatabaseGrant:
    source = sources.get(one.name)
    if source is None and one.path is not None:
        path = workspace / one.path if outside else inside(workspace, one.path)
        if path is None:
            raise PolicyError(
                one.line, one.column, f"the file of database {one.name} is outside the workspace"
            )
        source = str(path)
    if source is None:
        raise PolicyError(
            one.line,
            one.column,
            f"database {one.name} has no source; give a uri here or a source where the node runs",
        )
    return DatabaseGrant(one.name, source, write=one.write, statements=one.statements)
