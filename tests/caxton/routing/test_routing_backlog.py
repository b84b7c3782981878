"""What waits for an agent: priorities between conversations, order within each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from caxton.routing.backlog import Backlog, Ranked

KEYS = (b"a", b"b", b"c")
PRIORITIES = (1, 5, 8, 10)
Entry = tuple[int, bytes, int]


def rank(entry: Entry, entries: list[Entry]) -> tuple[int, int]:
    """Highest priority first, then order of arrival."""
    return (-entry[2], entry[0])


def expected(entries: list[Entry], busy: set[bytes]) -> Entry | None:
    """The first of the conversation whose most urgent item is the most urgent of all."""
    free = [one for one in entries if one[1] not in busy]
    if not free:
        return None
    urgent = min(free, key=lambda one: rank(one, free))
    return min(one for one in free if one[1] == urgent[1])


class RankedModel(RuleBasedStateMachine):
    """Against a list that is searched whole each time."""

    def __init__(self) -> None:
        super().__init__()
        self.ranked: Ranked[Entry] = Ranked()
        self.entries: list[Entry] = []
        self.taken: list[Entry] = []
        self.busy: set[bytes] = set()
        self.order = 0

    @rule(key=st.sampled_from(KEYS), priority=st.sampled_from(PRIORITIES))
    def push(self, key: bytes, priority: int) -> None:
        self.order += 1
        self._push((self.order, key, priority))

    def _push(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.ranked.push(*entry, entry)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.taken))
        self.taken.remove(entry)
        self._push(entry)

    @rule()
    def pop(self) -> None:
        wanted = expected(self.entries, self.busy)
        assert self.ranked.first(self.busy) == wanted
        if wanted is not None:
            assert self.ranked.pop() == wanted
            self.entries.remove(wanted)
            self.taken.append(wanted)

    @rule(key=st.sampled_from(KEYS))
    def begin(self, key: bytes) -> None:
        self.busy.add(key)

    @rule(key=st.sampled_from(KEYS))
    def end(self, key: bytes) -> None:
        self.busy.discard(key)
        self.ranked.free(key)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.entries))
        self.entries.remove(entry)
        assert self.ranked.remove(entry[0], entry[1])
        assert not self.ranked.remove(entry[0], entry[1])

    @invariant()
    def counts(self) -> None:
        assert len(self.ranked) == len(self.entries)


TestRankedModel = RankedModel.TestCase


@given(
    pushes=st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from(PRIORITIES), st.booleans()), max_size=40
    )
)
def test_a_backlog_is_in_order_within_a_conversation(
    pushes: list[tuple[bytes, int, bool]],
) -> None:
    """Whatever has which priority: of one conversation the earlier comes out first."""
    backlog: Backlog[Entry] = Backlog(5)
    out: list[Entry] = []
    for order, (key, priority, pop) in enumerate(pushes):
        backlog.push(order, key, priority, (order, key, priority))
        if pop:
            out.append(backlog.pop())
    while len(backlog):
        out.append(backlog.pop())
    assert len(out) == len(pushes)
    for key in KEYS:
        mine = [one[0] for one in out if one[1] == key]
        assert mine == sorted(mine)


def test_the_urgent_pass_and_take_their_own_earlier_ones_along() -> None:
    """Critical before high before normal before low; what it follows in its conversation goes
    first."""
    backlog: Backlog[str] = Backlog(5)
    for order, (key, priority, name) in enumerate(
        [(b"a", 5, "a1"), (b"b", 5, "b1"), (b"c", 1, "c1"), (b"b", 10, "b2"), (b"d", 8, "d1")]
    ):
        backlog.push(order, key, priority, name)
    assert [backlog.pop() for _ in range(5)] == ["b1", "b2", "d1", "a1", "c1"]


def test_what_comes_back_takes_its_old_place() -> None:
    """An item that was taken and put back is before those that came after it."""
    backlog: Backlog[int] = Backlog(5)
    for order in range(3):
        backlog.push(order, b"%d" % order, 5, order)
    first = backlog.pop()
    backlog.push(0, b"0", 5, first)
    assert [backlog.pop() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        backlog.pop()


def test_stale_tokens_do_not_pile_up() -> None:
    """Items drawn along by more urgent ones leave nothing behind for long."""
    ranked: Ranked[int] = Ranked()
    ranked.push(0, b"z", 1, 0)
    for order in range(1, 2_000, 2):
        ranked.push(order, b"a", 1, order)
        ranked.push(order + 1, b"a", 10, order)
        for _ in range(2):
            ranked.first()
            ranked.pop()
    assert len(ranked) == 1
    assert len(ranked._heap) < 200


def test_a_conversation_is_taken_out_whole() -> None:
    """In order, and what others have waiting stays as it was, also the conversation when it is
    back."""
    ranked: Ranked[str] = Ranked()
    for order, (conversation, item) in enumerate([(b"a", "a1"), (b"b", "b1"), (b"a", "a2")]):
        ranked.push(order, conversation, 5, item)
    assert ranked.first({b"a"}) == "b1"
    assert ranked.take(b"a") == ["a1", "a2"]
    assert ranked.take(b"a") == []
    assert len(ranked) == 1
    ranked.push(3, b"a", 5, "a3")
    ranked.free(b"a")
    assert ranked.first() == "b1"
    assert ranked.pop() == "b1"
    assert ranked.first() == "a3"
    assert ranked.pop() == "a3"
    assert ranked.first() is None
