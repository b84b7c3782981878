"""``caxton memory search``, ``show``, ``ls`` and ``stats``: what a node remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.memory_options import arrow, brief, facts_of, of_whom, says, when
from caxton.cli.tree import CaxtonCommand
from caxton.memory.model import Entity, Relation
from caxton.memory.requests import Hit, MemoryStats
from caxton.moments import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caxton.memory_client import AsyncMemoryClient

__all__ = ["ls", "search", "show", "stats"]

MOST: Final = 100_000
"""Entities that are listed."""
SEARCH_S: Final = 30.0
"""The first search of a node loads the model."""

HITS: Final[tuple[Column[Hit], ...]] = (
    Column("SCORE", lambda h: f"{h.score:.2f}", right=True),
    Column("NEAR", lambda h: "-" if h.similarity_score is None else f"{h.similarity_score:.2f}",
           right=True, drop=2),
    Column("NAME", lambda h: h.entity.entity_name, lambda _: "name", least=16),
    Column("TYPE", lambda h: h.entity.entity_type, least=6, drop=1),
    Column("SCOPE", lambda h: h.entity.scope.key, least=9, drop=3),
    Column("SAYS", lambda h: brief(says(h.entity)), least=20),
)  # fmt: skip
ENTITIES: Final[tuple[Column[Entity], ...]] = (
    Column("NAME", lambda e: e.entity_name, lambda _: "name", least=16),
    Column("TYPE", lambda e: e.entity_type, least=6),
    Column("SCOPE", lambda e: e.scope.key, least=9, drop=2),
    Column("SAYS", lambda e: brief(says(e)), least=20),
    Column("CHANGED", lambda e: format_time(e.updated_ms)[:19], drop=1),
)


@click.command(cls=CaxtonCommand)
@click.argument("query")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="At most so many."
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only entities of this type.")
@click.option(
    "--min-similarity", type=click.FloatRange(0, 1), default=0.0, help="Least cosine: 0 to 1."
)
@click.option("--relations", is_flag=True, help="With the relations of each.")
@click.option("--all-times", is_flag=True, help="Also what holds no more, or not yet.")
@click.option("--from", "start", metavar="DAY|TIME", help="What held at some time from here.")
@click.option("--to", "end", metavar="DAY|TIME", help="What held at some time to here.")
@of_whom
@pass_invocation
def search(invocation: Invocation, /, query: str, **given: Any) -> int:
    """Find what a question or a few words mean or say, the best first.

    Meaning and words count both; SCORE orders, NEAR is the cosine of meanings alone.
    """
    start, end = when(given["start"], "--from"), when(given["end"], "--to")
    dated = start is not None or end is not None
    temporal = "date_range" if dated else "all" if given["all_times"] else "current"
    with invocation.client(SEARCH_S) as client:
        answer = client.memory(
            lambda m: m.of(given["agent"]).search(
                query,
                given["limit"],
                memory_scope=given["scope"],
                min_similarity=given["min_similarity"],
                entity_types=given["types"],
                include_relations=given["relations"],
                temporal_filter=temporal,
                start_ms=start,
                end_ms=end,
            )
        )
    output = invocation.output
    if output.format in ("json", "yaml"):
        from caxton.memory.answer_views import search_view

        output.value(search_view(answer))
        return exit_codes.OK
    if output.format == "jsonl":
        from caxton.memory.answer_views import search_view

        for one in search_view(answer).results:
            output.value(one)
        return exit_codes.OK
    if not answer.semantic:
        output.talk(answer.note or "words only: there is no model", "warn")
    output.items(
        answer.results, HITS, name=lambda h: h.entity.entity_name, empty="nothing was found"
    )
    if given["relations"] and output.format == "table":
        for hit in answer.results:
            for relation in hit.relations:
                turn, other = arrow(relation, hit.entity.entity_name)
                output.line((hit.entity.entity_name, "name"), (f" {turn} ", "dim"), (other, ""))
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.argument("name")
@of_whom
@pass_invocation
def show(invocation: Invocation, name: str, scope: str | None, agent: str | None) -> int:
    """One entity with its observations and relations; of several of one name, each."""
    with invocation.client() as client:
        opened = client.memory(lambda m: m.of(agent).open(name, memory_scope=scope))
    output = invocation.output
    if not opened.entities:
        from caxton.errors import EntityNotFound

        raise EntityNotFound(entity_name=name, memory_scope=scope or "every scope")
    shown = [
        (one, [rel for rel in opened.relations if rel.scope == one.scope])
        for one in opened.entities
    ]
    if output.structured:
        from caxton.memory.answer_views import detail

        views = [detail(one, relations, []) for one, relations in shown]
        output.value(views[0] if len(views) == 1 else {"items": views})
    elif output.format == "name":
        for one, _ in shown:
            output.text(one.entity_name)
    else:
        for number, (one, relations) in enumerate(shown):
            if number:
                output.text("")
            _tell(invocation, one, relations)
    return exit_codes.OK


def _tell(invocation: Invocation, entity: Entity, relations: list[Relation]) -> None:
    output = invocation.output
    facts_of(output, _facts(entity))
    for note in entity.observations:
        source = f"  from message {note.source}" if note.source else ""
        output.line((f"  {note.text}", ""), (f"  {format_time(note.at_ms)[:19]}{source}", "dim"))
    for relation in relations:
        turn, other = arrow(relation, entity.entity_name)
        output.line((f"  {turn} ", "dim"), (other, "name"))


def _facts(entity: Entity) -> Iterator[tuple[str, str, str]]:
    yield "name", entity.entity_name, "name"
    yield "type", entity.entity_type, ""
    yield "scope", entity.scope.key, ""
    for key, value in entity.metadata.items():
        yield key, str(value), ""
    if entity.valid_from_ms is not None:
        yield "valid from", format_time(entity.valid_from_ms), ""
    if entity.valid_to_ms is not None:
        yield "valid to", format_time(entity.valid_to_ms), ""
    yield "importance", "" if entity.importance == 0.5 else f"{entity.importance:g}", ""
    created, updated = format_time(entity.created_ms)[:19], format_time(entity.updated_ms)[:19]
    changed = f", changed {updated}" if updated != created else ""
    yield "since", f"{created}{changed}, version {entity.version}", "dim"


@click.command(cls=CaxtonCommand)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only entities of this type.")
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most so many."
)
@of_whom
@pass_invocation
def ls(
    invocation: Invocation,
    types: tuple[str, ...],
    limit: int,
    scope: str | None,
    agent: str | None,
) -> int:
    """Entities of what is remembered."""

    async def pages(memory: AsyncMemoryClient) -> list[Entity]:
        found: list[Entity] = []
        token = ""
        while len(found) < limit:
            page = await memory.of(agent).list(
                memory_scope=scope,
                entity_types=types,
                limit=min(500, limit - len(found)),
                page_token=token,
            )
            found += page.entities
            token = page.next_page_token
            if not token:
                break
        return found

    with invocation.client() as client:
        found = client.memory(pages)
    output = invocation.output
    if output.structured:
        from caxton.memory.views import entity_view

        views = [entity_view(one) for one in found]
        output.items(views, (), name=lambda v: v.entity_name)
        return exit_codes.OK
    output.items(
        found,
        ENTITIES,
        name=lambda e: e.entity_name,
        empty="nothing is remembered yet: caxton memory add NAME TYPE OBSERVATION",
    )
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@pass_invocation
def stats(invocation: Invocation) -> int:
    """How much is remembered, where, and with which model; what is not as it should be."""
    with invocation.client() as client:
        found = client.memory(lambda m: m.stats())
    output = invocation.output
    if output.structured:
        output.value(found)
    elif output.format == "name":
        output.text(found.backend)
    else:
        facts_of(output, _numbers(found))
    return exit_codes.OK


def _numbers(found: MemoryStats) -> Iterator[tuple[str, str, str]]:
    counted = found.stats
    yield "backend", found.backend, "name"
    yield "model", found.model.partition("@")[0] or "none", "" if found.model else "warn"
    yield "note", found.note, "warn"
    yield "entities", f"{counted.entities:,}", ""
    for scope, number in sorted(counted.scopes.items()):
        yield "", f"  {scope} {number:,}", "dim"
    yield "relations", f"{counted.relations:,}", ""
    yield "observations", f"{counted.observations:,}", ""
    kinds = sorted(counted.entity_types.items(), key=lambda one: (-one[1], one[0]))
    yield "types", ", ".join(f"{name} {number:,}" for name, number in kinds[:10]), ""
    index = f"{counted.index}, " if counted.index else ""
    dead = f", {counted.dead:,} replaced" if counted.dead else ""
    yield "vectors", f"{counted.vectors:,} ({index}{counted.index_bytes:,} bytes{dead})", ""
    if found.unembedded:
        yield "waiting", f"{found.unembedded:,} entities for vectors", "warn"
    yield "on disk", f"{counted.bytes:,} bytes" if counted.bytes else "", ""
    yield "since start", f"{found.searches:,} searches, {found.writes:,} writes", "dim"
