"""``caxton serve``: the supervisor of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.config import Config, load
from caxton.errors import AgentFileInvalid, CaxtonError

__all__ = ["serve"]

FOLDER = click.Path(path_type=Path, readable=False)


@click.command(cls=CaxtonCommand)
@click.option("--agents", type=FOLDER, help="Folder of agent files.")
@click.option("--workspace", type=FOLDER, help="Folder that agents' relative paths start from.")
@click.option("--shards", metavar="N", help="Shard processes; 0 runs all in one process.")
@click.option("--host", help="Address the API listens on, 127.0.0.1 when not given.")
@click.option("--port", metavar="N", help="Port of the API, 8080 when not given; 0 takes any.")
@click.option("--durability", metavar="LEVEL", help="What an ack means: disk or process.")
@click.option("--profile", metavar="NAME", help="standard, development or production.")
@click.option("--config", "file", type=FOLDER, help="Configuration file; caxton.toml otherwise.")
@click.option("--check", is_flag=True, help="Check configuration and agent files, start nothing.")
@click.option("--detach", is_flag=True, help="Give the prompt back once the node is ready.")
@pass_invocation
def serve(
    invocation: Invocation, /, file: Path | None, check: bool, detach: bool, **flags: Any
) -> int:
    """Start a node on a folder of agent files; Ctrl-C drains and stops it.

    Exit codes: 0 after a clean drain, 70 a process failed too often, 74 the data folder cannot be
    used, 78 the configuration is wrong, 98 the address is taken.
    """
    from caxton.serve import exit_code
    from caxton.serve import serve as run

    try:
        loaded = load(file, env=invocation.env, flags={**flags, "data": invocation.data})
        if check:
            return _check(invocation, loaded.config)
        return run(loaded.config, detach=detach)
    except CaxtonError as error:
        invocation.output.error(error)
        if isinstance(error, AgentFileInvalid):
            return exit_codes.INVALID
        return exit_code(error)


def _check(invocation: Invocation, config: Config) -> int:
    """What a start would find wrong. Nothing is written."""
    from caxton.cli.commands.agent import agent_files, check_file

    output = invocation.output
    files = agent_files([config.agents]) if config.agents.is_dir() else []
    bad = 0
    for path in files:
        name, findings = check_file(path)
        bad += not name
        for one in findings:
            style = "fail" if one.level == "error" else "warn"
            output.line(
                (one.place, "name"), (f" {one.level}: ", style), (f"`{one.field}`: {one.rule}", "")
            )
    if not config.agents.is_dir():
        output.line(("config", "name"), (" error: ", "fail"), (f"no folder {config.agents}", ""))
        return 78
    output.talk(f"the configuration is valid; {len(files)} agent files, {bad} with errors")
    return exit_codes.INVALID if bad else exit_codes.OK
