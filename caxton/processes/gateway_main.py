"""The gateway process: REST in front, links to the shards behind, no state of its own."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from actors import ControlChannel
from caxton.agents.directory import Directory
from caxton.api.app import make_app
from caxton.api.server import make_server
from caxton.gateway import Gateway
from caxton.mcp.endpoint import McpSettings, McpTools
from caxton.memory.auditing import audited
from caxton.observe.exporters import TRACES_S, make_tracing
from caxton.observe.logs import start_logging
from caxton.processes.gateway_links import GatewayLinks
from caxton.processes.layout import GATEWAY, Layout
from caxton.processes.memory_link import MemoryLink
from caxton.processes.status import NodeStatus
from caxton.processes.tool_link import ToolLink
from caxton.processes.tuning import tune
from caxton.storage.content import ContentReader
from caxton.storage.registry import Registry
from caxton.views import ToolServerView, ToolsView

__all__ = ["run_gateway"]


async def run_gateway(
    control: ControlChannel, layout: Layout, listener: socket.socket, status: NodeStatus
) -> None:
    """Main of the gateway process."""
    config = layout.config
    start_logging(config, control.name, console=False)
    registry = Registry(config.data / "registry", readonly=True)
    directory = Directory(layout.node_id, layout.shards)
    gateway = Gateway(directory, max_content=config.limits_message_bytes, status=status.view)
    links = GatewayLinks(layout, GATEWAY, gateway, registry)
    catalog = gateway.catalog

    def on_servers(servers: tuple[ToolServerView, ...]) -> None:
        status.tool_servers = servers

    def on_usage(usage: ToolsView) -> None:
        status.tools = usage

    tools = ToolLink(layout, layout.identity(GATEWAY), catalog, on_servers)
    tools.on_usage = on_usage
    memory = MemoryLink(layout, GATEWAY, lambda: control.tell("need", "memory"))
    if config.memory_enabled:
        gateway.memory = audited(memory.memory, gateway.registry.audit)
        status.memory_now = memory.glance
    content = ContentReader(config.data / "content", map_bytes=config.storage_map_bytes)
    gateway.read_content = content.get

    def on_word(word: str, value: Any) -> None:
        if word == "event":
            gateway.log.add(*value)
        elif word == "processes":
            status.processes = value

    control.on_word = on_word
    links.start()
    tools.start()
    tracing = make_tracing(config, layout.node_id, control.name)
    app = make_app(
        gateway,
        loopback=config.loopback,
        tracing=tracing,
        options=config.delivery_options,
        metrics=config.metrics_enabled,
        mcp=(McpSettings.of(config), McpTools(directory, catalog, tools.runner)),
    )
    server = make_server(app)
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    tune()
    await links.met(config.start_timeout_ms / 1_000)
    control.ready()
    timeout_s = await control.wait_drain()
    server.should_exit = True
    await asyncio.wait([serving], timeout=timeout_s)
    await tools.close()
    await memory.close()
    content.close()
    await links.close()
    await asyncio.to_thread(tracing.close, TRACES_S)
    registry.close()
