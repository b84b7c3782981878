"""Deadlines: what is overdue is not handled, wherever it waited; it is a dead letter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from engine import CLIENT, Engine, reply

from caxton.message import DeliveryOptions, Message, make_message
from caxton.routing.deadlines import deadline_ms, overdue
from caxton.routing.retries import Retries
from caxton.types import new_id

Make = Callable[..., Engine]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def timed(**fields: Any) -> Message:
    return make_message("request", sender=CLIENT, receiver=new_id(), created_at=10_000, **fields)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, 0),
        ({"reply_by": 12_000}, 12_000),
        ({"delivery_options": DeliveryOptions(timeout_ms=1_500)}, 11_500),
        ({"reply_by": 11_000, "delivery_options": DeliveryOptions(timeout_ms=1_500)}, 11_000),
        ({"reply_by": 19_000, "delivery_options": DeliveryOptions(timeout_ms=1_500)}, 11_500),
    ],
)
def test_the_earlier_of_both_is_the_deadline(fields: dict[str, Any], ends: int) -> None:
    """``timeout_ms`` counts from ``created_at``; at the deadline it is too late."""
    message = timed(**fields)
    assert deadline_ms(message) == ends
    assert overdue(message, ends - 1) is None
    assert (overdue(message, ends) is None) == (ends == 0)


def failures(engine: Engine, conversation: bytes) -> list[str]:
    """Reasons of the FAILUREs in a conversation."""
    texts = engine.texts(conversation)
    return [orjson.loads(text)["reason"] for act, text in texts if act == "failure"]


async def test_an_overdue_message_is_not_handled(make_engine: Make) -> None:
    """It becomes a dead letter with TIMEOUT and a FAILURE, and the next of its conversation is
    handled."""
    handled: list[str] = []

    def work(message: Message, context: Any) -> Any:
        handled.append(message.text)
        return reply("done")

    engine = make_engine({"work": work})
    conversation = new_id()
    engine.submit(
        engine.message("work", content="late", conversation_id=conversation, reply_by=now_ms()),
        engine.message("work", content="next", conversation_id=conversation),
    )
    await engine.settled()
    assert handled == ["next"]
    assert failures(engine, conversation) == ["Timeout"]
    (letter,) = engine.shard.dead_letters.newest(10)
    assert (letter.reason, letter.attempts) == ("TIMEOUT", 0)
    assert any(kind == "dead_letter" for kind, _, _ in engine.events)


async def test_a_deadline_passes_behind_a_long_turn(make_engine: Make) -> None:
    """What waits at a busy agent is looked at when its turn comes; the turn before it ends well."""
    gate = asyncio.Event()
    handled: list[str] = []

    async def work(message: Message, context: Any) -> Any:
        await gate.wait()
        handled.append(message.text)
        return reply("done")

    engine = make_engine({"work": work})
    conversation = new_id()
    ends = now_ms() + 60
    engine.submit(
        engine.message("work", content="at work", conversation_id=conversation, reply_by=ends),
        engine.message("work", content="behind", conversation_id=conversation, reply_by=ends),
    )
    await engine.until(lambda: now_ms() > ends)
    gate.set()
    await engine.settled()
    assert handled == ["at work"]
    assert failures(engine, conversation) == ["Timeout"]


async def test_a_deadline_passes_between_two_tries(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that waits for its retry is told when its deadline passes, not when it is due."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 20.0)

    def work(message: Message, context: Any) -> Any:
        raise RuntimeError("no")

    engine = make_engine({"work": work})
    conversation = new_id()
    began = time.monotonic()
    engine.submit(engine.message("work", conversation_id=conversation, reply_by=now_ms() + 100))
    await engine.settled()
    assert time.monotonic() - began < 10
    assert failures(engine, conversation) == ["Timeout"]
    assert engine.shard.dead_letters.newest(1)[0].attempts == 1


async def test_a_deadline_passes_while_the_node_is_down(
    make_engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart an overdue message is not handled."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 20.0)
    tries: list[int] = []

    def work(message: Message, context: Any) -> Any:
        tries.append(context.delivery_count)
        raise RuntimeError("no")

    engine = make_engine({"work": work})
    conversation = new_id()
    ends = now_ms() + 150
    engine.submit(engine.message("work", conversation_id=conversation, reply_by=ends))
    await engine.until(lambda: tries and engine.asker.acks)
    assert await engine.shard.router.commit.flush(5)
    await engine.crash()
    await engine.settled()
    assert now_ms() >= ends
    assert tries == [1]
    assert failures(engine, conversation) == ["Timeout"]


async def test_no_receipt_for_what_was_not_handled(make_engine: Make) -> None:
    """A receipt says handled: an overdue message has a FAILURE and none."""
    engine = make_engine({"work": lambda message, context: reply("done")})
    late, fine = new_id(), new_id()
    options = DeliveryOptions(require_receipt=True)
    for conversation, ends in ((late, now_ms()), (fine, None)):
        engine.submit(
            engine.message(
                "work", conversation_id=conversation, reply_by=ends, delivery_options=options
            )
        )
    await engine.settled()
    acts = {key: [act for act, _ in engine.texts(key)] for key in (late, fine)}
    assert acts[late] == ["request", "failure"]
    assert acts[fine] == ["request", "inform", "confirm"]
