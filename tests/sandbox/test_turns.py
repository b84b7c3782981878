"""Turns: owners one after the other, a bound for each, nobody lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.turns import Turns


async def test_owners_take_turns_whatever_each_has_waiting() -> None:
    """One call of another owner comes second, not after a thousand."""
    turns: Turns[int] = Turns()
    waiting = [turns.wait("busy") for _ in range(1_000)] + [turns.wait("quiet")]
    assert (len(turns), turns.of("busy"), turns.of("quiet")) == (1_001, 1_000, 1)
    assert turns.give(1)
    assert turns.give(2)
    assert waiting[0].result() == 1
    assert waiting[-1].result() == 2
    assert len(turns) == 999


async def test_an_owner_holds_no_more_than_it_may() -> None:
    """With ``most_each`` of one, its second call waits for its first, not for a thing."""
    turns: Turns[str] = Turns(most_each=1)
    first, second = turns.wait("a"), turns.wait("a")
    assert turns.give("thing")
    assert not turns.may_hold("a")
    assert not turns.give("another")
    other = turns.wait("b")
    assert turns.give("another")
    assert (first.result(), other.result(), second.done()) == ("thing", "another", False)
    turns.given_back("a")
    assert turns.give("thing")
    assert second.result() == "thing"


async def test_whoever_leaves_is_passed_over() -> None:
    """A call that gave up gets nothing; leaving twice is no second leaving."""
    turns: Turns[int] = Turns()
    gone, cancelled, stays = turns.wait("a"), turns.wait("a"), turns.wait("b")
    assert turns.leave("a", gone)
    assert not turns.leave("a", gone)
    assert not turns.leave("nobody", gone)
    cancelled.cancel()
    assert turns.give(1)
    assert stays.result() == 1
    assert not turns.give(2)
    assert len(turns) == 0


async def test_an_error_reaches_one_or_all() -> None:
    """Also owners that may hold no more: they wait for something that will not come."""
    turns: Turns[int] = Turns(most_each=1)
    turns.held("a")
    waiting = [turns.wait("a"), turns.wait("b"), turns.wait("b")]
    turns.refuse(LookupError("one"))
    assert [turn.done() for turn in waiting].count(True) == 1
    turns.refuse(LookupError("all"), all_of_them=True)
    for turn in waiting:
        with pytest.raises(LookupError):
            turn.result()
    assert not turns.give(1)


Step = tuple[str, str]
STEPS = st.lists(
    st.tuples(st.sampled_from(["wait", "give", "give back", "leave"]), st.sampled_from("abc")),
    max_size=80,
)


@given(steps=STEPS, most_each=st.integers(0, 3), fair=st.booleans())
def test_every_thing_goes_to_one_call_and_no_owner_over_its_bound(
    steps: list[Step], most_each: int, fair: bool
) -> None:
    """Whatever the order: within an owner first come first served, bounds hold, none is lost."""

    async def run() -> None:
        turns: Turns[int] = Turns(most_each)
        lines: dict[str, list[asyncio.Future[int]]] = {owner: [] for owner in "abc"}
        holding: Counter[str] = Counter()
        given = 0
        for kind, owner in steps:
            line = lines[owner]
            if kind == "wait":
                line.append(turns.wait(owner))
            elif kind == "leave" and line:
                left = line.pop(0 if fair else -1)
                assert turns.leave(owner, left)
            elif kind == "give back" and holding[owner]:
                holding[owner] -= 1
                turns.given_back(owner)
            elif kind == "give":
                able = [one for one in "abc" if lines[one]
                        and (not most_each or holding[one] < most_each)]  # fmt: skip
                got = turns.give(given)
                assert got == bool(able)
                if not got:
                    continue
                served = [one for one in able if lines[one][0].done()]
                assert len(served) == 1
                assert lines[served[0]].pop(0).result() == given
                holding[served[0]] += 1
                given += 1
            assert len(turns) == sum(map(len, lines.values()))
            for each, line in lines.items():
                assert turns.of(each) == len(line)
                assert not any(turn.done() for turn in line)
                assert turns.may_hold(each) == (not most_each or holding[each] < most_each)
        for line in lines.values():
            for turn in line:
                turn.cancel()

    asyncio.run(run())


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_a_round_serves_each_owner_once(waiting: list[int]) -> None:
    """While an owner waits, nobody else is served twice before it."""

    async def run() -> None:
        turns: Turns[int] = Turns()
        lines = {str(n): [turns.wait(str(n)) for _ in range(count)]
                 for n, count in enumerate(waiting)}  # fmt: skip
        served: Counter[str] = Counter()
        while turns.give(0):
            for owner, line in lines.items():
                served[owner] = sum(turn.done() for turn in line)
            open_ = [owner for owner, line in lines.items() if served[owner] < len(line)]
            for owner in open_:
                assert max(served.values()) - served[owner] <= 1
        assert dict(served) == {str(n): count for n, count in enumerate(waiting)}

    asyncio.run(run())
