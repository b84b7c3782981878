"""The histogram: cheap, and within an eighth of the truth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caxton.observe.histogram import Histogram


@given(st.lists(st.integers(0, 2**40), min_size=1), st.floats(0.01, 1.0))
def test_quantiles_are_within_an_eighth(values: list[int], q: float) -> None:
    """At or above the true quantile, by at most 12.5 %."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    rank = min(len(ordered) - 1, max(0, -(-int(q * len(ordered) * 1_000_000) // 1_000_000) - 1))
    true = ordered[rank]
    found = histogram.quantile(q)
    assert found >= true or found >= ordered[max(0, rank - 1)]
    assert found <= max(ordered[min(len(ordered) - 1, rank + 1)], 1) * 1.126 + 1
    assert histogram.count == len(values)
    assert histogram.total == sum(values)


def test_nothing_counted_is_zero() -> None:
    """And it can start again."""
    histogram = Histogram()
    assert histogram.quantile(0.5) == 0
    histogram.add(5, 3)
    assert (histogram.count, histogram.quantile(1.0)) == (3, 5)
    histogram.add(-4)
    assert histogram.quantile(0.01) == 0
    histogram.clear()
    assert histogram.quantile(0.5) == 0


@given(st.lists(st.integers(0, 50_000_000), max_size=200))
def test_counts_up_to_bounds(values: list[int]) -> None:
    """Rising, within an eighth of the bound, and none lost in the end."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    bounds = [100, 1_000, 50_000, 100_000_000]
    found = histogram.up_to(bounds)
    assert found == sorted(found)
    assert found[-1] == len(values)
    for bound, count in zip(bounds, found, strict=True):
        assert sum(one <= bound * 0.87 for one in values) <= count
        assert count <= sum(one <= bound for one in values)
