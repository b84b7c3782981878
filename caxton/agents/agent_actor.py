"""The actor of an agent: takes its messages in order, many conversations at a time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from actors import Actor
from caxton.agents.behaviour import Outgoing
from caxton.agents.host import AgentHost
from caxton.errors import AgentFailed, AgentOffline, CaxtonError
from caxton.message import Message, now_ms
from caxton.routing.accepted import Handling
from caxton.routing.deadlines import overdue

__all__ = ["AgentActor"]

logger = logging.getLogger("caxton.agents")

AT_ONCE = 64
"""Messages that are begun without letting others have their turn."""


class _Context(msgspec.Struct, eq=False, gc=False):
    """What a behaviour may ask while it handles one message."""

    _host: AgentHost
    _message: Message
    delivery_count: int

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


class AgentActor(Actor):
    """The actor of an agent.

    Messages whose handler returns at once are handled in order, without a task. Others run in
    tasks, at most ``concurrency`` at once and one per conversation at a time; what waits for that
    goes by priority. What waits and what runs belongs to the host, so a crash of the actor charges
    none of it: the actor's successor goes on with it.
    """

    def __init__(self, host: AgentHost) -> None:
        super().__init__()
        self.host = host
        host.actor_made()
        self._work = host.work
        self._busy = host.work.busy
        self._waiting = host.work.waiting
        self._held = host.work.held

    def on_start(self) -> None:
        """Begin what the actor before this one had waiting."""
        self.host.down = False
        self._work.begin = self._begin_waiting
        self._begin_waiting()

    def on_receive(self, handling: Any) -> None:
        """Handle a message, or start to."""
        if type(handling) is _Crash:
            raise handling.error
        if self._busy or self._waiting:
            if self._held and self.host.postponed(handling):
                return
            self._work.push(handling)
            self._begin_waiting()
        else:
            self._begin(handling)

    def _has_room(self, message: Message) -> bool:
        """Whether one more message may be in handling."""
        busy = self._busy
        return not busy or len(busy) < self.host.pick(message).behaviour.concurrency

    def _begin(self, handling: Handling) -> None:
        """Handle a message now, in a task when it takes time. There is room for it."""
        host = self.host
        if self._held and host.postponed(handling):
            return
        message = handling.message
        if message.reply_by is not None or message.delivery_options.timeout_ms is not None:
            late = overdue(message, now_ms())
            if late is not None:
                host.expired(handling, late)
                return
        version = host.pins.get(message.conversation_id) or host.pick(message)
        behaviour = version.behaviour
        traced = self._traced(handling) if handling.sampled else None
        if not version.started:
            self._start(handling, None, traced)
            return
        try:
            context = _Context(host, message, handling.delivery_count)
            result = (
                behaviour.handle(message, context)
                if traced is None
                else traced.run(behaviour.handle, message, context)
            )
        except Exception as error:
            if isinstance(host.fail(handling, error), AgentFailed):
                raise
            return
        # Most handlers return at once; only the others are worth a look at their type.
        if type(result) is tuple or type(result) is list or not isinstance(result, Awaitable):
            try:
                host.done(handling, result)
            except CaxtonError as error:
                # The handler worked; what it wants to send is out of range.
                host.fail(handling, error)
        else:
            self._start(handling, result, traced)

    def _traced(self, handling: Handling) -> contextvars.Context:
        """A sampled message begins: what the agent's own code traces goes below its span."""
        span = self.host.tracing.handle(handling.message, handling.delivery_count)
        self.host.spans[handling] = span
        return span.context()

    def _begin_waiting(self) -> None:
        """Begin what waits and has room, by priority."""
        work, waiting = self._work, self._waiting
        if work.beginning:
            # The end of one made room, and who came into it is begun in its turn.
            return
        work.beginning = True
        left = AT_ONCE
        try:
            while not self.host.down:
                if not left:
                    asyncio.get_running_loop().call_soon(work.go_on)
                    return
                left -= 1
                handling = waiting.first(self._busy)
                if handling is None or not self._has_room(handling.message):
                    return
                # Before it is begun: its end may bring others, which change who is first.
                waiting.pop()
                try:
                    self._begin(handling)
                except Exception as error:  # noqa: BLE001 - the agent's own failure; it restarts
                    self._crash(error)
                    return
        finally:
            work.beginning = False

    def _start(
        self,
        handling: Handling,
        result: Awaitable[Sequence[Outgoing]] | None,
        traced: contextvars.Context | None,
    ) -> None:
        self._busy.add(handling.message.conversation_id)
        task = asyncio.get_running_loop().create_task(
            self._handle(handling, result), context=traced
        )
        self._work.tasks.add(task)
        task.add_done_callback(partial(self._ended, handling, result))

    def _ended(
        self,
        handling: Handling,
        result: Awaitable[Sequence[Outgoing]] | None,
        task: asyncio.Task[None],
    ) -> None:
        """A task is over: what waited for that begins."""
        if task.cancelled():
            # It may never have begun.
            if isinstance(result, Coroutine):
                result.close()
            self.host.give_back(
                handling, AgentOffline(agent=self.host.record.name, state="stopping")
            )
        self._work.tasks.discard(task)
        self._work.ended(handling.message.conversation_id)

    async def _handle(
        self, handling: Handling, result: Awaitable[Sequence[Outgoing]] | None
    ) -> None:
        host = self.host
        host.under_way[handling] = asyncio.get_running_loop().time()
        try:
            if result is None:
                behaviour = await host.version_for(handling.message)
                context = _Context(host, handling.message, handling.delivery_count)
                given = behaviour.handle(handling.message, context)
                sent = await given if isinstance(given, Awaitable) else given
            else:
                sent = await result
        except Exception as error:  # noqa: BLE001 - the agent's own failure; it restarts
            failure = host.fail(handling, error)
            if isinstance(failure, AgentFailed):
                logger.warning("agent %s failed: %s", host.record.name, failure)
                self._crash(error)
            return
        finally:
            since = host.under_way.pop(handling, None)
            if since is not None:
                handling.took_s = asyncio.get_running_loop().time() - since
        try:
            host.done(handling, sent)
        except CaxtonError as error:
            host.fail(handling, error)

    def on_stop(self) -> None:
        """What is under way ends; it comes again."""
        for task in self._work.tasks:
            task.cancel()

    def _crash(self, error: Exception) -> None:
        """Have the supervisor restart this actor: its behaviour may be in any state."""
        self.host.down = True
        self.actor_ref.tell(_Crash(error))

    def on_failure(self, *_args: Any) -> None:
        """The actor goes down; what waits is begun by the next one."""
        self.host.down = True


class _Crash:
    """Tells an agent's actor that one of its tasks failed."""

    def __init__(self, error: Exception) -> None:
        self.error = error
