"""The catalog: which tools there are, and why others are not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from caxton.errors import ToolFailed
from caxton.tools.catalog import ToolCatalog


def test_shipped_tools_are_whole() -> None:
    """Each has a valid schema, a module, and the hash of that module."""
    catalog = ToolCatalog.builtin()
    assert catalog is ToolCatalog.builtin()
    assert "csv_parser" in catalog.names
    for name in catalog.names:
        spec = catalog.get(name)
        assert spec is not None
        assert spec.sha256 == hashlib.sha256(spec.module.read_bytes()).hexdigest()
        assert spec.description
        Draft202012Validator.check_schema(spec.input_schema)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("csv_parser", ""),
        ("Bash", "shells are never run"),
        ("Bash(git:*)", "shells are never run"),
        ("WebFetch", "another program"),
        ("gh__issue", "no MCP server `gh`"),
        ("nope", "not installed; there is chart_generator, csv_parser, database,"),
    ],
)
def test_what_is_not_there_has_a_reason(name: str, reason: str) -> None:
    """One an author can act on."""
    catalog = ToolCatalog.builtin()
    told = catalog.why_unavailable(name)
    assert (
        told.startswith(reason) if reason.startswith("no MCP") else reason in told
    ) or not reason
    specs, missing = catalog.available([name])
    assert (len(specs), list(missing)) == ((1, []) if not reason else (0, [name]))


def test_a_folder_of_tools_is_read(tmp_path: Path) -> None:
    """The hash is taken from its file, or made."""
    folder = tmp_path / "echo"
    folder.mkdir()
    described = {"name": "echo", "description": "x", "inputSchema": {"type": "object"}}
    (folder / "tool.json").write_text(json.dumps(described))
    (folder / "echo.wasm").write_bytes(b"x")
    spec = ToolCatalog.read(tmp_path).get("echo")
    assert spec is not None
    assert spec.sha256 == hashlib.sha256(b"x").hexdigest()
    assert ToolCatalog([]).why_unavailable("x") == "not installed; there is none"


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"name": "a", "description": "b"}'])
def test_a_damaged_tool_is_a_typed_error(tmp_path: Path, text: str) -> None:
    """Which names it."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "tool.json").write_text(text)
    with pytest.raises(ToolFailed, match="broken"):
        ToolCatalog.read(tmp_path)


def test_a_tool_without_its_module_is_a_typed_error(tmp_path: Path) -> None:
    """Also when the hash is there."""
    folder = tmp_path / "hollow"
    folder.mkdir()
    described = {"name": "hollow", "description": "x", "inputSchema": {}}
    (folder / "tool.json").write_text(json.dumps(described))
    (folder / "hollow.wasm.sha256").write_text("00  hollow.wasm\n")
    with pytest.raises(ToolFailed, match="missing"):
        ToolCatalog.read(tmp_path)
