"""The entry point: runs a command, and turns whatever ends it into text and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation
from caxton.cli.tree import make_root
from caxton.errors import CaxtonError

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if args is None else args)
    invocation = Invocation(words=words)
    try:
        code = make_root().main(words, prog_name="caxton", standalone_mode=False, obj=invocation)
    except click.exceptions.NoArgsIsHelpError as error:
        invocation.output.notice(error.format_message())
        return exit_codes.USAGE
    except click.UsageError as error:
        _usage(invocation, error)
        return exit_codes.USAGE
    except click.ClickException as error:
        _plain(invocation, error.format_message(), "The command could not be carried out.")
        return exit_codes.FAILED
    except CaxtonError as error:
        invocation.output.error(error)
        return exit_codes.exit_code(error)
    except (KeyboardInterrupt, click.Abort):
        return exit_codes.INTERRUPTED
    return code if isinstance(code, int) else exit_codes.OK


def _usage(invocation: Invocation, error: click.UsageError) -> None:
    path = error.ctx.command_path if error.ctx is not None else "caxton"
    output = invocation.output
    if output.structured or "--json" in invocation.words:
        output.problem(
            {
                "type": "/docs/errors#USAGE",
                "title": "Usage error",
                "detail": error.format_message(),
                "code": "USAGE",
                "retryable": False,
                "remedy": f"{path} --help",
            }
        )
        return
    output.failure(
        error.format_message(), "The command line is not complete or not right.",
        f"{path} --help", "USAGE",
    )  # fmt: skip


def _plain(invocation: Invocation, what: str, why: str) -> None:
    invocation.output.failure(what, why, "caxton --help", "FAILED")


if __name__ == "__main__":
    sys.exit(main())
