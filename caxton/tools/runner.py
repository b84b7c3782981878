"""Running tools: in a sandbox of this process's own workers, or by asking the tools process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from caxton.agents.behaviour import ToolResult
from caxton.errors import CaxtonError
from caxton.links.questions import Questions
from caxton.tools.catalog import ToolSpec
from sandbox import FolderGrant, Grants, InvalidSetting, Limits, Module, Sandbox, SandboxError

__all__ = ["RemoteToolRunner", "SandboxToolRunner"]

RESULT_BYTES = 256 * 1024
"""Largest tool result an agent gets; a longer one is an error that says so."""


class SandboxToolRunner:
    """Runs tools in sandbox workers that this process owns.

    Args:
        cache: private folder for compiled modules.
        workspace: folder that granted paths start from.
        workers: sandbox workers.
    """

    def __init__(self, cache: Path, workspace: Path, *, workers: int) -> None:
        self._sandbox = Sandbox(cache, workers)
        self._workspace = workspace
        self._modules: dict[str, Module] = {}
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
    ) -> ToolResult:
        """Run ``tool`` in a fresh instance with what ``permissions`` grants."""
        started = time.monotonic()
        try:
            module = await self._module(tool)
            result = await self._sandbox.run_command(
                module,
                orjson.dumps(arguments),
                Limits.for_command(wall_ms=timeout_ms),
                self._grants(permissions),
            )
        except SandboxError as error:
            return ToolResult(False, str(error), error.reason.value, _since(started))
        except (InvalidSetting, OSError) as error:
            return ToolResult(False, str(error), "refused", _since(started))
        text = result.stdout.decode("utf-8", "replace").strip()
        took = _since(started)
        if len(text) > RESULT_BYTES:
            detail = f"{len(text):,} characters of result, at most {RESULT_BYTES:,} are passed on"
            return ToolResult(False, detail, "reply_too_large", took)
        if result.exit_code != 0:
            text = text or result.stderr.decode("utf-8", "replace").strip()
            return ToolResult(False, text, "exit", took)
        return ToolResult(True, text, "", took)

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

    def _grants(self, permissions: Mapping[str, Any]) -> Grants:
        files = permissions.get("files") or {}
        return Grants(
            folders=tuple(
                FolderGrant(self._workspace / guest, str(guest), write=mode == "rw")
                for guest, mode in files.items()
            )
        )

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
    ) -> ToolResult:
        """Run ``tool`` there; a lost worker is a result too."""
        started = time.monotonic()
        question = {
            "tool": tool.name,
            "arguments": orjson.dumps(arguments),
            "permissions": dict(permissions),
            "timeout_ms": timeout_ms,
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


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1_000
