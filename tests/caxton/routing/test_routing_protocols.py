"""Protocols in a running shard: refusals, deadlines, restarts, branches, pages of history."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from engine import CLIENT, Engine, agent_id, reply

from caxton.agents.behaviour import Outgoing
from caxton.errors import ConversationNotFound
from caxton.message import Message, Performative, make_message
from caxton.types import format_id, new_id

Make = Callable[..., Engine]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def nothing(message: Message, context: Any) -> Any:
    return ()


def acts(engine: Engine, conversation: bytes) -> list[str]:
    return [act for act, _ in engine.texts(conversation)]


def runs(engine: Engine, conversation: bytes) -> dict[str, str]:
    """State of each participant's run."""
    progress = engine.shard.conversations.detail(conversation).conversation.progress
    assert progress is not None
    return progress.participants


async def test_a_wrong_act_is_not_understood(make_engine: Make) -> None:
    """Its sender is told which acts fit; the receiver does not get it, nor who waits."""
    seen: list[str] = []

    def work(message: Message, context: Any) -> Any:
        seen.append(message.performative.value)
        return reply("done", Performative.PROPOSE)

    engine = make_engine({"work": work})
    key = new_id()
    fields: dict[str, Any] = {"conversation_id": key, "protocol": "fipa-request"}
    engine.submit(engine.message("work", content="wrong", **fields), wait=True)
    await engine.settled()
    # It said the same to the node, which does not refuse that.
    assert acts(engine, key) == ["request", "propose", "not-understood", "propose"]
    assert seen == ["request", "not-understood"]
    assert engine.asker.replies == []
    body = orjson.loads(engine.texts(key)[2][1])
    assert body["code"] == "PROTOCOL_VIOLATION"
    assert "says refuse, agree or inform" in body["detail"]
    assert runs(engine, key) == {"work": "requested"}
    engine.submit(engine.message("work", act="accept-proposal", **fields))
    await engine.settled()
    assert acts(engine, key)[4:] == ["accept-proposal", "not-understood"]
    assert seen == ["request", "not-understood"]


async def test_a_request_that_keeps_to_its_protocol(make_engine: Make) -> None:
    """The answer goes to who waits for it, and the run is done."""
    engine = make_engine({"work": lambda message, context: reply("done")})
    message = engine.message("work", protocol="request")
    engine.submit(message, wait=True)
    await engine.settled()
    await engine.until(lambda: engine.asker.replies)
    assert engine.asker.replies[0].in_reply_to == message.message_id
    assert runs(engine, message.conversation_id) == {"work": "done"}


async def test_who_does_not_answer_in_time(make_engine: Make) -> None:
    """FAILURE to the initiator at ``reply_by``, once; a bid after it is not understood."""
    engine = make_engine({"work": nothing, "idle": nothing})
    key = new_id()
    fields: dict[str, Any] = {"act": "cfp", "conversation_id": key, "protocol": "contract-net"}
    calls = [engine.message(one, reply_by=now_ms() + 300, **fields) for one in ("work", "idle")]
    engine.submit(*calls, wait=True)
    await engine.settled()
    engine.submit(
        make_message(
            "propose", receiver=CLIENT, conversation_id=key, protocol="contract-net",
            sender=agent_id("idle"), in_reply_to=calls[1].message_id,
        )
    )  # fmt: skip
    await engine.until(lambda: engine.shard.router.timeouts.count)
    await engine.settled()
    failures = [text for act, text in engine.texts(key) if act == "failure"]
    assert [orjson.loads(one)["reason"] for one in failures] == ["Timeout"]
    assert "answer of the contractor in fipa-contract-net (called)" in failures[0]
    assert [one.in_reply_to for one in engine.asker.replies] == [
        calls[1].message_id,
        calls[0].message_id,
    ]
    assert runs(engine, key)["work"] == "failed"
    late = make_message(
            "propose", receiver=CLIENT, conversation_id=key, protocol="contract-net",
                          sender=agent_id("work"))  # fmt: skip
    engine.submit(late)
    await engine.settled()
    assert acts(engine, key)[-1] == "not-understood"


async def test_a_protocol_goes_on_after_a_restart(make_engine: Make) -> None:
    """Its state, its deadlines and its refusals are those of before, from the log or a snapshot."""
    engine = make_engine({"work": nothing})
    first, second = new_id(), new_id()
    soon = now_ms() + 700
    engine.submit(
        engine.message("work", conversation_id=first, protocol="request", reply_by=soon),
        engine.message("work", conversation_id=second, protocol="subscribe", act="subscribe"),
        engine.message("work", conversation_id=second, protocol="subscribe"),
    )
    await engine.settled()
    assert acts(engine, second) == ["subscribe", "request", "not-understood"]
    engine.shard.router.conversations.settle()
    engine.shard.router.conversations.settle()
    engine.shard.router.commit.kick()
    await engine.settled()
    await engine.crash()
    await engine.settled()
    assert runs(engine, second) == {"work": "subscribing"}
    assert acts(engine, second) == ["subscribe", "request", "not-understood"]
    await engine.until(lambda: "failure" in acts(engine, first))
    await engine.settled()
    assert acts(engine, first) == ["request", "failure"]


async def test_what_was_refused_is_refused_after_a_crash(make_engine: Make) -> None:
    """A pending message that does not fit is answered in the next life, and not delivered."""
    seen: list[str] = []

    def work(message: Message, context: Any) -> Any:
        seen.append(message.performative.value)
        return ()

    engine = make_engine({"work": work})
    key = new_id()
    fields: dict[str, Any] = {"conversation_id": key, "protocol": "request"}
    engine.submit(engine.message("work", **fields))
    await engine.settled()
    violated = engine.shard.router.violated
    refused: list[Any] = []
    engine.shard.router.violated = (  # type: ignore[method-assign]  # the process dies here
        lambda accepted, error: refused.append(accepted)
    )
    engine.submit(engine.message("work", act="cfp", **fields))
    await engine.until(lambda: refused and len(engine.asker.acks) == 2)
    assert await engine.shard.router.commit.flush(5)
    assert violated is not None
    await engine.crash()
    await engine.settled()
    assert acts(engine, key) == ["request", "cfp", "not-understood"]
    assert seen == ["request"]


async def test_a_conversation_that_goes_silent(make_engine: Make) -> None:
    """A run in the middle ends with FAILURE; one that lasts goes on, and is kept."""
    engine = make_engine(
        {"work": lambda message, context: reply("yes", Performative.AGREE)},
    )
    engine.shard.router.conversations.timeout_ms = 30
    asked = engine.message("work", protocol="request")
    news = engine.message("work", act="subscribe", protocol="subscribe")
    engine.submit(asked, news)
    await engine.settled()
    conversations = engine.shard.router.conversations
    idle = now_ms() + 60
    await engine.until(lambda: now_ms() > idle)
    for _ in range(3):
        conversations.settle()
        engine.shard.router.commit.kick()
        assert await engine.shard.router.commit.flush(5)
    conversations.expire()
    await engine.settled()
    assert acts(engine, asked.conversation_id)[-1] == "failure"
    assert "further act in fipa-request (agreed)" in engine.texts(asked.conversation_id)[-1][1]
    shown = engine.shard.conversations.detail(news.conversation_id).conversation
    assert shown.state == "active"
    assert shown.expires_at == ""
    assert shown.progress is not None
    assert shown.progress.participants == {"work": "subscribed"}
    assert acts(engine, news.conversation_id) == ["subscribe", "agree"]


async def test_a_branch_names_its_parent(make_engine: Make) -> None:
    """What an agent opens while it handles a message branches from that conversation."""

    def work(message: Message, context: Any) -> Any:
        return (
            Outgoing(Performative.REQUEST, b"help", agent_id("aide"), new_conversation=True),
            Outgoing(Performative.REQUEST, b"too", agent_id("aide")),
            Outgoing(Performative.INFORM, b"done"),
        )

    engine = make_engine({"work": work, "aide": nothing})
    message = engine.message("work", protocol="request")
    engine.submit(message)
    await engine.settled()
    views = {one.id: one for one in engine.shard.conversations.newest(10)}
    own = format_id(message.conversation_id)
    assert [one.parent for key, one in views.items() if key != own] == [own]
    assert views[own].parent == ""
    assert acts(engine, message.conversation_id) == ["request", "request", "inform"]
    assert runs(engine, message.conversation_id) == {"work": "done"}


async def test_history_comes_in_pages(make_engine: Make) -> None:
    """From the newest backwards, each in order; the last says that there is no more."""
    engine = make_engine({"work": nothing})
    key = new_id()
    engine.submit(*(engine.message("work", conversation_id=key, content=str(n)) for n in range(7)))
    await engine.settled()
    desk = engine.shard.conversations
    found: list[list[str]] = []
    before = 0
    while True:
        page = desk.detail(key, 3, before)
        found.append([one.message["content"] for one in page.messages])
        before = page.before
        if not before:
            break
    assert found == [["4", "5", "6"], ["1", "2", "3"], ["0"]]
    with pytest.raises(ConversationNotFound):
        desk.detail(new_id())


async def test_a_fault_of_the_node_costs_one_message(make_engine: Make) -> None:
    """What cannot be passed on becomes a dead letter; its conversation goes on."""
    engine = make_engine({"work": lambda message, context: reply("done")})
    key = new_id()
    router = engine.shard.router
    resolve = router.resolve

    def broken(accepted: Any, record: Any) -> None:
        if accepted.message.text == "bad":
            raise RuntimeError("a fault")
        resolve(accepted, record)

    router.resolve = broken  # type: ignore[method-assign]  # stands for a fault of ours
    engine.submit(
        engine.message("work", content="bad", conversation_id=key),
        engine.message("work", content="good", conversation_id=key),
    )
    await engine.settled()
    assert ("inform", "done") in engine.texts(key)
    assert "failure" in acts(engine, key)
    (letter,) = engine.shard.dead_letters.newest(2)
    assert letter.reason == "INTERNAL_ERROR"
    sequence = int(letter.id.partition("-")[2])
    assert "a fault" in engine.shard.dead_letters.detail(sequence).traceback
