"""``caxton version``: which version this is, and which one runs."""

from __future__ import annotations

import platform

import click

from caxton import __version__
from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation, read_announcement
from caxton.cli.tree import CaxtonCommand

__all__ = ["version"]


@click.command(cls=CaxtonCommand)
@pass_invocation
def version(invocation: Invocation) -> int:
    """The version of this program, and of the node that announced itself in the data folder."""
    announced = read_announcement(invocation.folder)
    node = announced.version if announced else ""
    if invocation.output.structured:
        invocation.output.value(
            {"version": __version__, "python": platform.python_version(), "node": node or None}
        )
        return exit_codes.OK
    invocation.output.text(f"caxton {__version__}")
    invocation.output.talk(f"python {platform.python_version()}")
    if node and node != __version__:
        invocation.output.talk(f"the node in {invocation.folder} is of version {node}", "warn")
    return exit_codes.OK
