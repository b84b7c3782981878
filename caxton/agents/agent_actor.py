"""The actor of an agent: takes its messages in order, many conversations at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any

from actors import Actor
from caxton.agents.behaviour import Outgoing
from caxton.agents.host import AgentHost
from caxton.errors import AgentFailed, AgentNotResponding, CaxtonError
from caxton.message import Message
from caxton.routing.accepted import Handling

__all__ = ["AgentActor"]

logger = logging.getLogger("caxton.agents")


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
        host.under_way[handling] = asyncio.get_running_loop().time()
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
        finally:
            host.under_way.pop(handling, None)
        self._finish(handling, sent)

    def on_stop(self) -> None:
        """What is under way ends; it comes again."""
        for task in self._tasks:
            task.cancel()

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
