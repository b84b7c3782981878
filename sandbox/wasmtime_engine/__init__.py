"""The engine: wasmtime. The only package that imports it; import this one where it is needed.

Source: wasmtime's ``Config`` and ``Store`` documentation.
"""

from __future__ import annotations

import threading
from pathlib import Path

import wasmtime
from wasmtime import WasmtimeError

from sandbox.abi import Level
from sandbox.components.functions import Function
from sandbox.engine import CommandResult, Compiled, ComponentResult
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Export, Import, is_component
from sandbox.services.request import Ask, nobody
from sandbox.wasmtime_engine.agents import WasmtimeAgent
from sandbox.wasmtime_engine.commands import run_command
from sandbox.wasmtime_engine.components import ComponentPlatform, compile_component
from sandbox.wasmtime_engine.config import config_of, describe
from sandbox.wasmtime_engine.platform import Platform

__all__ = ["WasmtimeAgent", "WasmtimeEngine", "assemble"]


class WasmtimeEngine:
    """``sandbox.engine.Engine`` on wasmtime. Loads artifacts lazily; safe to share by threads."""

    def __init__(self) -> None:
        self._platforms: dict[tuple[int, Level], Platform] = {}
        self._components: dict[int, ComponentPlatform] = {}
        self._lock = threading.Lock()
        self._one_command = threading.Lock()

    def compile(self, data: bytes) -> Compiled:
        """Validate and compile. Costs memory and time in proportion to hostility of ``data``:
        call it in a limited process only.
        """
        if is_component(data):
            return compile_component(data)
        try:
            module = wasmtime.Module(wasmtime.Engine(config_of(Limits().stack_bytes)), data)
        except WasmtimeError as error:
            text = " ".join(str(error).split())[:500]
            raise SandboxError(Reason.COMPILE_FAILED, text, size=len(data)) from None
        return Compiled(
            bytes(module.serialize()),
            tuple(Import(i.module, i.name or "", describe(i.type)) for i in module.imports),
            tuple(Export(e.name, describe(e.type)) for e in module.exports),
        )

    def open_agent(
        self,
        artifact: Path,
        limits: Limits,
        grants: Grants | None = None,
        ask: Ask = nobody,
    ) -> WasmtimeAgent:
        """See ``Engine``."""
        level = Level.INLINE if grants is None else Level.PROCESS
        platform = self._platform(limits.stack_bytes, level)
        return WasmtimeAgent(platform, artifact, limits, grants, ask)

    def run_command(
        self,
        artifact: Path,
        *,
        stdin: bytes,
        limits: Limits,
        grants: Grants,
        args: tuple[str, ...] = (),
        ask: Ask = nobody,
    ) -> CommandResult:
        """See ``Engine``."""
        platform = self._platform(limits.stack_bytes, Level.PROCESS)
        with self._one_command:
            return run_command(platform, artifact, stdin, limits, grants, args, ask)

    def call_component(
        self,
        artifact: Path,
        function: Function,
        arguments: bytes,
        *,
        limits: Limits,
        grants: Grants,
        ask: Ask = nobody,
    ) -> ComponentResult:
        """See ``Engine``."""
        with self._lock:
            if limits.stack_bytes not in self._components:
                self._components[limits.stack_bytes] = ComponentPlatform(limits.stack_bytes)
            platform = self._components[limits.stack_bytes]
        return platform.call(artifact, function, arguments, limits, grants, ask)

    def _platform(self, stack_bytes: int, level: Level) -> Platform:
        with self._lock:
            if (stack_bytes, level) not in self._platforms:
                self._platforms[stack_bytes, level] = Platform(stack_bytes, level)
            return self._platforms[stack_bytes, level]


def assemble(text: str) -> bytes:
    """The binary form of WebAssembly text, for who writes it; modules to run are never text.

    Raises ``SandboxError`` (``compile_failed``) with the place of a mistake.
    """
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise SandboxError(Reason.COMPILE_FAILED, str(error)) from error
