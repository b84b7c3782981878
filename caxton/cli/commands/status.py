"""``caxton status``: the node on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column
from caxton.cli.commands.mcp import SERVERS
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.monitor.quantities import duration_text, latency_text, size_text
from caxton.views import AgentView, NodeView, ProcessView, ShardView

__all__ = ["status", "troubles"]

_STATE_STYLES = {"ready": "ok", "failed": "fail", "stopped": "fail"}

PROCESSES: tuple[Column[ProcessView], ...] = (
    Column("PROCESS", lambda p: p.name, lambda _: "name"),
    Column("PID", lambda p: str(p.pid), right=True),
    Column("STATE", lambda p: p.state, lambda p: _STATE_STYLES.get(p.state, "warn")),
    Column(
        "RESTARTS", lambda p: str(p.restarts), lambda p: "warn" if p.restarts else "", right=True
    ),
    Column("UPTIME", lambda p: duration_text(p.uptime_ms), right=True),
    Column("MEMORY", lambda p: size_text(p.rss_bytes), right=True),
    Column("CPU", lambda p: f"{p.cpu_seconds:.1f} s", right=True, drop=1),
)
SHARDS: tuple[Column[ShardView], ...] = (
    Column("SHARD", lambda s: str(s.shard), right=True),
    Column("ACCEPTED", lambda s: str(s.accepted), right=True),
    Column("HANDLED", lambda s: str(s.handled), right=True),
    Column("FAILED", lambda s: str(s.failed), lambda s: "fail" if s.failed else "", right=True),
    Column("DEAD", lambda s: str(s.dead_letters), right=True),
    Column(
        "PENDING",
        lambda s: f"{s.pending}/{s.pending_limit}" if s.pending_limit else str(s.pending),
        right=True,
        brief=lambda s: str(s.pending),
    ),
    Column("CONV", lambda s: str(s.conversations), right=True, drop=2),
    Column(
        "ROUTE p50/p99",
        lambda s: f"{latency_text(s.routing_p50_us)}/{latency_text(s.routing_p99_us)}",
        right=True,
    ),
    Column(
        "ACK p50/p99",
        lambda s: f"{latency_text(s.ack_p50_us)}/{latency_text(s.ack_p99_us)}",
        right=True,
        drop=1,
    ),
)


def troubles(node: NodeView, agents: list[AgentView]) -> Iterator[tuple[str, str]]:
    """What is not as it should be: level (``warn`` or ``fail``) and text."""
    if node.state != "ready":
        yield "warn", f"the node is {node.state}"
    for warning in node.warnings:
        yield "warn", warning
    for process in node.processes:
        if process.state in ("failed", "stopped"):
            yield "fail", f"process {process.name} is {process.state}"
        elif process.state != "ready":
            yield "warn", f"process {process.name} is {process.state}"
    for shard in node.shards:
        if shard.pending_limit and shard.pending * 10 >= shard.pending_limit * 9:
            yield "warn", f"shard {shard.shard} holds {shard.pending:,} of {shard.pending_limit:,}"
        if shard.dead_letters:
            yield "warn", f"shard {shard.shard} has {shard.dead_letters:,} dead letters"
    for server in node.tool_servers:
        if server.state != "connected":
            yield "warn", f"MCP server {server.name} is {server.state}: {server.detail}"
    for agent in agents:
        if agent.state == "failed":
            yield "warn", f"agent {agent.name} is failed"
        if agent.reload.state == "failed":
            yield "warn", f"reload failed: {agent.reload.detail}"


@click.command(cls=CaxtonCommand)
@pass_invocation
def status(invocation: Invocation) -> int:
    """The node on one screen; says so when none runs.

    The exit code is 0 when all is well, 10 with warnings, 20 when a process has failed, 3 when no
    node answers.
    """
    with invocation.client() as client:
        node = client.node()
        agents = list(client.agents())
    found = list(troubles(node, agents))
    output = invocation.output
    if output.structured:
        output.value({"node": node, "troubles": [{"level": a, "text": b} for a, b in found]})
    elif output.format == "name":
        output.text(node.url)
    else:
        _draw(invocation, node, agents, found)
    if any(level == "fail" for level, _ in found):
        return exit_codes.CRITICAL
    return exit_codes.WARNINGS if found else exit_codes.OK


def _draw(
    invocation: Invocation, node: NodeView, agents: list[AgentView], found: list[tuple[str, str]]
) -> None:
    output = invocation.output
    running = sum(1 for agent in agents if agent.state == "running")
    output.line(
        (f"caxton {node.version}", "title"),
        (f"  {node.state.upper()}", "ok" if node.state == "ready" else "warn"),
        (f"  up {duration_text(node.uptime_ms)}  pid {node.pid}  node {node.id[:8]}", ""),
    )
    facts = (
        ("api", node.url),
        ("data", f"{node.data}  durability {node.durability}"),
        ("agents", f"{running} of {node.agents} running, from {node.agents_folder}"),
        ("model", node.provider),
    )
    for label, text in facts:
        output.line((f"  {label:<8}", "dim"), (text, ""))
    output.line(("", ""))
    output.table(node.processes, PROCESSES)
    output.line(("", ""))
    output.table(node.shards, SHARDS)
    if node.tool_servers:
        output.line(("", ""))
        output.table(node.tool_servers, SERVERS)
    if found:
        output.line(("", ""))
    for level, text in found:
        output.line((f"{level:<5}", level), (text, ""))
