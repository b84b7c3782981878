"""The engine: wasmer, through its SDK. Runs WASI commands, and only in a worker that is killed.

The SDK has no fuel, no limits, no host functions and calls no export but ``_start``. A guest that
is out of time goes on until its process ends, so whoever uses this kills it after an error.
Source: the documentation of ``wasmer-sdk`` 0.5. The only module that imports it; import this one
where it is needed.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from wasmer_sdk import (
    ExitReason,
    NetworkPolicy,
    Output,
    Package,
    PackageCommandDefinition,
    PackageDefinition,
    Process,
    Wasmer,
    WasmerError,
)

from sandbox.call_errors import check_message, timed_out, too_large, trapped
from sandbox.components.functions import Function
from sandbox.engine import (
    AgentInstance,
    CommandResult,
    Compiled,
    ComponentResult,
    load_failed,
)
from sandbox.engines import check_wasmer_limits, commands_only
from sandbox.errors import Reason, SandboxError
from sandbox.folder_copies import copies
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module_limits import limited
from sandbox.services.request import Ask, nobody

COMMAND: Final = "tool"
"""What a command finds as its own name, as with the other engine."""

NATIVE_CODE: Final = "wasmer"
"""Folder, beside the artifacts, where the SDK keeps what it compiled; as private as they are."""

NATIVE_BYTES: Final = 1 << 30
"""Most bytes kept in that folder when a worker starts."""

_TRAPS: Final = "RuntimeError: "


class WasmerEngine:
    """``sandbox.engine.Engine`` on wasmer, for WASI commands. One call at a time.

    An artifact is the module itself: wasmer compiles it when it first runs, within that call's
    time. ``memory_bytes`` and ``table_elements`` are written into the module; the rest of a
    guest's memory is bounded by the process.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._client: Wasmer | None = None
        self._one = threading.Lock()

    def compile(self, data: bytes) -> Compiled:
        """Validate with the default engine, so that both refuse the same. See ``Engine``."""
        from sandbox.wasmtime_engine import WasmtimeEngine

        found = WasmtimeEngine().compile(data)
        return Compiled(data, found.imports, found.exports)

    def open_agent(
        self,
        artifact: Path,
        limits: Limits,
        grants: Grants | None = None,
        ask: Ask = nobody,
    ) -> AgentInstance:
        """Refused with ``missing_export``: there is no way to call an export."""
        raise commands_only()

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
        """See ``Engine``. After ``timeout`` the guest still runs: end the process.

        Folders are read-only copies in the guest's memory. ``fuel_used`` is 0.
        """
        check_message("standard input", stdin, limits)
        check_wasmer_limits(limits)
        try:
            data = limited(artifact.read_bytes(), limits)
        except OSError as error:
            raise load_failed(artifact, error.strerror or "unreadable") from None
        started = time.monotonic()
        with self._one:
            client = self._client or _client(artifact.parent / NATIVE_CODE)
            self._client = client
            stdout, output = self._runner.run(_run(client, data, stdin, limits, grants, args))
        wall_ms = (time.monotonic() - started) * 1000
        if output.reason is ExitReason.TIMEOUT:
            raise timed_out(limits)
        if output.reason is not ExitReason.EXITED:
            raise SandboxError(Reason.KILLED, f"the guest ended as {output.reason.value}")
        stderr = output.stderr.bytes[: limits.stderr_bytes]
        return CommandResult(stdout, stderr, output.exit_code, 0, wall_ms)

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
        """Refused with ``missing_export``: components are not run."""
        raise commands_only()

    def close(self) -> None:
        """End the SDK's client and this engine's event loop."""
        with self._one:
            client, self._client = self._client, None
            if client is not None:
                self._runner.run(client.close())
            self._runner.close()


def _client(folder: Path) -> Wasmer:
    """The SDK never empties its folder: it is begun again when it is too large."""
    if sum(path.stat().st_size for path in folder.rglob("*.bin")) > NATIVE_BYTES:
        shutil.rmtree(folder, ignore_errors=True)
    return Wasmer(cache_root=folder)


async def _run(
    client: Wasmer,
    data: bytes,
    stdin: bytes,
    limits: Limits,
    grants: Grants,
    args: tuple[str, ...],
) -> tuple[bytes, Output]:
    try:
        # The SDK has a timeout too, but that does not count the time in which it compiles.
        async with asyncio.timeout(limits.wall_ms / 1000):
            package = await client.packages.create(
                PackageDefinition(
                    modules={COMMAND: data},
                    commands={COMMAND: PackageCommandDefinition(module=COMMAND)},
                    files=copies(grants.folders),
                )
            )
            return await _command(client, package, stdin, limits, grants, args)
    except TimeoutError:
        raise timed_out(limits) from None
    except WasmerError as error:
        raise _failed(error) from None


async def _command(
    client: Wasmer,
    package: Package,
    stdin: bytes,
    limits: Limits,
    grants: Grants,
    args: tuple[str, ...],
) -> tuple[bytes, Output]:
    sandbox = await client.sandboxes.create(
        packages=[package], env=dict(grants.env), network=NetworkPolicy.DISABLED
    )
    async with sandbox:
        process = await sandbox.command(package, args, cwd="/").spawn(
            output_bytes=limits.stderr_bytes, stdin="pipe", stdout="pipe", stderr="capture"
        )
        feeding = asyncio.create_task(_feed(process, stdin))
        try:
            return await _printed(process, limits), await process.wait()
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])


async def _feed(process: Process, stdin: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - made with a pipe
    try:
        await process.stdin.write(stdin)
        await process.stdin.close()
    except WasmerError:
        # It ended without reading all of it, as a program may.
        return


async def _printed(process: Process, limits: Limits) -> bytes:
    assert process.stdout is not None  # noqa: S101 - made with a pipe
    printed = bytearray()
    async for chunk in process.stdout:
        printed += chunk
        if len(printed) > limits.stdout_bytes:
            raise too_large(
                Reason.REPLY_TOO_LARGE,
                "standard output",
                len(printed),
                "stdout_bytes",
                limits.stdout_bytes,
            )
    return bytes(printed)


def _failed(error: WasmerError) -> SandboxError:
    """By the SDK's words: its codes do not tell a trap from a refused module."""
    text = str(error).splitlines()[0]
    if _TRAPS in text:
        trap = text.partition(_TRAPS)[2]
        return trapped("stack overflow" if trap == "call stack exhausted" else trap)
    if "unknown import" in text:
        return SandboxError(Reason.UNGRANTED_IMPORT, text[:500], engine="wasmer")
    return SandboxError(Reason.HOST_ERROR, f"wasmer: {text[:500]}", code=error.code)
