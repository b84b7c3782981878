"""Admission: what a sender may send, and how fast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engine import CLIENT, Engine
from hypothesis import given
from hypothesis import strategies as st

from caxton.errors import RateLimited
from caxton.routing.admission import Buckets

Make = Callable[..., Engine]

steps = st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 3.0)), max_size=60)


@given(st.integers(1, 50), st.integers(1, 50), steps)
def test_nobody_exceeds_rate_and_burst(
    rate: int, burst: int, steps: list[tuple[int, float]]
) -> None:
    """In any stretch of time: burst + rate × time; and who is told to wait gets its turn then."""
    buckets = Buckets(rate, burst)
    now = 100.0
    taken: dict[int, list[float]] = {}
    for who, pause in steps:
        now += pause
        wait_s = buckets.take(b"%d" % who, now)
        assert 0.0 <= wait_s <= 1.0 / rate
        if wait_s:
            now += wait_s + 1e-6
            assert buckets.take(b"%d" % who, now) == 0.0
        times = taken.setdefault(who, [])
        times.append(now)
        for count, since in enumerate(reversed(times), 1):
            assert count <= burst + rate * (now - since) + 1 + 1e-6


def test_one_sender_does_not_take_the_others_tokens() -> None:
    """Each has a bucket of its own."""
    buckets = Buckets(1, 2)
    assert [buckets.take(b"a", 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert buckets.take(b"b", 0.0) == 0.0
    assert buckets.take(b"a", 0.5) == pytest.approx(0.5)
    assert buckets.take(b"a", 1.0) == 0.0
    # A long rest gives no more than the burst.
    assert [bool(buckets.take(b"a", 99.0)) for _ in range(3)] == [False, False, True]


async def test_a_sender_that_is_too_fast_is_told_when_to_come_again(make_engine: Make) -> None:
    """What it sent is not accepted, and what others send is."""
    engine = make_engine({"note": lambda *_: ()}, limits_rate=10, limits_rate_burst=5)
    engine.submit(*(engine.message("note", act="inform") for _ in range(8)))
    await engine.settled()
    refused = list(engine.asker.refusals.values())
    assert len(refused) == 3
    assert len(engine.asker.acks) == 5
    assert all(isinstance(one, RateLimited) for one in refused)
    assert refused[0].fields["limit"] == 10
    assert 0 < refused[0].fields["retry_after_ms"] <= 100
    assert engine.shard.directory.name(CLIENT) in str(refused[0])
    assert engine.shard.router.counters.refused == 3


async def test_without_a_rate_nobody_is_counted(make_engine: Make) -> None:
    """The default."""
    engine = make_engine({"note": lambda *_: ()})
    assert engine.shard.router.admission.buckets is None
