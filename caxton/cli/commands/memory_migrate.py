"""``caxton memory migrate``: the memory of a stopped node, to another backend."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand

__all__ = ["migrate"]

BACKENDS: Final = ("embedded", "qdrant", "neo4j")


@click.command(cls=CaxtonCommand)
@click.option("--to", "backend", type=click.Choice(BACKENDS), required=True, help="Where it goes.")
@click.option("--url", default="", help="Its server, such as http://localhost:6333.")
@click.option("--user", default="neo4j", show_default=True, help="At a Neo4j server.")
@click.option(
    "--database", default="",
    help="Of a Neo4j server, or what the names of Qdrant's collections begin with.",
)  # fmt: skip
@click.option(
    "--config", "file", type=click.Path(path_type=Path, readable=False),
    help="Where the memory is now; caxton.toml here otherwise.",
)  # fmt: skip
@pass_invocation
def migrate(
    invocation: Invocation, backend: str, url: str, user: str, database: str, file: Path | None
) -> int:
    """Copy everything that is remembered to another backend, and compare both.

    The node must be stopped. What was cut off goes on when it is run again. Passwords and keys are
    taken from CAXTON_MEMORY_PASSWORD and CAXTON_MEMORY_API_KEY. The exit code is 1 when the target
    is not the same in the end.
    """
    from msgspec.structs import replace

    from caxton.config import load
    from caxton.memory.migration import Progress
    from caxton.memory.moving import move, settings_of

    output = invocation.output
    config = load(file, env=invocation.env, flags={"data": invocation.data}).config
    to = replace(
        config,
        memory_backend=backend,
        memory_url=url,
        memory_user=user,
        memory_database=database,
    )
    with output.progress("reading what is remembered") as say:

        def tell(at: Progress) -> None:
            done, total = (
                (at.entities, at.total_entities)
                if at.phase == "entities"
                else (at.relations, at.total_relations)
            )
            say(
                "comparing both"
                if at.phase == "compare"
                else f"copying {at.phase}: {done:,} of {total:,}"
            )

        report = asyncio.run(move(config, to, tell))
    if output.structured:
        output.value(report)
    else:
        went_on = ", going on where it was cut off" if report.resumed else ""
        output.text(f"copied from {report.source} to {report.target}{went_on}:")
        output.text(
            f"  {report.entities:,} entities, {report.relations:,} relations, "
            f"{report.vectors:,} vectors; {report.queries} sample queries agree to "
            f"{report.agreement:.1%}"
        )
        for difference in report.differences:
            output.line(("differs: ", "fail"), (difference, ""))
        if report.right:
            output.text("now set in caxton.toml:")
            for line in settings_of(to):
                output.text(f"  {line}")
            if backend != "embedded":
                variable = "PASSWORD" if backend == "neo4j" else "API_KEY"
                output.talk(f"with its secret in CAXTON_MEMORY_{variable}, if it needs one")
            output.talk("what was copied is still where it was; remove it when all is well")
    return exit_codes.OK if report.right else exit_codes.FAILED
