"""Running tools: in a sandbox of this process's own workers, or by asking the tools process."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import orjson

from caxton.agents.behaviour import ToolResult
from caxton.agents.state import AgentState
from caxton.config import Config
from caxton.config.secret import Secret
from caxton.config.setting import named_databases
from caxton.errors import CaxtonError
from caxton.links.questions import Questions
from caxton.tools.catalog import ToolSpec
from caxton.tools.grants import grants_of
from caxton.tools.guest_log import log_lines
from caxton.tools.loading import LoadedTool, load_tool
from caxton.tools.reach import reach
from caxton.tools.tool_files import ToolFiles
from caxton.tools.tool_run import default_limits, run_tool
from sandbox import InvalidSetting, Module, Sandbox, SandboxError, WorkerPool
from sandbox import Questions as Answers
from sandbox.policy import Policy, PolicyError

__all__ = ["RemoteToolRunner", "SandboxToolRunner"]

logger = logging.getLogger("caxton.tools")

POLICIES = 1_000
"""Policies that are kept read."""


class SandboxToolRunner:
    """Runs tools in sandbox workers that this process owns.

    Args:
        config: the node's settings.
        state: where tools keep what outlives them, for agents that are granted it.
        answers: answers what tools ask; of ``state`` alone when not given.
    """

    def __init__(self, config: Config, state: AgentState, answers: Answers | None = None) -> None:
        answers = answers or Answers(state)
        self._pool = WorkerPool(
            config.tools_workers,
            max_waiting=config.tools_waiting,
            most_each=config.tools_each,
            questions=answers,
        )
        self._sandbox = Sandbox(
            config.data / "cache" / "wasm",
            pool=self._pool,
            questions=answers,
            progress=_compiling,
        )
        self._workspace = config.workspace
        self._databases = named_databases(Secret(config.tools_databases))
        self._state = state
        self._modules: dict[str, Module] = {}
        self._policies: dict[str, Policy] = {}
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Start the workers, so that the first call does not wait for them."""
        await self._sandbox.start()

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Run ``tool`` in a fresh instance with what ``permissions`` grants and its policy asks."""
        started = time.monotonic()
        namespace = f"tool/{owner}/{tool.name}"
        try:
            granted = grants_of(
                permissions,
                workspace=self._workspace,
                namespace=namespace,
                environment=os.environ,
                databases=self._databases,
            )
            module = await self._module(tool)
            grants, limits = reach(
                self._policy(tool),
                granted,
                replace(default_limits(module.kind), wall_ms=timeout_ms),
                workspace=self._workspace,
                environment=os.environ,
            )
            run = await run_tool(
                self._sandbox,
                module,
                orjson.dumps(arguments),
                limits,
                grants,
                function=tool.function,
                owner=f"{owner}/{tool.name}",
            )
            log_lines(logger, tool.name, run.logs, run.logs_dropped)
            if run.ok:
                await self._state.write(namespace, run.written)
        except SandboxError as error:
            return ToolResult(False, str(error), error.reason.value, _since(started))
        except CaxtonError as error:
            return ToolResult(False, str(error), error.code.lower(), _since(started))
        except (InvalidSetting, PolicyError, OSError) as error:
            return ToolResult(False, str(error), "refused", _since(started))
        return ToolResult(run.ok, run.text, "" if run.ok else "exit", _since(started))

    async def load(self, files: ToolFiles) -> tuple[LoadedTool, ...]:
        """Make a tool of the tools folder callable, and keep its module.

        Raises:
            ToolInvalid: something about it breaks a rule.
        """
        tools = await load_tool(self._sandbox, files)
        for one in tools:
            self._modules[one.module.sha256] = one.module
        return tools

    def forget(self, sha256: str) -> None:
        """A module is not needed any more; a later call reads its file."""
        self._modules.pop(sha256, None)

    def _policy(self, tool: ToolSpec) -> Policy | None:
        if not tool.policy:
            return None
        known = self._policies.get(tool.policy)
        if known is None:
            if len(self._policies) >= POLICIES:
                self._policies.clear()
            known = self._policies[tool.policy] = Policy.read(tool.policy)
        return known

    async def _module(self, tool: ToolSpec) -> Module:
        known = self._modules.get(tool.sha256)
        if known is not None:
            return known
        async with self._lock:
            known = self._modules.get(tool.sha256)
            if known is None:
                data = await asyncio.to_thread(tool.module.read_bytes)
                known = self._modules[tool.sha256] = await self._sandbox.prepare(data)
            return known

    def workload(self) -> tuple[int, int, int]:
        """Workers alive, those with a call, and calls that wait."""
        return self._pool.alive, self._pool.busy, self._pool.waiting

    async def close(self) -> None:
        """End the workers."""
        await self._sandbox.close()


class RemoteToolRunner:
    """Runs tools by asking the tools process over a link."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Run ``tool`` there; a lost worker is a result too."""
        started = time.monotonic()
        question = {
            "tool": tool.name,
            "arguments": orjson.dumps(arguments),
            "permissions": dict(permissions),
            "timeout_ms": timeout_ms,
            "owner": owner,
        }
        try:
            # The worker enforces the deadline; the margin is for the way there, a queue and a
            # first compilation.
            answer = await self._questions.ask(
                "tool", question, timeout_ms / 1_000 + 30, cancels=True
            )
        except CaxtonError as error:
            return ToolResult(False, str(error), error.code.lower(), _since(started))
        return msgspec.convert(answer, ToolResult)


def _compiling(sha256: str, size: int, seconds: float) -> None:
    """Said when a compilation takes long, and then ever more seldom."""
    whole = int(seconds)
    if whole >= 2 and whole & (whole - 1) == 0:
        logger.info("compiling module %s of %d bytes takes %d s so far", sha256[:12], size, whole)


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1_000
