"""A message that kills its process is found and buried; what was beside it is handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from engine import Engine, agent_id, reply

from caxton.agents.behaviour import Outgoing
from caxton.message import Message
from caxton.routing.accepted import Accepted
from caxton.routing.trials import SUSPECT, Trials
from caxton.types import new_id

Make = Callable[..., Engine]


async def test_a_poison_message_is_buried_and_the_others_are_handled(make_engine: Make) -> None:
    """Each run dies with the poison; after few runs it is a dead letter, once, and all is done."""
    handled: list[str] = []
    died = asyncio.Event()
    at_work: list[str] = []

    async def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        at_work.append(message.text)
        if message.text == "poison":
            # The process would be gone here, with whatever else was under way.
            died.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0.002)
        handled.append(message.text)
        return reply("done")

    engine = make_engine({"work": work})
    engine.submit(*(engine.message("work", content=text) for text in ("a", "poison", "b", "c")))
    runs = 0
    while True:
        runs += 1
        done = asyncio.ensure_future(engine.until(lambda: not engine.shard.journal.pending))
        dying = asyncio.ensure_future(died.wait())
        await asyncio.wait({done, dying}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            break
        assert runs < 10
        done.cancel()
        died.clear()
        await engine.shard.router.commit.flush(5)
        await engine.crash()
    await done
    assert sorted(set(handled)) == ["a", "b", "c"]
    (letter,) = engine.shard.dead_letters.newest(9)
    assert letter.reason == "POISON_MESSAGE"
    assert "2 times" in letter.detail
    assert at_work.count("poison") == SUSPECT + 2
    assert runs == SUSPECT + 3
    assert not engine.shard.router.delivery.trials


async def test_suspects_are_innocent_until_proven(make_engine: Make) -> None:
    """What was pending at two deaths is tried alone, in order, and is free after it."""
    order: list[str] = []
    hold = asyncio.Event()
    together = most = run = 0

    async def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        nonlocal together, most
        mine = run
        await hold.wait()
        if mine != run:
            # The process that this belonged to is gone.
            await asyncio.Event().wait()
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.002)
        together -= 1
        order.append(message.text)
        return ()

    engine = make_engine({"work": work})
    engine.submit(*(engine.message("work", content=str(n)) for n in range(6)))
    await engine.until(lambda: len(engine.asker.acks) == 6)
    for _ in range(SUSPECT):
        await engine.shard.router.commit.flush(5)
        await engine.crash()
        run += 1
    hold.set()
    await engine.until(lambda: not engine.shard.journal.pending)
    assert order == [str(n) for n in range(6)]
    assert most == 1
    assert engine.shard.journal.dead_letters == 0
    together = most = 0
    engine.submit(*(engine.message("work", content=str(n)) for n in range(6)))
    await engine.settled()
    assert most > 1


async def test_a_stop_in_good_order_blames_nobody(make_engine: Make) -> None:
    """What is pending when a node is stopped is no suspect at the next start."""
    hold = asyncio.Event()

    async def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await hold.wait()
        return ()

    engine = make_engine({"work": work})
    engine.submit(engine.message("work", content="x"))
    await engine.until(lambda: len(engine.asker.acks) == 1)
    await engine.shard.router.commit.flush(5)
    await engine.shard.stop(0.1)
    engine.shard = engine._shard()
    recovered = engine.shard.journal.recover()
    assert (recovered.died, recovered.trial, len(recovered.pending)) == (False, 0, 1)
    hold.set()


def _accepted(conversation: bytes, number: int, deaths: int) -> Accepted:
    class Bare:
        conversation_id = conversation

    accepted = Accepted(Bare(), b"", number, 0.0, None)  # type: ignore[arg-type]  # all that is looked at
    accepted.deaths = deaths
    accepted.target = agent_id("work")
    return accepted


def test_later_messages_of_a_suspects_conversation_stand_behind_it() -> None:
    """Order holds on trial too; other conversations are not held up; each shard has its own."""
    sent: list[int] = []
    notes: list[int] = []

    def note(accepted: Accepted, begin: Callable[[], None]) -> None:
        notes.append(accepted.sequence)
        begin()

    trials = Trials(note, lambda accepted, agent: sent.append(accepted.sequence))
    one, other = new_id(), new_id()
    target = agent_id("work")
    suspect, behind = _accepted(one, 1, SUSPECT), _accepted(one, 2, 0)
    assert trials.takes(suspect, target, 0)
    assert trials.takes(behind, target, 0)
    assert not trials.takes(_accepted(other, 3, 0), target, 0)
    assert not trials.takes(suspect, target, 0)
    elsewhere = _accepted(new_id(), 4, SUSPECT)
    assert trials.takes(elsewhere, target, 1)
    assert (sent, notes, len(trials)) == ([1, 4], [1, 4], 3)
    trials.ended(behind, 0)
    trials.ended(suspect, 0)
    assert sent == [1, 4, 2]
    assert trials.died(0) is behind
    assert trials.died(7) is None
    trials.ended(behind, 0)
    trials.ended(elsewhere, 1)
    assert not trials


async def test_after_a_death_messages_are_passed_on_once_they_are_in_the_journal(
    make_engine: Make,
) -> None:
    """In order with what comes meanwhile; when the process has lived for a while, at once again."""
    order: list[tuple[str, int]] = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        order.append((message.text, engine.shard.router.commit.commits))
        return ()

    engine = make_engine({"work": work})
    conversation = new_id()
    engine.submit(engine.message("work", content="first", conversation_id=conversation))
    await engine.settled()
    await engine.crash()
    router = engine.shard.router
    await engine.until(lambda: router.commit.commits or not router.journal.open)
    for text in ("a", "b"):
        engine.submit(engine.message("work", content=text, conversation_id=conversation))
        await asyncio.sleep(0)
    await engine.settled()
    assert [text for text, _ in order] == ["first", "a", "b"]
    assert all(commits for _, commits in order[1:])
    router.careful._until = 0.0
    engine.submit(engine.message("work", content="c", conversation_id=conversation))
    await engine.settled()
    before = router.commit.commits
    engine.submit(engine.message("work", content="d", conversation_id=conversation))
    assert order[-1] == ("d", before)
    await engine.settled()
