"""The catalog of tools: names, what they are for, their arguments, and where their code is."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from caxton.errors import ToolFailed

__all__ = ["ToolCatalog", "ToolSpec"]

BUILTIN: Final = Path(__file__).parent / "builtin"

_FOREIGN: Final = frozenset(
    {
        "Agent", "AskUserQuestion", "Bash", "BashOutput", "Edit", "ExitPlanMode", "Glob", "Grep",
        "KillShell", "LS", "MultiEdit", "NotebookEdit", "NotebookRead", "Read", "Skill",
        "SlashCommand", "Task", "TodoWrite", "WebFetch", "WebSearch", "Write",
    }
)  # fmt: skip


class ToolSpec(msgspec.Struct, frozen=True):
    """One tool: what a model is told of it, and the module that runs it."""

    name: str
    description: str
    input_schema: dict[str, Any]
    """JSON Schema (2020-12) of its arguments, an object."""
    module: Path
    """The WebAssembly command: arguments as JSON on standard input, a result on standard output."""
    sha256: str
    """Of the module's bytes, in hex."""


class ToolCatalog:
    """The tools that are installed, by name."""

    def __init__(self, specs: Iterable[ToolSpec]) -> None:
        self._specs: Mapping[str, ToolSpec] = {spec.name: spec for spec in specs}

    @staticmethod
    @functools.cache
    def builtin() -> ToolCatalog:
        """The tools that come with Caxton. Read once.

        Raises:
            ToolFailed: the installation is damaged.
        """
        return ToolCatalog.read(BUILTIN)

    @classmethod
    def read(cls, folder: Path) -> ToolCatalog:
        """The tools below ``folder``: one folder each, with ``tool.json`` and ``NAME.wasm``.

        Raises:
            ToolFailed: a description or its module cannot be read.
        """
        return cls(_read(path) for path in sorted(folder.glob("*/tool.json")))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self._specs)

    def get(self, name: str) -> ToolSpec | None:
        """The tool of this name, if it is installed."""
        return self._specs.get(name)

    def available(self, names: Iterable[str]) -> tuple[tuple[ToolSpec, ...], dict[str, str]]:
        """Of the ``names`` an agent lists: those that are installed, and why others are not."""
        found, missing = [], {}
        for name in names:
            spec = self._specs.get(name)
            if spec is not None:
                found.append(spec)
            else:
                missing[name] = self.why_unavailable(name)
        return tuple(found), missing

    def why_unavailable(self, name: str) -> str:
        """Why a tool cannot be called, in words; empty when it can."""
        if name in self._specs:
            return ""
        base = name.partition("(")[0]
        if base == "Bash":
            return "shells are never run, tools live in a sandbox"
        if base in _FOREIGN:
            return "it belongs to another program"
        if "__" in name:
            return f"no MCP server `{name.partition('__')[0][:24]}` is connected"
        return f"not installed; there is {', '.join(self.names)[:40] or 'none'}"


def _read(path: Path) -> ToolSpec:
    try:
        described = json.loads(path.read_bytes())
        module = path.parent / f"{path.parent.name}.wasm"
        recorded = module.with_name(f"{module.name}.sha256")
        digest = (
            recorded.read_text().split()[0]
            if recorded.is_file()
            else hashlib.sha256(module.read_bytes()).hexdigest()
        )
        spec = ToolSpec(
            name=described["name"],
            description=described["description"],
            input_schema=described["inputSchema"],
            module=module,
            sha256=digest,
        )
        if not module.is_file():
            raise FileNotFoundError(f"{module.name} is missing")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ToolFailed(tool=path.parent.name, reason="not readable", detail=str(error)) from error
    return spec
