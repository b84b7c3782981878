"""WASI commands and what WASI modules see of the world."""

from __future__ import annotations

from pathlib import Path

import wasmtime

from sandbox.call_errors import check_message, check_output
from sandbox.engine import CommandResult
from sandbox.grants import Grants
from sandbox.host import HostAbort
from sandbox.limits import Limits
from sandbox.module import COMMAND_EXPORTS, require
from sandbox.services.request import Ask, nobody
from sandbox.wasmtime_engine.calls import Exports, calls
from sandbox.wasmtime_engine.platform import Loaded, Platform, Run, instantiate


def run_command(
    platform: Platform,
    artifact: Path,
    stdin: bytes,
    limits: Limits,
    grants: Grants,
    args: tuple[str, ...],
    ask: Ask = nobody,
) -> CommandResult:
    """Run a command in a fresh instance. One at a time on a platform: see ``Ticker.running``."""
    check_message("standard input", stdin, limits)
    loaded = platform.prepared(artifact)
    require(loaded.exports, COMMAND_EXPORTS)
    wasi = _wasi(args)
    with (
        calls().input(wasi, stdin),
        platform.streams() as (stdout, stderr),
        platform.store(limits) as store,
    ):
        wasi.stdout_file, wasi.stderr_file = stdout.path, stderr.path
        grant(wasi, grants)
        store.set_wasi(wasi)
        try:
            flood = stdout.longer_than(limits.stdout_bytes)
            with platform.run(store, limits, ask, flood) as run:
                code, memory_bytes = _start(run, loaded, limits)
        finally:
            # Said first: a flood also runs out of fuel or time, but this is its cause.
            check_output(stdout.size(), limits)
        return CommandResult(
            stdout.read(limits.stdout_bytes),
            stderr.read(limits.stderr_bytes),
            code,
            run.fuel_used(),
            run.wall_ms(),
            tuple(run.host.logs),
            run.host.logs_dropped,
            run.host.written,
            run.host.asked,
            memory_bytes,
        )


def agent_wasi(grants: Grants) -> wasmtime.WasiConfig:
    """What an agent sees through WASI: its grants, no arguments, no standard streams."""
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["agent"]
    grant(wasi, grants)
    return wasi


def _wasi(args: tuple[str, ...]) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["tool", *args]
    return wasi


def grant(wasi: wasmtime.WasiConfig, grants: Grants) -> None:
    """Folders and variables that are granted."""
    if grants.env:
        wasi.env = list(grants.env)
    for folder in grants.folders:
        wasi.preopen_dir(str(folder.host), folder.guest, folder.write)


def _start(run: Run, loaded: Loaded, limits: Limits) -> tuple[int, int]:
    """Run it to its end: the exit code, and how large its memory is then."""
    exports: Exports | None = None
    code = 0
    try:
        exports = instantiate(loaded, run.store, limits)
        start = exports.function("_start")
        if start is not None:
            start()
    except (wasmtime.WasmtimeError, wasmtime.Trap, HostAbort):
        if run.exit_code is None:
            raise
        code = run.exit_code
    return code, exports.memory().size() if exports is not None else 0
