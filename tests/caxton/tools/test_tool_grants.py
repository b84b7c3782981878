"""Permissions of an agent file become grants of the sandbox, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caxton.tools.grants import grants_of
from sandbox import Grants, InvalidSetting


def granted(workspace: Path, permissions: Mapping[str, Any]) -> Grants:
    """With one variable and two databases in the node."""
    return grants_of(
        permissions,
        workspace=workspace,
        namespace="agent/a",
        environment={"REGION": "eu", "SECRET": "s"},
        databases={"sales": "sales.db", "crm": "postgresql://u:secret@host/crm"},
    )


def test_nothing_is_granted_without_permissions(tmp_path: Path) -> None:
    """No folder, host, variable, key or database."""
    assert granted(tmp_path, {}) == Grants()


def test_each_permission_becomes_its_grant(tmp_path: Path) -> None:
    """Folders below the workspace, variables that are set, databases by their sources."""
    (tmp_path / "data").mkdir()
    grants = granted(
        tmp_path,
        {
            "files": {"data": "rw"},
            "env": ["REGION", "ABSENT"],
            "kv": True,
            "databases": ["sales", "crm:rw"],
            "hosts": ["api.example.com", "*.example.org:8443", "localhost:8080", "10.0.0.7"],
        },
    )
    (folder,) = grants.folders
    assert (folder.host, folder.guest, folder.write) == (
        (tmp_path / "data").resolve(),
        "data",
        True,
    )
    assert grants.env == (("REGION", "eu"),)
    assert grants.kv == "agent/a"
    sales, crm = grants.databases
    assert (sales.source, sales.write, sales.statements) == (
        str(tmp_path / "sales.db"),
        False,
        {"SELECT"},
    )
    assert crm.write
    assert "INSERT" in crm.statements
    assert "secret" not in repr(crm)
    hosts = [(one.host, one.port, one.scheme, one.private) for one in grants.hosts]
    assert hosts == [
        ("api.example.com", None, "https", False),
        ("*.example.org", 8443, "https", False),
        ("localhost", 8080, "*", True),
        ("10.0.0.7", None, "*", True),
    ]


def test_an_unknown_database_is_refused_by_name(tmp_path: Path) -> None:
    """The error lists those there are, by name only."""
    with pytest.raises(InvalidSetting, match=r"tools\.databases: crm, sales") as refused:
        granted(tmp_path, {"databases": ["other"]})
    assert "secret" not in str(refused.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(InvalidSetting, match="an existing folder"):
        granted(tmp_path, {"files": {"absent": "ro"}})
