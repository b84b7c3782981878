"""What the commands of the group ``memory`` have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from caxton.cli.columns import shorten

if TYPE_CHECKING:
    from caxton.cli.output import Output
    from caxton.memory.model import Entity, Relation

__all__ = ["PAIR", "arrow", "brief", "facts_of", "metadata_of", "of_whom", "says", "when"]

F = TypeVar("F", bound=Callable[..., Any])

PAIR: Final = re.compile(r"([^=\s][^=]*)=(.*)", re.DOTALL)
SAID: Final = 80
"""Characters of observations in a table."""


def of_whom(command: F) -> F:
    """The options that say of which part of the memory, and on whose behalf."""
    scope = click.option(
        "--scope",
        metavar="SCOPE",
        help="agent (of --agent), agent:NAME, workspace or global.",
    )
    agent = click.option("--agent", metavar="NAME", help="On behalf of this agent.")
    return scope(agent(command))


def metadata_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Metadata from ``NAME=VALUE``: a number, a truth value or JSON where it reads as one."""
    import json

    found: dict[str, Any] = {}
    for pair in pairs:
        match = PAIR.fullmatch(pair)
        if match is None:
            raise click.BadParameter(f"{pair} given, NAME=VALUE allowed", param_hint="--metadata")
        try:
            found[match[1]] = json.loads(match[2])
        except ValueError:
            found[match[1]] = match[2]
    return found


def when(text: str | None, option: str) -> int | None:
    """A moment in ms since 1970: an RFC 3339 time, or a day, which begins at midnight UTC."""
    from caxton.errors import ValidationError
    from caxton.moments import parse_time

    if text is None:
        return None
    whole = f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else text
    try:
        return parse_time(whole, option)
    except ValidationError:
        raise click.BadParameter(
            f"{text} given, a day or a time with its zone allowed", param_hint=option
        ) from None


def says(entity: Entity) -> str:
    """The first observation, and how many more there are."""
    if not entity.observations:
        return ""
    more = len(entity.observations) - 1
    return entity.observations[0].text + (f" (+{more})" if more else "")


def arrow(relation: Relation, seen_from: str) -> tuple[str, str]:
    """A relation as seen from one end: the arrow, and the name of the other end."""
    from caxton.memory.model import fold

    told = f"{relation.relation_type}"
    if relation.strength != 0.5:
        told += f" {relation.strength:g}"
    if fold(relation.from_entity) == fold(seen_from):
        return f"-{told}->", relation.to_entity
    return f"<-{told}-", relation.from_entity


def facts_of(output: Output, facts: Iterable[tuple[str, str, str]]) -> None:
    """Lines of a label and what it says; empty ones are left out."""
    for label, text, style in facts:
        if text:
            output.line((f"{label:<13}", "dim"), (text, style))


def brief(text: str) -> str:
    """A text on one line of a table."""
    return shorten(" ".join(text.split()), SAID)
