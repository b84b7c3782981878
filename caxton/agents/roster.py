"""The agents that live on one shard: started, replaced, drained as the registry says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from actors import ActorSystem, DeadLetter, Event
from caxton.agents.directory import Directory
from caxton.agents.host import AgentHost, HistoryReader, Loader
from caxton.agents.lifecycle import AgentState
from caxton.config import Config
from caxton.errors import AgentNotResponding, CaxtonError
from caxton.routing.accepted import Handling
from caxton.storage.registry import AgentRecord

__all__ = ["Roster"]

logger = logging.getLogger("caxton.agents")


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
    ) -> None:
        self.hosts: dict[bytes, AgentHost] = {}
        self._config = config
        self._shard = shard
        self._system = system
        self._directory = directory
        self._load = load
        self._history = history
        self._event = event
        self._draining: set[asyncio.Task[None]] = set()
        system.dead_letters.subscribe(self._dead)
        system.events.subscribe(self._runtime)

    def put(self, agent_id: bytes, handling: Handling) -> bool:
        """Give a message to an agent's mailbox; False when the agent is not here."""
        host = self.hosts.get(agent_id)
        if host is None:
            return False
        host.put(handling)
        return True

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
                self._remove(host)
            return
        if host is not None and host.state is AgentState.RUNNING:
            host.replace(record)
            return
        host = AgentHost(
            record,
            self._system,
            self._directory,
            self._load,
            self._history,
            self._event,
            mailbox=self._config.limits_agent_queue * self._directory.shards,
        )
        self.hosts[record.id] = host
        try:
            host.start()
        except CaxtonError as error:
            host.gave_up(str(error))
            raise

    def _runtime(self, event: Event) -> None:
        """An agent whose actor is restarted no more is out of service until its file changes."""
        if event.kind != "gave_up":
            return
        for host in self.hosts.values():
            if host.path == event.path and host.state is AgentState.RUNNING:
                host.gave_up(event.detail)

    def _remove(self, host: AgentHost) -> None:
        task = asyncio.get_running_loop().create_task(
            self._drain(host, self._config.shutdown_timeout_ms / 1_000)
        )
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, host: AgentHost, timeout_s: float) -> None:
        await host.drain(timeout_s)
        if self.hosts.get(host.id) is host:
            del self.hosts[host.id]

    def _dead(self, letter: DeadLetter) -> None:
        """A message that an agent's mailbox could not keep goes back to its delivery."""
        handling = getattr(letter.envelope, "message", None)
        message = getattr(handling, "message", None)
        if handling is None or message is None:
            return
        for host in self.hosts.values():
            if host.holds(handling):
                error = AgentNotResponding(agent=host.record.name, state=letter.reason)
                host.fail(handling, error)
                return

    async def drain(self, timeout_s: float) -> None:
        """Drain every agent, all at once."""
        await asyncio.gather(*(host.drain(timeout_s) for host in list(self.hosts.values())))
