"""What one call of a tool may reach: what its policy asks for and its caller grants, both.

Folders: of a folder and one inside it, the inner one; writable when both say so. Hosts: the
narrower of two patterns, with the methods, scheme and port that both allow. Variables, databases
and their statements: those in both. Without a policy a tool gets all that is granted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from sandbox import DatabaseGrant, FolderGrant, Grants, HostGrant, Limits
from sandbox.grants import READING
from sandbox.host_names import network_of, pattern_matches
from sandbox.policy import Policy

__all__ = ["both", "narrower", "reach"]

UNUSED: Final = "unused"
"""Source of a database that only a policy names: the caller's source is taken."""


def reach(
    policy: Policy | None,
    granted: Grants,
    limits: Limits,
    *,
    workspace: Path,
    environment: Mapping[str, str],
) -> tuple[Grants, Limits]:
    """Grants and limits of one call.

    Args:
        policy: of the tool; None when it has none, which asks for all.
        granted: what the caller grants.
        limits: of the caller. The policy sets its own, but for more time.
        workspace: folder that paths of the policy start from.
        environment: values of variables.

    Raises:
        PolicyError: a folder that the policy asks for is not there.
    """
    if policy is None:
        return granted, limits
    # What lies outside of the workspace is left only where the caller grants it too.
    asked = policy.grants(
        workspace, environment, dict.fromkeys(policy.database_names, UNUSED), outside=True
    )
    wanted = policy.limits(limits)
    return both(asked, granted), replace(wanted, wall_ms=min(wanted.wall_ms, limits.wall_ms))


def both(asked: Grants, granted: Grants) -> Grants:
    """What is in ``asked`` and in ``granted``; ``kv`` and ``memory`` are named by ``granted``."""
    return Grants(
        folders=_distinct(
            folder
            for one in asked.folders
            for other in granted.folders
            if (folder := _folder(one, other)) is not None
        ),
        env=tuple(pair for pair in granted.env if pair[0] in dict(asked.env)),
        hosts=tuple(
            host
            for one in asked.hosts
            for other in granted.hosts
            if (host := _host(one, other)) is not None
        ),
        kv=granted.kv if asked.kv else "",
        databases=tuple(
            database
            for one in asked.databases
            for other in granted.databases
            if one.name == other.name and (database := _database(one, other)) is not None
        ),
        memory=granted.memory if asked.memory else "",
        denied_hosts=tuple(dict.fromkeys((*asked.denied_hosts, *granted.denied_hosts))),
    )


def _folder(one: FolderGrant, other: FolderGrant) -> FolderGrant | None:
    inner, outer = (one, other) if one.host.is_relative_to(other.host) else (other, one)
    if not inner.host.is_relative_to(outer.host):
        return None
    quota = min(one.quota_bytes, other.quota_bytes)
    return FolderGrant(inner.host, inner.guest, one.write and other.write, quota)


def _distinct(folders: Iterable[FolderGrant]) -> tuple[FolderGrant, ...]:
    """Each guest path once; a folder that comes twice keeps the wider mode."""
    found: dict[str, FolderGrant] = {}
    for folder in folders:
        known = found.get(folder.guest)
        if known is None or folder.write > known.write:
            found[folder.guest] = folder
    return tuple(found.values())


def _host(asked: HostGrant, granted: HostGrant) -> HostGrant | None:
    """Of the policy a port that is not said is any; of the caller it is the usual one."""
    name = narrower(asked.host, granted.host)
    if name is None or (asked.port and asked.port != (granted.port or _usual(granted))):
        return None
    if asked.scheme != granted.scheme and "*" not in (asked.scheme, granted.scheme):
        return None
    scheme = granted.scheme if asked.scheme == "*" else asked.scheme
    methods = asked.methods & granted.methods
    if asked.methods and granted.methods and not methods:
        return None
    return HostGrant(
        name,
        granted.port,
        scheme,
        methods or asked.methods or granted.methods,
        granted.private,
    )


def _usual(grant: HostGrant) -> int:
    return 80 if grant.scheme == "http" else 443


def narrower(one: str, other: str) -> str | None:
    """The pattern of hosts that lies inside the other one; None when neither does."""
    if _inside(one, other):
        return one
    return other if _inside(other, one) else None


def _inside(inner: str, outer: str) -> bool:
    if outer == "*" or inner == outer:
        return True
    if inner == "*":
        return False
    if inner.startswith("*."):
        return outer.startswith("*.") and inner.endswith(outer[1:])
    network, around = network_of(inner), network_of(outer)
    if network is not None:
        return (
            around is not None
            and network.version == around.version
            and ipaddress.ip_network(network).subnet_of(around)  # type: ignore[arg-type]
        )
    return pattern_matches(outer, inner)


def _database(asked: DatabaseGrant, granted: DatabaseGrant) -> DatabaseGrant | None:
    write = asked.write and granted.write
    statements = asked.statements & granted.statements
    if not write:
        statements &= READING
    if not statements:
        return None
    return DatabaseGrant(granted.name, granted.source, write, statements)
