"""``caxton doctor``: what is right and wrong with machine, installation, folders and node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click
import msgspec

from caxton.cli import exit_codes
from caxton.cli.doctor.check import Check, Surroundings
from caxton.cli.doctor.folders import check_agents, check_config, check_data
from caxton.cli.doctor.install import check_install
from caxton.cli.doctor.machine import check_limits, check_machine
from caxton.cli.doctor.memory import check_memory
from caxton.cli.doctor.services import check_llm, check_mcp, check_node, check_ports, check_tools
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.output import Output
from caxton.cli.tree import CaxtonCommand
from caxton.config import load
from caxton.errors import CaxtonError

__all__ = ["GROUPS", "doctor"]

GROUPS: Final[dict[str, Callable[[Surroundings], Iterator[Check]]]] = {
    "machine": check_machine,
    "limits": check_limits,
    "install": check_install,
    "data": check_data,
    "config": check_config,
    "agents": check_agents,
    "llm": check_llm,
    "tools": check_tools,
    "mcp": check_mcp,
    "memory": check_memory,
    "node": check_node,
    "ports": check_ports,
}
VERDICTS: Final = {
    "ok": "all is well",
    "warn": "works, with warnings",
    "fail": "there are failures",
}
VALUE_AT: Final = 22
"""Column at which values stand, so that they can be read down."""


class Found(msgspec.Struct, frozen=True):
    """The checks of one group."""

    group: str
    checks: list[Check]


@click.command(cls=CaxtonCommand)
@click.argument("groups", nargs=-1, metavar="[GROUP]...", type=click.Choice(tuple(GROUPS)))
@pass_invocation
def doctor(invocation: Invocation, groups: tuple[str, ...]) -> int:
    """Check machine, limits, install, data, config, agents, llm, tools, mcp, memory, node, ports.

    With GROUPs only those. Changes nothing. Each line is ok, warn or fail, with what to do about
    it. The exit code is 0 when all is well, 10 with warnings, 20 with failures.
    """
    around = _look_around(invocation)
    output = invocation.output
    found: list[Found] = []
    with output.progress("checking") as say:
        for name in groups or GROUPS:
            say(f"checking {name}")
            found.append(Found(name, list(GROUPS[name](around))))
    levels = {check.level for group in found for check in group.checks}
    verdict = "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"
    if output.structured:
        output.value({"verdict": verdict, "groups": found})
    else:
        for group in found:
            _draw(output, group)
        output.talk(VERDICTS[verdict])
    return {"ok": exit_codes.OK, "warn": exit_codes.WARNINGS, "fail": exit_codes.CRITICAL}[verdict]


def _look_around(invocation: Invocation) -> Surroundings:
    try:
        loaded = load(env=invocation.env, flags={"data": invocation.data})
    except CaxtonError as error:
        return Surroundings(invocation, None, error.detail)
    if invocation.data is None and "CAXTON_DATA" not in invocation.env:
        invocation.data = loaded.config.data
    return Surroundings(invocation, loaded)


def _draw(output: Output, group: Found) -> None:
    if not group.checks:
        return
    output.line((group.group, "title"))
    for check in group.checks:
        output.line(
            (f"  {check.level:<5}", check.level),
            (f" {check.name:<{VALUE_AT - 8}}", "name"),
            (f" {check.value}", ""),
            (f"  -> {check.remedy}" if check.remedy else "", "dim"),
        )
