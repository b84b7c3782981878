"""Laws of consistent hashing: the same everywhere, even, and little moves."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.entities.ring import SLOTS, assign, moves, slot_of

NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=12)


def test_golden_values() -> None:
    """What is written to disk or sent to others under a slot must be found again for ever."""
    assert [slot_of(key) for key in ("a", "cart-7", "é", "")] == [559, 821, 303, 692]
    assert slot_of("a", 7) == 2
    assert "".join(assign(["a", "b", "c"], 16)) == "bacaabaccbbcbbaa"


def test_the_same_in_another_process() -> None:
    """Python's own hashes differ from process to process; these do not."""
    code = (
        "from actors.entities.ring import assign, slot_of;"
        "print(slot_of('x'), ''.join(assign('abcd', 64)))"
    )
    here = f"{slot_of('x')} {''.join(assign('abcd', 64))}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == here


def test_ids_spread_evenly() -> None:
    counts = Counter(slot_of(f"entity-{number}", 64) for number in range(64_000))
    assert len(counts) == 64
    assert max(counts.values()) < 1_150
    assert min(counts.values()) > 850


@settings(max_examples=50, deadline=None)
@given(NAMES, st.integers(1, 200), st.sampled_from([1.0, 1.1, 2.0, 100.0]))
def test_no_node_has_more_than_its_bound(names: set[str], slots: int, factor: float) -> None:
    target = assign(names, slots, load_factor=factor)
    counts = Counter(target)
    assert len(target) == slots
    assert set(counts) <= names
    assert max(counts.values()) <= ceil(factor * slots / len(names))
    assert assign(sorted(names, reverse=True), slots, load_factor=factor) == target


@pytest.mark.parametrize("nodes", [2, 3, 5, 8, 16, 32])
def test_a_change_of_nodes_moves_about_its_share(nodes: int) -> None:
    """One that comes takes 1/n; one that goes gives 1/n. Little else moves (for want of room)."""
    names = [f"shard-{number}" for number in range(nodes)]
    before = assign(names)
    after = assign([*names, "another"])
    share = SLOTS / (nodes + 1)
    moved = moves(before, after)
    assert len(moved) <= 1.45 * share
    assert sum(new != "another" for _, _, new in moved) <= 0.35 * share
    assert moves(after, before) == [(slot, new, old) for slot, old, new in moved]
    fewer = assign(names[1:])
    rest = [move for move in moves(before, fewer) if move[1] != names[0]]
    assert len(rest) <= 0.45 * SLOTS / nodes


@settings(max_examples=50, deadline=None)
@given(NAMES, st.text(min_size=1, max_size=8))
def test_without_a_bound_only_the_newcomer_gets_slots(names: set[str], newcomer: str) -> None:
    """Rendezvous hashing as such moves nothing between the others."""
    before = assign(names - {newcomer} or {"other"}, 128, load_factor=100)
    after = assign((names - {newcomer} or {"other"}) | {newcomer}, 128, load_factor=100)
    assert {new for _, _, new in moves(before, after)} <= {newcomer}


def test_every_node_has_its_share() -> None:
    for nodes in (2, 4, 8, 16, 32):
        counts = Counter(assign([f"shard-{number}" for number in range(nodes)]))
        share = SLOTS / nodes
        assert max(counts.values()) <= ceil(1.1 * share)
        assert min(counts.values()) >= 0.7 * share


def test_what_has_to_move() -> None:
    assert moves({3: "a", 1: "b"}, ["a", "b", "a", "b"]) == [(3, "a", "b")]
    assert assign([]) == ()


def test_ranges_are_checked() -> None:
    for slots, factor in ((0, 1.1), (65_537, 1.1), (8, 0.9), (8, 101)):
        with pytest.raises(ValueError, match="allowed"):
            assign(["a"], slots, load_factor=factor)
