"""A message on its way through a shard, from its acceptance to its handled mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.observe.tracing import Trace
from caxton.storage.records import Recovered, RetryRecord

__all__ = ["Accepted", "Handling", "Origin"]


class Origin(Protocol):
    """Who submitted: a link to another process, or this process itself."""

    def acked(self, references: Sequence[int], *, disk: bool) -> None:
        """These are in the journal at the node's durability."""
        ...

    def duplicate(self, references: Sequence[int], *, disk: bool) -> None:
        """These had been accepted before, and are in the journal."""
        ...

    def refused(self, reference: int, error: CaxtonError) -> None:
        """Nothing was done for this one."""
        ...

    def replied(self, raw: bytes, message: Message) -> None:
        """A committed message that answers one of this origin's."""
        ...


class Handling(Protocol):
    """A message that an agent's actor is given, and the two ways it ends."""

    message: Message
    sequence: int
    """Its number at the conversation's shard."""
    delivery_count: int
    resumes: bytes
    """Which failure of an earlier message this one may follow; empty for none."""
    sampled: bool
    """Whether it is traced."""
    took_s: float
    """How long handling took, when that was in a task; 0 until it is done."""

    def done(self, outputs: Sequence[Message]) -> None:
        """The agent handled it; ``outputs`` is what it wants to send."""
        ...

    def failed(self, error: CaxtonError, traceback: str) -> None:
        """The agent could not handle it this time."""
        ...


class Accepted(msgspec.Struct, eq=False, gc=False):
    """One accepted message at its conversation's shard.

    A struct of C, for there is one for each message; the cyclic collector need not look at what is
    referred to by nothing that it refers to.
    """

    message: Message
    raw: bytes
    sequence: int
    accepted_at: float
    """By the shard's clock."""
    settler: Settler
    at_ms: int = 0
    """When it was accepted, in milliseconds since 1970."""
    delivery_count: int = 1
    attempts: int = 0
    deaths: int = 0
    """How often its process died while it was pending."""
    kills: int = 0
    """How often its process died while it was on trial."""
    due: int = 0
    """When it comes again, in milliseconds since 1970; 0 for now."""
    resumes: bytes = b""
    refused: tuple[bytes, ...] = ()
    """Providers that gave it back, since it last waited."""
    target: bytes | None = None
    took_s: float = 0.0
    trace: Trace | None = None
    sampled: bool = False
    routing_us: int = 0
    """From its acceptance until its agent was chosen."""

    def take_up(self, recovered: Recovered) -> bool:
        """Go on where the last run was; whether the journal has to note that it died."""
        retry = recovered.retries.get(self.sequence)
        if retry is not None:
            self.attempts = retry.attempts
            self.due = retry.due
            self.deaths = retry.deaths
            self.kills = retry.kills
            self.delivery_count = max(retry.attempts, 1 if retry.due else 2)
        if recovered.died:
            self.deaths += 1
            self.kills += self.sequence == recovered.trial
        return recovered.died

    def retry_record(self, due: int) -> RetryRecord:
        """What the journal notes of it, when it comes again at ``due``."""
        return RetryRecord(self.attempts, due, self.deaths, self.kills)

    def done(self, outputs: Sequence[Message]) -> None:
        """An agent handled it."""
        if self.trace is not None:
            self.trace.returned(self.delivery_count, None)
        self.settler.done(self, outputs)

    def failed(self, error: CaxtonError, traceback: str) -> None:
        """An agent did not handle it this time."""
        if self.trace is not None:
            self.trace.returned(self.delivery_count, error)
        self.settler.failed(self, error, traceback)


class Settler(Protocol):
    """The part of the pipeline that ends a delivery."""

    def done(self, accepted: Accepted, outputs: Sequence[Message]) -> None:
        """The message was handled."""
        ...

    def failed(self, accepted: Accepted, error: CaxtonError, traceback: str) -> None:
        """This attempt to have it handled failed."""
        ...
