"""The seam between an agent's actor and what it does: one loaded version of one agent.

A behaviour is what differs between the kinds: a configuration agent takes a language-model turn,
a Python agent calls a method, a WASM agent calls a guest. To add a kind, implement ``Behaviour``
and give it to ``caxton.agents.kinds``; queues, retries, conversations and journal come with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from caxton.message import Message, Performative
from caxton.tools.catalog import ToolSpec

__all__ = ["Behaviour", "Context", "Outgoing", "ToolResult", "ToolRunner"]


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message that handling caused. With neither receiver nor capability it is the reply."""

    performative: Performative
    content: bytes
    receiver: bytes | None = None
    capability: str | None = None
    protocol: str | None = None
    new_conversation: bool = False
    """Start a conversation of its own instead of staying in that of the handled message."""


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool call gave back."""

    ok: bool
    content: str
    """The tool's JSON or text, or the error text when ``ok`` is false."""
    reason: str = ""
    """The sandbox's reason code when it stopped the call, such as ``out_of_fuel``."""
    took_ms: float = 0.0


class ToolRunner(Protocol):
    """Runs a tool in the sandbox. Never raises for a failing tool: that is a result."""

    async def call(
        self,
        tool: ToolSpec,
        arguments: Mapping[str, Any],
        *,
        permissions: Mapping[str, Any],
        timeout_ms: int,
        owner: str = "",
    ) -> ToolResult:
        """Run ``tool`` with what ``permissions`` grants; a deadline of ``timeout_ms`` holds.

        ``owner`` is the agent whose call it is: owners take turns, and each has keys of its own.
        """
        ...


class Context(Protocol):
    """What a behaviour may ask while it handles one message."""

    @property
    def agent_id(self) -> bytes:
        """The agent's own id."""
        ...

    @property
    def agent_name(self) -> str:
        """The agent's own name."""
        ...

    @property
    def delivery_count(self) -> int:
        """1 for the first delivery, more after a crash or a failed attempt."""
        ...

    async def history(self, limit: int = 50) -> Sequence[Message]:
        """The messages of this conversation before this one, oldest first, at most ``limit``."""
        ...

    def name_of(self, agent_id: bytes) -> str:
        """The name of an agent, or its id as text when it is not known."""
        ...


class Behaviour(Protocol):
    """One loaded version of one agent."""

    concurrency: int
    """How many messages it handles at once; messages of one conversation go one at a time."""

    async def start(self) -> None:
        """Get ready. Raises when the version cannot be put into service."""
        ...

    def handle(
        self, message: Message, context: Context
    ) -> Sequence[Outgoing] | Awaitable[Sequence[Outgoing]]:
        """Handle one message and say what to send. A plain return costs no task."""
        ...

    async def close(self) -> None:
        """Give everything back. No call is in flight."""
        ...
