"""Building one tool: the compiler in a process with a deadline, the module put in place at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from caxton.errors import ToolBuildFailed
from caxton.tools.compiling.sources import Language, Sources
from caxton.tools.compiling.toolchains import Machine, Plan, choose

__all__ = ["DEADLINE_S", "Built", "build", "put_in_place"]

DEADLINE_S: Final = 600.0
"""How long a compiler may take by default, in seconds."""

SAID_BYTES: Final = 4_000
"""The end of a compiler's words that is told."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a compiler made."""

    data: bytes
    toolchain: str
    took_s: float
    said: str
    """Its warnings."""


def build(
    sources: Sources, machine: Machine | None = None, deadline_s: float = DEADLINE_S
) -> Built:
    """Build a module; nothing is written beside the sources.

    Raises:
        ToolchainMissing: there is no compiler.
        ToolBuildFailed: it ended with an error, or did not end in time.
    """
    started = time.monotonic()
    if sources.language is Language.WAT:
        return Built(_assemble(sources), "assembler", time.monotonic() - started, "")
    machine = machine or Machine()
    toolchain, words = choose(sources, machine)
    with tempfile.TemporaryDirectory(prefix="caxton-build-") as folder:
        plan = toolchain.call(sources, words, Path(folder))
        said = _run(sources, toolchain.name, plan, machine, deadline_s)
        data = _output(sources, toolchain.name, plan, said)
    return Built(data, toolchain.name, time.monotonic() - started, said)


def put_in_place(data: bytes, target: Path) -> None:
    """Write a module so that whoever looks sees the old one or the new one, never a part."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _assemble(sources: Sources) -> bytes:
    from sandbox import SandboxError
    from sandbox.wasmtime_engine import assemble

    try:
        return assemble(sources.main.read_text())
    except (SandboxError, UnicodeDecodeError) as error:
        raise _failed(sources, "the assembler", "refused the text", str(error)) from error


def _run(sources: Sources, name: str, plan: Plan, machine: Machine, deadline_s: float) -> str:
    with tempfile.TemporaryFile() as log:
        child = _start(sources, name, plan, machine.env, machine.path, log)
        try:
            code: int | None = child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # A compiler has children of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said = _tail(log)
    if code is None:
        raise _failed(sources, name, f"was not done in {deadline_s:g} s", said)
    if code != 0:
        raise _failed(sources, name, f"ended with exit code {code}", said)
    return said


def _start(
    sources: Sources,
    name: str,
    plan: Plan,
    env: Mapping[str, str],
    path: str,
    log: IO[bytes],
) -> subprocess.Popen[bytes]:
    arguments: Sequence[str] = plan.arguments
    try:
        return subprocess.Popen(  # noqa: S603 - a compiler the user installed
            arguments,
            cwd=sources.main.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**env, "PATH": path, **plan.env},
            start_new_session=True,
        )
    except OSError as error:
        raise _failed(sources, name, "does not start", str(error)) from error


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - SAID_BYTES))
    return log.read().decode("utf-8", "replace").strip()


def _output(sources: Sources, name: str, plan: Plan, said: str) -> bytes:
    found = sorted(plan.output.glob("*.wasm")) if plan.output.is_dir() else [plan.output]
    if len(found) != 1 or not found[0].is_file():
        raise _failed(sources, name, f"left {len(found)} modules where one is needed", said)
    return found[0].read_bytes()


def _failed(sources: Sources, toolchain: str, reason: str, said: str) -> ToolBuildFailed:
    return ToolBuildFailed(tool=sources.name, toolchain=toolchain, reason=reason, said=said)
