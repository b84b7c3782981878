"""Tracing: which messages are traced, and the spans of each on its way through the node.

A message belongs to the trace that its W3C context names. One without a context has a trace of its
own whose ids follow from its message id, so that every process finds the same ones and nothing has
to be written into the message. Whether it is traced is decided once, when it enters: by its
context, or else by a hash of its id against the ratio. What a message causes has its verdict. An
unsampled message pays for that comparison and for nothing else.

The spans of a message: ``send`` from its acceptance to its end, and in it ``admit``, ``journal``,
``route`` and a ``deliver`` for each attempt with the agent's ``handle`` in it, which is made where
the agent lives. Attributes follow the OpenTelemetry semantic conventions for messaging.
"""

from __future__ import annotations

import contextvars
import random
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Protocol
from zlib import crc32

from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.observe import names
from caxton.trace_context import TraceContext
from caxton.types import format_id

__all__ = ["OFF", "HandleSpan", "SpanSink", "Trace", "Tracing"]

WHOLE = 1 << 32
"""Values of the hash that a ratio is a share of."""


class SpanSink(Protocol):
    """Where finished spans go. ``caxton.observe.spans.Spans`` is the real one."""

    def add(
        self,
        name: str,
        ids: tuple[int, int, int],
        start_ns: int,
        end_ns: int,
        kind: str,
        attributes: dict[str, Any],
        error: CaxtonError | None,
    ) -> None:
        """A span is over.

        Args:
            name: operation and what it is about.
            ids: of the trace, the span and its parent; 0 for no parent.
            start_ns, end_ns: nanoseconds since 1970.
            kind: internal, producer, consumer or server.
            attributes: values by name.
            error: why it failed; None when it did not.
        """
        ...

    def context(self, ids: tuple[int, int]) -> contextvars.Context:
        """A context in which the span of these ids (trace and span) is the current one."""
        ...

    def close(self, timeout_s: float) -> None:
        """Export what is left."""
        ...


def trace_id(message: Message) -> int:
    """The trace that a message belongs to."""
    context = message.trace_context
    if context is not None:
        return int(context.trace_id, 16)
    return int.from_bytes(message.message_id, "big")


def message_span(message: Message) -> int:
    """The ``send`` span of a message."""
    return int.from_bytes(message.message_id[8:], "big")


def _deliver_span(message: Message, attempt: int) -> int:
    digest = blake2b(message.message_id + attempt.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


class Tracing:
    """Decides and collects for one process.

    Args:
        sink: where spans go; None traces nothing.
        ratio: share of the messages without a context that are traced, from 0 to 1.
        name_of: the name of an agent, for people.
        clock: monotonic seconds, as the pipeline counts.
        wall_ns: nanoseconds since 1970.
    """

    def __init__(
        self,
        sink: SpanSink | None,
        ratio: float = 0.0,
        name_of: Callable[[bytes], str] = format_id,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.sink = sink
        self.name_of = name_of
        self.clock = clock
        self.wall_ns = wall_ns
        self._below = round(ratio * WHOLE) if sink is not None else 0

    @property
    def active(self) -> bool:
        """Whether anything is traced at all."""
        return self.sink is not None

    def samples(self, message: Message) -> bool:
        """Whether a message that enters is to be traced."""
        context = message.trace_context
        if context is None:
            return crc32(message.message_id) < self._below
        return context.sampled and self.sink is not None

    def begin(self, message: Message, since: float) -> Trace:
        """A sampled message came at ``since`` of the clock."""
        return Trace(self, self._sink(), message, since)

    def handle(self, message: Message, attempt: int) -> HandleSpan:
        """An agent begins with a sampled message, for the ``attempt``-th time."""
        return HandleSpan(self, self._sink(), message, attempt)

    def _sink(self) -> SpanSink:
        if self.sink is None:
            raise RuntimeError("a node that traces nothing has no spans")
        return self.sink

    def passed_on(
        self, message: Message, *, sampled: bool, far: bool = False
    ) -> TraceContext | None:
        """The context for what a message causes: in its trace, below its span.

        Args:
            message: the cause.
            sampled: whether it is traced.
            far: where that goes, nobody knows the verdict: the context has to say so.
        """
        if not sampled:
            if not far or message.trace_context is not None or self.sink is None:
                return message.trace_context
            span = f"{message_span(message):016x}"
            return TraceContext(f"{trace_id(message):032x}", span, sampled=False)
        span = f"{message_span(message):016x}"
        return TraceContext(f"{trace_id(message):032x}", span, sampled=True)

    def enter(self, trace: str, parent: TraceContext | None) -> TraceContext:
        """The context for messages that come with a request.

        Args:
            trace: id of the request's trace, as text.
            parent: the context that the request came with.
        """
        if parent is not None and self.sink is None:
            return parent
        sampled = (
            parent.sampled if parent is not None else crc32(bytes.fromhex(trace)) < self._below
        )
        return TraceContext(trace, f"{_span_id():016x}", sampled)

    def answered(
        self,
        context: TraceContext,
        parent: TraceContext | None,
        start_ns: int,
        *,
        method: str,
        route: str,
        status: int,
    ) -> None:
        """A request was answered; its messages have the ``context``."""
        if self.sink is None or not context.sampled:
            return
        above = int(parent.span_id, 16) if parent is not None else 0
        ids = (int(context.trace_id, 16), int(context.span_id, 16), above)
        attributes = {names.METHOD: method, names.ROUTE: route, names.STATUS: status}
        end_ns = max(start_ns, self.wall_ns())
        self.sink.add(f"{method} {route}", ids, start_ns, end_ns, names.SERVER, attributes, None)

    def close(self, timeout_s: float) -> None:
        """Export what is left; takes at most about ``timeout_s``."""
        if self.sink is not None:
            self.sink.close(timeout_s)


STEP = (names.MESSAGE_ID, names.CONVERSATION_ID, names.PERFORMATIVE)
"""What the span of each step says of its message."""
OFF = Tracing(None)
"""Traces nothing."""


def _span_id() -> int:
    return random.getrandbits(63) + 1


class Trace:
    """A sampled message on its way through its conversation's shard."""

    __slots__ = ("_at", "_attributes", "_message", "_name", "_offset", "_sent", "_since", "_sink",
                 "_steps", "_trace", "_tracing")  # fmt: skip

    def __init__(self, tracing: Tracing, sink: SpanSink, message: Message, since: float) -> None:
        self._tracing = tracing
        self._sink = sink
        self._message = message
        self._trace = trace_id(message)
        now = tracing.clock()
        self._offset = tracing.wall_ns() - int(now * 1e9)
        """What makes a time of the clock nanoseconds since 1970."""
        self._since = since
        self._at = self._sent = now
        self._name = ""
        self._attributes = every = _attributes(tracing, message)
        # The spans of the steps are below that of the message, which says the rest.
        self._steps = {name: every[name] for name in STEP}

    def admitted(self) -> None:
        """The message is in the open batch of the journal."""
        self._at = self._tracing.clock()
        self._span("admit", self._since, self._at)

    def journaled(self, now: float, messages: int) -> None:
        """The commit that holds it is done; ``messages`` were in it."""
        self._span(
            "journal", self._at, now, {names.BATCH_COUNT: messages},
        )  # fmt: skip

    def routed(self, agent_id: bytes) -> None:
        """Its agent was found."""
        self._sent = self._tracing.clock()
        self._name = self._tracing.name_of(agent_id)
        agent = {names.AGENT_ID: format_id(agent_id), names.AGENT_NAME: self._name}
        self._attributes.update(agent)
        self._steps.update(agent)
        self._span("route", self._at, self._sent)

    def sent(self) -> None:
        """It goes to its agent."""
        self._sent = self._tracing.clock()

    def returned(self, attempt: int, error: CaxtonError | None) -> None:
        """The agent is done with it, for this time."""
        self._span(
            "deliver", self._sent, self._tracing.clock(), {names.ATTEMPT: attempt},
            error=error, span=_deliver_span(self._message, attempt),
        )  # fmt: skip

    def ended(self, error: CaxtonError | None) -> None:
        """It was handled, or is a dead letter."""
        message, context = self._message, self._message.trace_context
        above = int(context.span_id, 16) if context is not None else 0
        attributes = {
            **self._attributes,
            names.OPERATION: "send",
            names.OPERATION_TYPE: "send",
            names.BODY_SIZE: len(message.content),
            names.PRIORITY: message.delivery_options.priority.name.lower(),
        }
        if message.protocol is not None:
            attributes[names.PROTOCOL] = message.protocol
        ids = (self._trace, message_span(message), above)
        end = self._ns(self._tracing.clock())
        to = self._name or message.capability or "client"
        self._sink.add(
            f"send {to}", ids, self._ns(self._since), end, names.PRODUCER, attributes, error
        )

    def _ns(self, at: float) -> int:
        return int(at * 1e9) + self._offset

    def _span(
        self,
        step: str,
        start: float,
        end: float,
        more: dict[str, Any] | None = None,
        *,
        error: CaxtonError | None = None,
        span: int = 0,
    ) -> None:
        attributes = {**self._steps, names.OPERATION: step, **(more or {})}
        ids = (self._trace, span or _span_id(), message_span(self._message))
        name = f"{step} {self._name}" if self._name else step
        self._sink.add(name, ids, self._ns(start), self._ns(end), names.INTERNAL, attributes, error)


class HandleSpan:
    """A sampled message in the hands of its agent."""

    __slots__ = ("_attempt", "_message", "_sink", "_span", "_start", "_trace", "_tracing")

    def __init__(self, tracing: Tracing, sink: SpanSink, message: Message, attempt: int) -> None:
        self._tracing = tracing
        self._sink = sink
        self._message = message
        self._attempt = attempt
        self._trace = trace_id(message)
        self._span = _span_id()
        self._start = tracing.wall_ns()

    def context(self) -> contextvars.Context:
        """A context in which this is the current span: what is traced in it goes below."""
        return self._sink.context((self._trace, self._span))

    def end(self, agent: str, error: CaxtonError | None) -> None:
        """The agent is done."""
        message = self._message
        attributes = {
            **_attributes(self._tracing, message),
            names.OPERATION: "handle",
            names.OPERATION_TYPE: "process",
            names.AGENT_NAME: agent,
            names.ATTEMPT: self._attempt,
        }
        ids = (self._trace, self._span, _deliver_span(message, self._attempt))
        end = max(self._start, self._tracing.wall_ns())
        self._sink.add(f"handle {agent}", ids, self._start, end, names.CONSUMER, attributes, error)


def _attributes(tracing: Tracing, message: Message) -> dict[str, Any]:
    """What each span of a message says of it. Never its content."""
    if message.capability is not None:
        destination = message.capability
    else:
        destination = tracing.name_of(message.receiver or b"")
    return {
        names.SYSTEM: "caxton",
        names.DESTINATION: destination,
        names.MESSAGE_ID: format_id(message.message_id),
        names.CONVERSATION_ID: format_id(message.conversation_id),
        names.PERFORMATIVE: message.performative.value,
        names.SENDER: tracing.name_of(message.sender),
    }
