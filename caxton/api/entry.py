"""What the REST app needs of a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Protocol

from caxton.api.registry_entry import RegistryEntry
from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.views import (
    PAGE,
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    NodeView,
    ToolView,
)

if TYPE_CHECKING:
    from caxton.memory.client import Memory

__all__ = ["Entry"]


class Entry(Protocol):
    """The way into a node. ``caxton.gateway.Gateway`` is the real one."""

    identity: bytes
    """Sender of messages that name none."""
    max_content: int
    """Largest content of a message, in bytes."""

    @property
    def memory(self) -> Memory | None:
        """What the node remembers, as an operator sees it; None where it has no memory."""
        ...

    @property
    def registry(self) -> RegistryEntry:
        """Agents' orders, capabilities, routes and clients."""
        ...

    async def submit(self, messages: Sequence[Message]) -> list[Ack | CaxtonError]:
        """One outcome for each message, in order."""
        ...

    async def request(self, message: Message, timeout_ms: int) -> tuple[Ack, Message]:
        """Submit and wait for the reply. Raises Timeout with the ids in its fields."""
        ...

    def agent_id(self, name_or_id: str, field: str = "receiver") -> bytes:
        """The id of a name or of an id's text. Raises AgentNotFound."""
        ...

    def agent_name(self, agent_id: bytes) -> str:
        """The name of an agent, or its id as text."""
        ...

    async def agents(self) -> list[AgentView]:
        """All agents, by name."""
        ...

    async def conversations(self, limit: int) -> list[ConversationView]:
        """Conversations, the newest activity first."""
        ...

    async def conversation(
        self, conversation_id: bytes, limit: int = PAGE, before: int = 0
    ) -> ConversationDetail:
        """One conversation with its newest messages, or those before a sequence number.

        Raises:
            ConversationNotFound: there is none.
        """
        ...

    async def dead_letters(self, limit: int) -> list[DeadLetterView]:
        """Dead letters, the latest first."""
        ...

    async def dead_letter(self, letter_id: str) -> DeadLetterDetail:
        """One dead letter. Raises DeadLetterNotFound."""
        ...

    async def retry_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Have its message handled once more. Raises DeadLetterNotFound."""
        ...

    async def discard_dead_letter(self, letter_id: str) -> DeadLetterView:
        """Remove it for good. Raises DeadLetterNotFound."""
        ...

    def tools(self) -> list[ToolView]:
        """The tools that agents may list, by name."""
        ...

    async def content(self, name: str) -> bytes:
        """A large result by its hash, 64 hex digits. Raises ContentNotFound."""
        ...

    async def status(self) -> NodeView:
        """The node at one glance."""
        ...

    def events(self, after: int | None) -> AsyncIterator[Event]:
        """Kept events later than ``after``, then live ones."""
        ...
