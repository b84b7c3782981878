"""The file of MCP servers: the shape users have, variables, errors, and what is kept secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caxton.config import Config
from caxton.errors import ConfigInvalid
from caxton.mcp.policy import check_files, read_policy
from caxton.mcp.server_file import Redactor, read_server_file, read_servers, server_names

ENV = {"TOKEN": "s3cret-token", "HOST": "example.org", "EMPTY": ""}


def write(folder: Path, servers: Any) -> Path:
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def test_both_kinds_are_read_with_their_variables(tmp_path: Path) -> None:
    """stdio and HTTP, ``${VAR}`` and ``${VAR:-default}``, paths from the file's folder."""
    path = write(
        tmp_path,
        {
            "files": {
                "command": "./bin/files", "args": ["--root", "${ROOT:-/srv}", "${EMPTY:-x}"],
                "env": {"KEY": "${TOKEN}"}, "cwd": "work",
            },
            "web": {
                "type": "http", "url": "https://${HOST}/mcp?key=abcdefgh",
                "headers": {"Authorization": "Bearer ${TOKEN}"}, "alwaysAllow": ["x"],
            },
            "off": {"command": "x", "disabled": True},
        },
    )  # fmt: skip
    files, web = read_server_file(path, ENV)
    assert (files.name, files.kind, files.command) == (
        "files",
        "stdio",
        str(tmp_path / "bin/files"),
    )
    assert files.args == ("--root", "/srv", "x")
    assert files.env == {"KEY": "s3cret-token"}
    assert files.cwd == str(tmp_path / "work")
    assert (web.kind, web.url) == ("http", "https://example.org/mcp?key=abcdefgh")
    assert web.headers == {"Authorization": "Bearer s3cret-token"}
    assert web.ignored == ("alwaysAllow",)
    assert {"s3cret-token", "abcdefgh"} <= web.secrets


def test_what_is_secret_shows_nowhere(tmp_path: Path) -> None:
    """Neither an entry's text nor its place nor a redacted text holds a secret."""
    value = {"url": "https://user:passw0rd@h.example:8443/x?key=abcdefgh",
             "headers": {"X-Key": "${TOKEN}"}}  # fmt: skip
    (entry,) = read_server_file(write(tmp_path, {"web": value}), ENV)
    assert entry.place == "https://h.example:8443"
    for secret in ("s3cret-token", "passw0rd", "abcdefgh"):
        assert secret not in repr(entry)
        assert secret not in Redactor(entry.secrets)(f"it said {secret}!")
    assert Redactor(frozenset({"true", "abcdef", "abcdefgh"}))("true abcdefgh") == "true ***"
    assert Redactor(frozenset())("as it is") == "as it is"


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ({"x": {"command": "c", "env": {"K": "${MISSING}"}}}, "x.env.K: the variable MISSING"),
        ({"x": {}}, "x.command: missing"),
        ({"x": {"command": ""}}, "x.command: missing"),
        ({"x": {"command": "c", "args": "a"}}, "x.args: not a list"),
        ({"x": {"command": "c", "args": [1]}}, "x.args[0]: int"),
        ({"x": {"command": "c", "env": []}}, "x.env: list"),
        ({"x": {"command": "c", "env": {"A=B": "1"}}}, "x.env: a wrong name"),
        ({"x": {"type": "sse", "url": "http://h"}}, "x.type: sse"),
        ({"x": {"type": "pigeon"}}, "x.type: pigeon"),
        ({"x": {"url": "ftp://h/"}}, "x.url: not an http"),
        ({"x": {"url": "http://h:x/"}}, "x.url: not an http"),
        ({"x": 1}, "x: int"),
        ({"a__b": {"command": "c"}}, "a__b: a wrong name"),
        ({"": {"command": "c"}}, "a wrong name"),
        ([], "mcpServers: missing"),
        ({str(n): {"command": "c"} for n in range(65)}, "65 servers"),
    ],
)
def test_a_wrong_file_names_server_and_key(tmp_path: Path, servers: Any, told: str) -> None:
    """One error that says where, what and what is allowed; no value of a variable is in it."""
    with pytest.raises(ConfigInvalid) as caught:
        read_server_file(write(tmp_path, servers), ENV)
    assert told in str(caught.value.fields["value"])
    assert caught.value.fields["field"] == "mcp.servers"
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """Missing, no JSON, too large: each says so; names are then none, and the check refuses."""
    path = tmp_path / ".mcp.json"
    config = Config(workspace=tmp_path, mcp_servers=".mcp.json")
    for content, told in ((None, "No such file"), (b"{", "not JSON"), (b" " * (1 << 21), "bytes")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigInvalid, match=told):
            check_files(config)
        assert server_names(config) == ()
    assert read_servers(Config()) == ()


def test_a_policy_grants_what_it_says(tmp_path: Path) -> None:
    """Without a file nothing; with one what it grants; a wrong one names its mistake."""
    assert read_policy(Config()).for_tool("csv_parser") == {}
    path = tmp_path / "mcp.yaml"
    config = Config(workspace=tmp_path, mcp_permissions="mcp.yaml")
    path.write_text("permissions:\n  files: {data: ro}\n  hosts: [api.example.org]\n")
    granted = read_policy(config).for_tool("csv_parser")
    assert granted == {"files": {"data": "ro"}, "hosts": ["api.example.org"]}
    for text, told in (
        ("permissions:\n  files: {data: all}\n", "files"),
        ("tools: []\n", "tools"),
        ("- x\n", "mapping"),
        ("permissions: [\n", "YAML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigInvalid) as caught:
            read_policy(config)
        assert told in str(caught.value)
        assert caught.value.fields["field"] == "mcp.permissions"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigInvalid, match="utf-8"):
        check_files(config)
