"""A tool on disk to a tool that can be called: compiled, and described by its file or by itself."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Final

from caxton.errors import ToolInvalid
from caxton.tools.catalog import FOLDER_SOURCE, ToolSpec
from caxton.tools.tool_files import (
    MODULE_BYTES,
    Description,
    ToolFiles,
    check_name,
    parse_description,
)
from sandbox import CompileLimits, Limits, Module, Sandbox, SandboxError
from sandbox.components.functions import is_fixed_world
from sandbox.module import Kind
from sandbox.policy import Policy, PolicyError

__all__ = ["COMPILE", "LoadedTool", "load_module", "load_tool"]

MIB: Final = 1024 * 1024

COMPILE: Final = CompileLimits(memory_bytes=3072 * MIB, cpu_seconds=300, wall_ms=600_000)
"""What compiling a user's module may cost: Go and Python bring their whole run time."""

ASKING: Final = Limits.for_command(fuel=1_000_000_000, memory_bytes=128 * MIB)
"""For asking a module what it is."""

DESCRIBE: Final = "--describe"

NAME_CHARACTERS: Final = 64
"""Longest name of a tool that clients of MCP and models take."""


@dataclass(frozen=True, slots=True)
class LoadedTool:
    """One function that can be called: most modules have one, components may have more."""

    files: ToolFiles
    module: Module
    about: Description
    policy: str = ""
    """The text of ``policy.yaml``, which was read without an error."""
    function: str = ""
    """The export of a component."""

    @property
    def spec(self) -> ToolSpec:
        """As it stands in a catalog."""
        return ToolSpec(
            name=self.about.name,
            description=self.about.description,
            input_schema=self.about.input_schema,
            module=self.files.module,
            sha256=self.module.sha256,
            source=FOLDER_SOURCE,
            kind=self.module.kind.value,
            function=self.function,
            policy=self.policy,
        )


async def load_module(sandbox: Sandbox, files: ToolFiles) -> Module:
    """Read and compile a tool's module.

    Raises:
        ToolInvalid: it is not there, too large, or refused; the reason says why.
    """
    try:
        size = files.module.stat().st_size
        if size > MODULE_BYTES:
            raise ToolInvalid(
                tool=files.name, reason=f"{size:,} bytes, at most {MODULE_BYTES:,} are allowed"
            )
        data = await asyncio.to_thread(files.module.read_bytes)
    except FileNotFoundError as error:
        place = files.folder or files.module
        raise ToolInvalid(
            tool=files.name, reason=f"not built; build it with `caxton tool build {place}`"
        ) from error
    except OSError as error:
        raise ToolInvalid(tool=files.name, reason=f"{files.module}: {error.strerror}") from error
    try:
        return await sandbox.prepare(data)
    except SandboxError as error:
        raise ToolInvalid(tool=files.name, reason=str(error)) from error


async def load_tool(sandbox: Sandbox, files: ToolFiles) -> tuple[LoadedTool, ...]:
    """Make a tool callable. Runs its module only where it has to describe itself.

    Raises:
        ToolInvalid: something about it breaks a rule.
    """
    check_name(files.name)
    policy = await asyncio.to_thread(_policy, files)
    module = await load_module(sandbox, files)
    if any(item.module == "caxton" and item.name == "send" for item in module.imports):
        raise ToolInvalid(
            tool=files.name, reason="it imports caxton.send, which is for agents; a tool answers"
        )
    about = await asyncio.to_thread(_from_file, files)
    if module.kind is Kind.COMPONENT and not is_fixed_world(module.functions):
        return _functions(files, module, about, policy)
    if about is None:
        about = await _asked(sandbox, files, module)
    return (LoadedTool(files, module, about, policy),)


def _functions(
    files: ToolFiles, module: Module, about: Description | None, policy: str
) -> tuple[LoadedTool, ...]:
    """A tool for each function of a component, as ``NAME_FUNCTION``, by its types."""
    if about is not None:
        raise ToolInvalid(
            tool=files.name,
            reason="tool.json is for a tool that has no types of its own; the functions of this "
            "component describe themselves, so take it away",
        )
    found = []
    for one in module.functions:
        if not one.refused:
            text = one.docs or f"{one} of {files.name}"
            name = f"{files.name}_{one.tool_name}"[:NAME_CHARACTERS]
            described = Description(name, text, one.arguments_schema())
            found.append(LoadedTool(files, module, described, policy, one.export))
    if not found:
        why = "; ".join(map(str, module.functions)) or "it exports none"
        raise ToolInvalid(tool=files.name, reason=f"no function can be called: {why}")
    return tuple(found)


def _from_file(files: ToolFiles) -> Description | None:
    if files.description is None:
        return None
    try:
        data = files.description.read_bytes()
    except OSError as error:
        raise ToolInvalid(tool=files.name, reason=f"tool.json: {error.strerror}") from error
    return parse_description(data, files.name, "tool.json")


def _policy(files: ToolFiles) -> str:
    if files.policy is None:
        return ""
    try:
        text = files.policy.read_text()
        Policy.read(text)
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        raise ToolInvalid(tool=files.name, reason=f"policy.yaml: {error}") from error
    return text


async def _asked(sandbox: Sandbox, files: ToolFiles, module: Module) -> Description:
    """What a module says of itself."""
    if module.kind is Kind.COMPONENT:
        return await _describe(sandbox, files, module)
    if module.kind is not Kind.WASI_COMMAND:
        raise ToolInvalid(
            tool=files.name,
            reason=f"a {module.kind} does not describe itself; put a tool.json beside it, in "
            f"{files.name}/, with `description` and `inputSchema`",
        )
    try:
        result = await sandbox.run_command(module, b"", ASKING, args=(files.name, DESCRIBE))
    except SandboxError as error:
        raise ToolInvalid(tool=files.name, reason=f"{DESCRIBE}: {error}") from error
    if result.exit_code != 0 or not result.stdout.strip():
        raise ToolInvalid(
            tool=files.name,
            reason=f"no tool.json, and it does not answer {DESCRIBE} (exit code "
            f"{result.exit_code}); put a tool.json beside it, in {files.name}/",
        )
    return parse_description(result.stdout, files.name, DESCRIBE)


async def _describe(sandbox: Sandbox, files: ToolFiles, module: Module) -> Description:
    """What a component of the world ``caxton:tool`` says of itself."""
    try:
        result = await sandbox.call_component(module, "describe", b"{}", Limits.for_component())
        text = json.loads(result.data)
    except (SandboxError, ValueError) as error:
        raise ToolInvalid(tool=files.name, reason=f"describe: {error}") from error
    return parse_description(str(text).encode(), files.name, "describe")
