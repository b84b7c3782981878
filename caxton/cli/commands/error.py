"""``caxton error``: the error table, offline."""

from __future__ import annotations

import difflib
import inspect

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.errors import ERRORS, CaxtonError, NotFound

__all__ = ["error"]

Row = type[CaxtonError]

COLUMNS: tuple[Column[Row], ...] = (
    Column("CODE", lambda e: e.code, lambda _: "name"),
    Column("STATUS", lambda e: str(e.status), right=True),
    Column("RETRY", lambda e: "yes" if e.retryable else "no"),
    Column("TITLE", lambda e: e.title, least=10),
)


def _facts(row: Row) -> dict[str, object]:
    return {
        "code": row.code,
        "title": row.title,
        "status": row.status,
        "exit_code": exit_codes.exit_code(row.__new__(row)),
        "retryable": row.retryable,
        "meaning": inspect.getdoc(row) or row.title,
        "text": row.text,
        "remedy": row.remedy,
    }


@click.command(cls=CaxtonCommand)
@click.argument("code", required=False)
@pass_invocation
def error(invocation: Invocation, code: str | None) -> int:
    """Explain an error CODE: what it means, whether trying again helps, what to do.

    Without a code, all of them. Works without a node.
    """
    output = invocation.output
    if code is None:
        rows = [ERRORS[name] for name in sorted(ERRORS)]
        if output.structured:
            output.value({"items": [_facts(row) for row in rows]})
        else:
            output.items(rows, COLUMNS, name=lambda e: e.code)
        return exit_codes.OK
    name = code.strip().upper().replace("-", "_")
    if name not in ERRORS:
        near = difflib.get_close_matches(name, ERRORS, n=1)
        hint = f"{code}`; did you mean `{near[0]}" if near else code
        raise NotFound(kind="error code", id=hint)
    facts = _facts(ERRORS[name])
    if output.structured:
        output.value(facts)
        return exit_codes.OK
    output.line((name, "name"), (f"  {facts['title']}", "title"))
    for label in ("meaning", "text", "remedy", "retryable", "status", "exit_code"):
        value = facts[label]
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        output.line((f"  {label.replace('_', ' '):<10}", "dim"), (shown, ""))
    return exit_codes.OK
