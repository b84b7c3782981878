"""The command reference: the command table with every argument and option, as data and as text."""

from __future__ import annotations

import inspect
from typing import Any

import click

from caxton.cli.table import COMMANDS, SECTIONS, CommandRow
from caxton.cli.tree import global_options, load_command

__all__ = ["command_table", "render_reference"]


def _option(param: click.Parameter) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": param.human_readable_name if isinstance(param, click.Argument) else param.opts[-1],
        "type": param.type.name,
        "required": param.required,
    }
    if isinstance(param.type, click.Choice):
        facts["choices"] = [str(choice) for choice in param.type.choices]
    if isinstance(param, click.Option):
        facts["names"] = [*param.opts, *param.secondary_opts]
        facts["help"] = param.help or ""
    return facts


def _row(row: CommandRow) -> dict[str, Any]:
    command = load_command(row)
    own = command.own_params
    return {
        "name": row.name,
        "also": [" ".join(path) for path in row.also],
        "summary": row.summary,
        "help": inspect.cleandoc(command.help or row.summary),
        "read_only": row.read_only,
        "arguments": [_option(one) for one in own if isinstance(one, click.Argument)],
        "options": [_option(one) for one in own if isinstance(one, click.Option)],
        "examples": list(row.examples),
    }


def command_table() -> dict[str, Any]:
    """Every command as ``caxton help --json`` prints it."""
    return {
        "global_options": [_option(one) for one in global_options()],
        "commands": [_row(row) for row in COMMANDS],
    }


def _usage(command: dict[str, Any]) -> str:
    words = [f"caxton {command['name']}"]
    words += ["[OPTIONS]"] if command["options"] else []
    words += [
        one["name"] if one["required"] else f"[{one['name']}]" for one in command["arguments"]
    ]
    return " ".join(words)


def _options(options: list[dict[str, Any]]) -> list[str]:
    lines = ["| option | what it does |", "|---|---|"]
    for one in options:
        names = ", ".join(f"`{name}`" for name in one["names"])
        choices = f" One of {', '.join(one['choices'])}." if "choices" in one else ""
        lines.append(f"| {names} | {one['help']}{choices} |".replace("\n", " "))
    return lines


def render_reference() -> str:
    """``docs/reference/cli.md``."""
    table = command_table()
    lines = [
        "# Command line",
        "",
        "Made from the command table (`caxton help --json`). Data goes to stdout, everything else",
        "to stderr. Global options may stand anywhere on the line.",
        "",
        *_options(table["global_options"]),
        "",
    ]
    by_name = {command["name"]: command for command in table["commands"]}
    for section in SECTIONS:
        lines += [f"## {section}", ""]
        for row in COMMANDS:
            if row.section == section:
                lines += _command(by_name[row.name])
    return "\n".join(lines).rstrip() + "\n"


def _command(command: dict[str, Any]) -> list[str]:
    lines = [f"### caxton {command['name']}", "", command["help"], ""]
    if command["also"]:
        lines += [f"Also: {', '.join(f'`caxton {name}`' for name in command['also'])}.", ""]
    lines += ["```", _usage(command), "```", ""]
    if command["options"]:
        lines += [*_options(command["options"]), ""]
    kind = "Changes nothing." if command["read_only"] else "Changes the node."
    return [*lines, kind, "", "```", *command["examples"], "```", ""]
