"""The tools process: owns the sandbox workers and the MCP servers, so that nothing a tool does
touches a shard."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors import ControlChannel, Link, LinkServer
from caxton.agents.state import StateDesk, open_state
from caxton.config import Config
from caxton.errors import QueueFull
from caxton.links.wire import Notice, Query, decode_payload
from caxton.mcp.server_file import read_servers, server_names
from caxton.memory.client import Memory
from caxton.observe.logs import start_logging
from caxton.processes.layout import GATEWAY, TOOLS, Layout, shard_name
from caxton.processes.memory_link import MemoryLink
from caxton.processes.peers import answer, sender
from caxton.storage.content import ContentStore
from caxton.tools.catalog import ToolCatalog
from caxton.tools.desk import ToolDesk
from caxton.tools.folder import ToolFolder
from caxton.tools.grant_audit import GrantAudit
from caxton.tools.guest_memory import guest_search
from caxton.tools.runner import SandboxToolRunner
from caxton.tools.tool_files import own_tools, tools_folder
from caxton.views import ToolsView
from sandbox import Questions
from sandbox.services.answerer import host_services

if TYPE_CHECKING:
    from caxton.mcp.servers import ServerSet

__all__ = ["ToolService", "run_tools"]

logger = logging.getLogger("caxton.tools")

KEEPER = shard_name(0)
RECORDS = 10_000
"""Most records that wait for the keeper of the audit trail; the oldest go first."""
LOAD_S: Final = 5.0
"""How long the start waits for the tools folder."""

CALLS_S: Final = 1.0
"""How often the gateway is told how often tools were called."""


class ToolService:
    """The sandbox, the servers and the desk in front of them, as one thing to start and close.

    Args:
        config: the node's settings.
        event: tells operators something.
        memory: that tools may search, of the agents that grant it.
    """

    def __init__(
        self,
        config: Config,
        event: Callable[[str, str, str], None],
        memory: Memory | None = None,
    ) -> None:
        self.catalog = ToolCatalog.live(server_names(config), own_tools(config))
        self.changed: Callable[[], None] = lambda: None
        """Called when tools or servers have changed."""
        self._config = config
        self._event = event
        self._servers: ServerSet | None = None
        self.state = open_state(config)
        """What tools and WebAssembly agents keep. This process writes it."""
        self._state_desk = StateDesk(self.state)
        self.audit: Callable[[str, str, str], None] = lambda kind, subject, detail: None
        """Called with what belongs into the audit trail."""
        self._grants = GrantAudit(self._record)
        self._answerer = host_services(guest_search(memory))
        questions = Questions(self.state, self._answerer, self._grants)
        self._runner = SandboxToolRunner(config, self.state, questions)
        self._content = ContentStore(
            config.data / "content",
            disk=config.durability == "disk",
            map_bytes=config.storage_map_bytes,
            keep_bytes=config.tools_keep_bytes,
        )
        self.desk = ToolDesk(self.catalog, self._runner, self._keep)
        self.folder = ToolFolder(
            tools_folder(config),
            self._runner.load,
            self.catalog,
            event,
            self._tell,
            self._runner.forget,
        )
        """The tools folder."""
        self._loading: asyncio.Task[None] | None = None

    async def start(self, *, warm: bool = True) -> None:
        """Begin to connect the servers, read the tools folder, and start the workers unless they
        may wait. What takes long to compile there comes later."""
        entries = read_servers(self._config)
        if entries:
            self._servers = await asyncio.to_thread(self._make_servers, entries)
            self.desk.attach(self._servers)
            self._servers.start()
        if warm:
            await self._runner.start()
        self._loading = asyncio.get_running_loop().create_task(self.folder.sync())
        await asyncio.wait({self._loading}, timeout=LOAD_S)
        if self._config.watch:
            self.folder.watch()

    def _make_servers(self, entries: Any) -> ServerSet:
        from caxton.mcp.servers import ServerSet

        return ServerSet(entries, self.catalog, self._tell, self._event)

    def _tell(self) -> None:
        self.changed()

    async def _keep(self, result: str) -> str:
        return await asyncio.to_thread(self._content.put, result.encode())

    def content(self, name: str) -> bytes | None:
        """A large result by its hash, or None."""
        return self._content.get(name)

    def usage(self) -> ToolsView:
        """How the tools are used."""
        workers, busy, waiting = self._runner.workload()
        return self.desk.usage.view(
            workers=workers, busy=busy, waiting=waiting, waiting_limit=self._config.tools_waiting
        )

    def _record(self, kind: str, subject: str, detail: str) -> None:
        self.audit(kind, subject, detail)

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a question of another process: run a tool, or keep what an agent keeps."""
        if name == "state":
            return await self._state_desk.answer(arguments)
        return await self.desk.answer(name, arguments)

    def tell_counted(self) -> None:
        """Have what was counted written into the audit trail, while somebody takes it."""
        self._grants.close()

    async def close(self) -> None:
        """End the servers and the workers."""
        if self._servers is not None:
            await self._servers.close()
        await self.folder.close()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading}, timeout=LOAD_S)
        await self._runner.close()
        await self._answerer.close()
        self.tell_counted()
        await self.state.close()
        await asyncio.to_thread(self._content.close)


class _Links:
    """Answers the questions of the other processes, and tells them which tools there are."""

    def __init__(self, service: ToolService) -> None:
        self._service = service
        self._links: dict[str, Link] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._records: deque[tuple[str, str, str]] = deque(maxlen=RECORDS)
        """What waits for the process that keeps the audit trail."""
        self._counted = False
        service.changed = self._tell_all
        service.audit = self._audit

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A question came, or nobody waits for its answer any more."""
        sentence: Any = decode_payload(kind, payload)
        if isinstance(sentence, Query):
            key = (link.peer, sentence.reference)
            task = asyncio.get_running_loop().create_task(self._answer(link, sentence))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        elif isinstance(sentence, Notice) and sentence.name == "cancel":
            running = self._tasks.get((link.peer, sentence.value))
            if running is not None:
                running.cancel()

    async def _answer(self, link: Link, query: Query) -> None:
        sender(link)(await answer(query, self._service))
        if query.name == "tool" and not self._counted:
            self._counted = True
            asyncio.get_running_loop().call_later(CALLS_S, self._tell_calls)

    def _tell_calls(self) -> None:
        self._counted = False
        link = self._links.get(GATEWAY)
        if link is not None:
            self._tell(link, Notice("tool_usage", msgspec.to_builtins(self._service.usage())))

    def _audit(self, *record: str) -> None:
        """Tell the keeper of the audit trail; it is on shard 0. Sent again until it has it."""
        self._records.append((record[0], record[1], record[2]))
        link = self._links.get(KEEPER)
        if link is None:
            return
        try:
            while self._records:
                sender(link)(Notice("audit", list(self._records[0])))
                self._records.popleft()
        except QueueFull as error:
            logger.warning("records for the audit trail wait: %s", error)

    def _tell_all(self) -> None:
        news = Notice("tools", self._service.desk.news())
        for link in self._links.values():
            self._tell(link, news)

    def _tell(self, link: Link, news: Notice) -> None:
        try:
            sender(link)(news)
        except QueueFull as error:
            logger.warning("%s was not told of the tools: %s", link.peer, error)

    def on_up(self, link: Link, fresh: bool) -> None:
        """A process is there; it knows the shipped tools only."""
        self._links[link.peer] = link
        self._tell(link, Notice("tools", self._service.desk.news()))

    def on_down(self, link: Link) -> None:
        """A process is gone; its answers wait in the link."""
        self._links.pop(link.peer, None)


async def run_tools(control: ControlChannel, layout: Layout) -> None:
    """Main of the tools process."""
    config = layout.config
    start_logging(config, control.name, console=False)

    def event(kind: str, subject: str, text: str) -> None:
        control.tell("event", kind, subject, text)

    memory = MemoryLink(layout, TOOLS, lambda: control.tell("need", "memory"))
    service = ToolService(config, event, memory.memory if config.memory_enabled else None)
    server = LinkServer(layout.socket(TOOLS), layout.identity(TOOLS), _Links(service))
    await service.start()
    await server.start()
    control.ready()
    await control.wait_drain()
    service.tell_counted()
    await server.close()
    await service.close()
    await memory.close()
