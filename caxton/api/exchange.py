"""One exchange with a node, without any I/O: what a call asks for, and when it tries again.

A call is a generator. It yields ``Call`` (do this request, send me the ``Answer`` or throw
``NodeUnreachable``) and ``Pause`` (wait so long), and returns its result. ``caxton.client`` drives
it with blocking or asyncio I/O; tests drive it with neither.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import orjson

from caxton.errors import CaxtonError, InternalError, NodeUnreachable, error_from_code

__all__ = ["AGAIN", "Answer", "Call", "Exchange", "Pause", "Steps", "error_of", "rebuilt"]

T = TypeVar("T")
R = TypeVar("R")

AGAIN: Final = frozenset(
    {"NODE_UNREACHABLE", "NODE_NOT_READY", "QUEUE_FULL", "RATE_LIMITED", "STORAGE_ERROR"}
)
"""Errors that pass by themselves, and after which a message may be sent again."""
BACKOFF_S: Final = (0.05, 1.0)
"""First and longest pause between tries."""
LEAST_S: Final = 0.05
"""What a last try gets at least."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to make."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pause:
    """A time to wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a ``Call``."""

    status: int
    media: str
    content: bytes
    retry_after: str = ""


Steps = Generator[Call | Pause, Answer | None, R]
"""A call in progress."""


def error_of(answer: Answer, url: str) -> CaxtonError:
    """The error that an answer stands for, as the node raised it."""
    if answer.media == "application/problem+json":
        try:
            return rebuilt(orjson.loads(answer.content), answer.retry_after)
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            return NodeUnreachable(url=url, reason=f"its problem document is broken: {error}")
    return NodeUnreachable(
        url=url, reason=f"status {answer.status} with {answer.media or 'no media type'}; no node?"
    )


def rebuilt(problem: Mapping[str, Any], retry_after: str = "") -> CaxtonError:
    """The error that a problem document describes."""
    fields = dict(problem.get("fields", {}))
    for name in ("trace_id", "message_id", "conversation_id"):
        if name in problem:
            fields[name] = problem[name]
    if retry_after.isascii() and retry_after.isdigit():
        fields.setdefault("retry_after_ms", int(retry_after[:9]) * 1_000)
    error = error_from_code(problem["code"], fields)
    if isinstance(error, InternalError):
        error.fields.setdefault("reason", problem.get("detail", "no detail"))
    error.args = (error.detail,)
    return error


class Exchange:
    """How one client talks to its node.

    Args:
        url: of the node, for error texts.
        timeout_s: how long a call may take, its repeats included, in seconds.
        retry_s: how long sending a message is repeated while the node is not ready, in seconds.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        retry_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.timeout_s = timeout_s
        self.retry_s = retry_s
        self.clock = clock
        self.reached = False
        """The node has answered once: when it does not now, it restarts."""

    # --- trying again ------------------------------------------------------------------------

    def take(self, answer: Answer | None) -> bytes:
        """The body of a good answer.

        Raises:
            CaxtonError: the answer says what went wrong.
        """
        if answer is None:
            raise NodeUnreachable(url=self.url, reason="no answer")
        if answer.status >= 300 or not answer.media.startswith("application/json"):
            raise error_of(answer, self.url)
        self.reached = True
        return answer.content

    def read(self, answer: Answer | None, kind: type[T]) -> T:
        """The body of a good answer, as a ``kind``."""
        try:
            return msgspec.json.decode(self.take(answer), type=kind)
        except msgspec.MsgspecError as error:
            raise InternalError(reason=f"the node's answer does not fit: {error}") from error

    def pause_s(self, error: CaxtonError, tries: int, deadline: float) -> float | None:
        """How long to wait before the next try; None when there is to be none."""
        if error.code not in AGAIN or (isinstance(error, NodeUnreachable) and not self.reached):
            return None
        low, high = BACKOFF_S
        pause = min(low * 2.0 ** min(tries, 20), high) * random.uniform(0.5, 1.0)
        told_ms = error.fields.get("retry_after_ms")
        if isinstance(told_ms, int | float):
            pause = max(pause, told_ms / 1_000)
        return pause if self.clock() + pause < deadline else None

    def post(self, path: str, body: bytes, kind: type[T], deadline: float) -> Steps[T]:
        """POST until it is taken or the deadline for another try has passed."""
        end = self.clock() + self.timeout_s
        tries = 0
        while True:
            try:
                left = max(LEAST_S, end - self.clock())
                call = Call("POST", path, body=body, timeout_s=left)
                return self.read((yield call), kind)
            except CaxtonError as error:
                pause = self.pause_s(error, tries, deadline)
                if pause is None:
                    raise
            yield Pause(pause)
            tries += 1

    def change(self, method: str, path: str, kind: type[T], body: bytes | None = None) -> Steps[T]:
        """A change that is asked for once: repeating it could do it twice."""
        return self.read((yield Call(method, path, body=body, timeout_s=self.timeout_s)), kind)

    def get(self, path: str, kind: type[T], query: Mapping[str, str] | None = None) -> Steps[T]:
        """GET; once more when an idle connection turned out to be closed."""
        call = Call("GET", path, query or {}, timeout_s=self.timeout_s)
        if self.reached:
            try:
                return self.read((yield call), kind)
            except NodeUnreachable as error:
                if error.fields.get("connected") is not True:
                    raise
        return self.read((yield call), kind)
