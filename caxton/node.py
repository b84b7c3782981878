"""The node: the composition root. ``async with Node(Config(...)) as node`` runs one.

``Node(Config(shards=0))`` runs everything in the calling process; with shards, the calling process
is the supervisor of the others, and no message passes through it but its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from actors import ProcessSpec, ProcessSupervisor, RestartPolicy, StartFailed
from caxton.agents.directory import Directory
from caxton.capability import Strategy
from caxton.config import Config
from caxton.errors import CaxtonError, ConfigInvalid, MemoryUnavailable, NodeNotReady
from caxton.gateway import Gateway
from caxton.inbound import Inbound, Submitted, WhenFull
from caxton.links.origin import LinkOrigin
from caxton.links.wire import Query, Submit
from caxton.mcp.policy import check_files
from caxton.memory.auditing import audited
from caxton.memory.client import Memory
from caxton.message import DeliveryOptions, Message, Performative, make_message
from caxton.processes.data_folder import DataFolder
from caxton.processes.gateway_links import GatewayLinks
from caxton.processes.layout import GATEWAY, TOOLS, Layout, shard_name
from caxton.processes.listening import listen
from caxton.processes.memory_starter import MemoryStarter
from caxton.processes.resharding import reshard_node
from caxton.processes.status import NodeStatus, ProcessRow
from caxton.storage.registry import Registry
from caxton.types import MessageTimeoutMs
from caxton.views import PAGE, Ack, AgentView, ConversationDetail, ConversationView, Event, NodeView

__all__ = ["Node"]

logger = logging.getLogger("caxton.node")

CLIENT = "node"
"""Name of this process's own end of the links."""


class Node:
    """A running node. An async context manager; all methods are for its event loop.

    Args:
        config: its settings.
        api: serve the REST API at ``config.host`` and ``config.port``.
    """

    def __init__(self, config: Config | None = None, *, api: bool = False) -> None:
        self.config = (config or Config()).absolute()
        self.url = ""
        self._api = api
        self._stack = contextlib.AsyncExitStack()
        self._gateway: Gateway | None = None
        self._inbound: Inbound | None = None
        self._supervisor: ProcessSupervisor | None = None
        self._memory: MemoryStarter | None = None
        self._status: NodeStatus | None = None
        self._events: list[tuple[str, str, str]] = []

    # --- life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Drain and stop everything, within the shutdown timeout."""
        if self._status is not None:
            self._status.draining = True
        await self._stack.aclose()

    async def _start(self) -> None:
        config = self.config
        if not config.agents.is_dir():
            raise ConfigInvalid(
                field="agents",
                value=str(config.agents),
                allowed="an existing folder",
                origin="given",
            )
        check_files(config)
        folder = await asyncio.to_thread(DataFolder, config.data)
        self._stack.callback(folder.close)
        registry = Registry(config.data / "registry")
        self._stack.callback(registry.close)
        node_id = registry.node_id()
        layout = Layout(config, node_id, folder.sockets, secrets.token_bytes(32))
        await reshard_node(config, node_id, layout.shards)
        listener = self._listen() if self._api else None
        self._status = NodeStatus(
            node_id=node_id,
            url=self.url,
            pid=os.getpid(),
            started_at_ms=time.time_ns() // 1_000_000,
            durability=config.durability,
            data=str(config.data),
            agents_folder=str(config.agents),
            provider=config.provider_name,
            shards=layout.shards,
            warnings=self._warnings(),
        )
        directory = Directory(node_id, layout.shards, Strategy(config.capability_strategy))
        self._gateway = Gateway(
            directory, max_content=config.limits_message_bytes, status=self._status.view
        )
        if config.shards == 0:
            await self._start_inside(layout, directory, registry, listener)
        else:
            await self._start_processes(layout, listener, registry)
        folder.announce(
            pid=os.getpid(),
            url=self.url,
            started_at=self._status.started_at_ms,
            version=_version(),
            data=str(config.data),
            agents=str(config.agents),
            log=str(config.data / "logs" / "caxton.log"),
        )

    def _warnings(self) -> tuple[str, ...]:
        if self._api and not self.config.loopback:
            return (f"the API listens on {self.config.host} and asks for no key",)
        return ()

    def _listen(self) -> socket.socket:
        listener, self.url = listen(self.config, self._stack)
        return listener

    # --- everything in this process ----------------------------------------------------------

    async def _start_inside(
        self,
        layout: Layout,
        directory: Directory,
        registry: Registry,
        listener: socket.socket | None,
    ) -> None:
        from caxton.processes.inside import Inside

        gateway = self.gateway
        inside = Inside(layout, directory, registry, gateway.log.add)
        inside.show(gateway, self._status)
        timeout_s = self.config.shutdown_timeout_ms / 1_000
        self._stack.push_async_callback(inside.stop, timeout_s)
        await inside.start()
        origin = LinkOrigin(lambda sentence: gateway.receive(0, sentence))

        def send(sentence: msgspec.Struct) -> None:
            if isinstance(sentence, Submit):
                inside.submit(origin, sentence)
            elif isinstance(sentence, Query):
                inside.ask(sentence, lambda answer: gateway.receive(0, answer))

        gateway.attach(0, send)
        if listener is not None:
            self._stack.push_async_callback(inside.serve(gateway, listener))

    # --- several processes -------------------------------------------------------------------

    async def _start_processes(
        self, layout: Layout, listener: socket.socket | None, registry: Registry
    ) -> None:
        from caxton.processes.shard_main import run_shard
        from caxton.processes.tools_main import run_tools

        config = self.config
        supervisor = ProcessSupervisor("caxton", on_event=self._process_event, on_tell=self._told)
        self._supervisor = supervisor
        self._stack.push_async_callback(supervisor.stop, config.shutdown_timeout_ms / 1_000)
        restart = RestartPolicy(
            intensity=20, period_s=60.0, min_backoff_s=0.05, max_backoff_s=5.0, reset_after_s=10.0
        )
        start_s = config.start_timeout_ms / 1_000
        tools = ProcessSpec(TOOLS, run_tools, (layout,), restart, start_s)
        shards = [
            ProcessSpec(shard_name(number), run_shard, (layout, number), restart, start_s)
            for number in range(layout.shards)
        ]
        # Two groups that start side by side: the tools stop after the shards that call them.
        await asyncio.gather(self._launch(supervisor, [tools]), self._launch(supervisor, shards))
        links = GatewayLinks(layout, CLIENT, self.gateway, registry)
        self._stack.push_async_callback(links.close)
        links.start()
        await links.met(start_s)
        self._memory = MemoryStarter(supervisor, layout, restart, self._event, CLIENT)
        self._stack.push_async_callback(self._memory.close)
        if config.memory_enabled:
            self.gateway.memory = audited(self._memory.memory, self.gateway.registry.audit)
            if self._status is not None:
                self._status.memory_now = self._memory.glance
        if listener is not None and self._status is not None:
            from caxton.processes.gateway_main import run_gateway

            # What asks in this process means nothing there; the gateway has a link of its own.
            status = msgspec.structs.replace(self._status, memory_now=None)
            arguments = (layout, listener, status)
            spec = ProcessSpec(GATEWAY, run_gateway, arguments, restart, start_s)
            await self._launch(supervisor, [spec])
            self._tell_gateway()

    def dump(self) -> list[str]:
        """Have every process log what its threads and actors do; returns their names."""
        supervisor = self._supervisor
        if supervisor is None:
            return []
        return [one.name for one in supervisor.children() if supervisor.dump(one.name)]

    async def _launch(self, supervisor: ProcessSupervisor, specs: Sequence[ProcessSpec]) -> None:
        try:
            await supervisor.start(specs)
        except StartFailed as error:
            raise NodeNotReady(part=str(error)) from error

    def _process_event(self, kind: str, name: str, text: str) -> None:
        logger.info("process %s %s: %s", name, kind, text)
        self._event(f"process.{kind}", name, text)
        self._tell_gateway()

    def _told(self, name: str, words: tuple[Any, ...]) -> None:
        if words and words[0] == "event":
            self._event(*words[1:])
        elif words == ("need", "memory") and self._memory is not None:
            self._memory.need()

    def _event(self, kind: str, subject: str, text: str) -> None:
        """Pass an event on; those of the start wait until the gateway is there."""
        if self._gateway is not None:
            self._gateway.log.add(kind, subject, text)
        self._events.append((kind, subject, text))
        del self._events[:-500]
        supervisor = self._supervisor
        while supervisor is not None and self._events:
            if not supervisor.send(GATEWAY, "event", self._events[0]):
                break
            self._events.pop(0)

    def _tell_gateway(self) -> None:
        supervisor, status = self._supervisor, self._status
        if supervisor is None or status is None:
            return
        offset = time.time() - time.monotonic()
        own = ProcessRow("supervisor", os.getpid(), "ready", 0, status.started_at_ms)
        status.processes = (
            own,
            *(
                ProcessRow(
                    one.name, one.pid, one.state, one.restarts,
                    int((one.started_at + offset) * 1_000),
                )
                for one in supervisor.children()
            ),
        )  # fmt: skip
        supervisor.send(GATEWAY, "processes", status.processes)

    async def wait_failed(self) -> None:
        """Wait until a process failed so often that the supervisor gave up on it."""
        if self._supervisor is None:
            await asyncio.Event().wait()
        else:
            await self._supervisor.gave_up.wait()

    # --- use ---------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """The way into the shards.

        Raises:
            NodeNotReady: the node was not started.
        """
        if self._gateway is None:
            raise NodeNotReady(part="the node")
        return self._gateway

    @property
    def memory(self) -> Memory:
        """What the node remembers; it starts with the first question.

        Raises:
            MemoryUnavailable: it is not enabled.
        """
        memory = self.gateway.memory
        if memory is None:
            raise MemoryUnavailable(
                backend=self.config.memory_backend, reason="`memory.enabled` is false"
            )
        return memory

    def _message(
        self,
        content: bytes | str,
        *,
        to: str | None,
        capability: str | None,
        performative: Performative | str,
        conversation_id: bytes | None,
        options: DeliveryOptions | None,
    ) -> Message:
        gateway = self.gateway
        return make_message(
            performative,
            sender=gateway.identity,
            receiver=gateway.agent_id(to, "to") if to is not None else None,
            capability=capability,
            content=content,
            conversation_id=conversation_id,
            delivery_options=options or DeliveryOptions(),
            max_content=self.config.limits_message_bytes,
        )

    async def send(
        self,
        content: bytes | str,
        *,
        to: str | None = None,
        capability: str | None = None,
        performative: Performative | str = Performative.INFORM,
        conversation_id: bytes | None = None,
        options: DeliveryOptions | None = None,
    ) -> Ack:
        """Send a message and wait until it is journaled.

        Args:
            content: what to say.
            to: name or id of the receiving agent; or
            capability: what the receiver must be able to do.
            performative: the act.
            conversation_id: the conversation to stay in; a new one when not given.
            options: priority, timeout, retries, receipt.

        Raises:
            CaxtonError: nothing was accepted.
        """
        message = self._message(
            content,
            to=to,
            capability=capability,
            performative=performative,
            conversation_id=conversation_id,
            options=options,
        )
        outcome = (await self.gateway.submit([message]))[0]
        if isinstance(outcome, CaxtonError):
            raise outcome
        return outcome

    async def submit(self, message: Message, *, when_full: WhenFull = "wait") -> Submitted:
        """Send a message on its way: its ids are there at once, its acknowledgement when awaited.

        Raises:
            QueueFull: there is no room, and ``when_full`` is ``raise``.
            Timeout: there was none in 30 s.
        """
        if self._inbound is None:
            self._inbound = Inbound.of(self.gateway, self.config.limits_inbound)
            self._stack.push_async_callback(self._inbound.close)
        return await self._inbound.submit(message, when_full)

    async def submit_many(
        self, messages: Iterable[Message], *, when_full: WhenFull = "wait"
    ) -> list[Submitted]:
        """Send messages on their way, in order. Raises as ``submit``; those before are sent."""
        return [await self.submit(message, when_full=when_full) for message in messages]

    async def request(
        self,
        content: bytes | str,
        *,
        to: str | None = None,
        capability: str | None = None,
        performative: Performative | str = Performative.REQUEST,
        conversation_id: bytes | None = None,
        options: DeliveryOptions | None = None,
        timeout_ms: int | None = None,
    ) -> Message:
        """Send a message and wait for its reply, at most ``timeout_ms`` (default 30,000).

        Raises:
            Timeout: it was accepted, and no reply came in time.
            CaxtonError: nothing was accepted.
        """
        message = self._message(
            content,
            to=to,
            capability=capability,
            performative=performative,
            conversation_id=conversation_id,
            options=options,
        )
        limit = MessageTimeoutMs.default or 30_000
        timeout = MessageTimeoutMs.parse(limit if timeout_ms is None else timeout_ms, "timeout_ms")
        _, reply = await self.gateway.request(message, timeout)
        return reply

    async def agents(self) -> list[AgentView]:
        """All agents, by name."""
        return await self.gateway.agents()

    async def conversations(self, limit: int = 50) -> list[ConversationView]:
        """Conversations, the newest activity first."""
        return await self.gateway.conversations(limit)

    async def conversation(
        self, conversation_id: bytes, limit: int = PAGE, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its messages in order."""
        return await self.gateway.conversation(conversation_id, limit, before)

    async def status(self) -> NodeView:
        """The node at one glance."""
        self._tell_gateway()
        return await self.gateway.status()

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Recent events later than ``after``, then live ones."""
        return self.gateway.events(after)


def _version() -> str:
    from caxton import __version__

    return __version__
