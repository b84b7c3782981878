"""``caxton agent``: the agents of a node, and their files."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.views import AgentView

__all__ = ["COLUMNS", "agent_files", "ls", "reload_text", "show", "state_style", "validate"]

STATES = ("unloaded", "loaded", "running", "draining", "stopped", "failed")
MAX_FILE = 1024 * 1024


def state_style(agent: AgentView) -> str:
    """The style of an agent's state."""
    if agent.state == "failed":
        return "fail"
    return "ok" if agent.state == "running" else "warn"


def reload_text(agent: AgentView) -> str:
    """How its last reload went: ``ok 12 ms``, or ``FAILED`` with file, line and column."""
    last = agent.reload
    if last.state == "failed":
        return f"FAILED {last.detail or f'{agent.file}:{last.line}:{last.column}'}"
    return f"ok {last.took_ms:.0f} ms" if last.state == "reloaded" else "ok"


def _reload_brief(agent: AgentView) -> str:
    last = agent.reload
    return f"FAILED {last.line}:{last.column}" if last.state == "failed" else reload_text(agent)


def _reload_style(agent: AgentView) -> str:
    return "fail" if agent.reload.state == "failed" else "dim"


def _failed_style(agent: AgentView) -> str:
    return "fail" if agent.failed else ""


def _mailbox_style(agent: AgentView) -> str:
    limit = agent.mailbox_limit
    return "warn" if limit and agent.mailbox * 2 >= limit else ""


COLUMNS: tuple[Column[AgentView], ...] = (
    Column("NAME", lambda a: a.name, lambda _: "name", least=16),
    Column("KIND", lambda a: a.kind, drop=3),
    Column("STATE", lambda a: a.state, state_style),
    Column("VERSION", lambda a: a.version or "-", drop=2, least=7),
    Column("CAPABILITIES", lambda a: ",".join(a.capabilities), least=10, drop=1),
    Column("SHARD", lambda a: str(a.shard), right=True, drop=4),
    Column(
        "MAILBOX",
        lambda a: f"{a.mailbox}/{a.mailbox_limit}" if a.mailbox_limit else str(a.mailbox),
        _mailbox_style,
        right=True,
        brief=lambda a: str(a.mailbox),
    ),
    Column("HANDLED", lambda a: str(a.handled), right=True),
    Column("FAILED", lambda a: str(a.failed), _failed_style, right=True),
    Column("RELOAD", reload_text, _reload_style, least=10, brief=_reload_brief),
)


@click.command(cls=CaxtonCommand)
@click.option("--state", type=click.Choice(STATES), help="Only agents in this state.")
@click.option("--capability", help="Only agents that offer this.")
@pass_invocation
def ls(invocation: Invocation, state: str | None, capability: str | None) -> int:
    """All agents with their state, mailbox and last reload.

    RELOAD says how the last change of the agent's file went. After a failed one the version that
    ran before goes on answering; the place and the rule stand below its line.
    """
    with invocation.client() as client:
        agents = client.agents(state=state, capability=capability)
    invocation.output.items(
        agents,
        COLUMNS,
        name=lambda a: a.name,
        below=lambda a: a.reload.detail if a.reload.state == "failed" else "",
        empty="no agents: put an agent file into the agents folder",
    )
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> int:
    """Everything the node knows about one agent; NAME may also be its id."""
    with invocation.client() as client:
        agent = client.agent(name)
    output = invocation.output
    if output.structured:
        output.value(agent)
        return exit_codes.OK
    if output.format == "name":
        output.text(agent.name)
        return exit_codes.OK
    for label, text, style in _facts(agent):
        output.line((f"{label:<13}", "dim"), (text, style))
    return exit_codes.OK


def _facts(agent: AgentView) -> Iterator[tuple[str, str, str]]:
    yield "name", agent.name, "name"
    yield "id", agent.id, ""
    yield "kind", agent.kind, ""
    yield "state", agent.state, state_style(agent)
    yield "version", agent.version or "-", ""
    yield "file", agent.file, ""
    if agent.description:
        yield "description", agent.description, ""
    yield "capabilities", ", ".join(agent.capabilities), ""
    yield "tools", ", ".join(agent.tools) or "none", ""
    yield "shard", str(agent.shard), ""
    yield "mailbox", f"{agent.mailbox} of {agent.mailbox_limit}", _mailbox_style(agent)
    yield "handled", f"{agent.handled:,}", ""
    yield "failed", f"{agent.failed:,}", _failed_style(agent)
    yield "restarts", str(agent.restarts), ""
    at = f" at {agent.reload.at}" if agent.reload.at else ""
    yield "reload", f"{reload_text(agent)}{at}", _reload_style(agent)
    for warning in agent.reload.warnings:
        yield "warning", warning, "warn"


# --- files -----------------------------------------------------------------------------------


class Finding(msgspec.Struct, frozen=True):
    """One error or warning in an agent file."""

    file: str
    line: int
    column: int
    level: str
    field: str
    rule: str

    @property
    def place(self) -> str:
        """``FILE:LINE:COLUMN``, as editors jump to it."""
        return f"{self.file}:{self.line}:{self.column}"


def agent_files(paths: Iterable[Path]) -> list[Path]:
    """The agent files that ``paths`` name: files themselves, and ``*.md`` below folders."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                file
                for file in path.rglob("*.md")
                if not any(part[0] in "._" for part in file.relative_to(path).parts)
            )
        else:
            found.append(path)
    return found


def check_file(path: Path) -> tuple[str, list[Finding]]:
    """The agent's name and what there is to say about its file; the name is empty on an error."""
    from caxton.agents.agent_file import AgentFileErrors, parse_agent_file

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "", [Finding(str(path), 0, 0, "error", "file", "not a regular file")]
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        return "", [Finding(str(path), 0, 0, "error", "file", error.strerror or str(error))]
    try:
        parsed = parse_agent_file(data, str(path))
    except AgentFileErrors as errors:
        return "", [_finding(error.fields) for error in errors.errors]
    warnings = [
        Finding(one.file, one.line, one.column, "warning", one.field, one.text)
        for one in parsed.warnings
    ]
    return parsed.definition.name, warnings


def _finding(fields: dict[str, object]) -> Finding:
    return Finding(
        file=str(fields.get("file", "")),
        line=int(str(fields.get("line", 0))),
        column=int(str(fields.get("column", 0))),
        level="error",
        field=str(fields.get("field", "")),
        rule=str(fields.get("rule", "")),
    )


@click.command(cls=CaxtonCommand)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@pass_invocation
def validate(invocation: Invocation, paths: tuple[Path, ...]) -> int:
    """Check agent files without a node; PATHS are files, or folders with agent files.

    Every error of every file is reported, as FILE:LINE:COLUMN with the field and the rule. The
    exit code is 5 when a file has an error, and 4 when a path does not exist.
    """
    output = invocation.output
    items: list[dict[str, Any]] = []
    for path in agent_files(paths):
        name, findings = check_file(path)
        items.append({"file": str(path), "valid": bool(name), "name": name, "findings": findings})
    if output.structured:
        if output.format == "jsonl":
            for item in items:
                output.value(item)
        else:
            output.value({"items": items})
    else:
        for item in items:
            for one in item["findings"]:
                output.line(
                    (one.place, "name"),
                    (f" {one.level}: ", "fail" if one.level == "error" else "warn"),
                    (f"`{one.field}`: {one.rule}", ""),
                )
        bad = sum(1 for item in items if not item["valid"])
        output.talk(f"{len(items)} agent files, {len(items) - bad} valid, {bad} with errors")
    if any(not path.exists() for path in paths):
        return exit_codes.NOT_FOUND
    return exit_codes.OK if all(item["valid"] for item in items) else exit_codes.INVALID
