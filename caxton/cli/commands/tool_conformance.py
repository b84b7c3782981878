"""``caxton tool conformance``: a folder of WASI tests against the sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from sandbox import InvalidSetting, Limits, Sandbox
from sandbox.wasi_conformance import Outcome, Status, WasiTest, find_suite, run_suite

__all__ = ["conformance"]

STYLES: Final = {Status.PASS: "ok", Status.FAIL: "fail", Status.SKIP: "warn"}

COLUMNS: Final[tuple[Column[Outcome], ...]] = (
    Column("SUITE", lambda o: o.suite, lambda _: "dim", least=12, drop=2),
    Column("TEST", lambda o: o.test, lambda _: "name", least=20),
    Column("RESULT", lambda o: o.status.value, lambda o: STYLES[o.status]),
    Column("MS", lambda o: f"{o.wall_ms:.0f}", right=True, drop=1),
    Column("REASON", lambda o: o.reason or "-", least=30),
)


@click.command(cls=CaxtonCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--wall-ms",
    type=click.IntRange(1, 600_000),
    default=10_000,
    show_default=True,
    help="Longest run of one test, in milliseconds.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Tests at the same time.",
)
@click.option(
    "--engine",
    type=click.Choice(["wasmtime", "wasmer"]),
    default="wasmtime",
    show_default=True,
    help="What runs them; wasmer is an extra.",
)
@pass_invocation
def conformance(
    invocation: Invocation,
    folder: Path,
    wall_ms: int,
    workers: int,
    engine: Literal["wasmtime", "wasmer"],
) -> int:
    """Run the WASI tests in and below DIR, laid out as in WebAssembly/wasi-testsuite.

    Each test is a .wasm file, with a .json file beside it that says what it is given and what must
    come of it. It works on copies: DIR stays as it is. The exit code is 1 when a test fails.
    """
    try:
        tests = find_suite(folder)
        limits = Limits.for_command(wall_ms=wall_ms)
        outcomes = asyncio.run(_run(tests, limits, workers, engine))
    except InvalidSetting as error:
        raise click.UsageError(str(error)) from None
    output = invocation.output
    output.items(outcomes, COLUMNS, name=lambda o: f"{o.suite}/{o.test}")
    counts = Counter(outcome.status for outcome in outcomes)
    output.talk(", ".join(f"{counts[status]} {status}" for status in Status))
    return exit_codes.FAILED if counts[Status.FAIL] else exit_codes.OK


async def _run(
    tests: list[WasiTest], limits: Limits, workers: int, engine: Literal["wasmtime", "wasmer"]
) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="conformance-cache-") as cache:
        async with Sandbox(Path(cache), workers, engine=engine) as box:
            return await run_suite(box, tests, limits=limits, at_once=workers)
