"""From the permissions of an agent file to what the sandbox grants."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import DatabaseGrant, FolderGrant, Grants, HostGrant, InvalidSetting

__all__ = ["grants_of"]


def grants_of(
    permissions: Mapping[str, Any],
    *,
    workspace: Path,
    namespace: str,
    environment: Mapping[str, str],
    databases: Mapping[str, str],
) -> Grants:
    """What ``permissions`` grants, as ``Permissions.for_tool`` gives them.

    Args:
        permissions: ``files``, ``hosts``, ``env``, ``kv``, ``databases``, and in ``memory`` the
            name of the agent whose memory it is; nobody's when it names none.
        workspace: folder that granted paths start from.
        namespace: part of the key-value store that belongs to whoever is granted it.
        environment: where the values of granted variables come from.
        databases: the node's databases, by name; files start from the workspace.

    Raises:
        InvalidSetting: a folder is not there, or a database is not known.
    """
    names = permissions.get("env") or ()
    memory = permissions.get("memory")
    return Grants(
        folders=tuple(
            FolderGrant(workspace / guest, str(guest), write=mode == "rw")
            for guest, mode in (permissions.get("files") or {}).items()
        ),
        env=tuple((name, environment[name]) for name in names if name in environment),
        hosts=tuple(_host(text) for text in permissions.get("hosts") or ()),
        kv=namespace if permissions.get("kv") else "",
        databases=tuple(
            _database(name, databases, workspace) for name in permissions.get("databases") or ()
        ),
        memory=memory if isinstance(memory, str) else "",
    )


def _host(text: str) -> HostGrant:
    """A host with an optional port. An address, or ``localhost``, may be a private one: it was
    written down as such. A name may not lead to one."""
    name, _, port = text.partition(":")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        private = name == "localhost"
    else:
        private = True
    return HostGrant(
        name, port=int(port) if port else None, scheme="*" if private else "https", private=private
    )


def _database(text: str, databases: Mapping[str, str], workspace: Path) -> DatabaseGrant:
    """A database by name; ``name:rw`` may be written."""
    name, _, mode = text.partition(":")
    source = databases.get(name)
    if source is None:
        known = ", ".join(sorted(databases)) or "none"
        raise InvalidSetting(
            "databases", name, f"a database of the setting tools.databases: {known}"
        )
    if "://" not in source:
        source = str(workspace / source)
    if mode == "rw":
        kinds = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
        return DatabaseGrant(name, source, write=True, statements=kinds)
    return DatabaseGrant(name, source)
