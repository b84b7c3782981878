"""``caxton completion``: the script that a shell reads."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand, make_root

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=CaxtonCommand)
@click.argument("shell", type=click.Choice(SHELLS))
@pass_invocation
def completion(invocation: Invocation, shell: str) -> int:
    """Print the script that completes commands, options and agent names in SHELL.

    Save it where the shell looks for completions, or evaluate it in the shell's start file.
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"this version of click knows no completion for {shell}")
    script = found(make_root(), {}, "caxton", "_CAXTON_COMPLETE")
    invocation.output.text(script.source_template % script.source_vars())
    return exit_codes.OK
