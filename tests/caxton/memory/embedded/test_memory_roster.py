"""Choices of the roster against each entity looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.memory.embedded import roster as module
from caxton.memory.embedded.layout import ALWAYS_FROM, ALWAYS_TO
from caxton.memory.embedded.roster import Roster, Rows, Wanted
from caxton.memory.embedded.vector_index import VectorIndex

Fact = tuple[int, int, int, int]
"""Scope, type, from, to."""

TIMES = st.integers(0, 8)
FACTS = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.one_of(st.just(ALWAYS_FROM), TIMES),
    st.one_of(st.just(ALWAYS_TO), TIMES),
)  # fmt: skip
PLAIN = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.just(ALWAYS_FROM), st.just(ALWAYS_TO)
)  # fmt: skip
NUMBERS = st.frozensets(st.integers(1, 4), max_size=3)
WANTED = st.builds(
    Wanted, st.one_of(st.none(), NUMBERS), st.one_of(st.none(), NUMBERS),
    st.one_of(st.none(), TIMES), st.one_of(st.none(), TIMES),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.lists(st.one_of(PLAIN, FACTS), min_size=1, max_size=5)),
        st.tuples(
            st.just("change"), st.dictionaries(st.integers(0, 30), FACTS, min_size=1, max_size=3)
        ),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 30), max_size=3)),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("choose"), WANTED),
    ),
    max_size=20,
)


def _takes(wanted: Wanted, fact: Fact) -> bool:
    scope, kind, start, end = fact
    return (
        (wanted.scopes is None or scope in wanted.scopes)
        and (wanted.types is None or kind in wanted.types)
        and (wanted.to_ms is None or start <= wanted.to_ms)
        and (wanted.from_ms is None or end > wanted.from_ms)
    )


def _put(roster: Roster, facts: dict[int, Fact]) -> None:
    eids = sorted(facts)
    columns = list(zip(*(facts[eid] for eid in eids), strict=True))
    roster.put(
        Rows(
            np.array(eids, np.uint64),
            np.array(columns[0], np.uint32),
            np.array(columns[1], np.uint32),
            np.array(columns[2], np.int64),
            np.array(columns[3], np.int64),
        )
    )


def _check(roster: Roster, known: dict[int, Fact], wanted: Wanted) -> None:
    expected = {eid for eid, fact in known.items() if _takes(wanted, fact)}
    chosen = roster.choose(wanted)
    if chosen is None:
        assert expected == set(known)
        return
    eids = np.array(sorted(known), np.uint64)
    owners = roster.owners(eids)
    assert (owners >= 0).all()
    found = chosen.owners.values[owners]
    assert {int(eid) for eid in eids[found]} == expected
    if chosen.few is not None:
        assert expected <= {int(eid) for eid in roster.eids(chosen.few)}


@settings(max_examples=300, deadline=None)
@given(STEPS, st.lists(WANTED, min_size=1, max_size=5))
def test_it_chooses_what_is_wanted(steps: list[tuple[str, Any]], asked: list[Wanted]) -> None:
    """Whatever was written between two choices of the same."""
    roster, known, last = Roster(), {}, 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "REMEMBERED", 3)
        patched.setattr(module, "FEW", 3)
        for name, given_ in steps:
            if name == "new":
                facts = {last + 1 + at: fact for at, fact in enumerate(given_)}
                last += len(given_)
                _put(roster, facts)
                known |= facts
            elif name == "change":
                facts = {eid: fact for eid, fact in given_.items() if eid in known}
                if facts:
                    _put(roster, facts)
                known |= facts
            elif name == "remove":
                gone = [eid for eid in sorted(given_) if eid in known]
                roster.remove(roster.owners(np.array(gone, np.uint64)))
                for eid in gone:
                    del known[eid]
            elif name == "compact":
                roster.compact()
                assert roster.dead == 0
            else:
                _check(roster, known, given_)
            assert len(roster) == len(known)
        for wanted in (*asked, *asked):
            _check(roster, known, wanted)
        assert roster.rows().eid.tolist() == sorted(known)
        missing = np.array([eid for eid in range(60) if eid not in known], np.uint64)
        assert (roster.owners(missing) == -1).all()


def test_moments_between_changes_are_one_choice() -> None:
    """So that a search of what holds now does not make a choice of its own each time."""
    roster = Roster()
    _put(roster, {1: (1, 1, 100, 200), 2: (1, 1, ALWAYS_FROM, ALWAYS_TO)})
    first = roster.choose(Wanted(from_ms=120, to_ms=120))
    assert first is roster.choose(Wanted(from_ms=199, to_ms=199))
    assert first is not roster.choose(Wanted(from_ms=200, to_ms=200))


def test_times_cost_nothing_where_everything_always_holds() -> None:
    """Then a moment chooses all."""
    roster = Roster()
    _put(roster, {1: (1, 1, ALWAYS_FROM, ALWAYS_TO)})
    assert roster.choose(Wanted(from_ms=5, to_ms=5)) is None


def test_places_go_along_with_the_vectors() -> None:
    """Those that come later, and all of them after they moved."""
    roster, vectors = Roster(), VectorIndex(4)
    wanted = Wanted(scopes=frozenset({1}))
    for eid in range(1, 9):
        _put(roster, {eid: (eid % 2, 1, ALWAYS_FROM, ALWAYS_TO)})
        vectors.put(np.array([eid - 1]), np.array([2]), np.eye(2, 4, dtype=np.float16))
        if eid == 6:
            vectors.remove(np.array([0, 3]))
            vectors.compact()
        chosen = roster.choose(wanted)
        assert chosen is not None
        owners = vectors.owners_of(slice(None))
        assert chosen.places(vectors).tolist() == [owner % 2 == 0 for owner in owners.tolist()]


def test_what_comes_late_is_refused() -> None:
    """Ids only grow."""
    roster = Roster()
    _put(roster, {5: (1, 1, 0, 1)})
    with pytest.raises(ValueError, match="comes late"):
        _put(roster, {4: (1, 1, 0, 1)})
