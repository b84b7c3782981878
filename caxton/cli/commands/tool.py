"""``caxton tool ls``, ``inspect`` and ``call``: look at tools and try them, without a node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from caxton.cli import exit_codes
from caxton.cli.columns import Column, first_sentence
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

if TYPE_CHECKING:
    from caxton.config import Config
    from caxton.tools.inspection import Inspection
    from caxton.tools.tool_files import ToolFiles
    from caxton.tools.workbench import Outcome

__all__ = ["call", "inspect", "ls"]

ARGUMENTS_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListedTool:
    """One line of the list."""

    name: str
    source: str
    sandboxed: bool
    state: str
    """``ok``, or why it cannot be called."""
    description: str = ""
    calls: int | None = None
    """Calls since the node started; None without a node."""


def _state(row: ListedTool) -> str:
    return "ok" if row.state == "ok" else "fail"


COLUMNS: Final[tuple[Column[ListedTool], ...]] = (
    Column("NAME", lambda r: r.name, lambda _: "name", least=16),
    Column("SOURCE", lambda r: r.source),
    Column("SANDBOXED", lambda r: "yes" if r.sandboxed else "NO",
           lambda r: "ok" if r.sandboxed else "warn"),
    Column("CALLS", lambda r: "-" if r.calls is None else f"{r.calls:,}", right=True, drop=2),
    Column("STATE", lambda r: r.state, _state, least=12),
    Column("DESCRIPTION", lambda r: first_sentence(r.description), lambda _: "dim", least=16,
           drop=1),
)  # fmt: skip


@click.command(cls=CaxtonCommand)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, readable=False),
    help="Tools folder; that of the configuration here otherwise.",
)
@pass_invocation
def ls(invocation: Invocation, folder: Path | None) -> int:
    """The tools that come with Caxton and those of the tools folder; with --url those of a node.

    A tool of the folder that cannot be called is listed with the reason.
    """
    if invocation.url is not None:
        rows = _of_node(invocation)
    else:
        with invocation.output.progress("reading the tools"):
            rows = asyncio.run(_local(invocation, folder))
    invocation.output.items(rows, COLUMNS, name=lambda r: r.name, empty="no tools")
    return exit_codes.OK


def _of_node(invocation: Invocation) -> list[ListedTool]:
    with invocation.client() as client:
        found = client.registry(lambda r: r.tools())
    return [
        ListedTool(
            one.name, one.source, one.sandboxed, one.problem or "ok", one.description, one.calls
        )
        for one in found
    ]


async def _local(invocation: Invocation, folder: Path | None) -> list[ListedTool]:
    from caxton.errors import ToolInvalid
    from caxton.tools.catalog import FOLDER_SOURCE, ToolCatalog
    from caxton.tools.tool_files import find_tools, tools_folder
    from caxton.tools.workbench import Workbench, cache_folder

    shipped = ToolCatalog.builtin()
    rows = [ListedTool(one.name, "builtin", True, "ok", one.description) for one in shipped.specs]
    place = folder if folder is not None else tools_folder(_config(invocation))
    async with Workbench(cache_folder(invocation.env)) as bench:
        for files in find_tools(place):
            try:
                if files.name in shipped.names:
                    raise ToolInvalid(tool=files.name, reason="a tool of Caxton has this name")
                rows += [
                    ListedTool(one.about.name, FOLDER_SOURCE, True, "ok", one.about.description)
                    for one in await bench.tools(files)
                ]
            except ToolInvalid as error:
                reason = str(error.fields["reason"])
                rows.append(ListedTool(files.name, FOLDER_SOURCE, True, reason))
    return rows


def _config(invocation: Invocation) -> Config:
    from caxton.config import load

    return load(None, env=invocation.env, flags={"data": invocation.data}).config


# --- inspect ---------------------------------------------------------------------------------


@click.command(cls=CaxtonCommand)
@click.argument("path", metavar="DIR|FILE", type=click.Path(path_type=Path, readable=False))
@click.option("--policy", "only_policy", is_flag=True, help="Print a policy.yaml to begin with.")
@pass_invocation
def inspect(invocation: Invocation, path: Path, only_policy: bool) -> int:
    """What a module is, what it imports and what that needs granted, and what it offers."""
    from caxton.tools.tool_files import files_of

    output = invocation.output
    with output.progress("compiling; the first time a large module takes a while"):
        found = asyncio.run(_inspect(invocation, files_of(path)))
    if only_policy:
        output.text(found.policy)
    elif output.structured:
        output.value(found)
    elif output.format == "name":
        output.text(found.name)
    else:
        _show(invocation, found)
    return exit_codes.OK


async def _inspect(invocation: Invocation, files: ToolFiles) -> Inspection:
    from caxton.tools.inspection import inspect as look
    from caxton.tools.workbench import Workbench, cache_folder

    async with Workbench(cache_folder(invocation.env)) as bench:
        return await look(bench, files)


def _show(invocation: Invocation, found: Inspection) -> None:
    output = invocation.output
    output.line((found.name, "name"), (f"  {found.file}", "dim"))
    output.text(f"{found.kind}, runs at level {found.level}")
    output.text(f"{found.bytes:,} bytes, sha256 {found.sha256}")
    limits = ", ".join(f"{name} {value:,}" for name, value in found.limits.items())
    output.text(f"limits of a call, unless its policy says otherwise: {limits}")
    if found.declared_memory_bytes is not None:
        output.text(f"memory at the start: {found.declared_memory_bytes:,} bytes")
    output.line(("imports", "title"))
    for item in found.imports:
        needs = f"  needs {item.needs}" if item.needs else ""
        output.line(
            (f"  {item.module} {item.name}", ""), (f"  {item.type}", "dim"), (needs, "warn")
        )
    if not found.imports:
        output.text("  none")
    output.line(("tools", "title"))
    for tool in found.tools:
        output.line((f"  {tool.name}", "name"), (f"  {tool.description}", ""))
        for name, schema in tool.input_schema.get("properties", {}).items():
            must = "" if name in tool.input_schema.get("required", ()) else ", optional"
            output.text(f"    {name}: {_kind_of(schema)}{must}")
    if found.why_no_tool:
        output.line((f"  none: {found.why_no_tool}", "warn"))
    output.line(("policy.yaml to begin with (--policy prints it alone)", "title"))
    for line in found.policy.splitlines():
        output.text(f"  {line}")


def _kind_of(schema: Any) -> str:
    kind = schema.get("type", "any") if isinstance(schema, Mapping) else "any"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


# --- call ------------------------------------------------------------------------------------


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names in the tools folder; files are completed by the shell."""
    from caxton.tools.tool_files import find_tools

    names = [files.name for files in find_tools(Path("tools"))]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@click.command(cls=CaxtonCommand)
@click.argument("tool", metavar="NAME|FILE", shell_complete=_complete)
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, readable=False),
    help="Grant all that this policy file asks for, below this folder.",
)
@click.option("--allow-folder", multiple=True, metavar="FOLDER[:rw]", help="Grant a folder here.")
@click.option("--allow-host", multiple=True, metavar="HOST[:PORT]", help="Grant HTTP to a host.")
@click.option("--allow-env", multiple=True, metavar="NAME", help="Grant a variable, as it is here.")
@click.option(
    "--allow-database", multiple=True, metavar="NAME[:rw]=FILE", help="Grant a database by name."
)
@click.option("--allow-kv", is_flag=True, help="Grant a key-value store, empty and for this call.")
@click.option("--fuel", type=click.IntRange(1, 10**12), help="Work, about one per instruction.")
@click.option(
    "--memory", type=click.IntRange(1, 512), metavar="MIB", help="Largest memory, in MiB: 1 to 512."
)
@click.option("--function", metavar="NAME", help="Which function, where a module has several.")
@pass_invocation
def call(invocation: Invocation, /, tool: str, arguments: str, **given: Any) -> int:
    """Call a tool once, here and without a node, and print its result.

    NAME is a tool that comes with Caxton or lies in the tools folder, FILE a module or a tool's
    folder. JSON is the arguments, @FILE, or - for standard input. What is allowed here stands for
    what an agent file grants: a tool with a policy.yaml gets what both name.
    """
    from caxton.cli.commands.send import read_content
    from caxton.tools.refusals import explain

    data = read_content(arguments)
    with invocation.output.progress("loading the tool"):
        outcome, module = asyncio.run(_call(invocation, tool, _object(data), given))
    output = invocation.output
    for line in outcome.logs:
        output.talk(f"log {line.level}: {line.text}")
    cost = f"{outcome.fuel_used:,} fuel, {outcome.wall_ms:.1f} ms"
    if outcome.ok:
        _tell(invocation, outcome)
        output.talk(cost)
        return exit_codes.OK
    _failed(invocation, tool, outcome, explain(outcome, module))
    return exit_codes.FAILED


def _object(data: bytes) -> dict[str, Any]:
    import json

    from caxton.errors import ValidationError

    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValidationError(
            field="arguments", value=data[:80].decode("utf-8", "replace"),
            allowed=f"a JSON object ({error})",
        ) from error  # fmt: skip
    if not isinstance(value, dict):
        raise ValidationError(field="arguments", value=str(value), allowed="a JSON object")
    return value


def _tell(invocation: Invocation, outcome: Outcome) -> None:
    output = invocation.output
    if output.structured or not isinstance(outcome.value, str):
        import orjson

        if output.structured:
            output.value(outcome.value)
        else:
            output.text(orjson.dumps(outcome.value, option=orjson.OPT_INDENT_2).decode())
    else:
        output.text(outcome.value)


def _failed(invocation: Invocation, tool: str, outcome: Outcome, lines: list[str]) -> None:
    from caxton.errors import ToolFailed

    error = ToolFailed(tool=tool, reason=outcome.code, detail=outcome.message or "it said nothing")
    if invocation.output.structured:
        from caxton.cli.output import problem

        invocation.output.problem({**problem(error), "explained": lines})
        return
    said = outcome.stderr if outcome.stderr and outcome.stderr != outcome.message else ""
    why = "; ".join(lines) or said or "The tool itself ended with an error."
    invocation.output.failure(
        error.detail, why, "See `caxton tool inspect` for what it needs.", error.code
    )


async def _call(
    invocation: Invocation, name: str, arguments: dict[str, Any], given: dict[str, Any]
) -> Any:
    from caxton.tools.allowed import Allowed
    from caxton.tools.trial import find_tool
    from caxton.tools.workbench import Workbench, cache_folder

    allowed = Allowed.of_options(given, invocation.env, invocation.timeout_s)
    async with Workbench(cache_folder(invocation.env)) as bench:
        tool = await find_tool(bench, name, given["function"], lambda: _config(invocation))
        return await bench.call_allowed(tool, arguments, allowed), tool.module
