"""The agents that live on one shard: started, replaced, drained as registry and operators say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from actors import ActorSystem, DeadLetter, Event
from caxton.agents.directory import Directory
from caxton.agents.host import AgentHost, HistoryReader, Loader
from caxton.agents.lifecycle import AgentState, advance
from caxton.agents.reports import Reports
from caxton.agents.worklist import Worklist
from caxton.config import Config
from caxton.errors import AgentNotFound, AgentNotResponding, AgentOffline, CaxtonError
from caxton.observe.tracing import OFF, Tracing
from caxton.routing.accepted import Handling
from caxton.storage.registry import AgentRecord
from caxton.types import MessageTimeoutMs, format_id

__all__ = ["Roster"]

logger = logging.getLogger("caxton.agents")

DRAIN_S = MessageTimeoutMs.high / 1_000
"""How long an agent that is drained may take to finish what it has: as long as any message may."""


class Roster:
    """The hosts of a shard's agents, by id."""

    def __init__(
        self,
        config: Config,
        shard: int,
        system: ActorSystem,
        directory: Directory,
        load: Loader,
        history: HistoryReader,
        event: Callable[[str, str, str], None],
        reports: Reports,
        tracing: Tracing = OFF,
    ) -> None:
        self.hosts: dict[bytes, AgentHost] = {}
        self._by_path: dict[str, AgentHost] = {}
        self._config = config
        self._shard = shard
        self._system = system
        self._directory = directory
        self._load = load
        self._history = history
        self._event = event
        self._reports = reports
        self._tracing = tracing
        self._work: dict[bytes, Worklist] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        system.dead_letters.subscribe(self._dead)
        system.events.subscribe(self._runtime)

    def put(self, agent_id: bytes, handling: Handling) -> bool:
        """Give a message to an agent's mailbox; False when the agent is not here."""
        host = self.hosts.get(agent_id)
        if host is None:
            if agent_id in self._directory.agents:
                self._work.setdefault(agent_id, Worklist()).hold(handling)
            return False
        host.put(handling)
        return True

    # --- what the registry says --------------------------------------------------------------

    def apply(self, records: Iterable[AgentRecord]) -> None:
        """Make the agents of this shard what changed records say."""
        for record in records:
            if self._directory.shard(record.id) != self._shard:
                continue
            try:
                self._apply(record)
            except CaxtonError as error:
                logger.error("agent %s cannot be put into service: %s", record.name, error)
                self._event("agent.failed", record.name, str(error))

    def _apply(self, record: AgentRecord) -> None:
        host = self.hosts.get(record.id)
        if not record.in_service:
            if host is not None and record.removed:
                self._begin(self._remove(host))
            return
        if host is None or host.state is AgentState.DRAINING:
            known = self._directory.states.get(record.id)
            stopped = known is not None and known.stopped
            if host is not None and stopped:
                host.record = record
                return
            host = self._host(record, AgentState.STOPPED if stopped else AgentState.UNLOADED)
            if stopped:
                self._reports.moved(host)
            else:
                host.start()
        elif host.state is AgentState.RUNNING:
            host.replace(record)
        else:
            host.record = record
            if host.state is AgentState.FAILED and not host.stuck:
                host.start()

    def _host(self, record: AgentRecord, state: AgentState) -> AgentHost:
        host = AgentHost(
            record,
            self._system,
            self._directory,
            self._load,
            self._history,
            self._event,
            mailbox=self._config.limits_agent_queue * self._directory.shards,
            work=self._work.setdefault(record.id, Worklist()),
            moved=self._reports.moved,
            state=state,
            tracing=self._tracing,
            options=self._config.delivery_options,
        )
        self.hosts[record.id] = self._by_path[host.path] = host
        return host

    async def _remove(self, host: AgentHost) -> None:
        await host.drain(self._config.shutdown_timeout_ms / 1_000)
        if self.hosts.get(host.id) is host:
            del self.hosts[host.id]
            self._by_path.pop(host.path, None)
        host.give_all_back()
        if host.id not in self._directory.agents:
            self._work.pop(host.id, None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what an operator says ---------------------------------------------------------------

    async def order(self, agent_id: bytes, action: str) -> AgentHost:
        """Have an agent ``drain``, ``stop`` or ``start``; it stays so over restarts.

        Draining finishes what the agent has; stopping does not, and that comes again when it is
        started.

        Raises:
            AgentNotFound: it is not here, or has no valid version.
            InvalidState: the lifecycle has no such move.
            CaxtonError: its version cannot be loaded; or the registry cannot keep the order.
        """
        host = self.hosts.get(agent_id)
        if host is None:
            text = format_id(agent_id)
            raise AgentNotFound(agent=text, near=self._directory.near(text))
        name = host.record.name
        if action == "start":
            advance(host.state, AgentState.LOADED, name)
            await self._reports.stopped(host, stopped=False)
            await host.end()
            host.stuck = False
            if AgentState.LOADED is not host.state is not AgentState.RUNNING:
                host.start()
            return host
        if not (action == "stop" and host.state is AgentState.DRAINING):
            advance(host.state, AgentState.DRAINING, name)
        await self._reports.stopped(host, stopped=True)
        if host.state is AgentState.RUNNING:
            host.move(AgentState.DRAINING)
        self._begin(self._put_out(host, 0.0 if action == "stop" else DRAIN_S))
        return host

    async def _put_out(self, host: AgentHost, timeout_s: float) -> None:
        await host.drain(timeout_s)
        host.give_all_back()

    # --- what happens to them ----------------------------------------------------------------

    def retry_failed(self, now: float, interval_s: float) -> None:
        """Try agents that have failed again, each time later, up to ten intervals."""
        for host in self.hosts.values():
            if host.state is not AgentState.FAILED or host.stuck:
                continue
            if not host.retry_at:
                host.retry_at = now + interval_s * min(10, 2**host.retried)
            elif now >= host.retry_at:
                host.retry_at = 0.0
                host.retried += 1
                try:
                    host.start()
                except CaxtonError as error:
                    logger.info("agent %s still fails: %s", host.record.name, error)

    def _runtime(self, event: Event) -> None:
        """An agent whose actor is restarted no more is out of service until it is tried again."""
        if event.kind != "gave_up":
            return
        host = self._by_path.get(event.path)
        if host is not None and host.state in (AgentState.RUNNING, AgentState.DRAINING):
            host.gave_up(event.detail)

    def _dead(self, letter: DeadLetter) -> None:
        """A message that an agent's mailbox could not keep goes back to its delivery."""
        host = self._by_path.get(letter.path)
        handling: Any = getattr(letter.envelope, "message", None)
        if host is not None and getattr(handling, "message", None) is not None:
            name = host.record.name
            if host.state is AgentState.RUNNING:
                host.fail(handling, AgentNotResponding(agent=name, state=letter.reason))
            else:
                host.give_back(handling, AgentOffline(agent=name, state=host.state.value))

    async def drain(self, timeout_s: float) -> None:
        """Drain every agent, all at once. What they do not finish stays pending."""
        await self._reports.close()
        await asyncio.gather(*(host.drain(timeout_s) for host in list(self.hosts.values())))
