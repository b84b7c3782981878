"""Trying tools without a node: load, call, and say what happened and why."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from caxton.tools.allowed import Allowed
from caxton.tools.arguments import wrong_arguments
from caxton.tools.loading import COMPILE, LoadedTool, load_module, load_tool
from caxton.tools.reach import reach
from caxton.tools.tool_files import ToolFiles
from caxton.tools.tool_run import ToolRun, default_limits, error_of, run_tool
from sandbox import (
    Grants,
    InvalidSetting,
    Limits,
    LogLine,
    Module,
    Questions,
    Sandbox,
    SandboxError,
)
from sandbox.grant_events import GrantEvent
from sandbox.memory_keys import MemoryKeys
from sandbox.policy import Policy, PolicyError
from sandbox.services.answerer import HostServices
from sandbox.services.database import DatabaseService
from sandbox.services.http import HttpService
from sandbox.services.request import ServiceError

__all__ = ["Outcome", "Workbench", "cache_folder"]

OWNER: Final = "workbench"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended."""

    ok: bool
    value: Any = None
    """The result: JSON where the tool printed JSON, else its text."""
    code: str = ""
    """``bad_arguments``, the sandbox's reason, the code of the tool's own error, or ``failed``."""
    message: str = ""
    fuel_used: int = 0
    wall_ms: float = 0.0
    stderr: str = ""
    logs: tuple[LogLine, ...] = ()
    refused: tuple[GrantEvent, ...] = ()
    """What it asked for and was not given."""
    folders: tuple[str, ...] = ()
    """The folders that it was given."""


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where compiled modules are kept between commands: the user's cache, else a new folder."""
    given = env.get("XDG_CACHE_HOME") or ""
    base = Path(given) if given.startswith("/") else Path(env.get("HOME") or "/nowhere") / ".cache"
    folder = base / "caxton"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="caxton-cache-")) / "wasm"
    return folder / "wasm" if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp()) / "wasm"


class Workbench:
    """A sandbox for one command, with HTTP, databases and keys for its tools; an async context
    manager.

    Args:
        cache: private folder for compiled modules.
    """

    def __init__(self, cache: Path) -> None:
        self._refused: list[GrantEvent] = []
        self._keys = MemoryKeys()
        self._services = HostServices(http=HttpService(), database=DatabaseService())
        questions = Questions(self._keys, self._services, self._heard)
        self.sandbox = Sandbox(cache, 1, compile_limits=COMPILE, questions=questions)

    def _heard(self, _owner: str, event: GrantEvent) -> None:
        if not event.allowed:
            self._refused.append(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.sandbox.close()
        await self._services.close()

    async def module(self, files: ToolFiles) -> Module:
        """Compile a module. Raises ToolInvalid."""
        return await load_module(self.sandbox, files)

    async def tools(self, files: ToolFiles) -> tuple[LoadedTool, ...]:
        """The tools of a module. Raises ToolInvalid."""
        return await load_tool(self.sandbox, files)

    async def call_as_asked(
        self, tool: LoadedTool, arguments: Mapping[str, Any], root: Path, env: Mapping[str, str]
    ) -> Outcome:
        """Call a tool with all that its own policy asks for, paths below ``root``."""
        limits = default_limits(tool.module.kind)
        if not tool.policy:
            return await self.call(tool, arguments, limits, Grants())
        policy = Policy.read(tool.policy)
        try:
            grants = policy.grants(root, env)
        except PolicyError as error:
            return Outcome(False, code="refused", message=str(error))
        return await self.call(tool, arguments, policy.limits(limits), grants)

    async def call_allowed(
        self, tool: LoadedTool, arguments: Mapping[str, Any], allowed: Allowed
    ) -> Outcome:
        """Call a tool with what options allow: with its policy, what both name.

        Raises:
            ToolInvalid: the policy file of the options is not usable.
        """
        limits = default_limits(tool.module.kind)
        try:
            granted = allowed.grants(tool.about.name)
            policy = Policy.read(tool.policy) if tool.policy else None
            grants, limits = reach(
                None if allowed.policy else policy,
                granted,
                limits,
                workspace=allowed.workspace,
                environment=allowed.environment,
            )
            if allowed.policy:
                limits = allowed.policy.limits(limits)
            limits = replace(limits, **allowed.limits)
        except (PolicyError, InvalidSetting) as error:
            return Outcome(False, code="refused", message=str(error))
        return await self.call(tool, arguments, limits, grants)

    async def call(
        self, tool: LoadedTool, arguments: Mapping[str, Any], limits: Limits, grants: Grants
    ) -> Outcome:
        """Call a tool once, its arguments checked first as a node does it."""
        folders = tuple(folder.guest for folder in grants.folders)
        wrong = wrong_arguments(tool.spec, arguments)
        if wrong:
            return Outcome(False, code="bad_arguments", message=wrong)
        self._refused.clear()
        try:
            run = await run_tool(
                self.sandbox,
                tool.module,
                orjson.dumps(arguments),
                limits,
                grants,
                function=tool.function,
                owner=OWNER,
            )
        except SandboxError as error:
            found = Outcome(False, code=error.reason.value, message=error.message)
        except InvalidSetting as error:
            found = Outcome(False, code="refused", message=str(error))
        else:
            found = self._kept(run, grants)
        return replace(found, refused=tuple(self._refused), folders=folders)

    def _kept(self, run: ToolRun, grants: Grants) -> Outcome:
        """How a run ended, when what it wrote was kept."""
        if run.ok and run.written:
            try:
                self._keys.apply(grants.kv, run.written)
            except ServiceError as error:
                return Outcome(False, code=error.code.value, message=error.message)
        return _outcome(run)


def _outcome(run: ToolRun) -> Outcome:
    value: Any = run.text
    with contextlib.suppress(orjson.JSONDecodeError):
        value = orjson.loads(run.text)
    error = error_of(run.text) if not run.ok else {}
    code = str(error.get("code") or "failed") if not run.ok else ""
    message = str(error.get("message") or run.text) if not run.ok else ""
    return Outcome(
        run.ok, value if run.ok else None, code, message, run.fuel_used, run.wall_ms,
        run.stderr, run.logs,
    )  # fmt: skip
