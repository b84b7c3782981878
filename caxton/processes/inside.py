"""A whole node in the calling process: one shard, the registrar, a sandbox. ``Node(shards=0)``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from caxton.agents.directory import Directory
from caxton.agents.keeper import Keeper
from caxton.agents.kinds import Services
from caxton.errors import CaxtonError, InternalError
from caxton.gateway import Gateway
from caxton.links.origin import LinkOrigin
from caxton.links.wire import Answer, Query, Submit
from caxton.memory.auditing import audited
from caxton.memory.client import Memory
from caxton.memory.requests import Request
from caxton.message import Message
from caxton.observe.exporters import TRACES_S, make_tracing
from caxton.observe.message_log import make_message_log
from caxton.processes.layout import Layout
from caxton.processes.memory_agents import MemoryAgents
from caxton.processes.memory_link import memory_view
from caxton.processes.peers import answer
from caxton.processes.shard_main import make_loader, make_registrar
from caxton.processes.status import NodeStatus
from caxton.processes.tools_main import ToolService
from caxton.routing.accepted import Accepted
from caxton.routing.submission import Submission
from caxton.shard import Shard
from caxton.storage.registry import AgentRecord, Registry
from caxton.tools.grant_audit import AuditQueue, GrantAudit
from caxton.views import MemoryView

if TYPE_CHECKING:
    from caxton.memory.host import MemoryHost

__all__ = ["Inside"]


class _NoOthers:
    """There are no other shards here, and no id lives on one."""

    def deliver(self, shard: int, accepted: Accepted) -> None:
        """Never called."""
        raise InternalError(reason=f"delivery to shard {shard} of a node with one")

    def reachable(self, shard: int) -> bool:
        """There is none."""
        return False

    def unanswered(self) -> int:
        """Nothing is submitted to others."""
        return 0

    def elsewhere(self, messages: Sequence[Message], done: Callable[[], None]) -> None:
        """Never called."""
        raise InternalError(reason="a conversation of another shard in a node with one")

    async def ask(self, shard: int, name: str, arguments: dict[str, Any]) -> Any:
        """Never called."""
        raise InternalError(reason=f"question to shard {shard} of a node with one")


class Inside:
    """The parts of a node that are processes elsewhere."""

    def __init__(
        self,
        layout: Layout,
        directory: Directory,
        registry: Registry,
        event: Callable[[str, str, str], None],
    ) -> None:
        config = layout.config
        directory.follow(registry)
        self._config = config
        self._event = event
        self._registry = registry
        self._memory: MemoryHost | None = None
        self.memory = Memory(self._ask_memory) if config.memory_enabled else None
        """What the node remembers; opened by the first question."""
        self.tools = ToolService(config, event, self.memory)
        self._records = AuditQueue(self._ask_keeper)
        self._grants = GrantAudit(self._records)
        self.tools.audit = self._records
        self._services = Services(
            config=config,
            tools=self.tools.desk,
            catalog=self.tools.catalog,
            state=self.tools.state,
            on_grant=self._grants,
            memory=self.memory,
        )
        others = _NoOthers()
        self._shard = Shard(
            config,
            0,
            directory,
            others,
            others.elsewhere,
            others.ask,
            make_loader(config, self._services),
            event,
            make_tracing(config, layout.node_id, "node", directory.name),
            make_message_log(config, layout.node_id, "node", directory.name),
        )
        self._shard.outage = self._services.outage
        self._shard.keeper = Keeper(registry, directory, lambda: None, event)
        self._registrar = make_registrar(
            config, registry, layout.node_id, self._changed, event, self._services
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def _ask_keeper(self, name: str, arguments: dict[str, Any]) -> Any:
        return await self._shard.ask_keeper(name, arguments)

    async def _ask_memory(self, request: Request) -> Any:
        if self._memory is None:
            from caxton.memory.host import MemoryHost

            self._memory = MemoryHost(self._config, MemoryAgents(self._registry), self._event)
            self._memory.start()
        return await self._memory.answer(request)

    async def _glance(self, _: bool) -> MemoryView:
        if self._memory is None or self.memory is None:
            return MemoryView()
        try:
            async with asyncio.timeout(1.0):
                return memory_view(await self.memory.stats())
        except (TimeoutError, CaxtonError) as error:
            return MemoryView(note=str(error))

    def _changed(self, records: list[AgentRecord]) -> None:
        self._shard.registry_changed(records)

    async def start(self) -> None:
        """Start the agents and take up what is pending."""
        await self.tools.start(warm=False)
        self._shard.start_agents()
        await self._registrar.load()
        self._shard.recover()
        if self._config.watch:
            self._registrar.watch()

    def show(self, gateway: Gateway, status: NodeStatus | None) -> None:
        """Have the gateway know the tools, and the node's status their servers."""
        gateway.catalog = self.tools.catalog
        gateway.read_content = self.tools.content
        gateway.memory = self.memory and audited(self.memory, gateway.registry.audit)
        if status is not None:
            status.tools_now = self.tools.usage
            status.memory_now = self._glance

        def told() -> None:
            if status is not None:
                status.tool_servers = self.tools.desk.servers()

        self.tools.changed = told

    def serve(
        self, gateway: Gateway, listener: socket.socket
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """Serve the API; gives what ends it."""
        from caxton.api.app import make_app
        from caxton.api.server import make_server
        from caxton.mcp.endpoint import McpSettings, McpTools

        config = self._config
        tools = McpTools(gateway.directory, gateway.catalog, self.tools.desk)
        app = make_app(gateway, loopback=config.loopback, mcp=(McpSettings.of(config), tools))
        server = make_server(app)
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))

        async def end() -> None:
            server.should_exit = True
            await asyncio.wait([serving], timeout=5)

        return end

    def submit(self, origin: LinkOrigin, sentence: Submit) -> None:
        """Take a frame of submissions."""
        self._shard.submit(Submission(origin, sentence.first, sentence.wait, sentence.messages))

    def ask(self, query: Query, answered: Callable[[Answer], None]) -> None:
        """Answer a question, soon."""

        async def work() -> None:
            answered(await answer(query, self._shard))

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, timeout_s: float) -> None:
        """Drain, commit, stop."""
        await self._registrar.close()
        await self._shard.stop(timeout_s)
        await self._services.close()
        await self.tools.close()
        if self._memory is not None:
            await self._memory.close(timeout_s)
        self._grants.close()
        await self._records.close()
        await asyncio.to_thread(self._shard.tracing.close, TRACES_S)
