"""Dead letters as an operator meets them: listed, read, tried again, discarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from engine import Engine, reply

from caxton.agents.behaviour import Outgoing
from caxton.errors import DeadLetterNotFound
from caxton.message import DeliveryOptions, Message
from caxton.routing.retries import Retries

Make = Callable[..., Engine]


@pytest.fixture
async def broken(make_engine: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, set[str]]:
    """An engine whose agent fails on what is in the set, with two dead letters."""
    monkeypatch.setattr(Retries, "delay_s", lambda self, attempts: 0.001)
    bad = {"one", "two"}

    def handler(message: Message, context: Any) -> tuple[Outgoing, ...]:
        if message.text in bad:
            raise RuntimeError(f"cannot read {message.text}")
        return reply(f"{message.text} done")

    engine = make_engine({"work": handler})
    options = DeliveryOptions(max_retries=1)
    for text in ("one", "two", "three"):
        engine.submit(engine.message("work", content=text, delivery_options=options), wait=True)
        await engine.settled()
    return engine, bad


async def test_letters_are_listed_the_latest_first(broken: tuple[Engine, set[str]]) -> None:
    """Each has an id, a reason, its tries and the names of who was to talk."""
    engine, _ = broken
    found = await engine.shard.answer("dead_letters", {"limit": 10})
    assert [one["attempts"] for one in found] == [2, 2]
    assert found[0]["id"] > found[1]["id"]
    assert {one["reason"] for one in found} == {"AGENT_FAILED"}
    assert "cannot read two" in found[0]["detail"]
    assert (found[0]["sender"], found[0]["receiver"]) == ("client", "work")
    assert found[0]["performative"] == "request"
    assert len(await engine.shard.answer("dead_letters", {"limit": 1})) == 1


async def test_a_letter_shows_message_and_traceback(broken: tuple[Engine, set[str]]) -> None:
    """What is needed to mend it is in one place."""
    engine, _ = broken
    letter = engine.shard.dead_letters.newest(1)[0]
    sequence = int(letter.id.partition("-")[2])
    detail = await engine.shard.answer("dead_letter", {"sequence": sequence})
    assert detail["message"]["content"] == "two"
    assert "RuntimeError: cannot read two" in detail["traceback"]
    with pytest.raises(DeadLetterNotFound, match="0-999"):
        await engine.shard.answer("dead_letter", {"sequence": 999})


async def test_a_retried_letter_is_handled_and_gone(broken: tuple[Engine, set[str]]) -> None:
    """Once mended it is handled in its conversation, and its sender hears of it."""
    engine, bad = broken
    bad.clear()
    letter = engine.shard.dead_letters.newest(1)[0]
    sequence = int(letter.id.partition("-")[2])
    told = await engine.shard.answer("dead_letter_retry", {"sequence": sequence})
    assert told["id"] == letter.id
    with pytest.raises(DeadLetterNotFound):
        await engine.shard.answer("dead_letter_retry", {"sequence": sequence})
    await engine.settled()
    assert [one.detail for one in engine.shard.dead_letters.newest(9)] != []
    assert engine.shard.journal.dead_letters == 1
    texts = engine.texts(bytes.fromhex(letter.conversation_id.replace("-", "")))
    assert texts[-1] == ("inform", "two done")


async def test_a_retried_letter_that_fails_is_a_letter_again(
    broken: tuple[Engine, set[str]],
) -> None:
    """It has all its tries again, and a new id."""
    engine, _ = broken
    letter = engine.shard.dead_letters.newest(1)[0]
    engine.shard.dead_letters.retry(int(letter.id.partition("-")[2]))
    await engine.settled()
    newest = engine.shard.dead_letters.newest(9)
    assert len(newest) == 2
    assert newest[0].message_id == letter.message_id
    assert newest[0].id != letter.id


async def test_a_discarded_letter_is_gone_for_good(broken: tuple[Engine, set[str]]) -> None:
    """Also after a crash."""
    engine, _ = broken
    letter = engine.shard.dead_letters.newest(1)[0]
    await engine.shard.answer("dead_letter_discard", {"sequence": int(letter.id.partition("-")[2])})
    assert letter.id not in [one.id for one in engine.shard.dead_letters.newest(9)]
    assert await engine.shard.router.commit.flush(5)
    await engine.crash()
    assert letter.id not in [one.id for one in engine.shard.dead_letters.newest(9)]
    assert engine.shard.journal.dead_letters == 1
