"""``caxton memory graph`` and ``path``: how what is remembered hangs together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caxton.cli import exit_codes
from caxton.cli.columns import clean
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.memory_options import arrow, brief, of_whom, says
from caxton.cli.tree import CaxtonCommand
from caxton.memory.model import Entity, Relation, fold
from caxton.memory.requests import GraphAnswer

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["graph", "graph_tree", "path"]

DIRECTIONS = ("both", "out", "in")


def _walks(command: Any) -> Any:
    """The options of both commands."""
    relation = click.option(
        "--relation", "types", multiple=True, metavar="TYPE", help="Only over relations like this."
    )
    strength = click.option(
        "--min-strength",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="Only over such strong ones.",
    )
    direction = click.option(
        "--direction", type=click.Choice(DIRECTIONS), default="both", help="Of relations."
    )
    return relation(strength(direction(command)))


@click.command(cls=CaxtonCommand)
@click.argument("name")
@click.option(
    "--depth", type=click.IntRange(0, 10), default=3, show_default=True, help="In relations."
)
@click.option("--all-times", is_flag=True, help="Also what holds no more, or not yet.")
@click.option("--depth-first", is_flag=True, help="Walk into the depth first.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Entities."
)
@_walks
@of_whom
@pass_invocation
def graph(invocation: Invocation, /, name: str, **given: Any) -> int:
    """What is around an entity, as a tree. `(above)` marks what stands elsewhere in it already."""
    with invocation.client() as client:
        answer = client.memory(
            lambda m: m.of(given["agent"]).graph(
                name,
                memory_scope=given["scope"],
                max_depth=given["depth"],
                relation_types=given["types"],
                min_strength=given["min_strength"],
                direction=given["direction"],
                traversal_strategy="depth_first" if given["depth_first"] else "breadth_first",
                temporal_filter="all" if given["all_times"] else "current",
                max_nodes=given["limit"],
            )
        )
    output = invocation.output
    if output.structured:
        from caxton.memory.answer_views import graph_view

        output.value(graph_view(answer, observations=True))
    elif output.format == "name":
        for one in answer.nodes:
            output.text(one.entity_name)
    else:
        output.render(graph_tree(answer))
        if answer.truncated:
            output.talk(f"there is more: the walk ended at {len(answer.nodes)} entities (--limit)")
    return exit_codes.OK


def graph_tree(answer: GraphAnswer) -> Tree:
    """The walk as rich draws it: each entity below the nearest one it was reached from."""
    from rich.tree import Tree

    depth = {
        fold(one.entity_name): far for one, far in zip(answer.nodes, answer.depths, strict=True)
    }
    known = {fold(one.entity_name): one for one in answer.nodes}
    start = answer.nodes[0]
    root = Tree(_label("", start), guide_style="dim")
    branches = {fold(start.entity_name): root}
    told: set[int] = set()
    for node in answer.nodes:
        branch = branches.get(fold(node.entity_name))
        if branch is None:
            continue
        for number, edge in enumerate(answer.edges):
            ends = fold(edge.from_entity), fold(edge.to_entity)
            if number in told or fold(node.entity_name) not in ends:
                continue
            told.add(number)
            turn, other = arrow(edge, node.entity_name)
            key = fold(other)
            farther = depth.get(key, 0) > depth[fold(node.entity_name)]
            if key in branches or not farther:
                branch.add(_again(turn, other))
            else:
                branches[key] = branch.add(_label(turn, known[key]))
    return root


def _label(turn: str, entity: Entity) -> Text:
    from rich.text import Text

    said = brief(says(entity))
    return Text.assemble(
        (f"{clean(turn)} " if turn else "", "dim"),
        (clean(entity.entity_name), "name"),
        f" ({clean(entity.entity_type)})",
        (f"  {clean(said)}" if said else "", "dim"),
    )


def _again(turn: str, name: str) -> Text:
    from rich.text import Text

    return Text.assemble((f"{clean(turn)} ", "dim"), clean(name), (" (above)", "dim"))


@click.command(cls=CaxtonCommand)
@click.argument("from_entity", metavar="FROM")
@click.argument("to_entity", metavar="TO")
@click.option(
    "--depth", type=click.IntRange(1, 10), default=10, show_default=True, help="In relations."
)
@_walks
@of_whom
@pass_invocation
def path(invocation: Invocation, /, from_entity: str, to_entity: str, **given: Any) -> int:
    """A shortest way from one entity to another. The exit code is 1 when there is none."""
    with invocation.client() as client:
        answer = client.memory(
            lambda m: m.of(given["agent"]).path(
                from_entity,
                to_entity,
                memory_scope=given["scope"],
                max_depth=given["depth"],
                relation_types=given["types"],
                min_strength=given["min_strength"],
                direction=given["direction"],
            )
        )
    output = invocation.output
    if output.structured:
        from caxton.memory.answer_views import path_view

        output.value(path_view(answer))
    elif output.format == "name":
        for one in answer.nodes:
            output.text(one.entity_name)
    elif answer.nodes:
        _tell_way(invocation, answer)
    else:
        output.talk(f"no way of at most {given['depth']} relations was found", "warn")
    return exit_codes.OK if answer.nodes else exit_codes.FAILED


def _tell_way(invocation: Invocation, answer: GraphAnswer) -> None:
    cells = [(answer.nodes[0].entity_name, "name")]
    for one, following in zip(answer.nodes, answer.nodes[1:], strict=False):
        edge = _between(answer.edges, one, following)
        turn = arrow(edge, one.entity_name)[0] if edge is not None else "-"
        cells += [(f" {turn} ", "dim"), (following.entity_name, "name")]
    invocation.output.line(*cells)


def _between(edges: tuple[Relation, ...], one: Entity, other: Entity) -> Relation | None:
    wanted = {fold(one.entity_name), fold(other.entity_name)}
    found = [edge for edge in edges if {fold(edge.from_entity), fold(edge.to_entity)} == wanted]
    return found[0] if found else None
