"""The client's calls without I/O: when they try again, and what with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import orjson
import pytest
from fake_entry import FakeEntry

from caxton.api.app import Limits
from caxton.api.calls import CHUNK_BYTES, Calls
from caxton.api.drafts import Reply, complete, draft, dump
from caxton.api.edge import Edge
from caxton.api.exchange import Answer, Call, Pause, Steps, error_of
from caxton.api.following import Following
from caxton.api.problems import problem
from caxton.errors import (
    AgentNotFound,
    CaxtonError,
    CircuitOpen,
    ConversationNotFound,
    InternalError,
    NodeNotReady,
    NodeUnreachable,
    QueueFull,
    Timeout,
    ValidationError,
)
from caxton.message import DeliveryOptions, Performative, make_message
from caxton.types import MessagePriority, format_id, new_id
from caxton.views import Ack

R = TypeVar("R")
URL = "http://127.0.0.1:1"
GONE = NodeUnreachable(url=URL, reason="refused")
Script = Callable[[Call], Answer]


def good(body: Any, status: int = 200) -> Answer:
    """A good answer."""
    return Answer(status, "application/json", msgspec.json.encode(body))


def bad(error: CaxtonError, retry_after: str = "") -> Answer:
    """A problem."""
    body = orjson.dumps(problem(error, "/", "0" * 32), default=str)
    return Answer(error.status, "application/problem+json", body, retry_after)


def ack_of(body: Any, **changes: Any) -> Ack:
    """The ack for a message."""
    return Ack(body["message_id"], body["conversation_id"], "disk", 0, **changes)


class Driver:
    """Runs calls against scripted answers, on a clock that only pauses move."""

    def __init__(self, *, retry_s: float = 10.0, reached: bool = True) -> None:
        self.now = 0.0
        self.asked: list[Call] = []
        self.pauses: list[float] = []
        self.calls = Calls(URL, timeout_s=30.0, retry_s=retry_s, clock=lambda: self.now)
        self.calls.reached = reached

    def run(self, steps: Steps[R], *answers: Answer | CaxtonError | Script) -> R:
        """The result; the last answer is given as often as asked for."""
        left = list(answers)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                    step = steps.send(None)
                    continue
                self.asked.append(step)
                answer = left.pop(0) if len(left) > 1 else left[0]
                if isinstance(answer, CaxtonError):
                    step = steps.throw(answer)
                else:
                    step = steps.send(answer if isinstance(answer, Answer) else answer(step))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the generator returns


def accept(call: Call) -> Answer:
    """Accept what is sent, message or batch."""
    body = orjson.loads(call.body or b"{}")
    if "messages" in body:
        return good({"items": [ack_of(one) for one in body["messages"]]}, 202)
    return good(ack_of(body), 202)


# --- sending ---------------------------------------------------------------------------------


def test_repeats_are_the_same_message() -> None:
    """After lost answers the same bytes go out again, so the node knows the message."""
    driver = Driver()
    ack = driver.run(
        driver.calls.send(draft("hi", to="x")), GONE, bad(NodeNotReady(part="a")), accept
    )
    assert len({call.body for call in driver.asked}) == 1
    assert len(driver.asked) == 3
    assert ack.message_id in str(driver.asked[0].body)


def test_pauses_grow_and_end() -> None:
    """Pauses double up to one second, until the time for repeats is over."""
    driver = Driver(retry_s=10.0)
    with pytest.raises(NodeUnreachable):
        driver.run(driver.calls.send(draft("hi", to="x")), GONE)
    assert 0.025 <= driver.pauses[0] <= 0.05
    assert max(driver.pauses) <= 1.0
    assert 8.5 <= driver.now < 10.0


def test_node_that_was_never_there_is_told_at_once() -> None:
    """A client that never reached the node does not try again."""
    driver = Driver(reached=False)
    with pytest.raises(NodeUnreachable):
        driver.run(driver.calls.send(draft("hi", to="x")), GONE)
    assert driver.pauses == []


def test_retry_after_is_obeyed() -> None:
    """The node says when to come back."""
    driver = Driver()
    driver.run(
        driver.calls.send(draft("hi", to="x")),
        bad(QueueFull(queue="q", depth=1, limit=1), "3"),
        accept,
    )
    assert driver.pauses == [3.0]


def test_retry_after_the_deadline_is_an_error_now() -> None:
    """When the node says to come back too late, the error comes at once."""
    driver = Driver()
    with pytest.raises(QueueFull):
        driver.run(
            driver.calls.send(draft("hi", to="x")),
            bad(QueueFull(queue="q", depth=1, limit=1), "60"),
        )
    assert driver.pauses == []


@pytest.mark.parametrize(
    "error", [AgentNotFound(agent="x", near=""), CircuitOpen(target="x", retry_after_ms=100)]
)
def test_other_errors_are_not_repeated(error) -> None:
    """What does not pass by itself comes back at once, as the class it is."""
    driver = Driver()
    with pytest.raises(type(error)) as caught:
        driver.run(driver.calls.send(draft("hi", to="x")), bad(error))
    assert str(caught.value) == str(error)
    assert len(driver.asked) == 1


def test_answer_that_does_not_fit_is_an_error() -> None:
    """A good status with a strange body is an error of ours, not a crash."""
    driver = Driver()
    with pytest.raises(InternalError, match="does not fit"):
        driver.run(driver.calls.send(draft("hi", to="x")), good({"message_id": 1}))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, "text/html", b"<html>"),
        Answer(200, "text/html", b"<html>"),
        Answer(500, "", b""),
        Answer(500, "application/problem+json", b"{"),
        Answer(500, "application/problem+json", b"[]"),
        Answer(500, "application/problem+json", b"{}"),
    ],
)
def test_what_is_no_node_is_told(answer: Answer) -> None:
    """Something else at the address is NODE_UNREACHABLE with what it said."""
    assert isinstance(error_of(answer, URL), NodeUnreachable)


def test_unknown_code_keeps_its_detail() -> None:
    """A code of a later version is an internal error that still says what happened."""
    answer = Answer(
        418, "application/problem+json", b'{"code": "TEAPOT", "detail": "short and stout"}'
    )
    assert "short and stout" in str(error_of(answer, URL))


# --- many ------------------------------------------------------------------------------------


def test_chunks_hold_at_most_1000() -> None:
    """2,500 messages are three requests, and outcomes come in order."""
    driver = Driver()
    bodies = [draft(str(number), to="x") for number in range(2_500)]
    outcomes = driver.run(driver.calls.send_many(bodies), accept)
    assert [len(orjson.loads(call.body or b"")["messages"]) for call in driver.asked] == [
        1_000, 1_000, 500,
    ]  # fmt: skip
    assert [one.message_id for one in outcomes if isinstance(one, Ack)] == [
        one["message_id"] for one in bodies
    ]


def test_chunks_are_bounded_in_bytes() -> None:
    """Large messages make smaller chunks."""
    driver = Driver()
    bodies = [draft("x" * (CHUNK_BYTES // 3), to="x") for _ in range(4)]
    assert len(driver.run(driver.calls.send_many(bodies), accept)) == 4
    assert len(driver.asked) == 2


def test_only_the_refused_are_sent_again() -> None:
    """Messages that a busy part refused go out again, the others do not."""
    driver = Driver()
    bodies = [draft(str(number), to="x") for number in range(3)]

    def one_refused(call: Call) -> Answer:
        sent = orjson.loads(call.body or b"")["messages"]
        refused = {"error": problem(NodeNotReady(part="shard 1"), "/", "0" * 32)}
        return good({"items": [ack_of(sent[0]), refused, ack_of(sent[2])]}, 202)

    outcomes = driver.run(driver.calls.send_many(bodies), one_refused, accept)
    assert [one.message_id for one in outcomes if isinstance(one, Ack)] == [
        one["message_id"] for one in bodies
    ]
    assert len(orjson.loads(driver.asked[1].body or b"")["messages"]) == 1


def test_errors_of_single_messages_are_outcomes() -> None:
    """What a message did wrong is its outcome, in its place."""
    driver = Driver()
    answer = good({"items": [{"error": problem(AgentNotFound(agent="x", near=""), "/", "0")}]}, 202)
    (outcome,) = driver.run(driver.calls.send_many([draft(to="x")]), answer)
    assert isinstance(outcome, AgentNotFound)


def test_node_that_leaves_in_the_middle_leaves_outcomes() -> None:
    """What was accepted before the node went away is told, the rest is unreachable."""
    driver = Driver()
    bodies = [draft(to="x") for _ in range(2_500)]
    outcomes = driver.run(driver.calls.send_many(bodies), accept, GONE)
    assert [type(one) for one in outcomes] == [Ack] * 1_000 + [NodeUnreachable] * 1_500


def test_node_that_is_not_there_takes_nothing() -> None:
    """When nothing was sent at all, it is an error."""
    driver = Driver(reached=False)
    with pytest.raises(NodeUnreachable):
        driver.run(driver.calls.send_many([draft(to="x")]), GONE)


def test_refused_chunk_is_the_outcome_of_each() -> None:
    """A chunk that is refused whole does not hide what comes after it."""
    driver = Driver()
    bodies = [draft(to="x") for _ in range(1_001)]
    refused = bad(ValidationError(field="messages", value="x", allowed="y"))
    outcomes = driver.run(driver.calls.send_many(bodies), refused, accept)
    assert [type(one) for one in outcomes] == [ValidationError] * 1_000 + [Ack]


def test_wrong_number_of_outcomes_is_an_error() -> None:
    """Outcomes that do not match the messages are not guessed at."""
    driver = Driver()
    (outcome,) = driver.run(driver.calls.send_many([draft(to="x")]), good({"items": []}, 202))
    assert isinstance(outcome, InternalError)


# --- asking ----------------------------------------------------------------------------------


def _reply_body(body: Any) -> dict[str, Any]:
    return {
        "message_id": format_id(new_id()),
        "conversation_id": body["conversation_id"],
        "performative": "inform",
        "sender": format_id(new_id()),
        "receiver": format_id(new_id()),
        "created_at": "2026-01-02T03:04:05.000Z",
        "in_reply_to": body["message_id"],
        "content": "42",
    }


def test_reply_is_read() -> None:
    """A reply has its ack, its act, its content and who answers."""
    driver = Driver()
    body = draft("6*7", to="x")
    found = _reply_body(body) | {"sender_name": "Calculator", "receiver_name": "client"}
    answer = good(msgspec.to_builtins(ack_of(body)) | {"reply": found})
    reply = driver.run(driver.calls.request(body, 5_000), answer)
    assert (reply.text, reply.content, reply.sender_name) == ("42", b"42", "Calculator")
    assert reply.performative is Performative.INFORM
    assert reply.ack == ack_of(body)
    assert driver.asked[0].query == {"wait": "5000ms"}
    assert driver.asked[0].timeout_s > 5.0
    assert isinstance(reply, Reply)


def test_reply_that_came_while_the_node_was_away_is_found() -> None:
    """When the connection broke, the reply is looked for in the conversation."""
    driver = Driver()
    body = draft("6*7", to="x")
    view = {
        "id": body["conversation_id"], "state": "active", "initiator": "client",
        "participants": [], "protocol": "", "messages": 2, "pending": 0,
        "created_at": "", "last_activity": "", "shard": 0,
    }  # fmt: skip

    def message(changes: dict[str, Any]) -> dict[str, Any]:
        return {
            "sequence": 1, "state": "handled", "sender_name": "Calculator",
            "receiver_name": "client", "message": _reply_body(body) | changes,
        }  # fmt: skip

    nothing = good({"conversation": view, "messages": [message({"performative": "agree"})]})
    there = good({"conversation": view, "messages": [message({})]})
    reply = driver.run(
        driver.calls.request(body, 5_000),
        GONE,
        good(ack_of(body, duplicate=True), 202),
        bad(NodeNotReady(part="shard 0")),
        nothing,
        there,
    )
    assert (reply.text, reply.ack.duplicate, reply.sender_name) == ("42", True, "Calculator")


def test_reply_that_never_comes_is_a_timeout() -> None:
    """Looking for the reply ends at the deadline, with the ids."""
    driver = Driver()
    body = draft("6*7", to="x")
    with pytest.raises(Timeout) as caught:
        driver.run(
            driver.calls.request(body, 2_000),
            GONE,
            good(ack_of(body), 202),
            bad(ConversationNotFound(conversation="x")),
        )
    assert caught.value.fields["message_id"] == body["message_id"]
    assert driver.now <= 2.0


def test_other_errors_of_the_search_are_raised() -> None:
    """A conversation that cannot be read is an error."""
    driver = Driver()
    body = draft("6*7", to="x")
    with pytest.raises(InternalError):
        driver.run(
            driver.calls.request(body, 2_000),
            GONE,
            good(ack_of(body), 202),
            bad(InternalError(reason="x")),
        )


def test_timeout_of_the_node_is_raised() -> None:
    """No reply in time is not tried again."""
    driver = Driver()
    error = Timeout(what="reply", timeout_ms=1_000, message_id="m", conversation_id="c")
    with pytest.raises(Timeout) as caught:
        driver.run(driver.calls.request(draft(to="x"), 1_000), bad(error))
    assert caught.value.fields["message_id"] == "m"
    assert driver.pauses == []


@pytest.mark.parametrize("timeout_ms", [999, 300_001])
def test_reply_timeout_has_a_range(timeout_ms: int) -> None:
    """The time for a reply is 1 s to 300 s."""
    driver = Driver()
    with pytest.raises(ValidationError):
        driver.run(driver.calls.request(draft(to="x"), timeout_ms), GONE)


# --- reading ---------------------------------------------------------------------------------


def test_stale_connection_is_used_once_more() -> None:
    """A read over a connection that was closed meanwhile is made again, once."""
    driver = Driver()
    stale = NodeUnreachable(url=URL, reason="reset", connected=True)
    health = driver.run(driver.calls.health(), stale, good({"status": "healthy", "version": "1"}))
    assert health.status == "healthy"
    with pytest.raises(NodeUnreachable):
        driver.run(driver.calls.health(), stale)
    with pytest.raises(NodeUnreachable):
        driver.run(driver.calls.health(), GONE)
    assert len(driver.asked) == 2 + 2 + 1


def test_broken_pages_are_an_error() -> None:
    """A page that does not fit is an error of ours."""
    driver = Driver()
    for page in ({"items": []}, {"items": [1], "next_page_token": ""}):
        with pytest.raises(InternalError):
            driver.run(driver.calls.agents(None, None), good(page))


def test_limit_of_conversations() -> None:
    """A limit below 1 is refused here."""
    driver = Driver()
    with pytest.raises(ValidationError):
        driver.run(driver.calls.conversations(0), GONE)


def test_no_answer_is_unreachable() -> None:
    """An exchange that brought nothing is NODE_UNREACHABLE."""
    with pytest.raises(NodeUnreachable):
        Driver().calls.take(None)


# --- drafts ----------------------------------------------------------------------------------


def test_draft_holds_what_is_given() -> None:
    """Everything that can be said of a message is in its REST form."""
    identity = new_id()
    options = DeliveryOptions(priority=MessagePriority.HIGH, timeout_ms=2_000)
    body = draft(
        b"\xff",
        to=identity,
        performative=Performative.CFP,
        conversation_id=identity,
        message_id=format_id(identity),
        in_reply_to=identity,
        language="l",
        ontology="o",
        protocol="p",
        options=options,
    )
    text = format_id(identity)
    assert body == {
        "performative": "cfp",
        "message_id": text,
        "conversation_id": text,
        "receiver": text,
        "content_base64": "/w==",
        "in_reply_to": text,
        "language": "l",
        "ontology": "o",
        "protocol": "p",
        "delivery_options": {
            "priority": 8,
            "timeout_ms": 2_000,
            "require_receipt": False,
            "max_retries": 3,
        },
    }


@pytest.mark.parametrize(
    "fields",
    [{}, {"to": "a", "capability": "b"}, {"to": b"short"}, {"to": "a", "conversation_id": "x"}],
)
def test_bad_draft_is_refused(fields) -> None:
    """A draft without exactly one address, or with a bad id, is refused before any I/O."""
    with pytest.raises(ValidationError):
        draft("hi", **fields)


def test_unknown_field_of_a_draft_is_a_mistake_in_the_program() -> None:
    """A misspelled argument is a TypeError, as for any function."""
    with pytest.raises(TypeError, match="capabilty"):
        draft("hi", capabilty="x")  # type: ignore[call-arg]  # meant


def test_messages_get_ids_once() -> None:
    """What has ids keeps them; what has none gets both."""
    body = {"capability": "x", "message_id": format_id(new_id())}
    made = complete(body)
    assert made["message_id"] == body["message_id"]
    assert complete(made) is made
    message = make_message("inform", sender=new_id(), capability="x")
    assert complete(message)["message_id"] == format_id(message.message_id)


def test_what_json_cannot_hold_is_refused() -> None:
    """A body with a value that JSON has no form for is one clear error."""
    with pytest.raises(ValidationError):
        dump({"content": object()})


# --- following -------------------------------------------------------------------------------


def test_following_goes_on_after_the_last_event() -> None:
    """The id of the last event is sent back as it came, and lags are no events."""
    driver = Driver()
    following = Following(driver.calls, None, ("agent.", "process."))
    assert "Last-Event-ID" not in following.call().headers
    assert following.call().query == {"types": "agent.,process."}
    data = '{"id": 7, "at": "", "type": "agent.x", "subject": "", "text": ""}'
    event = following.take("agent.x", data, "0badcafe-7")
    assert event is not None
    assert event.id == 7
    assert following.take("lagged", "{}", "0badcafe-7") is None
    assert following.take("message", "", "") is None
    assert following.call().headers["Last-Event-ID"] == "0badcafe-7"
    with pytest.raises(InternalError):
        following.take("agent.x", "[]", "0badcafe-8")


def test_following_gives_up_after_its_time() -> None:
    """Lost connections are taken up again for ``retry`` seconds."""
    driver = Driver(retry_s=2.0)
    following = Following(driver.calls, 0, ())
    assert following.call().headers["Last-Event-ID"] == "0"

    def lose() -> None:
        while True:
            driver.now += following.lost(Timeout(what="x", timeout_ms=1))

    with pytest.raises(NodeUnreachable):
        lose()
    assert 0.5 <= driver.now <= 2.0


def test_closing_edge_keeps_counts() -> None:
    """Counts of what is under way come back to nothing."""
    edge = Edge(FakeEntry(), Limits(), loopback=True)
    with edge.waiting_slot():
        assert edge.waiting == 1
    assert edge.waiting == 0
