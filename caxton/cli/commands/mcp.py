"""``caxton mcp``: the node for MCP clients, and MCP servers for the node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from caxton.cli import exit_codes
from caxton.cli.columns import Column, first_sentence
from caxton.cli.invocation import Invocation, pass_invocation
from caxton.cli.tree import CaxtonCommand
from caxton.views import ToolServerView

if TYPE_CHECKING:
    from caxton.views import ToolView

__all__ = ["SERVERS", "ls", "serve"]

SERVERS: Final[tuple[Column[ToolServerView], ...]] = (
    Column("MCP SERVER", lambda s: s.name, lambda _: "name", least=12),
    Column("KIND", lambda s: s.kind, drop=2),
    Column("STATE", lambda s: s.state, lambda s: "ok" if s.state == "connected" else "warn"),
    Column("TOOLS", lambda s: str(s.tools), right=True),
    Column("RESTARTS", lambda s: str(s.restarts), right=True, drop=3),
    Column("SANDBOX", lambda _: "not sandboxed", lambda _: "warn"),
    Column("DETAIL", lambda s: s.detail, least=10, drop=1),
)
TOOLS: Final[tuple[Column[ToolView], ...]] = (
    Column("TOOL", lambda t: t.name, lambda _: "name", least=16),
    Column("SOURCE", lambda t: t.source),
    Column(
        "SANDBOX",
        lambda t: "sandboxed" if t.sandboxed else "not sandboxed",
        lambda t: "" if t.sandboxed else "warn",
    ),
    Column("DESCRIPTION", lambda t: first_sentence(t.description), least=10, drop=1),
)


@click.command(cls=CaxtonCommand)
@pass_invocation
def ls(invocation: Invocation) -> int:
    """MCP servers that the node uses, and every tool that agents may name.

    Servers come from the file that `mcp.servers` names. Their tools are not sandboxed.
    """
    with invocation.client() as client:
        servers = client.node().tool_servers
        tools = client.registry(lambda r: r.tools())
    output = invocation.output
    if output.structured:
        output.value({"servers": list(servers), "tools": tools})
    elif output.format == "name":
        for tool in tools:
            output.text(tool.name)
    else:
        if servers:
            output.table(servers, SERVERS)
            output.line(("", ""))
        output.table(tools, TOOLS)
    return exit_codes.OK


@click.command(cls=CaxtonCommand)
@click.option("--stdio", is_flag=True, help="On standard input and output, for a client's config.")
@click.option(
    "--agent", default="", metavar="NAME", help="In whose memory; that of the workspace otherwise."
)
@pass_invocation
def serve(invocation: Invocation, stdio: bool, agent: str) -> int:
    """Serve a running node to an MCP client that starts its servers itself.

    Clients that speak HTTP need no such command: the node serves them at URL/mcp. The token, where
    the node asks for one, is taken from CAXTON_MCP_TOKEN or `mcp.token` in caxton.toml.
    """
    if not stdio:
        raise click.UsageError("--stdio is missing; over HTTP the node itself serves MCP at /mcp")
    url = invocation.address()
    if agent:
        with invocation.client() as client:
            agent = client.agent(agent).name
    from caxton.config import Secret, load

    token = load(env=invocation.env).config.mcp_token
    from caxton.mcp.bridge import serve_stdio

    asyncio.run(serve_stdio(url, token.reveal() if isinstance(token, Secret) else token, agent))
    return exit_codes.OK
