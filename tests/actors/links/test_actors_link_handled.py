"""Laws of links: confirmed when handled, poisoned frames, windows in messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

import pytest
from actors_support import until

from actors import Identity, Link, LinkRefused, Window
from actors.errors import FrameFailed
from actors.links.link import LATER
from actors.testkit import Faults, FlakyPair

TOKEN = b"a secret of this node"
DATA = 7


class TestHandled:
    """Frames that are confirmed when their owner says so; frames that nobody can handle."""

    async def test_confirmation_is_cumulative_whatever_the_order(self) -> None:
        """A frame handled early is confirmed once those before it are; twice changes nothing."""
        numbers: list[int] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            numbers.append(link.receiving)
            return LATER

        pair, left, right = _pair(later)
        pair.connect()
        for number in range(4):
            assert left.send(1, b"x") == number + 1
        await until(lambda: numbers == [1, 2, 3, 4])
        right.handled(3)
        right.handled(3)
        right.handled(2)
        await asyncio.sleep(0.01)
        assert left.confirmed == 0
        right.handled(1)
        right.handled(9)
        await until(lambda: left.confirmed == 3)
        right.handled(4)
        await until(lambda: left.confirmed == 4 and not left.waiting)
        pair.close()

    async def test_what_was_not_handled_goes_to_the_replacement(self) -> None:
        """A new process gets what the old one had taken and not handled."""
        taken: list[bytes] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            taken.append(payload)
            if len(taken) == 1:
                link.handled(link.receiving)
            return LATER

        pair, left, right = _pair(later)
        pair.connect()
        for payload in (b"0", b"1", b"2"):
            left.send(1, payload)
        await until(lambda: taken == [b"0", b"1", b"2"] and left.confirmed == 1)
        pair.cut()
        await until(lambda: right.counters().duplicates == 2)
        again: list[bytes] = []
        fresh = _link("right", "left", lambda link, kind, payload: again.append(payload))
        pair.replace_right(fresh)
        await until(lambda: again == [b"1", b"2"] and left.confirmed == 3)
        assert left.counters().resent == 4
        assert left.counters().reconnects == 2
        pair.close()

    async def test_what_is_handled_between_the_hellos_is_confirmed(self) -> None:
        """Also when nothing else goes over the link afterwards."""
        taken: list[int] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            taken.append(link.receiving)
            return LATER

        left = _link("left", "right", later)
        right = _link("right", "left", lambda link, kind, payload: None)
        pair = FlakyPair(left, right, seed=1)
        pair.connect()
        right.send(1, b"x")
        await until(lambda: taken == [1])
        said_hello = left._say_hello

        def hello_then_handle() -> None:
            said_hello()
            left.handled(1)

        left._say_hello = hello_then_handle  # type: ignore[method-assign]  # the moment in between
        pair.cut()
        await until(lambda: right.confirmed == 1)
        pair.close()

    @pytest.mark.parametrize("error", [LinkRefused("cannot take it"), ValueError("nor this")])
    async def test_a_frame_that_always_fails_is_skipped(
        self, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After three tries it is counted, logged and told, and the next frame is taken."""
        caplog.set_level(logging.ERROR)
        tries: list[bytes] = []

        def fails(link: Link, kind: int, payload: bytes) -> None:
            tries.append(payload)
            if payload == b"poison":
                raise error

        owner = Troubles()
        pair, left, right = _pair(fails, owner)
        pair.connect()
        left.send(3, b"poison")
        left.send(3, b"good")
        await until(lambda: tries == [b"poison"] * 3 + [b"good"] and left.confirmed == 2)
        counters = right.counters()
        assert (counters.poisoned, counters.refused, counters.reconnects) == (1, 2, 2)
        assert "failed 3 of 3 times and is skipped" in caplog.text
        assert str(error) in caplog.text
        assert [type(one) for one in owner.refused] == [FrameFailed] * 2
        (skipped,) = owner.poisoned
        assert skipped.skipped
        assert (skipped.peer, skipped.number, skipped.kind) == ("left", 1, 3)
        assert skipped.__cause__ is error
        assert not any(one.skipped for one in owner.refused if isinstance(one, FrameFailed))
        pair.close()

    async def test_failures_of_a_process_are_not_those_of_the_next(self) -> None:
        """A frame of a new process begins with all its attempts, though the number is the same."""
        tries: list[bytes] = []

        def fails(link: Link, kind: int, payload: bytes) -> None:
            tries.append(payload)
            if len(tries) == 2:
                pair.close()
            if len(tries) < 5:
                raise ValueError("on purpose")

        pair, left, right = _pair(fails)
        pair.connect()
        left.send(1, b"bad")
        await until(lambda: len(tries) == 2 and not right.up)
        again = _link("left", "right", lambda link, kind, payload: None)
        other = FlakyPair(again, right, seed=1)
        again.send(1, b"good")
        other.connect()
        await until(lambda: again.confirmed == 1)
        assert tries == [b"bad"] * 2 + [b"good"] * 3
        assert right.counters().poisoned == 0
        other.close()

    async def test_what_a_process_before_it_sent_confirms_nothing_of_the_next(self) -> None:
        """Numbers begin anew with each process; the epoch keeps them apart."""
        taken: list[tuple[int, int]] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            taken.append((link.receiving, link.peer_epoch))
            return LATER

        pair, left, right = _pair(later)
        pair.connect()
        left.send(1, b"old")
        await until(lambda: len(taken) == 1)
        pair.close()
        again = _link("left", "right", lambda link, kind, payload: None)
        other = FlakyPair(again, right, seed=1)
        again.send(1, b"new")
        other.connect()
        await until(lambda: len(taken) == 2)
        right.handled(*taken[0])
        await asyncio.sleep(0.01)
        assert again.confirmed == 0
        right.handled(*taken[1])
        await until(lambda: again.confirmed == 1)
        other.close()

    async def test_what_was_withdrawn_comes_to_nobody(self) -> None:
        """The replacement gets the rest, in order; the numbers have no gap."""
        taken: list[bytes] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            taken.append(payload)
            return LATER

        pair, left, _right = _pair(later)
        pair.connect()
        for payload in (b"0", b"1", b"2", b"3"):
            left.send(1, payload)
        await until(lambda: len(taken) == 4)
        assert left.sent == 4
        again: list[bytes] = []
        pair.close()
        await until(lambda: not left.up)
        fresh = _link("right", "left", lambda link, kind, payload: again.append(payload))
        other = FlakyPair(left, fresh, seed=1)
        left._on_up = lambda link, fresh: link.withdraw({2, 3})
        other.connect()
        left.send(1, b"4")
        await until(lambda: left.confirmed == 5)
        assert again == [b"0", b"3"] or again == [b"0", b"3", b"4"]
        assert left.waiting == 0
        other.close()


class TestMessages:
    """Windows and counters count the messages in frames."""

    @pytest.mark.parametrize("seed", range(6))
    async def test_no_more_are_under_way_than_granted(self, seed: int) -> None:
        """Whatever the network does, and in whatever order frames are handled, the window holds."""
        limit, most = 20, 9
        random = Random(seed)
        open_: list[tuple[int, int]] = []
        got: list[int] = []

        def later(link: Link, kind: int, payload: bytes) -> object:
            got.append(int(payload))
            open_.append((link.receiving, link.peer_epoch))
            return LATER

        left = _link("left", "right", lambda link, kind, payload: None)
        right = _link("right", "left", later, window=Window(messages=limit))
        faults = Faults(drop=0.03, duplicate=0.1, delay=0.1, cut=0.02)
        pair = FlakyPair(left, right, seed=seed, faults=faults)
        pair.connect()
        sizes = [random.randint(1, most) for _ in range(200)]
        for number, size in enumerate(sizes):
            assert left.send(DATA, b"%d" % number, size) == number + 1
        unhandled = 0

        def step() -> bool:
            nonlocal unhandled
            unhandled = max(unhandled, sum(sizes[number - 1] for number, _ in open_))
            if open_ and random.random() < 0.5:
                right.handled(*open_.pop(random.randrange(len(open_))))
            return len(got) == 200 and not open_

        await until(step)
        assert got == list(range(200)), pair
        # The frame that fills the window may reach beyond it.
        assert unhandled < limit + most, pair
        pair.calm()
        pair.cut()
        await until(lambda: not left.waiting)
        assert left.counters().sent_messages >= sum(sizes)
        counters = right.counters()
        assert counters.received_frames == 200
        assert counters.received_messages == sum(sizes)
        assert counters.received_bytes == sum(len(b"%d" % number) for number in range(200))
        pair.close()


class Troubles:
    """An owner that writes down its troubles."""

    def __init__(self) -> None:
        self.refused: list[Exception] = []
        self.poisoned: list[FrameFailed] = []


def _link(
    name: str,
    peer: str,
    on_frame: Callable[[Link, int, bytes], object],
    owner: Troubles | None = None,
    window: Window | None = None,
) -> Link:
    troubles = owner or Troubles()
    return Link(
        Identity(name, TOKEN),
        peer,
        on_frame=on_frame,
        on_up=lambda link, fresh: None,
        on_down=lambda link: None,
        window=window,
        on_refused=lambda link, error: troubles.refused.append(error),
        on_poisoned=lambda link, error: troubles.poisoned.append(error),
    )


def _pair(
    on_frame: Callable[[Link, int, bytes], object], owner: Troubles | None = None
) -> tuple[FlakyPair, Link, Link]:
    left = _link("left", "right", lambda link, kind, payload: None)
    right = _link("right", "left", on_frame, owner)
    return FlakyPair(left, right, seed=1), left, right
