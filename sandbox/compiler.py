"""Bytes to a validated module: header check, compile in a limited child, cache, classify."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from sandbox.artifact_cache import ArtifactCache, Shape
from sandbox.child_process import STDERR_TAIL, command, environment
from sandbox.engines import EngineName, fingerprint
from sandbox.errors import InvalidSetting, Reason, SandboxError
from sandbox.module import Module, check_header, classify, content_hash, is_component

CHILDREN: Final = 2
"""Most compilations at once; others wait their turn."""

PROGRESS_S: Final = 1.0
"""Between two reports of a compilation that takes long."""

Progress = Callable[[str, int, float], None]
"""Told of a compilation under way: the module's hash, its bytes, and seconds so far."""

HASHED_ON_LOOP: Final = 256 * 1024
"""Largest module, in bytes, that is hashed and looked up without leaving the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileLimits:
    """What compiling one module may cost. Raises ``InvalidSetting``."""

    module_bytes: int = 32 * 1024 * 1024
    """Largest module, in bytes. 8 to 256 MiB; default 32 MiB."""

    memory_bytes: int = 512 * 1024 * 1024
    """Memory of the compiling process, in bytes. 128 MiB to 8 GiB; default 512 MiB."""

    cpu_seconds: int = 20
    """Processor time of the compiling process, in seconds. 1 to 600; default 20."""

    wall_ms: int = 30_000
    """Wall clock of one compilation, in milliseconds. 100 to 600,000; default 30 s."""

    def __post_init__(self) -> None:
        mib = 1024 * 1024
        for name, low, high in (
            ("module_bytes", 8, 256 * mib),
            ("memory_bytes", 128 * mib, 8192 * mib),
            ("cpu_seconds", 1, 600),
            ("wall_ms", 100, 600_000),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")

    @classmethod
    def for_component(cls) -> CompileLimits:
        """The default for components: 1 GiB of memory, 120 s of processor time, 240 s in all.

        A tool in Python has 18 MB, a Python inside, and takes 15 to 35 s of processor time.
        """
        return cls(memory_bytes=1 << 30, cpu_seconds=120, wall_ms=240_000)


class Compiler:
    """Compiles each content once. Belongs to one event loop.

    Without ``limits`` they are the defaults, by kind. ``progress`` is told every second of a
    compilation that takes long.
    """

    def __init__(
        self,
        cache_dir: Path,
        limits: CompileLimits | None = None,
        progress: Progress | None = None,
        engine: EngineName = "wasmtime",
    ) -> None:
        self._progress = progress
        self.limits = limits or CompileLimits()
        self._engine = engine
        self._by_kind = limits is None
        self._cache = ArtifactCache(cache_dir, fingerprint(engine))
        self._turns = asyncio.Semaphore(CHILDREN)
        self._under_way: dict[str, asyncio.Task[Shape]] = {}

    async def prepare(self, data: bytes) -> Module:
        """Validate and compile ``data``, or take it from the cache.

        Raises ``SandboxError``: not_a_module, module_too_large, compile_failed, compile_timeout,
        missing_export, ungranted_import, host_error.
        """
        check_header(data, self.limits.module_bytes)
        if len(data) > HASHED_ON_LOOP:
            sha256, shape = await asyncio.to_thread(self._look_up, data)
        else:
            sha256, shape = self._look_up(data)
        shape = shape or await self._compile_once(sha256, data)
        kind = classify(*shape, component=is_component(data))
        return Module(data, sha256, kind, *shape, self._cache.path(sha256))

    def _look_up(self, data: bytes) -> tuple[str, Shape | None]:
        sha256 = content_hash(data)
        return sha256, self._cache.find(sha256)

    def discard(self, module: Module) -> None:
        """Forget the artifact of a module, so that it is compiled again."""
        self._cache.discard(module.sha256)

    async def close(self) -> None:
        """End compilations under way and their processes."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _compile_once(self, sha256: str, data: bytes) -> Shape:
        task = self._under_way.get(sha256)
        if task is None:
            task = asyncio.create_task(self._compile(sha256, data), name=f"compile {sha256[:8]}")
            self._under_way[sha256] = task
            task.add_done_callback(lambda done: self._finished(sha256, done))
        # One caller's cancellation must not end the compilation others wait for.
        return await asyncio.shield(task)

    def _finished(self, sha256: str, task: asyncio.Task[Shape]) -> None:
        self._under_way.pop(sha256, None)
        if not task.cancelled():
            # Marks it as seen: every caller may have been cancelled meanwhile.
            task.exception()

    async def _compile(self, sha256: str, data: bytes) -> Shape:
        async with self._turns:
            telling = asyncio.create_task(self._tell(sha256, len(data)), name="compile progress")
            try:
                with self._cache.aside() as part:
                    record = await self._run_child(data, part)
                    return self._cache.store(sha256, part, record)
            finally:
                telling.cancel()

    async def _tell(self, sha256: str, size: int) -> None:
        """Tell how long it takes so far. Ends by being cancelled; nobody waits for it."""
        if self._progress is None:
            return
        begun = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._progress(sha256, size, asyncio.get_running_loop().time() - begun)

    def _limits_for(self, data: bytes) -> CompileLimits:
        if self._by_kind and is_component(data):
            return CompileLimits.for_component()
        return self.limits

    async def _run_child(self, data: bytes, part: Path) -> dict[str, object]:
        limits = self._limits_for(data)
        numbers = (limits.memory_bytes, limits.cpu_seconds, os.getpid())
        child = await asyncio.create_subprocess_exec(
            *command("sandbox.compile_child", str(part), *map(str, numbers), self._engine),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(limits.wall_ms / 1000):
                out, err = await child.communicate(data)
        except TimeoutError:
            raise _too_long(data, limits) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            raise _too_long(data, limits)
        if child.returncode != 0:
            said = err[-STDERR_TAIL:].decode(errors="replace").strip().splitlines()
            raise SandboxError(
                Reason.COMPILE_FAILED,
                f"the compiling process ended with {child.returncode}, most likely over its "
                f"memory limit of {limits.memory_bytes} bytes: {said[-1] if said else ''}",
                returncode=child.returncode or 0,
                memory_bytes=limits.memory_bytes,
                size=len(data),
            )
        record = cast("dict[str, object]", json.loads(out))
        if "reason" in record:
            raise SandboxError(
                Reason(str(record["reason"])),
                str(record["message"]),
                **cast("dict[str, int | str]", record["details"]),
            )
        return record


def _too_long(data: bytes, limits: CompileLimits) -> SandboxError:
    return SandboxError(
        Reason.COMPILE_TIMEOUT,
        f"compiling {len(data)} bytes took more than {limits.cpu_seconds} s of processor time or "
        f"{limits.wall_ms} ms; simplify the module or raise them",
        size=len(data),
        cpu_seconds=limits.cpu_seconds,
        wall_ms=limits.wall_ms,
    )
