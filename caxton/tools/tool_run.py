"""One call of a sandboxed tool, whatever kind of module it is, and what it cost.

A command gets its arguments on standard input and exits with 0, or with another code and
``{"error": {...}}``. A module of the agent ABI gets them in memory, in an instance of its own, and
says the same in its reply. A component's function gets them by name and gives its result, or fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from sandbox import Grants, Level, Limits, LogLine, Module, Sandbox
from sandbox.components.functions import is_fixed_world
from sandbox.module import Kind

__all__ = ["ToolRun", "default_limits", "error_of", "run_tool"]


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What a tool said. ``ok`` False: the tool itself says that it failed; ``text`` is what."""

    ok: bool
    text: str
    fuel_used: int
    wall_ms: float
    exit_code: int = 0
    stderr: str = ""
    logs: tuple[LogLine, ...] = ()
    logs_dropped: int = 0
    written: Mapping[bytes, bytes | None] = field(default_factory=dict)
    """Keys it set, or removed (None)."""


def default_limits(kind: Kind) -> Limits:
    """What one call of a tool may use when its policy does not say."""
    if kind is Kind.COMPONENT:
        return Limits.for_component()
    return Limits() if kind is Kind.CORE_AGENT else Limits.for_command()


async def run_tool(
    sandbox: Sandbox,
    module: Module,
    arguments: bytes,
    limits: Limits,
    grants: Grants,
    *,
    function: str = "",
    owner: str = "",
) -> ToolRun:
    """Call a tool once in a fresh instance.

    Args:
        sandbox: runs it.
        module: of the tool.
        arguments: a JSON object, already checked by the tool's schema.
        limits: what the call may use.
        grants: what it may reach.
        function: the export of a component that is called; empty for other kinds.
        owner: whose call it is, for turns at the workers.

    Raises:
        SandboxError: it broke a limit, trapped, or asked for what is not there.
        InvalidSetting: a limit or a grant is out of range.
    """
    if module.kind is Kind.WASI_COMMAND:
        return await _command(sandbox, module, arguments, limits, grants, owner)
    if module.kind is Kind.COMPONENT:
        return await _component(sandbox, module, arguments, limits, grants, function, owner)
    return await _agent(sandbox, module, arguments, limits, grants)


async def _command(
    sandbox: Sandbox, module: Module, arguments: bytes, limits: Limits, grants: Grants, owner: str
) -> ToolRun:
    result = await sandbox.run_command(module, arguments, limits, grants, owner=owner)
    text = result.stdout.decode("utf-8", "replace").strip()
    stderr = result.stderr.decode("utf-8", "replace").strip()
    ok = result.exit_code == 0
    return ToolRun(
        ok,
        text if ok else text or stderr,
        result.fuel_used,
        result.wall_ms,
        result.exit_code,
        stderr,
        result.logs,
        result.logs_dropped,
        result.written,
    )


async def _component(
    sandbox: Sandbox,
    module: Module,
    arguments: bytes,
    limits: Limits,
    grants: Grants,
    function: str,
    owner: str,
) -> ToolRun:
    fixed = is_fixed_world(module.functions)
    if fixed:
        function = "call"
        (name, _), *_ = next(one.params for one in module.functions if one.export == function)
        arguments = orjson.dumps({name: arguments.decode()})
    result = await sandbox.call_component(module, function, arguments, limits, grants, owner=owner)
    text = result.data.decode()
    if fixed or result.failed:
        # A text is what the tool said, not JSON of it.
        said = orjson.loads(text)
        text = said if isinstance(said, str) else text
    return ToolRun(
        not result.failed,
        text,
        result.fuel_used,
        result.wall_ms,
        stderr=result.printed.decode("utf-8", "replace").strip(),
        logs=result.logs,
        logs_dropped=result.logs_dropped,
        written=result.written,
    )


async def _agent(
    sandbox: Sandbox, module: Module, arguments: bytes, limits: Limits, grants: Grants
) -> ToolRun:
    if module.level is Level.INLINE:
        # It imports nothing that could open a folder or read a variable.
        grants = replace(grants, folders=(), env=())
    guest = await sandbox.open_agent(module, limits, grants)
    try:
        reply = await guest.exchange(arguments)
    finally:
        await guest.close()
    text = reply.data.decode("utf-8", "replace").strip()
    return ToolRun(
        not error_of(text),
        text,
        reply.fuel_used,
        reply.wall_ms,
        logs=reply.logs,
        logs_dropped=reply.logs_dropped,
        written=reply.written,
    )


def error_of(text: str) -> dict[str, Any]:
    """The error that a tool reports in its result; empty when it reports none."""
    if not text.startswith("{") or '"error"' not in text[:20]:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    error = value.get("error") if len(value) == 1 else None
    return error if isinstance(error, dict) else {}
