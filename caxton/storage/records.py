"""What the journal stores: log records, dead letters, retries, and the batch of one commit."""

from __future__ import annotations

import msgspec

__all__ = ["Batch", "DeadRecord", "LogRecord", "Recovered", "RetryRecord", "State"]


class LogRecord(msgspec.Struct, array_like=True, frozen=True):
    """What one commit wrote."""

    first: int
    """Sequence number of the first message."""
    messages: list[bytes]
    """Messages in msgpack form, in order."""
    handled: list[int]
    """Sequence numbers that were handled or became dead letters."""
    at: int = 0
    """When, in milliseconds since 1970; 0 for records of versions that did not note it."""


class DeadRecord(msgspec.Struct, array_like=True, frozen=True):
    """A message that could not be handled, and why. Outlives the log."""

    sequence: int
    reason: str
    """Error code."""
    detail: str
    attempts: int
    at: int
    """Milliseconds since 1970."""
    message: bytes
    traceback: str = ""


class RetryRecord(msgspec.Struct, array_like=True, frozen=True):
    """A pending message that failed for the moment, or that its process died with."""

    attempts: int
    due: int
    """Milliseconds since 1970; 0 for at once."""
    deaths: int = 0
    """How often its process died while it was pending."""
    kills: int = 0
    """How often its process died while it was on trial."""


class State(msgspec.Struct, array_like=True, frozen=True):
    """Where the journal stands after a commit."""

    commit: int
    next_sequence: int
    replay_from: int
    trial: int = 0
    """The message that is on trial; 0 for none."""
    closed: bool = False
    """Whether the run ended in good order."""
    group: int = 0
    """How many messages are on trial together; 0 for none or a single one."""


class Batch:
    """What one commit writes. Built on the event loop, written as a whole."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.messages: list[bytes] = []
        self.handled: list[int] = []
        self.dead: list[DeadRecord] = []
        self.retries: dict[int, RetryRecord] = {}
        self.noted = False
        """Whether something goes on trial."""
        self.trial = self.group = 0
        """What is on trial when it is closed, as in ``State``."""
        self.raised: list[int] = []
        """Dead letters that go: tried again or discarded."""
        self.conversations: list[tuple[bytes, bytes]] = []
        """Conversation id and snapshot."""
        self.history: list[tuple[bytes, bytes]] = []
        """Key and packed sequence numbers of full history chunks."""
        self.forgotten: list[bytes] = []
        """Conversations whose record and history go."""
        self.replay_from = 0
        """First sequence number that a snapshot may miss once this batch is written."""
        self.owed: object = None
        """What its driver owes to the outside once it is written."""
        self.store_pending: list[int] = []
        self.drop_pending: list[int] = []
        self.drop_retries: list[int] = []

    def __bool__(self) -> bool:
        return bool(
            self.messages
            or self.handled
            or self.conversations
            or self.forgotten
            or self.retries
            or self.raised
            or self.noted
        )


class Recovered(msgspec.Struct):
    """What a start finds."""

    pending: list[tuple[int, bytes]]
    """Accepted and not handled, in order."""
    replay: list[tuple[int, bytes]]
    """Messages that conversation snapshots may miss, in order."""
    retries: dict[int, RetryRecord]
    """Of the pending ones."""
    trial: int
    """The message that was on trial when the last run died; 0 for none."""
    group: int
    """How many were on trial together when the last run died; 0 for none or a single one."""
    died: bool
    """Whether the last run did not end in good order."""
