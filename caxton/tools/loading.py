"""A tool on disk to a tool that can be called: compiled, and described by its file or by itself."""

from __future__ import annotations

import asyncio
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
from sandbox.module import Kind
from sandbox.policy import Policy, PolicyError

__all__ = ["COMPILE", "LoadedTool", "load_module", "load_tool"]

MIB: Final = 1024 * 1024

COMPILE: Final = CompileLimits(memory_bytes=3072 * MIB, cpu_seconds=120, wall_ms=240_000)
"""What compiling a user's module may cost: Go and Python bring their whole run time."""

ASKING: Final = Limits.for_command(fuel=1_000_000_000, memory_bytes=128 * MIB)
"""For asking a module what it is."""

DESCRIBE: Final = "--describe"


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
    if about is None:
        about = await _asked(sandbox, files, module)
    return (LoadedTool(files, module, about, policy),)


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
