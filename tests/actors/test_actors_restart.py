"""Laws of the restart policy: intensity, back-off, reset, and the kinds of children."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import RestartPolicy, RestartTracker


def tracker(**values: Any) -> RestartTracker:
    """A tracker without jitter unless asked for."""
    return RestartTracker(RestartPolicy(**{"random_factor": 0.0, **values}), random.Random(1))


def test_the_back_off_doubles_up_to_its_maximum() -> None:
    """Each failure in a row doubles the delay, from the minimum to the maximum."""
    track = tracker(min_backoff_s=1, max_backoff_s=8, intensity=99)
    assert [track.failed(float(n)) for n in range(6)] == [1, 2, 4, 8, 8, 8]
    assert track.restarts == 6


def test_the_delay_starts_again_after_health() -> None:
    """After more than the reset time of health, from the restart on, it is the minimum again."""
    track = tracker(min_backoff_s=1, max_backoff_s=9, intensity=99)
    assert [track.failed(t) for t in (0.0, 6.0, 13.0, 22.1)] == [1, 2, 4, 1]
    track = tracker(min_backoff_s=1, max_backoff_s=9, intensity=99, reset_after_s=2)
    assert [track.failed(t) for t in (0.0, 3.0, 7.1)] == [1, 2, 1]


def test_being_down_is_no_health() -> None:
    """A child that fails at once after each restart keeps the longest delay."""
    track = tracker(min_backoff_s=1, max_backoff_s=8, intensity=99)
    now, delays = 0.0, []
    for _ in range(7):
        delay = track.failed(now)
        assert delay is not None
        delays.append(delay)
        now += delay
    assert delays == [1, 2, 4, 8, 8, 8, 8]


def test_the_intensity_is_a_sliding_window() -> None:
    """One failure more than the intensity within the period gives up; old ones do not count."""
    track = tracker(intensity=2, period_s=10, min_backoff_s=0, max_backoff_s=0)
    assert [track.failed(t) for t in (0.0, 5.0)] == [0, 0]
    assert track.failed(9.9) is None
    assert track.failed(10.0) == 0
    assert track.failed(14.9) is None
    assert tracker(intensity=0).failed(0.0) is None


def test_the_kinds_of_children() -> None:
    """Permanent always restarts, transient only after a failure, temporary never."""
    assert tracker(restart="permanent").failed(0.0, normal=True) is not None
    assert tracker(restart="transient").failed(0.0, normal=True) is None
    assert tracker(restart="transient").failed(0.0) is not None
    assert tracker(restart="temporary").failed(0.0) is None


@given(
    st.floats(0, 1),
    st.lists(st.floats(0, 100), min_size=1, max_size=30),
    st.integers(0, 5),
)
def test_the_delay_stays_in_its_bounds(factor: float, gaps: list[float], intensity: int) -> None:
    """A delay is between the minimum and the maximum plus its jitter, and the budget holds."""
    track = tracker(
        random_factor=factor, min_backoff_s=0.5, max_backoff_s=4, intensity=intensity, period_s=10
    )
    now = 0.0
    granted: list[float] = []
    for gap in gaps:
        now += gap
        delay = track.failed(now)
        if delay is not None:
            granted.append(now)
            assert 0.5 <= delay <= 4 * (1 + factor)
    for moment in granted:
        assert sum(1 for other in granted if moment - 10 < other <= moment) <= intensity


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("intensity", -1),
        ("intensity", 10_001),
        ("period_s", 0),
        ("min_backoff_s", -0.1),
        ("max_backoff_s", 0.01),
        ("random_factor", 1.5),
        ("max_redeliveries", 101),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    """A value out of its range raises ValueError with field, value and range."""
    with pytest.raises(ValueError, match=rf"^{name}: {value} given, .* allowed"):
        RestartPolicy(**{name: value})  # type: ignore[arg-type]  # the fields differ in type
