"""The keyword index against BM25 as it is written down."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.memory.embedded import keyword_index, postings, word_query
from caxton.memory.embedded.keyword_index import KeywordIndex
from caxton.memory.embedded.postings import Segment
from caxton.memory.embedded.word_query import K1, B


class Model:
    """The texts of owners, and BM25 of them."""

    def __init__(self) -> None:
        self.texts: dict[int, list[int]] = {}

    def scores(self, terms: list[int]) -> dict[int, float]:
        count = len(self.texts)
        average = sum(map(len, self.texts.values())) / count if count else 1.0
        scores: dict[int, float] = {}
        for term in set(terms):
            df = sum(term in text for text in self.texts.values())
            idf = math.log(1 + (count - df + 0.5) / (df + 0.5))
            for owner, text in self.texts.items():
                if tf := Counter(text)[term]:
                    norm = K1 * (1 - B + B * len(text) / average)
                    scores[owner] = scores.get(owner, 0) + idf * tf * (K1 + 1) / (tf + norm)
        return scores


def _put(index: KeywordIndex, texts: dict[int, list[int]]) -> None:
    owners = np.array(list(texts), dtype=np.int64)
    lengths = np.array([len(one) for one in texts.values()], dtype=np.uint32)
    terms = np.array([term for one in texts.values() for term in one], dtype=np.uint32)
    index.put(owners, lengths, terms)


def _check(
    index: KeywordIndex, model: Model, terms: list[int], limit: int, allowed: set[int] | None
) -> None:
    expected = model.scores(terms)
    if allowed is not None:
        expected = {owner: one for owner, one in expected.items() if owner in allowed}
    query = index.query(list(dict.fromkeys(terms)))
    chosen = few = None
    if allowed is not None:
        chosen = np.zeros(64, dtype=np.bool_)
        chosen[list(allowed)] = True
        few = np.array(sorted(allowed), dtype=np.int64)
    for given_few in (None, few):
        owners, scores = query.best(limit, chosen, given_few)
        assert len(owners) == min(limit, len(expected)) == len(set(owners.tolist()))
        best = sorted(expected.values(), reverse=True)[:limit]
        assert scores.tolist() == pytest.approx(best, rel=1e-4)
        for owner, score in zip(owners.tolist(), scores.tolist(), strict=True):
            assert expected[owner] == pytest.approx(score, rel=1e-4)
    everyone = np.array([40, 3, *range(40)], dtype=np.int64)
    everything = model.scores(terms)
    assert query.scores(everyone).tolist() == pytest.approx(
        [everything.get(owner, 0.0) for owner in everyone.tolist()], rel=1e-4
    )


TEXTS = st.dictionaries(
    st.integers(0, 39), st.lists(st.integers(0, 12), max_size=12), min_size=1, max_size=12
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), TEXTS),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 45), max_size=8)),
        st.tuples(st.just("seal"), st.none()),
        st.tuples(st.just("plan"), st.booleans()),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.just("move"), st.none()),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword_index, "FRESH", 20)
    monkeypatch.setattr(word_query, "SKIP", 4)
    monkeypatch.setattr(word_query, "FEW_LEFT", 1)
    monkeypatch.setattr(keyword_index, "LEAST_DEAD", 3)
    monkeypatch.setattr(postings, "BLOCK", 7)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.lists(st.integers(0, 14), min_size=1, max_size=8),
    st.integers(1, 10),
    st.one_of(st.none(), st.sets(st.integers(0, 39), max_size=20)),
)
def test_it_finds_what_plain_bm25_finds(
    steps: list[tuple[str, object]], terms: list[int], limit: int, allowed: set[int] | None
) -> None:
    """After any writes, merges with writes between their turns, and when it was moved."""
    index, model, merge = KeywordIndex(), Model(), None
    looked_up = index.query(terms)
    for name, given_ in steps:
        if name == "put":
            _put(index, given_)  # type: ignore[arg-type]
            model.texts.update(given_)  # type: ignore[call-overload]
        elif name == "remove":
            index.remove(np.array(sorted(given_), dtype=np.int64))  # type: ignore[call-overload]
            for owner in given_:  # type: ignore[attr-defined]
                model.texts.pop(owner, None)
        elif name == "seal":
            index.seal()
        elif name == "plan":
            merge = KeywordIndex.made(index.plan_merge(whole=bool(given_)))
        elif name == "take" and merge is not None:
            index.take(merge)
            merge = None
        elif name == "move":
            plan, owners, lengths = index.capture()
            index, merge = KeywordIndex(), None
            index.restore(KeywordIndex.made(plan).made, owners, lengths)
        assert len(index) == len(model.texts)
        if index.holds(looked_up):
            everyone = np.arange(40, dtype=np.int64)
            assert np.array_equal(looked_up.scores(everyone), index.query(terms).scores(everyone))
        else:
            looked_up = index.query(terms)
    _check(index, model, terms, limit, allowed)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.sets(st.integers(0, 39)))
def test_owners_can_be_numbered_anew(
    first: dict[int, list[int]], second: dict[int, list[int]], gone: set[int]
) -> None:
    """Those that are no more are forgotten, the others found under their new numbers."""
    index, model = KeywordIndex(), Model()
    _put(index, first)
    _put(index, second)
    kept = [owner for owner in range(40) if owner not in gone]
    numbers = np.full(40, -1, dtype=np.int64)
    numbers[kept] = np.arange(len(kept))
    index.renumber(numbers)
    texts = first | second
    model.texts = {new: texts[old] for new, old in enumerate(kept) if old in texts}
    _check(index, model, [1, 2, 3, 4], 5, None)
    index.take(KeywordIndex.made(index.plan_merge(whole=True)))
    _check(index, model, [1, 2, 3, 4], 5, None)


def test_common_words_are_passed_over_without_loss() -> None:
    """With many texts and words of all frequencies, the best are the same as of all scores."""
    rng = np.random.default_rng(1)
    texts = {n: (rng.zipf(1.3, 20) % 3_000).tolist() for n in range(4_000)}
    index, model = KeywordIndex(), Model()
    _put(index, texts)
    model.texts = texts
    for terms in ([1, 2, 900], [1, 5, 30, 200, 2_500], [1], [1, 2, 3, 4, 5, 6, 7, 8]):
        expected = sorted(model.scores(terms).items(), key=lambda one: (-one[1], one[0]))[:10]
        owners, scores = index.query(terms).best(10)
        assert scores.tolist() == pytest.approx([score for _, score in expected], rel=1e-4)
        assert set(owners.tolist()) == {owner for owner, _ in expected} or (
            scores[-1] == pytest.approx(expected[-1][1], rel=1e-4)
        )


@pytest.mark.parametrize("seed", range(3))
def test_what_is_passed_over_changes_nothing(seed: int) -> None:
    """The best are exactly those of the scores of all, to the last bit, whatever is asked."""
    rng = np.random.default_rng(seed)
    index = KeywordIndex()
    _put(index, {n: (rng.zipf(1.2, 15) % 400).tolist() for n in range(3_000)})
    index.remove(rng.choice(3_000, 200, replace=False))
    everyone = np.arange(3_000)
    for _ in range(60):
        terms = sorted(set((rng.zipf(1.2, int(rng.integers(1, 12))) % 400).tolist()))
        query, limit = index.query(terms), int(rng.choice([1, 3, 20, 200]))
        scores = query.scores(everyone)
        expected = np.lexsort((everyone, -scores))[: min(limit, np.count_nonzero(scores))]
        owners, found = query.best(limit)
        assert owners.tolist() == expected.tolist()
        assert found.tolist() == scores[expected].tolist()


def test_the_scratch_is_left_clean() -> None:
    """A query does not see what an earlier one of the same thread added up."""
    index, model = KeywordIndex(), Model()
    texts = {n: [n % 3, n % 5, n % 7] for n in range(40)}
    _put(index, texts)
    model.texts = texts
    for terms in ([0, 1, 2], [3], [0, 1, 2], [6, 5, 4, 3, 2, 1, 0]):
        _check(index, model, terms, 3, None)


def test_what_was_looked_up_holds_until_a_write() -> None:
    """Sealing moves postings only; a write, a removal, a merge or another index end it."""
    index = KeywordIndex()
    _put(index, {1: [1, 2], 2: [2]})
    query = index.query([2])
    index.seal()
    index.remove(np.array([7], dtype=np.int64))
    assert index.holds(query)
    assert not KeywordIndex().holds(query)
    _put(index, {3: [2]})
    assert not index.holds(query)
    query = index.query([2])
    index.remove(np.array([1], dtype=np.int64))
    assert not index.holds(query)
    query = index.query([2])
    index.take(KeywordIndex.made(index.plan_merge(whole=True)))
    assert not index.holds(query)


def test_a_merge_that_comes_late_is_refused() -> None:
    """Another one was taken since it was planned."""
    index = KeywordIndex()
    _put(index, {n: [n, n + 1] for n in range(30)})
    first = KeywordIndex.made(index.plan_merge(whole=True))
    _put(index, {n: [n] for n in range(30)})
    second = KeywordIndex.made(index.plan_merge(whole=True))
    index.take(second)
    with pytest.raises(ValueError, match="merged meanwhile"):
        index.take(first)


def test_a_term_counts_up_to_a_bound() -> None:
    """Also in a text that has it more often than a count can say."""
    docs = np.zeros(70_000, dtype=np.uint32)
    segment = Segment.of_occurrences(np.full(70_000, 5, dtype=np.uint32), docs)
    assert segment.counts.tolist() == [postings.MOST_COUNT]
    assert segment.find(5) == (0, 1)
    assert segment.find(4) == segment.find(6) == (0, 0)
