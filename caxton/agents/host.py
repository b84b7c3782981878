"""The agents of one shard: each an actor, its versions, and how it takes messages.

``AgentHost`` outlives its actor: when a handler raises, the supervisor restarts the actor, which
loads the behaviour afresh, while counters, versions and waiting messages stay here.
"""

from __future__ import annotations

import asyncio
import logging
import traceback as tracebacks
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from actors import Actor, ActorRef, ActorSystem, MailboxSpec, RestartPolicy
from caxton.agents.behaviour import Behaviour, Outgoing
from caxton.agents.directory import Directory
from caxton.agents.lifecycle import AgentState, advance
from caxton.errors import AgentFailed, AgentNotResponding, CaxtonError, Postponed
from caxton.message import Message, make_message
from caxton.routing.accepted import Handling
from caxton.storage.registry import AgentRecord
from caxton.types import derived_id, format_id

__all__ = ["AgentActor", "AgentHost", "HistoryReader", "Loader"]

logger = logging.getLogger("caxton.agents")

PINS = 10_000
"""Conversations per agent whose version is remembered; the oldest others move to the newest."""

_ABSENT = object()

Loader = Callable[[AgentRecord], Behaviour]
"""Makes the behaviour of a registered version."""
HistoryReader = Callable[[Message, int], Awaitable[Sequence[Message]]]
"""Reads the messages of a conversation before the given one."""


class _Version:
    """One loaded version of an agent."""

    __slots__ = ("behaviour", "record", "started")

    def __init__(self, record: AgentRecord, behaviour: Behaviour) -> None:
        self.record = record
        self.behaviour = behaviour
        self.started = False


class _Context:
    """What a behaviour may ask while it handles one message."""

    __slots__ = ("_history", "_host", "_message", "delivery_count")

    def __init__(self, host: AgentHost, message: Message, delivery_count: int) -> None:
        self._host = host
        self._message = message
        self.delivery_count = delivery_count

    @property
    def agent_id(self) -> bytes:
        """The agent's own id."""
        return self._host.id

    @property
    def agent_name(self) -> str:
        """The agent's own name."""
        return self._host.record.name

    async def history(self, limit: int = 50) -> Sequence[Message]:
        """The messages of this conversation before this one, oldest first."""
        return await self._host.history(self._message, limit)

    def name_of(self, agent_id: bytes) -> str:
        """The name of an agent, or its id as text."""
        return self._host.directory.name(agent_id)


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
    ) -> None:
        self.id = record.id
        self.record = record
        self.directory = directory
        self.history = history
        self.state = AgentState.UNLOADED
        self.handled = 0
        self.failed = 0
        self.restarts = 0
        self.mailbox_limit = mailbox
        self._inside: dict[Handling, None] = {}
        self._held: OrderedDict[bytes, bytes] = OrderedDict()
        """Conversations with a message that failed and comes again: its id."""
        self._emptied = asyncio.Event()
        self._system = system
        self._load = load
        self._event = event
        self._made = 0
        self._newest: _Version | None = None
        self._pins: OrderedDict[bytes, _Version] = OrderedDict()
        self._ref: ActorRef[Any] | None = None

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

    # --- versions ----------------------------------------------------------------------------

    def start(self) -> None:
        """Put the agent into service: its actor runs and takes messages.

        Raises:
            CaxtonError: the version cannot be loaded.
        """
        self.state = advance(self.state, AgentState.LOADED, self.record.name)
        self._newest = _Version(self.record, self._load(self.record))
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
        self.state = advance(self.state, AgentState.RUNNING, self.record.name)

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
        self._pins.clear()
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
        pins = self._pins
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
            self._hold(handling)
            handling.failed(AgentNotResponding(agent=self.record.name, state=self.state.value), "")
            return
        self._inside[handling] = None
        self._ref.tell(handling)

    def _hold(self, handling: Handling) -> None:
        """Take no later message of the conversation before this one comes again."""
        message = handling.message
        self._held.setdefault(message.conversation_id, message.message_id)
        if len(self._held) > PINS:
            self._held.popitem(last=False)

    def postponed(self, handling: Handling) -> bool:
        """Whether a message has to wait for an earlier one; then it goes back."""
        if not self._held:
            return False
        conversation = handling.message.conversation_id
        first = self._held.get(conversation)
        if first is None:
            return False
        if handling.resumes == first:
            del self._held[conversation]
            return False
        self._give_back(handling, Postponed(agent=self.record.name, after=format_id(first)), "")
        return True

    def _give_back(self, handling: Handling, failure: CaxtonError, text: str) -> bool:
        if self._inside.pop(handling, _ABSENT) is _ABSENT:
            return False
        handling.failed(failure, text)
        if not self._inside:
            self._emptied.set()
        return True

    def outputs(self, message: Message, sent: Sequence[Outgoing]) -> list[Message]:
        """The messages that ``sent`` stands for; their ids follow from the id of ``message``."""
        made = []
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
                    protocol=out.protocol or message.protocol,
                    trace_context=message.trace_context,
                )
            )
        return made

    def done(self, handling: Handling, sent: Sequence[Outgoing]) -> None:
        """A message was handled."""
        outputs = self.outputs(handling.message, sent) if sent else ()
        if self._inside.pop(handling, _ABSENT) is _ABSENT:
            return
        self.handled += 1
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
            self._hold(handling)
            self.failed += 1
            self._give_back(handling, failure, text)
        return failure

    def gave_up(self, reason: str) -> None:
        """The supervisor restarts it no more."""
        self.state = advance(self.state, AgentState.FAILED, self.record.name)
        self._event("agent.failed", self.record.name, reason)

    async def drain(self, timeout_s: float) -> None:
        """Take no more messages, finish those there are, stop."""
        if self.state is AgentState.RUNNING:
            self.state = advance(self.state, AgentState.DRAINING, self.record.name)
        if self._inside:
            try:
                async with asyncio.timeout(timeout_s):
                    self._emptied.clear()
                    await self._emptied.wait()
            except TimeoutError:
                logger.warning("%s stops with %d messages", self.record.name, self.depth)
        if self._ref is not None:
            self._ref.stop(block=False)
        if self._newest is not None and self._newest.started:
            await self._newest.behaviour.close()
        if self.state is AgentState.DRAINING:
            self.state = advance(self.state, AgentState.STOPPED, self.record.name)


class AgentActor(Actor):
    """The actor of an agent.

    Messages whose handler returns at once are handled in order, without a task. Others run in
    tasks, at most ``concurrency`` at once and one per conversation at a time.
    """

    def __init__(self, host: AgentHost) -> None:
        super().__init__()
        self.host = host
        host.actor_made()
        self._busy: dict[bytes, deque[Handling]] = {}
        """Conversations in handling, each with what waits behind."""
        self._ready: deque[Handling] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def on_receive(self, handling: Any) -> None:
        """Handle a message, or start to."""
        if type(handling) is _Crash:
            raise handling.error
        if self._busy:
            behind = self._busy.get(handling.message.conversation_id)
            if behind is not None:
                behind.append(handling)
                return
        if self._ready or not self._begin(handling):
            self._ready.append(handling)

    def _begin(self, handling: Handling) -> bool:
        """Handle a message now, in a task when it takes time; False when there is no room."""
        host = self.host
        if host.postponed(handling):
            return True
        version = host.pick(handling.message)
        behaviour = version.behaviour
        if self._busy and len(self._busy) >= behaviour.concurrency:
            return False
        if not version.started:
            self._start(handling, None)
            return True
        try:
            result = behaviour.handle(
                handling.message, _Context(host, handling.message, handling.delivery_count)
            )
        except Exception as error:
            if isinstance(host.fail(handling, error), AgentFailed):
                raise
            return True
        # Most handlers return at once; only the others are worth a look at their type.
        if type(result) is tuple or type(result) is list or not isinstance(result, Awaitable):
            self._finish(handling, result)
        else:
            self._start(handling, result)
        return True

    def _begin_waiting(self) -> None:
        """Begin what waits for room, in order."""
        ready = self._ready
        while ready:
            handling = ready[0]
            behind = self._busy.get(handling.message.conversation_id)
            if behind is not None:
                behind.append(ready.popleft())
                continue
            try:
                begun = self._begin(handling)
            except Exception as error:  # noqa: BLE001 - the agent's own failure; it restarts
                ready.popleft()
                self._crash(error)
                return
            if not begun:
                return
            ready.popleft()

    def _finish(self, handling: Handling, sent: Sequence[Outgoing]) -> None:
        try:
            self.host.done(handling, sent)
        except CaxtonError as error:
            # The handler worked; what it wants to send is out of range.
            self.host.fail(handling, error)

    def _start(self, handling: Handling, result: Awaitable[Sequence[Outgoing]] | None) -> None:
        self._busy[handling.message.conversation_id] = deque()
        task = asyncio.get_running_loop().create_task(self._run(handling, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handling: Handling, result: Awaitable[Sequence[Outgoing]] | None) -> None:
        """Handle one message, then those of its conversation that came meanwhile."""
        key = handling.message.conversation_id
        following: Handling | None = handling
        while following is not None:
            await self._handle(following, result)
            result = None
            queue = self._busy[key]
            following = queue.popleft() if queue else None
        del self._busy[key]
        self._begin_waiting()

    async def _handle(
        self, handling: Handling, result: Awaitable[Sequence[Outgoing]] | None
    ) -> None:
        host = self.host
        if result is None and host.postponed(handling):
            return
        try:
            if result is None:
                behaviour = await host.version_for(handling.message)
                given = behaviour.handle(
                    handling.message, _Context(host, handling.message, handling.delivery_count)
                )
                sent = await given if isinstance(given, Awaitable) else given
            else:
                sent = await result
        except asyncio.CancelledError:
            host.fail(handling, AgentNotResponding(agent=host.record.name, state="stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - the agent's own failure; it restarts
            failure = host.fail(handling, error)
            if isinstance(failure, AgentFailed):
                logger.warning("agent %s failed: %s", host.record.name, failure)
                self._crash(error)
            return
        self._finish(handling, sent)

    def _crash(self, error: Exception) -> None:
        """Have the supervisor restart this actor: its behaviour may be in any state."""
        self.actor_ref.tell(_Crash(error))

    def on_failure(self, *_args: Any) -> None:
        """The actor goes down; what it had not handled comes again."""
        error = AgentNotResponding(agent=self.host.record.name, state="restarting")
        waiting = [*self._ready, *(one for behind in self._busy.values() for one in behind)]
        self._ready.clear()
        for behind in self._busy.values():
            behind.clear()
        for handling in waiting:
            self.host.fail(handling, error)


class _Crash:
    """Tells an agent's actor that one of its tasks failed."""

    def __init__(self, error: Exception) -> None:
        self.error = error
