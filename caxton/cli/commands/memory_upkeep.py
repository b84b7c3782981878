"""``caxton memory optimize`` and ``verify``."""

from __future__ import annotations

from typing import Final

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.memory.requests import Maintain, Maintained

__all__ = ["optimize", "verify"]

LONG_S: Final = 3_600.0


@click.command(cls=CaxtonCommand)
@click.option("--embed", is_flag=True, help="Before it, make vectors that are missing.")
@pass_invocation
def optimize(invocation: Invocation, embed: bool) -> int:
    """Give back the room that forgotten entities left, and make searches fast again."""
    output = invocation.output
    done: list[str] = []
    with invocation.client() as client:
        if embed:
            with output.progress("making vectors"):
                made: Maintained = client.memory(lambda m: m.ask(Maintain(task="embed")), LONG_S)
            done += made.done
        with output.progress("optimizing"):
            done += client.memory(lambda m: m.optimize(), LONG_S).done
    if output.structured:
        output.value({"done": done})
    else:
        for line in done or ["nothing was to be done"]:
            output.text(line)
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@pass_invocation
def verify(invocation: Invocation) -> int:
    """Look at everything that is kept. The exit code is 1 when something is not right."""
    output = invocation.output
    with invocation.client() as client, output.progress("looking at everything"):
        found = client.memory(lambda m: m.verify(), LONG_S)
    if output.structured:
        output.value(found)
    else:
        for fault in found.faults:
            mended = ("mended: ", "warn") if fault.mended else ("fault: ", "fail")
            output.line(mended, (fault.what, ""))
        for line in found.done:
            output.text(line)
        if not found.faults:
            output.text("everything is as it should be")
    wrong = any(not fault.mended for fault in found.faults)
    return exit_codes.FAILED if wrong else exit_codes.OK
