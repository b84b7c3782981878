"""A shard process: registry reader, shard, links; shard 0 also keeps the registry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from actors import ControlChannel
from caxton.agents.behaviour import Behaviour
from caxton.agents.directory import Directory
from caxton.agents.host import Loader
from caxton.agents.keeper import Keeper
from caxton.agents.kinds import Services, make_behaviour
from caxton.agents.registrar import Registrar
from caxton.agents.state import read_state
from caxton.capability import Strategy
from caxton.config import Config
from caxton.errors import AgentNotResponding
from caxton.links.wire import Notice
from caxton.mcp.server_file import server_names
from caxton.observe.exporters import TRACES_S, make_tracing
from caxton.observe.logs import start_logging
from caxton.observe.message_log import make_message_log
from caxton.processes.layout import Layout, shard_name
from caxton.processes.memory_link import MemoryLink
from caxton.processes.peers import Peers
from caxton.processes.tool_link import ToolLink
from caxton.processes.tuning import tune
from caxton.shard import Shard
from caxton.storage.registry import AgentRecord, Registry
from caxton.tools.catalog import ToolCatalog
from caxton.tools.grant_audit import AuditQueue, GrantAudit
from caxton.tools.tool_files import own_tools

__all__ = ["make_registrar", "run_shard"]

logger = logging.getLogger("caxton.shard")


def make_registrar(
    config: Config,
    registry: Registry,
    node_id: bytes,
    changed: Callable[[list[AgentRecord]], None],
    event: Callable[[str, str, str], None],
    services: Services,
) -> Registrar:
    """The registrar of a node's agents folder."""
    return Registrar(
        config.agents,
        registry,
        node_id,
        limit=config.limits_agents,
        changed=changed,
        event=event,
        check=lambda definition, file: make_behaviour(definition, file, services),
        catalog=services.catalog,
    )


def make_loader(config: Config, services: Services) -> Loader:
    """Makes behaviours of registered versions."""

    def load(record: AgentRecord) -> Behaviour:
        if record.definition is None:
            raise AgentNotResponding(agent=record.name, state="without a valid version")
        return make_behaviour(record.definition, config.agents / record.file, services)

    return load


async def run_shard(control: ControlChannel, layout: Layout, number: int) -> None:
    """Main of a shard process."""
    config = layout.config
    start_logging(config, control.name, console=False)
    tune()
    keeper = number == 0
    registry = Registry(config.data / "registry", readonly=not keeper)
    directory = Directory(layout.node_id, layout.shards, Strategy(config.capability_strategy))
    directory.follow(registry)
    peers = Peers(layout, number)

    def event(kind: str, subject: str, text: str) -> None:
        control.tell("event", kind, subject, text)

    catalog = ToolCatalog.live(server_names(config), own_tools(config))
    tools = ToolLink(layout, layout.identity(shard_name(number)), catalog)
    state = read_state(config, tools.questions)

    async def ask_keeper(name: str, arguments: dict[str, Any]) -> Any:
        return await shard.ask_keeper(name, arguments)

    records = AuditQueue(ask_keeper)
    grants = GrantAudit(records)
    memory = MemoryLink(layout, shard_name(number), lambda: control.tell("need", "memory"))
    services = Services(
        config=config,
        tools=tools.runner,
        catalog=catalog,
        state=state,
        on_grant=grants,
        memory=memory.memory if config.memory_enabled else None,
    )
    shard = Shard(
        config,
        number,
        directory,
        peers,
        peers.elsewhere,
        peers.ask,
        make_loader(config, services),
        event,
        make_tracing(config, layout.node_id, control.name, directory.name),
        make_message_log(config, layout.node_id, control.name, directory.name),
    )
    shard.outage = services.outage
    if keeper:
        tools.on_audit = records
    shard.health.tell = lambda: peers.tell_all(Notice("heartbeat", number), shards=True)
    control.on_dump = shard.system.dump
    registrar: Registrar | None = None
    if keeper:

        def told() -> None:
            peers.tell_all(Notice("registry", registry.entry_revision))

        shard.keeper = Keeper(registry, directory, told, event)

        def changed(records: list[AgentRecord]) -> None:
            shard.registry_changed(records)
            peers.tell_all(Notice("registry", registry.revision))

        registrar = make_registrar(config, registry, layout.node_id, changed, event, services)
    else:
        directory.refresh = lambda: shard.follow(registry)
        peers.on_registry = directory.refresh
    shard.start_agents()
    if registrar is not None:
        await registrar.load()
    pending = shard.recover()
    await peers.start(shard)
    tools.start()
    if registrar is not None and config.watch:
        registrar.watch()
    control.ready(pending=pending, agents=len(shard.roster.hosts))
    timeout_s = await control.wait_drain()
    if registrar is not None:
        await registrar.close()
    await shard.stop(timeout_s)
    await services.close()
    grants.close()
    await records.close()
    state.close()
    await tools.close()
    await memory.close()
    await peers.close()
    await asyncio.to_thread(shard.tracing.close, TRACES_S)
    registry.close()


def shard_names(layout: Layout) -> list[str]:
    """Names of the shard processes."""
    return [shard_name(number) for number in range(layout.shards)]
