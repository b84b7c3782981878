"""Snapshots of conversations: how far they may be behind the journal, and what rests is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import Engine

from caxton.conversations.open import SNAPSHOTS
from caxton.types import new_id

Make = Callable[..., Engine]


def silent(_message: Any, _context: Any) -> tuple[()]:
    return ()


async def test_a_busy_conversation_is_written_once_in_a_while(make_engine: Make) -> None:
    """Not in each commit: a start reads what the snapshot lacks from the journal."""
    engine = make_engine({"note": silent}, storage_keep_messages=1_000)
    conversation = new_id()
    known, journal = engine.shard.router.conversations, engine.shard.journal
    written = 0
    for _ in range(100):
        before = journal.conversation(conversation)
        engine.submit(
            *(engine.message("note", conversation_id=conversation, act="inform") for _ in range(10))
        )
        await engine.settled()
        written += journal.conversation(conversation) != before
    assert 2 <= written <= 5
    assert len(known.sequences(conversation, known.peek(conversation))) == 1_000
    await engine.crash()
    known = engine.shard.router.conversations
    assert len(known.sequences(conversation, known.peek(conversation))) == 1_000
    assert known.peek(conversation).messages == 1_000


async def test_what_rests_is_written(make_engine: Make) -> None:
    """Also when nothing else happens on the shard, and more than one commit carries."""
    engine = make_engine({"note": silent})
    keys = []
    for _ in range(3 * SNAPSHOTS):
        message = engine.message("note", act="inform")
        keys.append(message.conversation_id)
        engine.submit(message)
    await engine.settled()
    router, journal = engine.shard.router, engine.shard.journal
    assert not any(journal.conversation(key) for key in keys)
    assert not router.conversations.settle()
    assert router.conversations.settle()
    router.commit.kick()
    await engine.settled()
    assert await router.commit.flush(5)
    assert all(journal.conversation(key) for key in keys)
    assert not router.conversations.settle()
    later = router.now_ms() + 10_000_000
    router.now_ms = lambda: later
    assert router.conversations.expire() == len(keys)
