"""A small MCP server, as users have them: what the tests have Caxton start and kill."""

import asyncio
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("files")


@server.tool()
def add(a: int, b: int) -> str:
    """Add two whole numbers."""
    return str(a + b)


@server.tool()
def pid() -> str:
    """The process id of this server."""
    return str(os.getpid())


@server.tool(name="show.env")
def show_env(name: str) -> str:
    """What a variable of this server's environment holds."""
    return os.environ.get(name, "not set")


@server.tool()
def fail(text: str) -> str:
    """Fail with a text."""
    raise ValueError(text)


@server.tool()
def long(characters: int) -> str:
    """A long text."""
    return "x" * characters


@server.tool()
async def wait(seconds: float, ctx: Context) -> str:
    """Wait; writes that it has begun, and that it was cancelled, to the file of MARK."""
    mark = Path(os.environ["MARK"])
    mark.write_text("begun\n")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        mark.write_text("cancelled\n")
        raise
    return "waited"


@server.tool()
async def grow(ctx: Context) -> str:
    """Have this server offer one more tool."""

    def more() -> str:
        """One more tool."""
        return "more"

    server.add_tool(more)
    await ctx.notify_tools_changed()
    return "grown"


if __name__ == "__main__":
    print("the secret is", os.environ.get("SECRET", ""), file=sys.stderr, flush=True)
    server.run("stdio")
