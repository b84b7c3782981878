"""``RemoteRef``: a ref of an actor in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pykka

from actors.errors import AskFromLoop
from actors.future import fail
from actors.watch import Subscription, Terminated

if TYPE_CHECKING:
    from actors.remote.node import RemoteNode

__all__ = ["RemoteRef"]


class RemoteRef:
    """Tell, ask, watch and stop an actor that another process exports. Made by ``RemoteNode.ref``.

    Two of the same peer and name are equal. Safe from any thread.
    """

    __slots__ = ("name", "node", "peer")

    def __init__(self, node: RemoteNode, peer: str, name: str) -> None:
        self.node = node
        self.peer = peer
        self.name = name

    def __repr__(self) -> str:
        return f"<RemoteRef for {self.path}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteRef) and (self.node, self.peer, self.name) == (
            other.node,
            other.peer,
            other.name,
        )

    def __hash__(self) -> int:
        return hash((self.peer, self.name))

    @property
    def path(self) -> str:
        """Where it is: ``peer:name``."""
        return f"{self.peer}:{self.name}"

    def tell(self, message: Any) -> None:
        """Send a message. Never blocks; waits while the process is away.

        Raises:
            NotEncodable: the message cannot travel.
        """
        self.node.tell(self.peer, self.name, message)

    def tell_many(self, messages: Iterable[Any]) -> None:
        """Send messages in order, as one batch; raises as ``tell``, and then sends none."""
        self.node.tell_many(self.peer, self.name, list(messages))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = 30.0) -> Any:
        """Send a message and get its answer, as ``ActorRef.ask``; always with a deadline.

        Raises:
            RemoteError: the handler raised, the actor is not there, or its process was lost.
            AskTimeout: there was no answer in time.
            NotEncodable: the message cannot travel.
        """
        if block and self.node.system.dispatcher.owns_thread():
            raise AskFromLoop(self.path)
        seconds = 30.0 if timeout is None else timeout
        future = self.node.ask(self.peer, self.name, message, seconds)
        if not block:
            return future
        try:
            return future.get(timeout=seconds + 1.0)
        except pykka.Timeout as error:
            fail(future, error)
            raise

    def stop(self) -> None:
        """Have the actor stop after what it was told before; ``watch`` says when it has."""
        self.node.stop_remote(self.peer, self.name)

    def watch_with(self, callback: Callable[[Terminated], None]) -> Subscription:
        """Call ``callback`` once when the actor has ended, was never there (``not_found``), or its
        process is lost (``node_lost``)."""
        return self.node.watch(self, callback)
