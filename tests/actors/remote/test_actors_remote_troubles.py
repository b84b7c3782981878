"""Remote refs when things go wrong: bad messages, full queues, processes replaced half-way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from actors_remote_support import Keeper, Order, Side, Slow, World
from actors_support import until

import actors.remote.framing
import actors.remote.outgoing
from actors import Actor, AskTimeout, LinkRefused, MailboxSpec, Terminated
from actors.errors import RemoteError
from actors.links.hello import Window
from actors.remote import StructCodec
from actors.testkit import Faults

Make = Callable[..., World]


@pytest.fixture
async def world() -> AsyncIterator[Make]:
    made: list[World] = []

    def make(*args: Any, **kwargs: Any) -> World:
        made.append(World(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def refused(side: Side) -> dict[str, str]:
    """What peers told of tells that no actor took."""
    return {one.path: one.detail for one in side.events if one.kind == "remote_refused"}


class Grumpy(Actor):
    """Raises what it was made with."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def on_receive(self, message: Any) -> Any:
        raise self.error


class Speechless(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Coded(Exception):
    """Has attributes that look like those of the runtime's errors."""

    code = 7
    reason = "not_found"


class Broken(StructCodec):
    """A codec that fails in a way it should not."""

    def decode(self, kind: str, data: bytes) -> list[Any]:
        raise ZeroDivisionError("a bug of the codec")

    def decode_each(self, kind: str, data: bytes) -> list[Any]:
        raise ZeroDivisionError("another bug of the codec")


class TestOrder:
    """One sender, one actor: the order of a local ref."""

    @pytest.mark.parametrize("seed", range(4))
    async def test_tells_asks_and_batches_in_one_turn_keep_their_order(
        self, world: Make, seed: int
    ) -> None:
        """Whatever is mixed with what, and whatever the link does."""
        here = world(seed, Faults(drop=0.03, duplicate=0.05, delay=0.05, cut=0.01))
        other: list[Any] = []
        ref = here.b.system.spawn(Keeper, other, mailbox=MailboxSpec(capacity=100_000))
        here.b.node.export("other", ref)
        lines = {"keeper": here.seen, "other": other}
        sent: dict[str, list[Any]] = {"keeper": [], "other": []}
        chance = random.Random(seed)
        answers = []
        for number in range(600):
            name = chance.choice(("keeper", "other"))
            remote = here.a.node.ref("b", name)
            message: Any = number if chance.random() < 0.7 else Order("tea", number)
            how = chance.random()
            if how < 0.2:
                answers.append((remote.ask(message, block=False), message))
                sent[name].append(message)
            elif how < 0.4:
                remote.tell_many([message, -number])
                sent[name] += [message, -number]
            else:
                remote.tell(message)
                sent[name].append(message)
            if chance.random() < 0.05:
                await asyncio.sleep(0)
        for future, message in answers:
            assert await future == message
        await until(lambda: all(len(lines[name]) == len(sent[name]) for name in lines))
        assert lines == sent, here.pair

    async def test_a_stop_stands_behind_what_was_told_and_before_what_comes(
        self, world: Make
    ) -> None:
        """As the poison pill of a local ref."""
        here = world()
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        here.remote.tell("before")
        here.remote.stop()
        here.remote.tell("after")
        await until(lambda: told and here.b.letters)
        assert here.seen == ["before"]
        assert [letter.envelope.message for letter in here.b.letters] == ["after"]


class TestBadMessages:
    """One bad message costs one message."""

    async def test_what_cannot_be_encoded_is_dead_alone(self, world: Make) -> None:
        """The rest of its batch goes out."""
        here = world()
        bad = ["deep", object()]
        here.remote.tell_many([[1], [2], bad, [3], "lone \ud800", [4]])
        await until(lambda: len(here.seen) == 4)
        assert here.seen == [[1], [2], [3], [4]]
        assert {letter.reason for letter in here.a.letters} == {"not_encodable"}
        assert [letter.envelope.message for letter in here.a.letters] == [bad, "lone \ud800"]
        assert here.a.letters[0].path == "b:keeper"

    async def test_what_cannot_be_decoded_is_dead_alone(self, world: Make) -> None:
        """A field of the wrong type, which the sender does not check."""
        here = world()
        wrong: Any = "two"
        here.remote.tell_many([Order("a", 1), Order("b", wrong), Order("c", 3)])
        await until(lambda: len(here.seen) == 2)
        assert here.seen == [Order("a", 1), Order("c", 3)]
        await until(lambda: refused(here.a))
        assert refused(here.a) == {"b:keeper": "1 messages: not_encodable"}
        assert [letter.reason for letter in here.b.letters] == ["not_encodable"]
        assert "Expected `int`" in here.b.letters[0].traceback
        link = here.a.node.link("b")
        assert link is not None
        await until(lambda: not link.waiting)

    async def test_a_codec_that_fails_is_no_crash(self, world: Make) -> None:
        """Its bugs make dead letters and failed asks; the link stays up."""
        here = world()
        here.b.node._serving._codec = Broken()
        here.remote.tell("x")
        with pytest.raises(RemoteError, match="a bug of the codec"):
            await here.remote.ask("y", block=False)
        await until(lambda: refused(here.a))
        assert here.seen == []
        assert [letter.reason for letter in here.b.letters] == ["not_encodable"]
        assert "a bug of the codec" in here.b.letters[0].traceback
        assert here.pair.cuts == 0

    async def test_a_frame_that_is_no_batch_is_skipped(self, world: Make) -> None:
        """It is told as an event, and what comes after it arrives."""
        here = world()
        link = here.a.node.link("b")
        assert link is not None
        link.send(1, b"\xc1")
        link.send(77, b"")
        here.remote.tell("after")
        await until(lambda: here.seen == ["after"])
        kinds = Counter(one.kind for one in here.b.events)
        assert kinds["frame_poisoned"] == 2
        assert kinds["link_refused"] == 4

    @pytest.mark.parametrize(
        ("error", "reason", "text"),
        [
            (ValueError("plain"), "ValueError", "plain"),
            (b"\xff", "UnicodeDecodeError", "invalid start byte"),
            (ValueError("lone \ud800"), "ValueError", "lone \\\\ud800"),
            (ValueError("x" * 10_000), "ValueError", "10,000 characters"),
            (Speechless(), "Speechless", "has no text"),
            (Coded("own"), "Coded", "own"),
            (RemoteError("c:x", "not_found", "passed on"), "not_found", "passed on"),
            (LinkRefused("of the runtime"), "link_refused", "of the runtime"),
        ],
    )
    async def test_errors_travel_as_name_and_text(
        self, world: Make, error: Any, reason: str, text: str
    ) -> None:
        """Whatever an exception is made of."""
        here = world()
        if isinstance(error, bytes):
            try:
                error.decode()
            except UnicodeDecodeError as found:
                error = found
        here.b.node.export("grumpy", here.b.system.spawn(Grumpy, error))
        with pytest.raises(RemoteError, match=text) as caught:
            await here.a.node.ref("b", "grumpy").ask(1, block=False, timeout=5)
        assert caught.value.reason == reason


class TestBounds:
    """What is too much is a dead letter with its reason, or goes in parts."""

    async def test_a_turn_may_tell_more_than_fits_into_a_frame(
        self, world: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It goes in several frames; a message that fits into none is dead."""
        monkeypatch.setattr(actors.remote.framing, "FRAME_BYTES", 1_000)
        monkeypatch.setattr(actors.remote.framing, "FRAME_MESSAGES", 64)
        monkeypatch.setattr(actors.remote.framing, "MAX_ITEM", 5_000)
        here = world()
        messages = ["x" * 300, *range(200), "y" * 4_000, "z" * 6_000, *range(50)]
        here.remote.tell_many(messages)
        await until(lambda: len(here.seen) == len(messages) - 1)
        assert here.seen == [one for one in messages if one != "z" * 6_000]
        assert [letter.reason for letter in here.a.letters] == ["too_long"]
        link = here.a.node.link("b")
        assert link is not None
        assert 5 <= link.counters().sent_frames <= 20

    async def test_many_large_answers_come_back(
        self, world: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Asks and answers go in several frames too."""
        monkeypatch.setattr(actors.remote.framing, "FRAME_BYTES", 1_000)
        here = world()
        asked = [here.remote.ask("x" * size, block=False) for size in range(0, 900, 30)]
        assert [len(await one) for one in asked] == list(range(0, 900, 30))
        link = here.b.node.link("a")
        assert link is not None
        assert link.counters().sent_frames > 5

    async def test_what_waits_for_a_link_has_a_bound(
        self, world: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond it, tells are dead letters and asks fail; what was kept arrives."""
        monkeypatch.setattr(actors.remote.outgoing, "PENDING", 10)
        monkeypatch.setattr("actors.remote.node.PENDING", 2)
        here = world()
        far = here.a.node.ref("c", "keeper")
        for number in range(12):
            far.tell(number)
        assert [letter.envelope.message for letter in here.a.letters] == [10, 11]
        assert {letter.reason for letter in here.a.letters} == {"link_full"}
        asked = [far.ask(1, block=False, timeout=0.05) for _ in range(3)]
        with pytest.raises(RemoteError, match="link_full"):
            await asked[2]
        for one in asked[:2]:
            with pytest.raises(AskTimeout):
                await one
        assert here.a.node.counters()["c"].pending == 10

    async def test_what_was_told_before_the_link_is_made_waits(
        self, world: Make, tmp_path: Path
    ) -> None:
        """A ref works before ``connect``; a second ``connect`` is refused."""
        here = world()
        far = here.a.node.ref("c", "keeper")
        told: list[Terminated] = []
        far.tell_many([1, 2])
        here.a.system.watch(far, told.append)
        asked = far.ask(3, block=False)
        await asyncio.sleep(0)
        third = Side("c")
        seen: list[Any] = []
        third.node.export("keeper", third.system.spawn(Keeper, seen))
        await third.node.listen(tmp_path / "c")
        here.a.node.connect("c", tmp_path / "c")
        with pytest.raises(LinkRefused, match="already"):
            here.a.node.connect("c", tmp_path / "c")
        assert await asked == 3
        assert seen == [1, 2, 3]
        assert told == []
        await third.node.close()
        await third.system.stop(5)

    async def test_nothing_hangs_after_close(self, world: Make) -> None:
        """Tells are dead letters, asks fail, watches fire; what was under way ended so."""
        here = world()
        slow = here.b.system.spawn(Slow, [], here.gate())
        here.b.node.export("slow", slow)
        told: list[Terminated] = []
        remote = here.a.node.ref("b", "slow")
        asked = remote.ask(1, block=False)
        here.a.system.watch(remote, told.append)
        await until(lambda: slow.actor_inbox.current is not None)
        await here.a.node.close()
        with pytest.raises(RemoteError, match="closed"):
            await asked
        here.a.system.watch(remote, told.append)
        assert [one.reason for one in told] == ["node_lost", "node_lost"]
        remote.tell("late")
        assert [letter.reason for letter in here.a.letters] == ["closed"]
        with pytest.raises(RemoteError, match="closed"):
            await remote.ask("late", block=False)

    async def test_a_watch_gets_through_a_full_link(self, world: Make) -> None:
        """Its news has no other way."""
        here = world(window=Window(waiting=200, frames=1))
        gate = here.gate()
        slow = here.b.system.spawn(Slow, [], gate)
        here.b.node.export("slow", slow)
        remote = here.a.node.ref("b", "slow")
        for _ in range(6):
            remote.tell("x" * 100)
            await asyncio.sleep(0)
        assert here.a.letters
        told: list[Terminated] = []
        here.a.system.watch(remote, told.append)
        remote.ask("y" * 50, block=False, timeout=5)
        gate.set()
        await until(lambda: here.b.node._serving._watched)
        slow.stop(block=False)
        await until(lambda: told)
        assert [one.reason for one in told] == ["stopped"]


class TestReplaced:
    """A process that takes the place of another is not it."""

    async def test_an_answer_to_the_process_before_is_for_nobody(self, world: Make) -> None:
        """The new one's first ask is not answered with what the old one's first ask was."""
        here = world()
        gate = here.gate()
        slow = here.b.system.spawn(Slow, [], gate)
        here.b.node.export("slow", slow)
        old = here.a.node.ref("b", "slow").ask("old", block=False, timeout=5)
        await until(lambda: slow.actor_inbox.current is not None)
        here.replace_a()
        asked = here.a.node.ref("b", "slow").ask("new", block=False, timeout=5)
        await until(lambda: "new" in slow.actor_inbox.waiting())
        gate.set()
        assert await asked == "new"
        assert here.a.system.counts.late_replies == 1
        assert not old._result

    async def test_an_ask_is_handled_at_most_once(self, world: Make) -> None:
        """Behind a tell that is not handled yet, its frame is not confirmed; it goes out once."""
        here = world()
        slow = here.b.system.spawn(Slow, [], here.gate())
        here.b.node.export("slow", slow)
        here.a.node.ref("b", "slow").tell("stuck")
        assert await here.remote.ask("answered", block=False) == "answered"
        asked = here.a.node.ref("b", "slow").ask("unanswered", block=False)
        await until(lambda: "unanswered" in slow.actor_inbox.waiting())
        here.replace_b()
        slow_again: list[Any] = []
        here.b.node.export("slow", here.b.system.spawn(Keeper, slow_again))
        with pytest.raises(RemoteError, match="node_lost"):
            await asked
        await until(lambda: slow_again == ["stuck"])
        assert await here.remote.ask("next", block=False) == "next"
        assert here.seen == ["answered", "next"]
        assert slow_again == ["stuck"]

    async def test_a_watch_that_stood_is_told_of_the_loss(self, world: Make) -> None:
        """Also when its frame had not been confirmed; and it does not go on at the new process."""
        here = world()
        slow = here.b.system.spawn(Slow, [], here.gate())
        here.b.node.export("slow", slow)
        here.a.node.ref("b", "slow").tell("stuck")
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        assert await here.remote.ask("there", block=False) == "there"
        here.replace_b()
        await until(lambda: told)
        assert [one.reason for one in told] == ["node_lost"]
        await here.remote.ask("there", block=False)
        assert here.b.node._serving._watched == {}

    async def test_what_the_process_before_told_confirms_nothing_of_the_next(
        self, world: Make
    ) -> None:
        """Its frames have the same numbers; each is confirmed when itself is handled."""
        here = world()
        gates = {name: here.gate() for name in ("first", "second")}
        refs = {}
        for name, gate in gates.items():
            refs[name] = here.b.system.spawn(Slow, here.seen, gate)
            here.b.node.export(name, refs[name])
        here.a.node.ref("b", "first").tell("old")
        await until(lambda: refs["first"].actor_inbox.current is not None)
        here.replace_a()
        here.a.node.ref("b", "second").tell("new")
        await until(lambda: refs["second"].actor_inbox.current is not None)
        link = here.a.node.link("b")
        assert link is not None
        gates["first"].set()
        await until(lambda: here.seen == ["old"])
        await asyncio.sleep(0.01)
        assert link.confirmed == 0
        gates["second"].set()
        await until(lambda: not link.waiting)
        assert here.seen == ["old", "new"]

    async def test_the_grace_of_the_other_side_ends_no_watch(self, world: Make) -> None:
        """Each side has a grace of its own; the watcher's counts."""
        here = world(grace_s=5.0, grace_b=0.01)
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        await here.remote.ask(1, block=False)
        here.pair._closed = True
        here.pair.cut()
        await until(lambda: not here.b.node.counters()["a"].up)
        await asyncio.sleep(0.05)
        here.pair._closed = False
        here.pair.connect()
        assert await here.remote.ask(2, block=False) == 2
        here.ref.stop(block=False)
        await until(lambda: told)
        assert [one.reason for one in told] == ["stopped"]

    async def test_watches_that_were_given_up_are_taken_back(self, world: Make) -> None:
        """A peer that was only away keeps no watch of somebody who was told of its loss."""
        here = world(grace_s=0.01, grace_b=5.0)
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        await here.remote.ask(1, block=False)
        assert here.b.node._serving._watched
        here.pair._closed = True
        here.pair.cut()
        await until(lambda: told)
        here.pair._closed = False
        here.pair.connect()
        await until(lambda: not here.b.node._serving._watched)
        assert [one.reason for one in told] == ["node_lost"]

    async def test_an_ask_that_waited_too_long_for_the_link_is_not_handled(
        self, world: Make
    ) -> None:
        """The time in the queue of the link counts."""
        here = world(grace_s=5.0)
        await here.remote.ask("first", block=False)
        here.pair._closed = True
        here.pair.cut()
        link = here.a.node.link("b")
        assert link is not None
        await until(lambda: not link.up)
        with pytest.raises(AskTimeout):
            await here.remote.ask("late", block=False, timeout=0.03)
        here.pair._closed = False
        here.pair.connect()
        assert await here.remote.ask("next", block=False) == "next"
        assert here.seen == ["first", "next"]
        assert here.b.system.counts.expired_asks == 1


class Logged(Actor):
    """Writes down which life handled what."""

    def __init__(self, log: list[tuple[int, str, int]], life: int) -> None:
        super().__init__()
        self.log = log
        self.life = life

    def on_receive(self, message: Any) -> Any:
        how, number = message
        self.log.append((self.life, how, number))
        return self.life


@pytest.mark.parametrize("seed", range(8))
async def test_laws_hold_while_processes_are_replaced(world: Make, seed: int) -> None:
    """Over a flaky link, with a peer that is replaced again and again at random.

    Every tell is handled, once in each life and in order. Every ask ends, and is handled at most
    once in all lives. Every watch that stood in a life fires when that life ends, once.
    """
    here = world(seed, Faults(drop=0.02, duplicate=0.05, delay=0.05, cut=0.02), grace_s=5.0)
    chance = random.Random(seed)
    log: list[tuple[int, str, int]] = []

    def live(life: int) -> None:
        # In the place of World's keeper, before anything comes.
        spec = MailboxSpec(capacity=100_000)
        here.b.node.export("keeper", here.b.system.spawn(Logged, log, life, mailbox=spec))

    live(0)
    lives = 1
    asks: list[tuple[int, Any]] = []
    watches: list[list[Terminated]] = []
    told = 0
    for _ in range(400):
        size = chance.randint(1, 5)
        here.remote.tell_many([["tell", number] for number in range(told, told + size)])
        told += size
        if chance.random() < 0.3:
            asks.append((len(asks), here.remote.ask(["ask", len(asks)], block=False, timeout=10)))
        if chance.random() < 0.1:
            watches.append([])
            here.remote.watch_with(watches[-1].append)
        if chance.random() < 0.02:
            here.replace_b()
            live(lives)
            lives += 1
        await asyncio.sleep(0)
    ends: Counter[str] = Counter()
    for _, future in asks:
        try:
            await future
        except RemoteError as error:
            ends[error.reason] += 1
        else:
            ends["answered"] += 1
    link = here.a.node.link("b")
    assert link is not None
    await until(lambda: not link.waiting)
    assert set(ends) <= {"answered", "node_lost"}, here.pair
    assert ends["answered"] > 0
    handled = {number for _, how, number in log if how == "tell"}
    assert handled == set(range(told)), here.pair
    for life in range(lives):
        of_life = [number for which, how, number in log if which == life and how == "tell"]
        assert of_life == sorted(set(of_life)), here.pair
    asked = Counter(number for _, how, number in log if how == "ask")
    assert not asked or max(asked.values()) == 1, here.pair
    assert all(len(fired) <= 1 for fired in watches)
    assert {one.reason for fired in watches for one in fired} <= {"node_lost"}
    standing = [fired for fired in watches if not fired]
    assert here.a.node.counters()["b"].watches == len(standing)
    await here.remote.ask(["ask", -1], block=False)
    here.replace_b()
    live(lives)
    await until(lambda: all(len(fired) == 1 for fired in watches))
    assert here.a.node.counters()["b"].asks == 0


def test_counters_are_plain() -> None:
    """They can be written as JSON for an operator."""
    from actors.links.hello import LinkCounters
    from actors.remote import PeerCounters

    found = PeerCounters(LinkCounters(), up=False, pending=0, waiting=0, asks=0, watches=0)
    assert msgspec.json.decode(msgspec.json.encode(found))["link"]["sent_frames"] == 0
