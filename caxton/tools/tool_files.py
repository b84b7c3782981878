"""A folder of tools as it lies on disk: which files belong to which tool.

``NAME/NAME.wasm`` with ``tool.json``, ``policy.yaml`` and ``tests/`` beside it, or ``NAME.wasm``
alone. Nothing is run here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from caxton.errors import ToolInvalid

if TYPE_CHECKING:
    from caxton.config import Config

__all__ = [
    "Description",
    "ToolFiles",
    "check_name",
    "files_of",
    "find_tools",
    "own_tools",
    "parse_description",
    "stamp",
    "tools_folder",
]

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

DESCRIPTION_BYTES: Final = 256 * 1024
"""Largest ``tool.json``, also when a module prints it."""
DESCRIPTION_CHARACTERS: Final = 10_000
MODULE_BYTES: Final = 32 * 1024 * 1024
"""Largest module, as the sandbox takes it by default."""
MOST_TOOLS: Final = 1_000
"""Most tools of a folder."""


@dataclass(frozen=True, slots=True)
class ToolFiles:
    """The files of one tool."""

    name: str
    module: Path
    folder: Path | None = None
    """None for a bare module."""

    def beside(self, name: str) -> Path | None:
        """A file of its folder, when it is there."""
        if self.folder is None:
            return None
        path = self.folder / name
        return path if path.is_file() else None

    @property
    def description(self) -> Path | None:
        """``tool.json``."""
        return self.beside("tool.json")

    @property
    def policy(self) -> Path | None:
        """``policy.yaml``."""
        return self.beside("policy.yaml")

    @property
    def cases(self) -> list[Path]:
        """The files of test cases."""
        return sorted((self.folder / "tests").glob("*.json")) if self.folder else []


@dataclass(frozen=True, slots=True)
class Description:
    """What a model is told of a tool."""

    name: str
    description: str
    input_schema: dict[str, Any]


def check_name(name: str) -> str:
    """A name that agent files and MCP clients can use.

    Raises:
        ToolInvalid: it is not one.
    """
    if not NAME.fullmatch(name) or "__" in name:
        raise ToolInvalid(
            tool=name[:80],
            reason="a name is a letter, then up to 63 letters, digits, `_` and `-`, without `__`, "
            "which stands between an MCP server and its tool",
        )
    return name


def files_of(path: Path) -> ToolFiles:
    """The tool that ``path`` names: its folder or its module.

    A module that lies in a folder of its own name belongs to that folder.

    Raises:
        ToolInvalid: nothing is there.
    """
    path = path.absolute()
    if path.is_dir():
        return ToolFiles(path.name, path / f"{path.name}.wasm", path)
    if not path.is_file():
        raise ToolInvalid(tool=path.name, reason=f"there is no {path}")
    folder = path.parent if path.parent.name == path.stem else None
    return ToolFiles(path.stem, path, folder)


def find_tools(folder: Path) -> list[ToolFiles]:
    """The tools of a folder by name, built or not; at most 1,000. Empty when it does not exist."""
    found: dict[str, ToolFiles] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    for entry in entries:
        if entry.name[0] in "._" or len(found) >= MOST_TOOLS:
            continue
        path = Path(entry.path)
        if entry.is_dir():
            if _is_tool(path):
                found[path.name] = ToolFiles(path.name, path / f"{path.name}.wasm", path)
        elif path.suffix == ".wasm":
            found.setdefault(path.stem, ToolFiles(path.stem, path))
    return list(found.values())


def tools_folder(config: Config) -> Path:
    """Where a node of this configuration has its tools; it need not exist."""
    return config.workspace / config.tools_folder


def own_tools(config: Config) -> tuple[str, ...]:
    """The names in the tools folder of a node as it is now; none when it is not readable."""
    try:
        return tuple(files.name for files in find_tools(tools_folder(config)))
    except OSError:
        # The tools process looks there too, and says what is wrong.
        return ()


def _is_tool(folder: Path) -> bool:
    """Whether it has a module or a description; other folders are nobody's business."""
    names = (f"{folder.name}.wasm", "tool.json", "policy.yaml")
    return any((folder / name).is_file() for name in names)


def stamp(files: Iterable[Path | None]) -> tuple[tuple[str, int, int], ...]:
    """What tells whether files have changed: times and sizes; a missing one is part of it."""
    told = []
    for path in files:
        if path is None:
            continue
        try:
            status = path.stat()
        except OSError:
            told.append((path.name, 0, -1))
        else:
            told.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(told)


def parse_description(data: bytes, name: str, where: str) -> Description:
    """Read ``tool.json``, or what a module prints of itself.

    Args:
        data: the bytes.
        name: the tool's name, which the description must not contradict.
        where: what errors call it.

    Raises:
        ToolInvalid: it is no description; it says which field and why.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if len(data) > DESCRIPTION_BYTES:
        raise ToolInvalid(
            tool=name, reason=f"{where} has {len(data):,} bytes, at most {DESCRIPTION_BYTES:,}"
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ToolInvalid(tool=name, reason=f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolInvalid(tool=name, reason=f"{where} is not a JSON object")
    called = value.get("name", name)
    if called != name:
        raise ToolInvalid(
            tool=name,
            reason=f"{where}: `name` is {called!r:.80}, the module's file is {name}.wasm; make "
            "them the same",
        )
    text = value.get("description")
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= DESCRIPTION_CHARACTERS:
        raise ToolInvalid(
            tool=name,
            reason=f"{where}: `description` must be a text of 1 to {DESCRIPTION_CHARACTERS:,} "
            "characters that says what the tool is for",
        )
    schema = value.get("inputSchema", {"type": "object"})
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ToolInvalid(
            tool=name, reason=f'{where}: `inputSchema` must be a JSON Schema with "type": "object"'
        )
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        told = error.message if isinstance(error, SchemaError) else "it is nested too deeply"
        raise ToolInvalid(tool=name, reason=f"{where}: `inputSchema`: {told[:200]}") from error
    return Description(name, text.strip(), schema)
