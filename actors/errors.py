"""Errors of the runtime: one tree, a stable code each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pykka

__all__ = [
    "ActorError",
    "AskCycle",
    "AskFromLoop",
    "AskTimeout",
    "ChildError",
    "EntityUnavailable",
    "FaultInjected",
    "FrameError",
    "FrameFailed",
    "HandlerCancelled",
    "LinkFull",
    "LinkRefused",
    "MailboxFull",
    "NoLoop",
    "NotEncodable",
    "RemoteError",
    "StartFailed",
    "StashFull",
    "SupervisorFailed",
    "SystemStopped",
    "WordGarbled",
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


class AskTimeout(ActorError, pykka.Timeout):
    """The deadline of an ask passed. An answer that comes now is dropped and counted."""

    code = "ask_timeout"

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__(
            f"no answer of {path} within {timeout_s:g} s; "
            "ask with a longer timeout, or see what the actor does with system.dump()"
        )
        self.path = path
        self.timeout_s = timeout_s


class AskCycle(ActorError):
    """Actors that wait for each other's answers: none of them could ever go on."""

    code = "ask_cycle"

    def __init__(self, chain: Sequence[str]) -> None:
        super().__init__(
            f"these actors wait for each other: {' -> '.join(chain)}; "
            "let one of them take the answer with pipe_to_self() instead of awaiting it"
        )
        self.chain = tuple(chain)


class StashFull(ActorError):
    """The actor put more messages aside than its stash holds. This one was not put aside."""

    code = "stash_full"

    def __init__(self, path: str, capacity: int) -> None:
        super().__init__(
            f"stash of {path} holds {capacity} messages, which is its capacity; "
            "call unstash_all() sooner or raise MailboxSpec.stash"
        )
        self.path = path
        self.capacity = capacity


class NoLoop(ActorError):
    """Something has to be awaited, and the actor's dispatcher has no event loop."""

    code = "no_loop"

    def __init__(self, path: str, what: str) -> None:
        super().__init__(
            f"{what} of {path} has to be awaited, but its dispatcher has no event loop; "
            "use actors.Actor on a CooperativeDispatcher, or a plain function"
        )
        self.path = path


class ChildError(ActorError):
    """A supervisor cannot do what was asked of it with this child.

    ``reason`` is ``already_present``, ``running``, ``restarting``, ``not_found``,
    ``start_failed`` or ``stopping``, as OTP names them.
    """

    code = "child_error"

    def __init__(self, supervisor: str, child: str, reason: str, detail: str = "") -> None:
        super().__init__(
            f"child {child!r} of {supervisor}: {reason}" + (f" ({detail})" if detail else "")
        )
        self.supervisor = supervisor
        self.child = child
        self.reason = reason


class SupervisorFailed(ActorError):
    """A supervisor gave up: its children failed more often than its intensity allows."""

    code = "supervisor_failed"

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"supervisor {path} gave up: {detail}")
        self.path = path
        self.detail = detail


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


class NotEncodable(ActorError):
    """A message cannot travel to another process, or what came is no message."""

    code = "not_encodable"

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"a {kind} cannot travel: {detail}")
        self.kind = kind


class RemoteError(ActorError):
    """An ask of an actor in another process failed there.

    ``reason`` is ``not_found``, ``node_lost``, ``link_full``, ``bad_answer``, ``closed`` when this
    process's node was, or the code or class name of what its handler raised. The exception itself
    does not travel.
    """

    code = "remote_error"

    def __init__(self, who: str, reason: str, detail: str) -> None:
        super().__init__(f"{who}: {reason}: {detail}")
        self.who = who
        self.reason = reason
        self.detail = detail


class FrameFailed(ActorError):
    """The owner of a link could not take a frame: what it raised is the cause.

    The connection is closed and the frame comes again, until it has failed ``limit`` times; then it
    is skipped and the link goes on.
    """

    code = "frame_failed"

    def __init__(
        self, peer: str, number: int, kind: int, times: int, limit: int, error: Exception
    ) -> None:
        then = "is skipped" if times >= limit else "comes again"
        super().__init__(
            f"frame {number} of kind {kind} from {peer} failed {times} of {limit} times and "
            f"{then}: {type(error).__name__}: {error}"
        )
        self.__cause__ = error
        self.peer = peer
        self.number = number
        self.kind = kind
        self.times = times
        self.limit = limit

    @property
    def skipped(self) -> bool:
        """Whether it comes no more."""
        return self.times >= self.limit


class LinkRefused(ActorError):
    """The other side is not who it should be, or speaks another version."""

    code = "link_refused"


class StartFailed(ActorError):
    """A child process did not become ready."""

    code = "start_failed"


class WordGarbled(ActorError):
    """What goes between a supervisor and its child process is no word of theirs."""

    code = "word_garbled"


class EntityUnavailable(ActorError):
    """A message for an entity could not be kept for it. It went to dead letters.

    ``reason`` is ``entity_buffer_full``, ``entity_closed``, ``start_failed``, ``stopped`` or, with
    several processes, ``shard_buffer_full``, ``shard_left`` and ``node_lost``.
    """

    code = "entity_unavailable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} did not take a message: {reason}; see {path}'s counters and logs")
        self.path = path
        self.reason = reason


class FaultInjected(ActorError):
    """A test let a fault point fail: a ``request`` before, or a ``reply`` after it was done."""

    code = "fault_injected"

    def __init__(self, point: str, half: str, call: int, seed: int) -> None:
        super().__init__(f"{half} of {point} fails on purpose (call {call}, seed {seed})")
        self.point = point
        self.half = half
        self.call = call
        self.seed = seed
