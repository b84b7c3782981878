"""``caxton tool new``, ``build`` and ``test``: make a tool, without a node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

if TYPE_CHECKING:
    from caxton.tools.cases import Checked
    from sandbox import Module

__all__ = ["build", "new", "test"]

LANGUAGES: Final = ("c", "rust", "go", "js", "python", "assemblyscript", "wat")
"""Those of ``caxton.tools.compiling``, which a completion need not import."""


@click.command(cls=CaxtonCommand)
@click.argument("name")
@click.option("--lang", type=click.Choice(LANGUAGES), required=True, help="Language of the source.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, readable=False),
    default=Path("tools"),
    show_default=True,
    help="Folder in which the tool's folder is made; a node's tools folder is `tools`.",
)
@pass_invocation
def new(invocation: Invocation, name: str, lang: str, into: Path) -> int:
    """Make the folder of a small tool that works: source, description, policy, test cases."""
    from caxton.tools.compiling.sources import Language
    from caxton.tools.scaffold import scaffold

    written = scaffold(name, Language(lang), into)
    output = invocation.output
    if output.structured:
        output.value({"folder": into / name, "files": written})
        return exit_codes.OK
    for path in written:
        output.text(str(path))
    output.talk(f"next: caxton tool build {into / name}")
    return exit_codes.OK


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built."""

    name: str
    module: str
    bytes: int
    sha256: str
    kind: str
    level: str
    language: str
    toolchain: str
    build_ms: int
    compile_ms: int


@click.command(cls=CaxtonCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, readable=False))
@pass_invocation
def build(invocation: Invocation, folder: Path) -> int:
    """Build the tool or agent in DIR with the first compiler that is there for its language.

    The module DIR/NAME.wasm takes the place of the old one only when the sandbox accepts it. A
    compiler has ten minutes, unless --timeout says less.
    """
    from caxton.tools.compiling.builder import DEADLINE_S, put_in_place
    from caxton.tools.compiling.builder import build as run_compiler
    from caxton.tools.compiling.sources import find_sources

    output = invocation.output
    sources = find_sources(folder)
    with output.progress(f"building {sources.name} from {sources.language.value}") as say:
        built = run_compiler(sources, deadline_s=invocation.timeout_s or DEADLINE_S)
        if "warning" in built.said.lower():
            for line in built.said.splitlines():
                output.talk(line)
        say(f"checking {len(built.data):,} bytes; the first time a large module takes a while")
        module, took_ms = asyncio.run(_check(invocation, sources.name, built.data))
    put_in_place(built.data, sources.module)
    shown = folder / sources.module.name
    report = BuildReport(
        sources.name, str(shown), len(built.data), module.sha256, str(module.kind),
        str(module.level), sources.language.value, built.toolchain,
        round(built.took_s * 1_000), took_ms,
    )  # fmt: skip
    if output.structured:
        output.value(report)
    elif output.format == "name":
        output.text(report.module)
    else:
        output.text(f"{report.module}: {report.bytes:,} bytes, sha256 {report.sha256}")
        output.text(
            f"{report.kind}, runs at level {report.level}; {report.toolchain} took "
            f"{report.build_ms / 1_000:.1f} s, the check {report.compile_ms / 1_000:.1f} s"
        )
        if (folder / "tests").is_dir():
            output.talk(f"next: caxton tool test {folder}")
    return exit_codes.OK


async def _check(invocation: Invocation, name: str, data: bytes) -> tuple[Module, int]:
    import time

    from caxton.errors import ToolInvalid
    from caxton.tools.workbench import Workbench, cache_folder
    from sandbox import SandboxError

    started = time.monotonic()
    async with Workbench(cache_folder(invocation.env)) as bench:
        try:
            module = await bench.sandbox.prepare(data)
        except SandboxError as error:
            raise ToolInvalid(
                tool=name, reason=f"it was built, and the sandbox refuses it: {error}"
            ) from error
    return module, round((time.monotonic() - started) * 1_000)


@click.command(cls=CaxtonCommand)
@click.argument("path", metavar="DIR|FILE", type=click.Path(path_type=Path, readable=False))
@pass_invocation
def test(invocation: Invocation, path: Path) -> int:
    """Call the tool with the cases in its tests folder, and compare how each ends.

    It gets what its policy.yaml asks for, paths below DIR. The exit code is 1 when a case does
    not end as it should.
    """
    output = invocation.output
    with output.progress("loading the tool"):
        checked = asyncio.run(_test(invocation, path))
    passed = sum(one.passed for one in checked)
    if output.structured:
        output.value(
            {"passed": passed, "failed": len(checked) - passed, "items": list(map(_plain, checked))}
        )
    else:
        output.items(checked, COLUMNS, name=lambda one: one.case.name)
        for one in checked:
            if not one.passed:
                output.line((f"{one.case.name} ({one.case.file})", "fail"))
                for line in (*one.differences, *_explained(one)):
                    output.text(f"  {line}")
        fuel = max(one.outcome.fuel_used for one in checked)
        wall = max(one.outcome.wall_ms for one in checked)
        output.talk(f"{passed} of {len(checked)} passed; at most {fuel:,} fuel and {wall:.1f} ms")
    return exit_codes.OK if passed == len(checked) else exit_codes.FAILED


def _fuel(one: Checked) -> str:
    return f"{one.outcome.fuel_used:,}"


COLUMNS: Final[tuple[Column[Checked], ...]] = (
    Column("CASE", lambda c: c.case.name, lambda _: "name", least=16),
    Column("RESULT", lambda c: "passed" if c.passed else "failed",
           lambda c: "ok" if c.passed else "fail"),
    Column("FUEL", _fuel, right=True, drop=1),
    Column("MS", lambda c: f"{c.outcome.wall_ms:.1f}", right=True, drop=2),
)  # fmt: skip


def _explained(one: Checked) -> list[str]:
    """What stood in the way, where something was not granted or a limit was reached."""
    from caxton.tools.refusals import explain

    lines = [] if one.outcome.ok else explain(one.outcome, None)
    if one.outcome.stderr and not one.outcome.ok:
        lines.append(f"it also said: {one.outcome.stderr[:500]}")
    return lines


def _plain(one: Checked) -> dict[str, object]:
    return {
        "name": one.case.name,
        "file": one.case.file,
        "passed": one.passed,
        "differences": one.differences,
        "explained": _explained(one) if not one.passed else [],
        "fuel_used": one.outcome.fuel_used,
        "wall_ms": one.outcome.wall_ms,
    }


async def _test(invocation: Invocation, path: Path) -> list[Checked]:
    from caxton.errors import ToolInvalid
    from caxton.tools.cases import check, read_cases
    from caxton.tools.tool_files import files_of
    from caxton.tools.workbench import Workbench, cache_folder

    files = files_of(path)
    cases = read_cases(files.name, files.cases)
    if not cases:
        place = (files.folder or files.module.parent) / "tests"
        raise ToolInvalid(tool=files.name, reason=f"there are no test cases in {place}/*.json")
    checked = []
    async with Workbench(cache_folder(invocation.env)) as bench:
        tools = {one.about.name: one for one in await bench.tools(files)}
        root = files.folder or files.module.parent
        for case in cases:
            name = case.function or next(iter(tools))
            tool = tools.get(name) or tools.get(f"{files.name}_{name}")
            if tool is None:
                raise ToolInvalid(
                    tool=files.name,
                    reason=f"{case.file}: there is no function {name}; there is {', '.join(tools)}",
                )
            outcome = await bench.call_as_asked(tool, case.arguments, root, invocation.env)
            checked.append(check(case, outcome))
    return checked
