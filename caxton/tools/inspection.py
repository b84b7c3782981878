"""What there is to know of a module before anyone calls it. Nothing of it runs, except that a
command without ``tool.json`` is asked what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from caxton.errors import ToolInvalid
from caxton.tools.needs import ADVICE, need_of, policy_for
from caxton.tools.tool_files import ToolFiles
from caxton.tools.tool_run import default_limits
from caxton.tools.workbench import Workbench
from sandbox import Module

__all__ = ["ImportRow", "Inspection", "ToolRow", "declared_memory", "inspect"]

PAGE: Final = 64 * 1024
MEMORY_SECTION: Final = 5


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One import and what it needs granted, in words; empty for nothing."""

    module: str
    name: str
    type: str
    needs: str


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A function that a model could call."""

    name: str
    description: str
    input_schema: dict[str, Any]
    function: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """All of it."""

    name: str
    file: str
    bytes: int
    sha256: str
    kind: str
    level: str
    imports: tuple[ImportRow, ...]
    exports: tuple[str, ...]
    tools: tuple[ToolRow, ...]
    why_no_tool: str
    """Why agents cannot call it as it is; empty when they can."""
    limits: dict[str, int]
    """Of one call, as far as nothing else is said."""
    declared_memory_bytes: int | None
    """What the module's memory has at the start; None where that is not declared."""
    policy: str
    """A ``policy.yaml`` to begin with."""


async def inspect(bench: Workbench, files: ToolFiles) -> Inspection:
    """Compile a module and look at it.

    Raises:
        ToolInvalid: the sandbox refuses it.
    """
    module = await bench.module(files)
    why = ""
    tools: tuple[ToolRow, ...] = ()
    try:
        tools = tuple(
            ToolRow(one.about.name, one.about.description, one.about.input_schema, one.function)
            for one in await bench.tools(files)
        )
    except ToolInvalid as error:
        why = str(error.fields["reason"])
    defaults = default_limits(module.kind)
    shown = {
        "fuel": defaults.fuel,
        "memory_bytes": defaults.memory_bytes,
        "wall_ms": defaults.wall_ms,
        "stdout_bytes": defaults.stdout_bytes,
    }
    asked = {"fuel": defaults.fuel, "memory": defaults.memory_bytes, "wall_ms": defaults.wall_ms}
    return Inspection(
        name=files.name,
        file=str(files.module),
        bytes=len(module.data),
        sha256=module.sha256,
        kind=str(module.kind),
        level=str(module.level),
        imports=tuple(_import(module, index) for index in range(len(module.imports))),
        exports=tuple(map(str, module.functions))
        or tuple(f"{item.name}: {item.type}" for item in module.exports),
        tools=tools,
        why_no_tool=why,
        limits=shown,
        declared_memory_bytes=declared_memory(module.data),
        policy=policy_for(files.name, module.imports, asked),
    )


def _import(module: Module, index: int) -> ImportRow:
    item = module.imports[index]
    need = need_of(item)
    return ImportRow(item.module, item.name, item.type, ADVICE[need].about if need else "")


def declared_memory(data: bytes) -> int | None:
    """The bytes a core module's memory has at the start; None for components and without one."""
    if data[4:8] != b"\x01\x00\x00\x00":
        return None
    at = 8
    while at < len(data):
        section = data[at]
        size, at = _number(data, at + 1)
        if section == MEMORY_SECTION:
            _, inside = _number(data, at)
            pages, _ = _number(data, inside + 1)
            return pages * PAGE
        at += size
    return None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift > 35:
            break
    return value, at
