"""Laws of the words between a supervisor and a child."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import ActorError
from actors.errors import WordGarbled
from actors.processes.wire import MAX_WORD, Wire


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the bare socket at its other end."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    yield wire, theirs
    wire.close()
    theirs.close()


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_words_come_in_order_and_then_the_end(pair: tuple[Wire, socket.socket]) -> None:
    """What one side says the other reads, in order; after ``end`` the other can still speak."""
    wire, theirs = pair
    other = Wire(theirs)
    assert other.read() == ([], False)
    assert wire.send("one", 1)
    assert wire.send("two", {"a": (2,)})
    assert other.read() == ([("one", 1), ("two", {"a": (2,)})], False)
    wire.end()
    assert other.read() == ([], True)
    other.send("three", 3)
    assert wire.read(wait=True) == ([("three", 3)], False)
    other.close()
    assert wire.read() == ([], True)
    with pytest.raises(OSError, match="pipe"):
        wire.send("four", 4)
    wire.end()
    wire.close()
    assert wire.closed
    assert wire.read() == ([], True)
    with pytest.raises(OSError, match="closed"):
        wire.flush_within(0)


@given(st.lists(st.binary(max_size=200), max_size=5), st.data())
def test_words_cut_anywhere_are_put_together(values: list[bytes], data: st.DataObject) -> None:
    """However the bytes arrive, the words are the same, and half a word never waits."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = Wire(ours)
        stream = b"".join(framed(pickle.dumps(("w", value))) for value in values)
        got = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            theirs.send(stream[:size])
            stream = stream[size:]
            got += wire.read()[0]
        assert got == [("w", value) for value in values]


@pytest.mark.parametrize(
    "stream",
    [
        framed(b"not a pickle"),
        framed(b""),
        framed(pickle.dumps("no pair")),
        framed(pickle.dumps((1, "the word is no text"))),
        framed(pickle.dumps(("w", 1, 2))),
        framed(b"cnosuchmodule\nname\n."),
        (MAX_WORD + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
    ],
)
def test_what_is_no_word_is_garbled(pair: tuple[Wire, socket.socket], stream: bytes) -> None:
    """A malformed, unknown or too long word is told apart; those before it are heard."""
    wire, theirs = pair
    theirs.send(framed(pickle.dumps(("before", 1))) + stream + framed(pickle.dumps(("after", 1))))
    assert wire.read() == ([("before", 1)], True)
    assert isinstance(wire.garbled, ActorError)
    assert wire.garbled.code == "word_garbled"
    assert wire.read(wait=True) == ([], True)


def test_what_cannot_be_said(pair: tuple[Wire, socket.socket]) -> None:
    """A value that cannot be pickled, or is too long, is a typed error and nothing is sent."""
    wire, _ = pair
    with pytest.raises(WordGarbled, match="cannot be pickled"):
        wire.send("w", lambda: 1)
    with pytest.raises(WordGarbled, match="at most"):
        wire.send("w", bytes(MAX_WORD))
    assert wire.waiting == 0


def test_a_full_socket_is_not_waited_for(pair: tuple[Wire, socket.socket]) -> None:
    """What the socket does not take waits, then goes; beyond the bound it is dropped."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire, other = Wire(ours, max_waiting=1_000_000), Wire(theirs)
        sent = 0
        while wire.send("w", bytes(50_000)):
            sent += 1
        assert wire.dropped == 1
        assert 900_000 < wire.waiting <= 1_000_000
        assert not wire.flush()
        assert not wire.flush_within(0.001)
        got = 0
        while got < sent:
            got += len(other.read()[0])
            wire.flush()
        assert wire.waiting == 0
        assert wire.flush_within(0)
        assert wire.send("w", 1)
        assert other.read()[0] == [("w", 1)]


def test_one_long_word_may_wait_alone(pair: tuple[Wire, socket.socket]) -> None:
    """A word longer than what may wait is sent when nothing waits before it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire, other = Wire(ours, max_waiting=1_000), Wire(theirs)
        assert wire.send("w", bytes(3_000_000))
        assert not wire.send("w", 1)
        got: list[tuple[str, object]] = []
        while not got:
            got += other.read()[0]
            wire.flush()
        assert got == [("w", bytes(3_000_000))]
