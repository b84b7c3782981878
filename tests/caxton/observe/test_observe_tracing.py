"""Tracing: what is sampled, and the spans of messages on their way through a shard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from caxton.agents.behaviour import Outgoing
from caxton.config import Config
from caxton.errors import AgentFailed, ConfigInvalid
from caxton.message import Message, Performative, TraceContext, make_message
from caxton.observe import names
from caxton.observe.exporters import EXPORTERS, make_tracing
from caxton.observe.spans import Spans
from caxton.observe.tracing import OFF, Tracing, message_span, trace_id
from caxton.types import derived_id, format_id, new_id

sys.path.insert(0, str(Path(__file__).parents[1] / "routing"))
from engine import CLIENT, Engine, agent_id, reply

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collected:
    """A tracing whose spans stay here."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = Spans(self.exporter, version="1", node="n", process="shard-0")
        self.ratio = ratio

    def __call__(self, directory) -> Tracing:
        return Tracing(self.spans, self.ratio, directory.name)

    def of(self, message: Message) -> dict[str, ReadableSpan]:
        """The spans of a message by their first word."""
        self.spans._processor.force_flush()
        identity = format_id(message.message_id)
        return {
            span.name.split()[0]: span
            for span in self.exporter.get_finished_spans()
            if span.attributes[names.MESSAGE_ID] == identity
        }

    def all(self) -> list[ReadableSpan]:
        self.spans._processor.force_flush()
        return list(self.exporter.get_finished_spans())


def message(**fields) -> Message:
    return make_message("request", sender=new_id(), receiver=new_id(), **fields)


# --- what is sampled -------------------------------------------------------------------------


def test_nothing_is_sampled_by_a_node_that_does_not_trace() -> None:
    """Not even what says so of itself; its context is passed on as it is."""
    context = TraceContext(TRACE, PARENT, sampled=True)
    asked = message(trace_context=context)
    assert not OFF.active
    assert not OFF.samples(asked)
    assert OFF.passed_on(asked, sampled=False, far=True) is context
    assert OFF.passed_on(message(), sampled=False, far=True) is None
    with pytest.raises(RuntimeError, match="no spans"):
        OFF.begin(asked, 0.0)


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (0.1, 70, 130), (1.0, 1000, 1000)])
def test_the_ratio_is_kept(ratio, low, high) -> None:
    """Of 1,000 messages with ids of their own."""
    tracing = Tracing(Collected().spans, ratio)
    # Ids as they come in a stream: the time in them hardly moves.
    assert low <= sum(tracing.samples(message()) for _ in range(1_000)) <= high


async def test_what_a_message_causes_has_its_verdict(tmp_path) -> None:
    """In its own conversation and in a new one."""
    collected = Collected(0.5)

    def work(message, _):
        return (
            Outgoing(Performative.INFORM, b"done"),
            Outgoing(
                Performative.INFORM, b"by the way", receiver=agent_id("Other"),
                new_conversation=True,
            ),
        )  # fmt: skip

    engine = Engine(tmp_path, {"Work": work, "Other": lambda *_: ()}, tracing=collected)
    asked = [engine.message("Work") for _ in range(40)]
    engine.submit(*asked)
    await engine.settled()
    sent = {one.attributes[names.MESSAGE_ID] for one in collected.all() if one.name[:4] == "send"}
    whole = 0
    for one in asked:
        family = [one.message_id, *(derived_id(one.message_id, index) for index in (0, 1))]
        found = [format_id(member) in sent for member in family]
        assert len(set(found)) == 1
        whole += found[0]
    assert 5 < whole < 35
    await engine.stop()


@pytest.mark.parametrize("sampled", [True, False])
def test_the_sender_decides_when_it_says(sampled) -> None:
    """Whatever the ratio is."""
    context = TraceContext(TRACE, PARENT, sampled)
    for ratio in (0.0, 1.0):
        tracing = Tracing(Collected().spans, ratio)
        assert tracing.samples(message(trace_context=context)) is sampled


def test_ids_follow_from_the_message() -> None:
    """So that every process finds the same ones."""
    plain = message()
    assert trace_id(plain) == int.from_bytes(plain.message_id, "big")
    tracing = Tracing(Collected().spans, 1.0)
    below = tracing.passed_on(plain, sampled=True)
    assert below.trace_id == plain.message_id.hex()
    assert below.span_id == plain.message_id[8:].hex()
    assert below.sampled
    named = message(trace_context=TraceContext(TRACE, PARENT, sampled=True))
    assert tracing.passed_on(named, sampled=True).trace_id == TRACE
    assert tracing.passed_on(named, sampled=True).span_id == named.message_id[8:].hex()


def test_requests_enter_with_a_context() -> None:
    """Theirs, or one by the ratio; a node that traces puts its own span between."""
    theirs = TraceContext(TRACE, PARENT, sampled=True)
    assert OFF.enter(TRACE, theirs) is theirs
    assert not OFF.enter(TRACE, None).sampled
    tracing = Tracing(Collected().spans, 1.0)
    below = tracing.enter(TRACE, theirs)
    assert below.trace_id == TRACE
    assert below.span_id != PARENT
    assert tracing.enter(TRACE, None).sampled
    unsampled = TraceContext(TRACE, PARENT, sampled=False)
    assert not tracing.enter(TRACE, unsampled).sampled


def test_a_request_has_a_server_span() -> None:
    """Below the caller's, above the messages it brought; none when it is not sampled."""
    collected = Collected()
    tracing = Tracing(collected.spans, 1.0)
    parent = TraceContext(TRACE, PARENT, sampled=True)
    context = tracing.enter(TRACE, parent)
    tracing.answered(context, parent, 1, method="POST", route="/api/v1/messages", status=202)
    off = TraceContext(TRACE, PARENT, sampled=False)
    tracing.answered(off, None, 1, method="POST", route="/api/v1/messages", status=202)
    tracing.answered(tracing.enter(TRACE, None), None, 1, method="GET", route="/x", status=404)
    first, second = collected.all()
    assert first.name == "POST /api/v1/messages"
    assert first.kind is SpanKind.SERVER
    assert f"{first.context.span_id:016x}" == context.span_id
    assert f"{first.parent.span_id:016x}" == PARENT
    assert first.attributes[names.STATUS] == 202
    assert second.parent is None


# --- the spans of a message ------------------------------------------------------------------


async def test_a_message_leaves_its_spans(tmp_path) -> None:
    """One tree: send, with admit, journal, route and deliver in it, and handle in that."""
    collected = Collected()
    engine = Engine(tmp_path, {"Work": lambda *_: reply("done")}, tracing=collected)
    asked = engine.message("Work", content="hello", protocol="fipa-request")
    engine.submit(asked)
    await engine.settled()
    spans = collected.of(asked)
    assert set(spans) == {"send", "admit", "journal", "route", "deliver", "handle"}
    send = spans["send"]
    assert send.name == "send Work"
    assert send.kind is SpanKind.PRODUCER
    assert send.parent is None
    assert send.context.span_id == message_span(asked)
    assert {span.context.trace_id for span in spans.values()} == {trace_id(asked)}
    for step in ("admit", "journal", "route", "deliver"):
        assert spans[step].parent.span_id == send.context.span_id
        assert spans[step].kind is SpanKind.INTERNAL
    handle = spans["handle"]
    assert handle.parent.span_id == spans["deliver"].context.span_id
    assert handle.kind is SpanKind.CONSUMER
    assert handle.attributes[names.OPERATION_TYPE] == "process"
    assert send.attributes[names.SYSTEM] == "caxton"
    assert send.attributes[names.CONVERSATION_ID] == format_id(asked.conversation_id)
    assert send.attributes[names.PERFORMATIVE] == "request"
    assert send.attributes[names.BODY_SIZE] == 5
    assert send.attributes[names.PROTOCOL] == "fipa-request"
    assert send.attributes[names.AGENT_ID] == format_id(agent_id("Work"))
    assert spans["journal"].attributes[names.BATCH_COUNT] >= 1
    assert spans["deliver"].attributes[names.ATTEMPT] == 1
    assert send.resource.attributes["service.name"] == "caxton"
    assert send.resource.attributes["caxton.process"] == "shard-0"
    for span in spans.values():
        assert 0 < span.start_time <= span.end_time
        assert set(span.attributes) <= set(names.ATTRIBUTES)
        assert "hello" not in str(dict(span.attributes))
    await engine.stop()


async def test_a_reply_is_in_the_trace_below_what_it_answers(tmp_path) -> None:
    """By its context, which says so to whoever gets it."""
    collected = Collected()
    engine = Engine(tmp_path, {"Work": lambda *_: reply("done")}, tracing=collected)
    asked = engine.message("Work", trace_context=TraceContext(TRACE, PARENT, sampled=True))
    engine.submit(asked, wait=True)
    await engine.settled()
    answer = engine.asker.replies[0]
    assert answer.trace_context.trace_id == TRACE
    assert answer.trace_context.span_id == asked.message_id[8:].hex()
    sent = collected.of(answer)["send"]
    assert sent.parent.span_id == message_span(asked)
    assert f"{sent.context.trace_id:032x}" == TRACE
    assert f"{collected.of(asked)['send'].parent.span_id:016x}" == PARENT
    await engine.stop()


async def test_unsampled_messages_leave_nothing(tmp_path) -> None:
    """And their replies have no context that they had not."""
    collected = Collected(ratio=0.0)
    engine = Engine(tmp_path, {"Work": lambda *_: reply("done")}, tracing=collected)
    engine.submit(engine.message("Work"), wait=True)
    await engine.settled()
    assert collected.all() == []
    assert engine.asker.replies[0].trace_context is None
    await engine.stop()


async def test_each_attempt_has_its_spans_and_the_error(tmp_path) -> None:
    """With the code of what went wrong; the end of the message says how it ended."""
    collected = Collected()
    tries = []

    def work(*_):
        tries.append(1)
        if len(tries) == 1:
            raise AgentFailed(agent="Work", attempts=1, reason="not yet")
        return reply("done")

    engine = Engine(tmp_path, {"Work": work}, tracing=collected, retry_delay_ms=100)
    asked = engine.message("Work")
    engine.submit(asked)
    await engine.settled()
    identity = format_id(asked.message_id)
    spans = [one for one in collected.all() if one.attributes[names.MESSAGE_ID] == identity]
    deliveries = [one for one in spans if one.name == "deliver Work"]
    handles = [one for one in spans if one.name == "handle Work"]
    assert [one.attributes[names.ATTEMPT] for one in deliveries] == [1, 2]
    assert [one.parent.span_id for one in handles] == [one.context.span_id for one in deliveries]
    for failed in (deliveries[0], handles[0]):
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.attributes[names.ERROR] == "AGENT_FAILED"
    assert deliveries[1].status.status_code is StatusCode.UNSET
    assert collected.of(asked)["send"].status.status_code is StatusCode.UNSET
    await engine.stop()


async def test_a_dead_letter_ends_with_its_error(tmp_path) -> None:
    """And the FAILURE about it is in its trace."""
    collected = Collected()
    engine = Engine(tmp_path, {"Work": lambda *_: ()}, tracing=collected)
    asked = engine.message(capability="nothing-of-that-kind")
    engine.submit(asked, wait=True)
    await engine.settled()
    send = collected.of(asked)["send"]
    assert send.name == "send nothing-of-that-kind"
    assert send.attributes[names.ERROR] == "NO_CAPABILITY_PROVIDERS"
    assert engine.asker.replies[0].trace_context.span_id == asked.message_id[8:].hex()
    await engine.stop()


async def test_an_agent_s_own_spans_go_below_its_handling(tmp_path) -> None:
    """In handlers that return at once and in tasks."""
    collected = Collected()
    seen = {}

    def quick(message, _):
        seen["quick"] = otel.get_current_span().get_span_context()
        return reply("done")

    async def slow(message, _):
        seen["slow"] = otel.get_current_span().get_span_context()
        return reply("done")

    engine = Engine(tmp_path, {"Quick": quick, "Slow": slow}, tracing=collected)
    for name in ("Quick", "Slow"):
        asked = engine.message(name)
        engine.submit(asked)
        await engine.settled()
        handle = collected.of(asked)["handle"]
        assert seen[name.lower()].trace_id == handle.context.trace_id
        assert seen[name.lower()].span_id == handle.context.span_id
    assert not otel.get_current_span().get_span_context().is_valid
    await engine.stop()


async def test_what_a_crash_left_is_traced_by_the_next_process(tmp_path) -> None:
    """With the same ids: the verdict follows from the message."""
    collected = Collected()
    gone = []

    def work(*_):
        return reply("done") if gone else hang()

    async def hang():
        await engine.until(lambda: False, timeout_s=60)

    engine = Engine(tmp_path, {"Work": work}, tracing=collected)
    asked = engine.message("Work")
    engine.submit(asked)
    await engine.until(lambda: engine.asker.acks)
    gone.append(1)
    await engine.crash()
    await engine.settled()
    spans = collected.of(asked)
    assert spans["send"].context.span_id == message_span(asked)
    assert spans["deliver"].attributes[names.ATTEMPT] == 2
    await engine.stop()


async def test_copies_of_a_broadcast_are_in_its_trace(tmp_path) -> None:
    """Each below the message it is a copy of."""
    collected = Collected()
    engine = Engine(
        tmp_path,
        {"note-a": lambda *_: (), "note-b": lambda *_: ()},
        tracing=collected,
        capability_strategy="broadcast",
    )
    told = engine.message(capability="note", act="inform", sender=CLIENT)
    engine.submit(told)
    await engine.settled()
    handled = [one for one in collected.all() if one.name.startswith("handle")]
    assert {one.attributes[names.AGENT_NAME] for one in handled} == {"note-a", "note-b"}
    assert {one.context.trace_id for one in handled} == {trace_id(told)}
    await engine.stop()


# --- exporters -------------------------------------------------------------------------------


def test_a_node_traces_nothing_unless_told() -> None:
    """The default needs no package and no import."""
    assert make_tracing(Config(), new_id(), "shard-0") is OFF


def test_every_exporter_of_the_settings_is_in_the_table() -> None:
    """And can be made."""
    for name, exporter in EXPORTERS.items():
        assert Config(trace_exporter=name).trace_exporter == name
        made = exporter.make("http://127.0.0.1:9" if exporter.endpoint else None)
        made.shutdown()
        assert exporter.about


def test_an_exporter_that_is_not_installed_says_what_to_install(monkeypatch) -> None:
    """One clear error that names the setting."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.zipkin.json", None)
    with pytest.raises(ConfigInvalid, match=r"caxton\[tracing\]") as caught:
        make_tracing(Config(trace_exporter="zipkin"), new_id(), "shard-0")
    assert caught.value.fields["field"] == "trace.exporter"


def test_the_environment_names_the_service(monkeypatch) -> None:
    """As in every other service that speaks OpenTelemetry."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "billing")
    spans = Spans(InMemorySpanExporter(), version="1", node="n", process="p")
    assert spans._resource.attributes["service.name"] == "billing"
    assert spans._resource.attributes["service.instance.id"] == "n/p"
    spans.close(1)
