"""``caxton memory add``, ``relate``, ``merge``, ``rm`` and ``clear``: change what is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from caxton.cli import exit_codes
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.memory_options import arrow, metadata_of, of_whom, when
from caxton.cli.tree import CaxtonCommand

if TYPE_CHECKING:
    from caxton.memory.requests import Deleted, StoredEntity

__all__ = ["add", "clear", "merge", "relate", "rm"]

WRITE_S: Final = 30.0
"""The first write of a node loads the model."""


def _told(invocation: Invocation, stored: StoredEntity, text: str) -> int:
    output = invocation.output
    if output.structured:
        from caxton.memory.views import stored_view

        output.value(stored_view(stored, whole=True))
        return exit_codes.OK
    if output.format == "name":
        output.text(stored.entity.entity_name)
        return exit_codes.OK
    output.text(text)
    for one in stored.similar:
        output.talk(
            f"says nearly the same ({one.similarity:.2f}): {one.entity_name}; "
            "`caxton memory merge` makes one of two",
            "warn",
        )
    if not stored.embedding_generated:
        output.talk("found by words only until there is a model: see `caxton memory stats`")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@click.argument("entity_type", metavar="TYPE")
@click.argument("observations", metavar="[OBSERVATION]...", nargs=-1)
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="What is known besides.")
@click.option("--importance", type=click.FloatRange(0, 1), help="0 to 1; 0.5 when not given.")
@click.option("--valid-from", metavar="DAY|TIME", help="From when it holds.")
@click.option("--valid-to", metavar="DAY|TIME", help="Until when it holds.")
@of_whom
@pass_invocation
def add(
    invocation: Invocation, /, name: str, entity_type: str, observations: tuple[str, ...],
    **given: Any,
) -> int:  # fmt: skip
    """Remember an entity: its name, its type, and what was seen of it.

    One that is known gets what is new. Its type must be the same.
    """
    fields: dict[str, Any] = {
        "metadata": metadata_of(given["metadata"]),
        "importance": given["importance"],
        "valid_from_ms": when(given["valid_from"], "--valid-from"),
        "valid_to_ms": when(given["valid_to"], "--valid-to"),
    }
    with invocation.client(WRITE_S) as client:
        stored = client.memory(
            lambda m: m.of(given["agent"]).store(
                name, entity_type, observations, memory_scope=given["scope"], **fields
            )
        )
    entity = stored.entity
    done = "remembered" if stored.created else "known"
    text = f"{done}: {entity.entity_name} ({entity.entity_type}) in {entity.scope.key}"
    count = f"{stored.added} new of {len(entity.observations)} observations"
    return _told(invocation, stored, f"{text}, {count}, version {entity.version}")


@click.command(cls=CaxtonCommand)
@click.argument("from_entity", metavar="FROM")
@click.argument("relation_type", metavar="TYPE")
@click.argument("to_entity", metavar="TO")
@click.option("--strength", type=click.FloatRange(0, 1), help="0 to 1; 0.5 when not given.")
@click.option("--confidence", type=click.FloatRange(0, 1), help="0 to 1; 1 when not given.")
@click.option("--both-ways", is_flag=True, help="The same from TO to FROM too.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="What is known besides.")
@click.option("--valid-from", metavar="DAY|TIME", help="From when it holds.")
@click.option("--valid-to", metavar="DAY|TIME", help="Until when it holds.")
@of_whom
@pass_invocation
def relate(
    invocation: Invocation, /, from_entity: str, relation_type: str, to_entity: str, **given: Any
) -> int:
    """Remember that one known entity has to do with another, in active voice."""
    fields: dict[str, Any] = {
        "strength": given["strength"],
        "confidence": given["confidence"],
        "bidirectional": given["both_ways"],
        "metadata": metadata_of(given["metadata"]),
        "valid_from_ms": when(given["valid_from"], "--valid-from"),
        "valid_to_ms": when(given["valid_to"], "--valid-to"),
    }
    with invocation.client(WRITE_S) as client:
        related = client.memory(
            lambda m: m.of(given["agent"]).relate(
                from_entity, relation_type, to_entity, memory_scope=given["scope"], **fields
            )
        )
    output = invocation.output
    if output.structured:
        from caxton.memory.answer_views import RelatedView
        from caxton.memory.views import relation_view

        shown = tuple(relation_view(one) for one in related.relations)
        output.value(RelatedView(shown, related.created))
        return exit_codes.OK
    for one in related.relations:
        turn, other = arrow(one, one.from_entity)
        output.line((one.from_entity, "name"), (f" {turn} ", "dim"), (other, "name"))
    known = len(related.relations) - related.created
    if known:
        output.talk(f"{known} known before")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("into")
@click.argument("other")
@of_whom
@pass_invocation
def merge(
    invocation: Invocation, into: str, other: str, scope: str | None, agent: str | None
) -> int:
    """Make one entity of two that are the same: what OTHER has goes to INTO, and OTHER goes."""
    with invocation.client(WRITE_S) as client:
        stored = client.memory(lambda m: m.of(agent).merge(into, other, memory_scope=scope))
    entity = stored.entity
    text = f"merged: {entity.entity_name} has {len(entity.observations)} observations"
    return _told(invocation, stored, f"{text}, {stored.added} of them from {other}")


@click.command(cls=CaxtonCommand)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--observation", "texts", multiple=True, metavar="TEXT", help="Only this of NAME.")
@click.option("--relation", metavar="TYPE", help="Only this relation of NAME; needs --to.")
@click.option("--to", metavar="TO", help="Where the relation ends.")
@of_whom
@pass_invocation
def rm(
    invocation: Invocation,
    names: tuple[str, ...],
    texts: tuple[str, ...],
    relation: str | None,
    to: str | None,
    scope: str | None,
    agent: str | None,
) -> int:
    """Forget entities with their relations; or observations or a relation of one of them."""
    from caxton.errors import EntityNotFound, RelationNotFound
    from caxton.memory.requests import RelationName

    if (relation is None) != (to is None):
        raise click.UsageError("--relation and --to go together.")
    if (texts or relation is not None) and len(names) > 1:
        raise click.UsageError("With --observation or --relation, give one NAME.")
    first = names[0]
    with invocation.client(WRITE_S) as client:
        if relation is not None and to is not None:
            named = RelationName(first, to, relation)
            gone = client.memory(
                lambda m: m.of(agent).delete_relations([named], memory_scope=scope)
            )
            if not gone.relations:
                raise RelationNotFound(
                    from_entity=first, to_entity=to, relation_type=relation,
                    memory_scope=scope or "the workspace",
                )  # fmt: skip
        elif texts:
            gone = client.memory(
                lambda m: m.of(agent).delete_observations(first, texts, memory_scope=scope)
            )
        else:
            gone = client.memory(lambda m: m.of(agent).delete(*names, memory_scope=scope))
            if not gone.entities:
                raise EntityNotFound(entity_name=first, memory_scope=scope or "the workspace")
    return _gone(invocation, gone)


def _gone(invocation: Invocation, gone: Deleted) -> int:
    output = invocation.output
    if output.structured:
        output.value(gone)
    else:
        counts = (
            (gone.entities, "entities"),
            (gone.relations, "relations"),
            (gone.observations, "observations"),
        )
        told = ", ".join(f"{number:,} {name}" for number, name in counts if number)
        output.text(f"forgotten: {told or 'nothing, there was none'}")
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only entities of this type.")
@click.option("--yes", is_flag=True, help="Without asking.")
@of_whom
@pass_invocation
def clear(
    invocation: Invocation,
    types: tuple[str, ...],
    yes: bool,
    scope: str | None,
    agent: str | None,
) -> int:
    """Forget everything of a scope, or all its entities of some types. It does not come back."""
    if scope is None:
        raise click.UsageError("Say which scope to forget: --scope SCOPE.")
    if not yes:
        raise click.UsageError("What is forgotten does not come back: add --yes.")
    with invocation.client(WRITE_S) as client:
        cleared = client.memory(lambda m: m.of(agent).clear(scope, types))
    output = invocation.output
    if output.structured:
        output.value(cleared)
    else:
        output.text(f"forgotten: {cleared.entities:,} entities, {cleared.relations:,} relations")
    return exit_codes.OK
