"""Parts of texts, turns at entities, scores."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.errors import QueueFull, Timeout
from caxton.memory.backend import Candidate
from caxton.memory.drafts import plain
from caxton.memory.fusion import fuse
from caxton.memory.locks import KeyedLocks
from caxton.memory.model import WORKSPACE, Entity, Observation
from caxton.memory.parts import PARTS, TOKENS, parts_of
from caxton.memory.requests import Weights

DEADLINE_S = 20.0


def entity(*texts: str, name: str = "N", **fields: object) -> Entity:
    """An entity that says ``texts``."""
    observations = tuple(Observation(text, 0) for text in texts)
    return Entity(WORKSPACE, name, "t", observations, **fields)  # type: ignore[arg-type]


def test_short_texts_are_one_part() -> None:
    """With the name and type in front; an entity that says nothing is its name."""
    assert parts_of(entity("one", "two")) == ["N (t)\none\ntwo"]
    assert parts_of(entity()) == ["N (t)"]


@given(st.lists(st.text(min_size=1, max_size=600).filter(str.strip), max_size=20))
def test_parts_hold_everything_in_order(texts: list[str]) -> None:
    """Each within what a model reads, whatever the text is of."""
    parts = parts_of(entity(*texts))
    assert 1 <= len(parts) <= PARTS
    bodies = [part.removeprefix("N (t)") for part in parts]
    assert all(part.startswith("N (t)") for part in parts)
    if len(parts) < PARTS:
        said = "".join(bodies).replace("\n", "")
        assert said == "".join(texts).replace("\n", "")
    assert all(len(part) <= TOKENS * 3 for part in parts)


def test_full_parts_stay_when_more_is_told() -> None:
    """So that their vectors need not be made again."""
    texts = [f"sentence number {number} of a long story about mills" for number in range(60)]
    for count in range(1, 60):
        before, after = parts_of(entity(*texts[:count])), parts_of(entity(*texts[: count + 1]))
        assert after[: len(before) - 1] == before[:-1]


def test_of_too_many_parts_the_first_and_the_newest_count() -> None:
    """There are at most 32."""
    texts = [f"{number} " + "word " * 140 for number in range(100)]
    parts = parts_of(entity(*texts))
    assert len(parts) == PARTS
    assert parts[0].startswith("N (t)\n0 ")
    assert "99 " in parts[-1]
    assert len(parts_of(entity("x" * 1_000_000))) == PARTS


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a b", " a \n b ", True),
        ("e\u0301", "\u00e9", True),
        ("A", "a", False),
        ("a", "b", False),
    ],
)
def test_texts_are_compared_without_their_spaces(one: str, other: str, same: bool) -> None:
    """And by what their characters are, not how they are made up; case matters."""
    assert (plain(one) == plain(other)) is same


async def test_locks_do_not_wait_in_a_ring() -> None:
    """Whoever wants several takes them in one order, and nothing is left behind."""
    locks: KeyedLocks[int] = KeyedLocks("things")
    held: set[int] = set()
    draw = random.Random(3)

    async def work() -> None:
        keys = draw.sample(range(6), 3)
        async with locks.hold(keys):
            assert not held & set(keys)
            held.update(keys)
            await asyncio.sleep(0)
            held.difference_update(keys)

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(work() for _ in range(200)))
    assert not len(locks)


async def test_waiting_for_a_lock_has_bounds() -> None:
    """In time and in number; who gives up leaves nothing behind."""
    locks: KeyedLocks[str] = KeyedLocks("things", limit=2, wait_s=0.02)
    async with locks.hold(["a"]):
        waiting = asyncio.ensure_future(locks.hold(["a", "b"]).__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await locks.hold(["a"]).__aenter__()
        with pytest.raises(Timeout):
            await waiting
        async with locks.hold(["b"]):
            pass
    assert not len(locks)


@given(
    st.lists(
        st.tuples(st.none() | st.floats(-1, 1), st.floats(0, 30), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    ),
    st.tuples(*([st.floats(0.01, 1)] * 2), *([st.floats(0, 1)] * 3)),
    st.booleans(),
)
def test_scores_are_between_0_and_1(
    rows: list[tuple[float | None, float, float]],
    weights: tuple[float, float, float, float, float],
    semantic: bool,
) -> None:
    """The best first; what is better in all ways comes before."""
    candidates = [
        Candidate(entity(name=f"e{number}", importance=importance), cosine, words)
        for number, (cosine, words, importance) in enumerate(rows)
    ]
    scored = fuse(candidates, Weights(*weights), semantic=semantic, now_ms=10, half_life_days=1.0)
    assert [one.score for one in scored] == sorted((one.score for one in scored), reverse=True)
    assert all(0 <= one.score <= 1 for one in scored)
    assert {one.entity.entity_name for one in scored} == {
        one.entity.entity_name for one in candidates
    }
