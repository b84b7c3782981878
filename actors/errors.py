"""Errors of the runtime: one tree, a stable code each."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ActorError",
    "AskFromLoop",
    "FrameError",
    "HandlerCancelled",
    "LinkFull",
    "LinkRefused",
    "MailboxFull",
    "SystemStopped",
]


class ActorError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "actor_error"


class MailboxFull(ActorError):
    """A bounded mailbox had no room for this message. It went to dead letters."""

    code = "mailbox_full"

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(f"mailbox of {path} holds {capacity} messages, which is its capacity")
        self.path = path
        self.capacity = capacity


class AskFromLoop(ActorError):
    """A blocking ask on the thread that would have to answer it: a sure deadlock."""

    code = "ask_from_loop"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"blocking ask of {path} on its dispatcher's own thread would never return; "
            "use ask(..., block=False) and await the future"
        )
        self.path = path


class HandlerCancelled(ActorError):
    """Something a handler awaited was cancelled, and the handler let the cancellation through.

    It is a failure like any other: nobody cancelled the actor itself.
    """

    code = "handler_cancelled"

    def __init__(self, path: str, cause: BaseException) -> None:
        super().__init__(f"a handler of {path} awaited something that was cancelled")
        self.path = path
        self.__cause__ = cause


class SystemStopped(ActorError):
    """An actor was to be started in a system that has stopped."""

    code = "system_stopped"

    def __init__(self, system: str, actor: str) -> None:
        super().__init__(f"{actor} not started: the actor system {system!r} has stopped")
        self.system = system
        self.actor = actor


class FrameError(ActorError):
    """Bytes that are no frame. The link they came over is closed.

    ``reason`` is ``too_long``, ``malformed`` or ``truncated``.
    """

    code = "bad_frame"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} frame: {detail}")
        self.reason = reason


class LinkFull(ActorError):
    """What waits to be sent over a link reached its bound."""

    code = "link_full"

    def __init__(self, peer: str, size: int, limit: int) -> None:
        super().__init__(f"{size:,} bytes wait for {peer}, at most {limit:,} may")
        self.peer = peer
        self.size = size
        self.limit = limit


class LinkRefused(ActorError):
    """The other side is not who it should be, or speaks another version."""

    code = "link_refused"
