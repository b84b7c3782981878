"""What a call of a tool may reach: what its policy asks and its caller grants, both."""

from __future__ import annotations

from pathlib import Path

import pytest

from caxton.tools.reach import both, narrower, reach
from sandbox import DatabaseGrant, FolderGrant, Grants, HostGrant, Limits
from sandbox.policy import Policy, PolicyError

POLICY = """
version: "1.0"
permissions:
  storage:
    allow:
      - uri: "fs://data/in"
        access: ["read", "write"]
  network:
    allow:
      - host: "*.example.com"
        methods: [GET, POST]
  environment:
    allow:
      - key: "KEY"
  kv: "own"
  databases:
    allow:
      - name: sales
        statements: [SELECT]
resources:
  fuel: 5000
  memory: 1Mi
  wall_ms: 60000
"""


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("*", "a.com", "a.com"),
        ("a.com", "a.com", "a.com"),
        ("*.a.com", "b.a.com", "b.a.com"),
        ("*.a.com", "*.b.a.com", "*.b.a.com"),
        ("*.a.com", "a.com", None),
        ("*.a.com", "xa.com", None),
        ("10.0.0.0/8", "10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.0.0.0/8", "11.0.0.1", None),
        ("10.0.0.0/8", "::/0", None),
        ("a.com", "b.com", None),
    ],
)
def test_the_narrower_of_two_patterns(one: str, other: str, found: str | None) -> None:
    """Whichever comes first; none where neither lies in the other."""
    assert narrower(one, other) == narrower(other, one) == found


@pytest.mark.parametrize(
    ("asked", "granted", "found"),
    [
        (HostGrant("a.com"), HostGrant("a.com"), HostGrant("a.com")),
        (HostGrant("a.com", scheme="*"), HostGrant("a.com"), HostGrant("a.com")),
        (HostGrant("a.com", 443), HostGrant("a.com"), HostGrant("a.com")),
        (HostGrant("a.com", 8443), HostGrant("a.com"), None),
        (HostGrant("a.com"), HostGrant("a.com", 8443), HostGrant("a.com", 8443)),
        (HostGrant("a.com", scheme="http"), HostGrant("a.com"), None),
        (
            HostGrant("*", methods=frozenset({"GET", "PUT"})),
            HostGrant("a.com", methods=frozenset({"GET"})),
            HostGrant("a.com", methods=frozenset({"GET"})),
        ),
        (
            HostGrant("a.com", methods=frozenset({"PUT"})),
            HostGrant("a.com", methods=frozenset({"GET"})),
            None,
        ),
        (HostGrant("10.0.0.1", private=True), HostGrant("10.0.0.1"), HostGrant("10.0.0.1")),
    ],
)
def test_hosts_are_those_of_both(
    asked: HostGrant, granted: HostGrant, found: HostGrant | None
) -> None:
    """With the port, the scheme and the methods of both; private only when the caller says so."""
    hosts = both(Grants(hosts=(asked,)), Grants(hosts=(granted,))).hosts
    assert hosts == ((found,) if found else ())


def test_folders_are_the_inner_ones(tmp_path: Path) -> None:
    """Writable when both say so; one that lies elsewhere is none."""
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    outer = FolderGrant(tmp_path / "data", "data", write=True, quota_bytes=10)
    inner = FolderGrant(tmp_path / "data" / "in", "data/in", write=False)
    other = FolderGrant(tmp_path / "other", "other", write=True)
    for asked, granted in ((outer, inner), (inner, outer)):
        (found,) = both(Grants(folders=(asked, other)), Grants(folders=(granted,))).folders
        assert (found.guest, found.write, found.quota_bytes) == ("data/in", False, 10)
    assert both(Grants(folders=(other,)), Grants(folders=(outer,))).folders == ()


def test_databases_have_the_source_of_the_caller() -> None:
    """And the statements of both; nothing is written unless both say so."""
    asked = DatabaseGrant("a", "x", True, frozenset({"SELECT", "INSERT"}))
    granted = DatabaseGrant("a", "/real", statements=frozenset({"SELECT", "PRAGMA"}))
    (found,) = both(Grants(databases=(asked,)), Grants(databases=(granted,))).databases
    assert (found.source, found.write, found.statements) == (
        granted.source, False, frozenset({"SELECT"}),
    )  # fmt: skip
    only = DatabaseGrant("a", "x", True, frozenset({"INSERT"}))
    assert both(Grants(databases=(only,)), Grants(databases=(granted,))).databases == ()
    assert both(Grants(databases=(asked,)), Grants()).databases == ()


def test_a_policy_narrows_what_is_granted(tmp_path: Path) -> None:
    """And sets limits, but no longer time than the caller gives."""
    (tmp_path / "data" / "in").mkdir(parents=True)
    granted = Grants(
        folders=(FolderGrant(tmp_path / "data", "data"),),
        env=(("KEY", "1"), ("SECRET", "2")),
        hosts=(HostGrant("api.example.com"), HostGrant("elsewhere.org")),
        kv="tool/a/t",
        databases=(DatabaseGrant("sales", "/real"), DatabaseGrant("people", "/p")),
    )
    environment = {"KEY": "1", "SECRET": "2"}
    grants, limits = reach(
        Policy.read(POLICY), granted, Limits(wall_ms=900), workspace=tmp_path,
        environment=environment,
    )  # fmt: skip
    assert [(one.guest, one.write) for one in grants.folders] == [("data/in", False)]
    assert grants.env == (("KEY", "1"),)
    assert [(one.host, one.methods) for one in grants.hosts] == [
        ("api.example.com", frozenset({"GET", "POST"}))
    ]
    assert grants.kv == "tool/a/t"
    assert [one.name for one in grants.databases] == ["sales"]
    assert (limits.fuel, limits.memory_bytes, limits.wall_ms) == (5_000, 1 << 20, 900)
    nothing, _ = reach(
        Policy.read(POLICY), Grants(), Limits(), workspace=tmp_path, environment=environment
    )
    assert not nothing
    assert reach(None, granted, Limits(), workspace=tmp_path, environment={}) == (
        granted, Limits(),
    )  # fmt: skip


def test_a_folder_that_the_policy_asks_for_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It names the folder and the line."""
    with pytest.raises(PolicyError, match=r"line 6.*data/in is not there"):
        reach(Policy.read(POLICY), Grants(), Limits(), workspace=tmp_path, environment={})
