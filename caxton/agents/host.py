"""The agents of one shard: each an actor, its versions, and how it takes messages.

``AgentHost`` outlives its actor: when a handler raises, the supervisor restarts the actor, which
loads the behaviour afresh, while counters, versions and waiting messages stay here.
"""

from __future__ import annotations

import asyncio
import logging
import traceback as tracebacks
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from actors import ActorRef, ActorSystem, MailboxSpec, RestartPolicy
from caxton.agents.behaviour import Behaviour, Outgoing
from caxton.agents.directory import Directory
from caxton.agents.lifecycle import AgentState, advance
from caxton.agents.worklist import Worklist
from caxton.errors import AgentFailed, AgentNotResponding, AgentOffline, CaxtonError, Postponed
from caxton.message import DEFAULT_OPTIONS, DeliveryOptions, Message, make_message, now_ms
from caxton.observe.tracing import OFF, HandleSpan, Tracing
from caxton.routing.accepted import Handling
from caxton.storage.registry import AgentRecord
from caxton.types import derived_id

__all__ = ["AgentHost", "HistoryReader", "Loader"]

logger = logging.getLogger("caxton.agents")

END_S = 5.0
"""How long the end of an actor is waited for."""
PINS = 10_000
"""Conversations per agent whose version is remembered; the oldest others move to the newest."""

_ABSENT = object()

Loader = Callable[[AgentRecord], Behaviour]
"""Makes the behaviour of a registered version."""
HistoryReader = Callable[[Message, int], Awaitable[Sequence[Message]]]
"""Reads the messages of a conversation before the given one."""


def _nowhere(handling: Any) -> None:
    raise RuntimeError(f"an agent got {handling!r} before its actor was started")


class _Version:
    """One loaded version of an agent."""

    __slots__ = ("behaviour", "record", "started")

    def __init__(self, record: AgentRecord, behaviour: Behaviour) -> None:
        self.record = record
        self.behaviour = behaviour
        self.started = False


class AgentHost:
    """One agent on its shard.

    Args:
        record: its registration.
        system: where its actor lives.
        directory: names of the others.
        load: makes the behaviour of a version.
        history: reads a conversation.
        event: tells operators something.
        mailbox: messages its mailbox holds.
        moved: told after each change of its state.
        state: where it is: stopped, when its operator left it so.
        work: what the agent has in hand; it outlives the host.
        tracing: which messages are traced.
        options: of the messages that the agent sends.
    """

    def __init__(
        self,
        record: AgentRecord,
        system: ActorSystem,
        directory: Directory,
        load: Loader,
        history: HistoryReader,
        event: Callable[[str, str, str], None],
        *,
        mailbox: int,
        work: Worklist,
        moved: Callable[[AgentHost], None] = lambda host: None,
        state: AgentState = AgentState.UNLOADED,
        tracing: Tracing = OFF,
        options: DeliveryOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._options = options
        self.id = record.id
        self.record = record
        self.directory = directory
        self.history = history
        self.state = state
        self.since = now_ms()
        """When it came to its state, in milliseconds since 1970."""
        self.reason = ""
        """Why it is there, when that was not asked for."""
        self.last_heartbeat = 0
        """When it was last found to work, in milliseconds since 1970; 0 for not yet."""
        self.stuck = False
        """Whether it failed because nothing in it goes on; its actor is kept."""
        self.retried = 0
        """How often it was tried again since it last worked."""
        self.retry_at = 0.0
        """When it is tried again, by the loop's clock; 0 for not set."""
        self._moved = moved
        self.under_way: dict[Handling, float] = {}
        """Messages whose handling takes time, and since when, by the loop's clock."""
        self.handled = 0
        self.failed = 0
        self.restarts = 0
        self.mailbox_limit = mailbox
        self.work = work
        self.down = False
        """Whether the actor is between two lives and begins nothing."""
        self.tracing = tracing
        self.spans: dict[Handling, HandleSpan] = {}
        """Of the sampled messages that it handles now."""
        self._inside: dict[Handling, None] = {}
        self._emptied = asyncio.Event()
        self._system = system
        self._load = load
        self._event = event
        self._made = 0
        self._newest: _Version | None = None
        self.pins: OrderedDict[bytes, _Version] = OrderedDict()
        """The versions that conversations began with."""
        self._ref: ActorRef[Any] | None = None
        self._hand: Callable[[Any], None] = _nowhere

    @property
    def path(self) -> str:
        """Path of its actor."""
        return f"/{self._system.name}/{self.record.name}"

    @property
    def depth(self) -> int:
        """Messages in the mailbox or in handling."""
        return len(self._inside)

    def holds(self, handling: Handling) -> bool:
        """Whether a message is in the mailbox or in handling."""
        return handling in self._inside

    def move(self, wanted: AgentState, reason: str = "") -> None:
        """Go to another state.

        Raises:
            InvalidState: the lifecycle has no such move.
        """
        self.state = advance(self.state, wanted, self.record.name)
        self.since = now_ms()
        self.reason = reason
        self._moved(self)

    # --- versions ----------------------------------------------------------------------------

    def start(self) -> None:
        """Put the agent into service: its actor runs and takes messages.

        Raises:
            InvalidState: it runs, or drains.
            CaxtonError: the version cannot be loaded; the agent has failed.
        """
        self.move(AgentState.LOADED)
        try:
            self._newest = _Version(self.record, self._load(self.record))
        except CaxtonError as error:
            self.move(AgentState.FAILED, str(error))
            raise
        self.pins.clear()
        self._made = 0
        # Here, because the actor's module needs this one.
        from caxton.agents.agent_actor import AgentActor

        self._ref = self._system.spawn(
            AgentActor,
            self,
            name=self.record.name,
            mailbox=MailboxSpec(capacity=self.mailbox_limit, throughput=16),
            restart=RestartPolicy(
                restart="permanent", intensity=10, period_s=10.0,
                min_backoff_s=0.05, max_backoff_s=5.0,
            ),
        )  # fmt: skip
        self._hand = self._ref.hand
        self.last_heartbeat = now_ms()
        self.move(AgentState.RUNNING)

    def replace(self, record: AgentRecord) -> None:
        """Put a changed version into service for new conversations.

        Raises:
            CaxtonError: it cannot be loaded; the version before goes on.
        """
        before = self._newest
        if before is not None and record.definition == before.record.definition:
            self.record = record
            if record.fingerprint == before.record.fingerprint:
                return
        fresh = _Version(record, self._load(record))
        self.record = record
        self._newest = fresh

    def actor_made(self) -> None:
        """An actor was made; after the first one, because it failed: load the versions afresh."""
        self._made += 1
        if self._made == 1:
            return
        self.restarts += 1
        self.pins.clear()
        if self._newest is not None:
            self._newest = _Version(self.record, self._load(self.record))

    async def version_for(self, message: Message) -> Behaviour:
        """The version that serves the conversation of ``message``, started."""
        version = self.pick(message)
        if not version.started:
            await version.behaviour.start()
            version.started = True
        return version.behaviour

    def pick(self, message: Message) -> _Version:
        """The version that serves the conversation of ``message``: a running one keeps its own."""
        key = message.conversation_id
        pins = self.pins
        version = pins.get(key)
        if version is None:
            version = self._newest
            if version is None:
                raise AgentNotResponding(agent=self.record.name, state=self.state.value)
            pins[key] = version
            if len(pins) > PINS:
                pins.popitem(last=False)
        return version

    # --- messages ----------------------------------------------------------------------------

    def put(self, handling: Handling) -> None:
        """Give a message to the agent's mailbox."""
        if self._ref is None or self.state is not AgentState.RUNNING:
            self.work.hold(handling)
            handling.failed(AgentOffline(agent=self.record.name, state=self.state.value), "")
            return
        self._inside[handling] = None
        self._hand(handling)

    def postponed(self, handling: Handling) -> bool:
        """Whether a message has to wait for an earlier one; then it goes back."""
        work = self.work
        if not work.held:
            return False
        first = work.first(handling)
        if first is None:
            return False
        self._give_back(handling, Postponed(agent=self.record.name, after=first.hex()), "")
        return True

    def _give_back_waiting(self) -> None:
        error = AgentOffline(agent=self.record.name, state=self.state.value)
        for handling in self.work.waiting.clear():
            self.give_back(handling, error)

    def give_back(self, handling: Handling, error: CaxtonError) -> None:
        """A message was not begun and goes back, to come again."""
        self.work.hold(handling)
        self._give_back(handling, error, "")
        self._postpone_later(handling.message.conversation_id)

    def _postpone_later(self, conversation: bytes) -> None:
        """What waits behind a message that comes again goes back too, at once: were it to come
        again meanwhile, it would find some of them before it."""
        work = self.work
        for handling in work.waiting.take(conversation):
            if not self.postponed(handling):
                work.push(handling)

    def _give_back(self, handling: Handling, failure: CaxtonError, text: str) -> bool:
        if self._inside.pop(handling, _ABSENT) is _ABSENT:
            return False
        if self.spans:
            self._traced(handling, failure)
        handling.failed(failure, text)
        if not self._inside:
            self._emptied.set()
        return True

    def _traced(self, handling: Handling, error: CaxtonError | None) -> None:
        span = self.spans.pop(handling, None)
        if span is not None:
            span.end(self.record.name, error)

    def outputs(
        self, message: Message, sent: Sequence[Outgoing], *, sampled: bool = False
    ) -> list[Message]:
        """The messages that ``sent`` stands for; their ids follow from the id of ``message``."""
        made = []
        trace = self.tracing.passed_on(message, sampled=sampled)
        for index, out in enumerate(sent):
            reply = out.receiver is None and out.capability is None
            identity = derived_id(message.message_id, index)
            made.append(
                make_message(
                    out.performative,
                    sender=self.id,
                    receiver=message.sender if reply else out.receiver,
                    capability=out.capability,
                    content=out.content,
                    conversation_id=(identity if out.new_conversation else message.conversation_id),
                    message_id=identity,
                    in_reply_to=(message.reply_with or message.message_id) if reply else None,
                    # What is said to others is no part of the protocol that this was part of.
                    protocol=out.protocol or (message.protocol if reply else None),
                    trace_context=(
                        self.tracing.passed_on(message, sampled=sampled, far=True)
                        if out.new_conversation
                        else trace
                    ),
                    delivery_options=self._options,
                    parent_conversation_id=(
                        message.conversation_id if out.new_conversation else None
                    ),
                )
            )
        return made

    def done(self, handling: Handling, sent: Sequence[Outgoing]) -> None:
        """A message was handled."""
        outputs = self.outputs(handling.message, sent, sampled=handling.sampled) if sent else ()
        if self._inside.pop(handling, _ABSENT) is _ABSENT:
            return
        self.handled += 1
        if self.spans:
            self._traced(handling, None)
        handling.done(outputs)
        if not self._inside:
            self._emptied.set()

    def fail(self, handling: Handling, error: BaseException) -> CaxtonError:
        """A message was not handled. Saying so twice changes nothing."""
        text = "".join(tracebacks.format_exception(error)[-12:])
        if isinstance(error, CaxtonError):
            failure = error
        else:
            reason = f"{type(error).__name__}: {error}"
            failure = AgentFailed(
                agent=self.record.name, attempts=handling.delivery_count, reason=reason
            )
        if handling in self._inside:
            self.work.hold(handling)
            self.failed += 1
            self._give_back(handling, failure, text)
            self._postpone_later(handling.message.conversation_id)
        return failure

    def expired(self, handling: Handling, error: CaxtonError) -> None:
        """The deadline of a message passed before its turn; it is not handled."""
        self._give_back(handling, error, "")

    def gave_up(self, reason: str) -> None:
        """The supervisor restarts it no more, or nothing in it goes on. What waits goes back."""
        self.move(AgentState.FAILED, reason)
        self._give_back_waiting()
        self._event("agent.failed", self.record.name, reason)

    # --- health ------------------------------------------------------------------------------

    def check(self, now: float, stuck_s: float) -> None:
        """Look whether it works, at ``now`` of the loop's clock.

        It does not while everything it may do at once has taken longer than ``stuck_s``. It then
        has failed, until some of that ends.
        """
        late = [since for since in self.under_way.values() if now - since > stuck_s]
        concurrency = self._newest.behaviour.concurrency if self._newest is not None else 1
        stuck = len(late) >= concurrency
        if self.state is AgentState.RUNNING:
            if stuck:
                took = now - min(late)
                self.stuck = True
                self.gave_up(f"{len(late)} of {concurrency} messages under way for {took:.0f} s")
            else:
                self.last_heartbeat = now_ms()
                self.retried = 0
        elif self.stuck and not stuck and self.state is AgentState.FAILED:
            self.stuck = False
            self.move(AgentState.LOADED, "it works again")
            self.move(AgentState.RUNNING, "it works again")
            self.last_heartbeat = now_ms()

    async def drain(self, timeout_s: float) -> None:
        """Take no more messages, finish those there are for so long, stop."""
        if self.state is AgentState.RUNNING:
            self.move(AgentState.DRAINING)
        if self._inside and timeout_s > 0:
            try:
                async with asyncio.timeout(timeout_s):
                    self._emptied.clear()
                    await self._emptied.wait()
            except TimeoutError:
                logger.warning("%s stops with %d messages", self.record.name, self.depth)
        await self.end()
        if self.state is AgentState.DRAINING:
            self.move(AgentState.STOPPED)

    async def end(self) -> None:
        """Stop its actor and close its behaviour."""
        self.down = True
        self._give_back_waiting()
        ref, self._ref = self._ref, None
        if ref is not None:
            await asyncio.wait([asyncio.ensure_future(ref.stop(block=False))], timeout=END_S)
        if self._newest is not None and self._newest.started:
            await self._newest.behaviour.close()
            self._newest.started = False
        self.under_way.clear()

    def give_all_back(self) -> None:
        """What was not finished is to come again."""
        error = AgentOffline(agent=self.record.name, state=self.state.value)
        for handling in list(self._inside):
            self.give_back(handling, error)
