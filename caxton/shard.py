"""A shard: the router, its conversations and agents, as one process or part of one holds them.

``Shard`` knows no sockets: peers are ``Origin`` objects and callables. ``caxton.shard_process``
puts it behind links; ``Node(shards=0)`` calls it directly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec

from actors import ActorRef, ActorSystem, CooperativeDispatcher, MailboxSpec
from caxton.agents.directory import Directory
from caxton.agents.health import Health
from caxton.agents.host import AgentHost, Loader
from caxton.agents.keeper import Keeper
from caxton.agents.memory_outage import MemoryOutage
from caxton.agents.reports import Reports
from caxton.agents.roster import Roster
from caxton.config import Config
from caxton.conversations.desk import ConversationDesk
from caxton.errors import CaxtonError, InternalError, NodeNotReady
from caxton.message import Message, decode
from caxton.moments import format_time
from caxton.observe.histogram import Histogram
from caxton.observe.message_log import MessageLog
from caxton.observe.tracing import OFF, Tracing
from caxton.registry_views import BreakerView
from caxton.routing.dead_letters import DeadLetterDesk
from caxton.routing.ports import RemoteShards
from caxton.routing.router import Router, RouterActor
from caxton.routing.settling import Elsewhere
from caxton.routing.submission import Submission
from caxton.storage.journal import Journal
from caxton.storage.registry import AgentRecord, Registry
from caxton.storage.retention import Retention
from caxton.types import format_id, parse_id
from caxton.views import LATENCY_US, AgentView, LatencyView, ReloadView, ShardView

__all__ = ["RemoteQueries", "Shard"]

logger = logging.getLogger("caxton.shard")

FRAMES = 100_000
"""Frames in the router's mailbox; the windows of the links keep it far below."""
DISPATCH_S = 0.02
"""Turns of actors before the loop reads its sockets again. As long as one read of every link takes
to handle: what came is handled before more comes in, so a flood waits in the senders."""
EXPIRE_S = 5.0
"""Between two looks for conversations that were idle too long, or of which nothing is kept."""

RemoteQueries = Callable[[int, str, dict[str, Any]], Awaitable[Any]]
"""Asks another shard."""


class Shard:
    """One shard of a node.

    Args:
        config: the node's settings.
        number: which shard.
        directory: filled from the registry before ``start``.
        remote: deliveries to agents elsewhere.
        elsewhere: submissions to conversations elsewhere.
        ask: questions to other shards.
        load: makes the behaviour of an agent's version.
        event: tells operators something (type, subject, text).
        tracing: which messages are traced.
        message_log: lines about messages that ended; closed with the shard.
    """

    def __init__(
        self,
        config: Config,
        number: int,
        directory: Directory,
        remote: RemoteShards,
        elsewhere: Elsewhere,
        ask: RemoteQueries,
        load: Loader,
        event: Callable[[str, str, str], None],
        tracing: Tracing = OFF,
        message_log: MessageLog | None = None,
    ) -> None:
        self._message_log = message_log
        self.config = config
        self.tracing = tracing
        self.number = number
        self.directory = directory
        self.event = event
        self._ask = ask
        self.system = ActorSystem(
            f"shard-{number}", dispatcher=CooperativeDispatcher(budget_s=DISPATCH_S)
        )
        self.keeper: Keeper | None = None
        """Writes the registry; on shard 0."""
        self.outage = MemoryOutage()
        """Of the memory, as the agents here see it; that of their services, set by its owner."""
        self.reports = Reports(directory, self.ask_keeper)
        self.roster = Roster(
            config,
            number,
            self.system,
            directory,
            load,
            self._history,
            event,
            self.reports,
            tracing,
        )
        self.health = Health(
            self.roster,
            directory,
            number,
            interval_s=config.health_interval_ms / 1_000,
            stuck_s=config.health_stuck_ms / 1_000,
            ask=self.ask_keeper,
        )
        self.journal = Journal(
            config.data / "shards" / str(number),
            disk=config.durability == "disk",
            map_bytes=config.storage_map_bytes,
            keep=Retention(
                config.storage_keep_messages,
                config.storage_keep_days * 86_400_000,
                config.storage_keep_bytes,
            ),
            dead_limit=config.dead_letter_limit,
        )
        self.router = Router(
            config,
            self.system,
            directory,
            number,
            self.journal,
            self.roster,
            remote,
            elsewhere,
            event,
            tracing=tracing,
            message_log=message_log,
        )
        self.dead_letters = DeadLetterDesk(
            number,
            self.journal,
            directory,
            self.router.raise_dead,
            self.router.settling.discard_dead,
        )
        self.conversations = ConversationDesk(
            number, self.router.conversations, self.journal, directory
        )
        self._ref: ActorRef[Any] = self.system.spawn(
            RouterActor, self.router, name="router", mailbox=MailboxSpec(capacity=FRAMES)
        )
        self._expire: asyncio.TimerHandle | None = None
        self._stopping = False

    def start_agents(self) -> None:
        """Start the registered agents of this shard."""
        self.directory.own = self.number
        self.roster.apply(list(self.directory.agents.values()))
        self.health.start()
        self._look_for_expired()

    def recover(self) -> int:
        """Take up what the last run left pending; returns how many messages."""
        pending = self.router.recover()
        self._take_up(self.router.conversations.take_up())
        return pending

    def _take_up(self, steps: Iterator[int]) -> None:
        if not self._stopping and next(steps, 0):
            asyncio.get_running_loop().call_soon(self._take_up, steps)

    def _look_for_expired(self) -> None:
        conversations = self.router.conversations
        conversations.expire()
        settle, sweep = conversations.settle(), conversations.sweep()
        if settle or sweep:
            self.router.commit.kick()
        loop = asyncio.get_running_loop()
        self._expire = loop.call_later(EXPIRE_S, self._look_for_expired)

    def submit(self, submission: Submission) -> None:
        """Take a frame of submissions."""
        self._ref.hand(submission)

    def registry_changed(self, records: Sequence[AgentRecord]) -> None:
        """Take in changes of agent files."""
        self._changed(self.directory.apply(records))
        if self.keeper is not None:
            self.keeper.removed(records)

    def follow(self, registry: Registry) -> None:
        """Take in whatever changed in the registry."""
        self._changed(self.directory.follow(registry))
        self.router.delivery.look()

    def _changed(self, records: Sequence[AgentRecord]) -> None:
        self.roster.apply(records)
        for record in records:
            if record.id not in self.directory.agents:
                self.router.breakers.forget(record.id)
            self.router.delivery.changed(record.id)

    async def ask_keeper(self, name: str, arguments: dict[str, Any]) -> Any:
        """Ask the keeper of the registry, here or on shard 0."""
        if self.keeper is not None:
            return await self.keeper.answer(name, arguments)
        if self.number == 0:
            raise NodeNotReady(part="the keeper of the registry")
        return await self._ask(0, name, arguments)

    # --- questions ---------------------------------------------------------------------------

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a question by its name; the value is made of plain types.

        Raises:
            CaxtonError: the question cannot be answered.
        """
        if name.startswith("registry_"):
            return await self.ask_keeper(name, arguments)
        if name == "agent_order":
            host = await self.roster.order(bytes(arguments["id"]), arguments["action"])
            return msgspec.to_builtins(self._agent(host.record, host))
        if name == "stats":
            return msgspec.to_builtins(self.view())
        if name == "agents":
            return [msgspec.to_builtins(view) for view in self.agents()]
        if name == "conversations":
            limit = int(arguments["limit"])
            return [msgspec.to_builtins(view) for view in self.conversations.newest(limit)]
        if name == "conversation":
            key = parse_id(arguments["id"], "id")
            detail = self.conversations.detail(
                key, int(arguments["limit"]), int(arguments["before"])
            )
            return msgspec.to_builtins(detail)
        if name == "history":
            key = parse_id(arguments["id"], "id")
            return self.conversations.history(
                key, bytes(arguments["before"]), int(arguments["limit"])
            )
        if name == "breakers":
            return [msgspec.to_builtins(one) for one in self.breakers()]
        if name == "breaker_reset":
            return self.router.breakers.reset(bytes(arguments["id"]))
        if name.startswith("dead_letter"):
            return self._dead_letter(name, arguments)
        raise InternalError(reason=f"unknown question {name}")

    def _dead_letter(self, name: str, arguments: dict[str, Any]) -> Any:
        desk = self.dead_letters
        if name == "dead_letters":
            return [msgspec.to_builtins(one) for one in desk.newest(int(arguments["limit"]))]
        steps: dict[str, Callable[[int], msgspec.Struct]] = {
            "dead_letter": desk.detail,
            "dead_letter_retry": desk.retry,
            "dead_letter_discard": desk.discard,
        }
        return msgspec.to_builtins(steps[name](int(arguments["sequence"])))

    def view(self) -> ShardView:
        """Counters and latencies."""
        router, counters, commit = self.router, self.router.counters, self.router.commit
        counts, turns = self.system.counts, self.system.dispatcher.counters()
        return ShardView(
            shard=self.number,
            accepted=counters.accepted,
            handled=counters.handled,
            failed=counters.failed,
            duplicates=counters.duplicates,
            refused=counters.refused,
            dead_letters=self.journal.dead_letters,
            pending=self.journal.pending,
            pending_limit=self.config.limits_pending,
            conversations=len(router.conversations),
            agents=len(self.roster.hosts),
            journal_messages=self.journal.next_sequence - self.journal.first_kept,
            commits=commit.commits,
            commit_p50_us=commit.commit_us.quantile(0.5),
            commit_p99_us=commit.commit_us.quantile(0.99),
            batch_p50=commit.batch_sizes.quantile(0.5),
            routing_p50_us=router.routing_us.quantile(0.5),
            routing_p99_us=router.routing_us.quantile(0.99),
            ack_p50_us=router.ack_us.quantile(0.5),
            ack_p99_us=router.ack_us.quantile(0.99),
            routing=_latency(router.routing_us),
            ack=_latency(router.ack_us),
            commit=_latency(commit.commit_us),
            errors=dict(counters.errors),
            turns_without_memory=dict(self.outage.turns),
            conversations_opened=router.conversations.opened,
            store_bytes=self.journal.used_bytes,
            actors=len(self.system),
            actor_failures=counts.failures,
            actor_restarts=counts.restarts,
            actor_dead_letters=self.system.dead_letters.count,
            breakers_open=router.breakers.open,
            breakers_opened=router.breakers.opened,
            protocol_timeouts=router.timeouts.count,
            offline_waiting=router.delivery.loads.offline,
            mailbox_overflows=counts.overflows,
            asks_expired=counts.expired_asks,
            replies_late=counts.late_replies,
            turns=turns.turns,
            turns_busy_us=round(turns.busy_s * 1e6),
            turns_slow=turns.slow,
            turn_longest_us=round(turns.longest_s * 1e6),
            queue_delay_us=round(turns.queue_delay_s * 1e6),
        )

    def breakers(self) -> list[BreakerView]:
        """The circuit breakers of the agents that failed."""
        return [
            BreakerView(
                agent=self.directory.name(one.target),
                agent_id=format_id(one.target),
                shard=self.number,
                state=one.state.value,
                failures=one.failures,
                slow=one.slow,
                since=format_time(one.since),
                until=format_time(one.until) if one.until else "",
                reason=one.reason,
            )
            for one in self.router.breakers.circuits()
        ]

    def agents(self) -> list[AgentView]:
        """The agents that live here, those without a valid version too."""
        return [
            self._agent(record, self.roster.hosts.get(record.id))
            for record in self.directory.agents.values()
            if self.directory.shard(record.id) == self.number
        ]

    def _agent(self, record: AgentRecord, host: AgentHost | None) -> AgentView:
        definition = record.definition
        reload = record.reload
        return AgentView(
            id=format_id(record.id),
            name=record.name,
            kind=definition.kind if definition else "config",
            state=host.state.value if host else "failed",
            version=definition.version if definition else "",
            capabilities=record.capabilities,
            shard=self.number,
            mailbox=max(host.depth if host else 0, self.router.delivery.loads.depth(record.id)),
            mailbox_limit=self.config.limits_agent_queue,
            handled=host.handled if host else 0,
            failed=host.failed if host else 0,
            restarts=host.restarts if host else 0,
            description=definition.description if definition else "",
            file=record.file,
            tools=tuple(definition.tools) if definition else (),
            priority=record.priority,
            since=format_time(host.since) if host else "",
            reason=host.reason if host else "",
            last_heartbeat=format_time(host.last_heartbeat) if host and host.last_heartbeat else "",
            reload=ReloadView(
                state=reload.state,  # type: ignore[arg-type]  # one of the three the registrar writes
                at=format_time(reload.at) if reload.at else "",
                took_ms=reload.took_us / 1_000,
                detail=reload.detail,
                line=reload.line,
                column=reload.column,
                warnings=reload.warnings,
            ),
        )

    async def _history(self, message: Message, limit: int) -> Sequence[Message]:
        """What agents of this shard ask for: the conversation before a message."""
        key = message.conversation_id
        shard = self.directory.shard(key)
        if shard == self.number:
            raws = self.conversations.history(key, message.message_id, limit)
        else:
            arguments = {"id": format_id(key), "before": message.message_id, "limit": limit}
            raws = await self._ask(shard, "history", arguments)
        return [decode(bytes(raw)) for raw in raws]

    # --- stop --------------------------------------------------------------------------------

    async def stop(self, timeout_s: float) -> None:
        """Drain the agents, commit everything, stop the actors."""
        self._stopping = True
        if self._expire is not None:
            self._expire.cancel()
        self.health.close()
        loop = asyncio.get_running_loop()
        drained = loop.time() + timeout_s * 0.6
        await self.roster.drain(timeout_s * 0.5)
        if self.directory.shards > 1:
            # Other shards' agents have as long as these.
            await self.router.delivery.away.returned(drained - loop.time())
        await self.router.close(timeout_s * 0.3)
        if self._message_log is not None:
            await self._message_log.close()
        await self.system.stop(max(0.1, timeout_s * 0.1))


def _latency(histogram: Histogram) -> LatencyView:
    up_to = tuple(histogram.up_to(LATENCY_US))
    return LatencyView(histogram.count, histogram.total, up_to)


def failure_of(error: BaseException) -> CaxtonError:
    """Any failure as one of ours, for an answer to another process."""
    return error if isinstance(error, CaxtonError) else InternalError(reason=repr(error))
