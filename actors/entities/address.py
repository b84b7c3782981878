"""The address of an entity, which stays good whether or not the entity is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pykka._envelope import Envelope

from actors.actor import Actor
from actors.ask import Ask
from actors.errors import AskFromLoop
from actors.future import Future

if TYPE_CHECKING:
    from actors.dispatch.dispatcher import Dispatcher
    from actors.system import ActorSystem

__all__ = ["Entity", "EntityRef", "Post"]

ASK_TIMEOUT_S = 5.0


class Post(Protocol):
    """Takes messages for entities of one type: a region, or a shard of one."""

    system: ActorSystem
    dispatcher: Dispatcher

    def post(self, entity_id: str, envelope: Envelope[Any]) -> None:
        """Have the entity handle the message. Any thread; never raises for a full buffer."""
        ...

    def passivate(self, entity_id: str) -> None:
        """Have the entity go from memory after what is in its mailbox."""
        ...

    def path_of(self, entity_id: str) -> str:
        """Where its actor stands in the tree."""
        ...


class EntityRef:
    """The address of an entity: ``tell`` and ``ask`` always find it, and make it when needed.

    Give this away, not the ``actor_ref`` of an entity: that one ends with each passivation.
    """

    __slots__ = ("_post", "_region", "entity_id")

    def __init__(self, region: Post, entity_id: str) -> None:
        self._region = region
        self._post = region.post
        self.entity_id = entity_id

    @property
    def path(self) -> str:
        """Where its actor stands in the tree, such as ``/system/carts/7``."""
        return self._region.path_of(self.entity_id)

    def tell(self, message: Any) -> None:
        """Have the entity handle ``message``. Never blocks and never raises; what cannot be kept
        for it is a dead letter."""
        self._post(self.entity_id, Envelope(message))

    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = ASK_TIMEOUT_S
    ) -> Any:
        """Have the entity answer ``message``; a future with ``block=False``.

        ``timeout`` seconds from now are the deadline, 5 when not given; None: there is none.

        Raises:
            AskFromLoop: a blocking ask on the thread that would have to answer it.
            AskTimeout: there was no answer in time; also a ``pykka.Timeout``.
            EntityUnavailable: the message could not be kept for it.
            Exception: what the handler raised.
        """
        region = self._region
        if block and region.dispatcher.owns_thread():
            raise AskFromLoop(self.path)
        future: Future[Any] = Future()
        deadline = None
        if timeout is not None:
            deadline = region.system.deadlines.add(future, self.path, timeout)
        self._post(self.entity_id, Ask(message, future, deadline))
        return future.get() if block else future

    def passivate(self) -> None:
        """Have it go from memory after what is in its mailbox; its next message brings it back."""
        self._region.passivate(self.entity_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EntityRef):
            return NotImplemented
        return self._region is other._region and self.entity_id == other.entity_id

    def __hash__(self) -> int:
        return hash((id(self._region), self.entity_id))

    def __repr__(self) -> str:
        return f"<EntityRef {self.path}>"


class Entity(Actor):
    """An actor that knows its address. No entity needs to be one.

    Args:
        entity: its address, which the region's factory passes on.
    """

    def __init__(self, entity: EntityRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entity = entity

    def passivate(self) -> None:
        """Go from memory after what is in the mailbox; the next message brings it back."""
        self.entity.passivate()
