"""Remote refs: as local ones, over links that fail by seed, with processes that come and go."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from actors_remote_support import TOKEN, Keeper, Loose, Order, Side, Slow, World
from actors_support import until

from actors import (
    Actor,
    ActorSystem,
    AskTimeout,
    MailboxSpec,
    ProcessSpec,
    ProcessSupervisor,
    RestartPolicy,
    Terminated,
)
from actors.errors import NotEncodable, RemoteError
from actors.links.hello import Window
from actors.remote import RemoteNode, StructCodec
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


class TestTell:
    """Tells arrive once and in order, whatever the link does."""

    async def test_plain_values_and_structs_travel(self, world: Make) -> None:
        """What the codec knows arrives as it was."""
        here = world()
        messages = [1, "text", b"bytes", None, 1.5, [1, 2], {"k": [None]}, Order("tea", 2)]
        for message in messages:
            here.remote.tell(message)
        await until(lambda: len(here.seen) == len(messages))
        assert here.seen == messages

    async def test_what_cannot_travel_is_refused_at_the_sender(self, world: Make) -> None:
        """A message of an unknown type raises at once, and nothing of its batch is sent."""
        here = world()
        with pytest.raises(NotEncodable, match="Loose"):
            here.remote.tell(Loose())
        with pytest.raises(NotEncodable):
            here.remote.tell_many([1, Loose(), 2])
        here.remote.tell("after")
        await until(lambda: here.seen)
        assert here.seen == ["after"]

    async def test_a_batch_of_one_turn_is_one_frame(self, world: Make) -> None:
        """A thousand tells of one turn cost one frame."""
        here = world()
        for number in range(1_000):
            here.remote.tell(number)
        await until(lambda: len(here.seen) == 1_000)
        link = here.a.node.link("b")
        assert link is not None
        assert link.counters().sent_frames == 1
        assert link.counters().sent_messages == 1_000

    @pytest.mark.parametrize("seed", range(8))
    async def test_nothing_is_lost_doubled_or_reordered_over_a_flaky_link(
        self, world: Make, seed: int
    ) -> None:
        """Drops, delays, duplicates and cuts by seed change nothing at the actor."""
        here = world(seed, Faults(drop=0.05, duplicate=0.1, delay=0.1, cut=0.02))
        total = 0
        for size in (1, 7, 50, 3, 200) * 6:
            here.remote.tell_many(range(total, total + size))
            total += size
            await asyncio.sleep(0)
        link = here.a.node.link("b")
        assert link is not None
        await until(lambda: len(here.seen) >= total and not link.waiting)
        assert here.seen == list(range(total)), here.pair

    async def test_it_is_confirmed_when_it_was_handled(self, world: Make) -> None:
        """A frame in a mailbox is not confirmed; a replacement of the process gets it again."""
        here = world()
        gate, seen = here.gate(), []
        slow = here.b.system.spawn(Slow, seen, gate)
        here.b.node.export("keeper", slow)
        here.remote.tell_many([1, 2, 3])
        link = here.a.node.link("b")
        assert link is not None
        await until(lambda: slow.actor_inbox.current is not None)
        assert link.waiting > 0
        here.replace_b()
        await until(lambda: not link.waiting)
        assert here.seen == [1, 2, 3]
        gate.set()

    async def test_a_window_of_messages_holds_the_sender_back(self, world: Make) -> None:
        """No more messages are under way than the consumer granted."""
        here = world(window=Window(frames=100, messages=10))
        gate, seen = here.gate(), []
        slow = here.b.system.spawn(Slow, seen, gate)
        here.b.node.export("keeper", slow)
        for number in range(20):
            here.remote.tell_many([number] * 5)
            await asyncio.sleep(0)
        await until(lambda: slow.actor_inbox.depth >= 9)
        await asyncio.sleep(0.01)
        assert slow.actor_inbox.depth <= 12
        gate.set()
        await until(lambda: len(seen) == 100)
        assert seen == sorted(seen)

    async def test_an_unknown_actor_and_a_full_mailbox_are_told(self, world: Make) -> None:
        """Dead letters over there, an event over here; the link goes on."""
        here = world()
        here.a.node.ref("b", "nobody").tell("x")
        gate = here.gate()
        tight = here.b.system.spawn(Slow, [], gate, mailbox=MailboxSpec(capacity=1))
        here.b.node.export("tight", tight)
        here.a.node.ref("b", "tight").tell_many([1, 2, 3, 4])
        await until(
            lambda: len([one for one in here.a.events if one.kind == "remote_refused"]) == 2
        )
        refused = {one.path: one.detail for one in here.a.events if one.kind == "remote_refused"}
        assert refused["b:nobody"] == "1 messages: not_found"
        assert refused["b:tight"] == "3 messages: mailbox_full"
        assert Counter(letter.reason for letter in here.b.letters) == {
            "not_found": 1, "mailbox_full": 3,
        }  # fmt: skip
        here.remote.tell("after")
        await until(lambda: here.seen == ["after"])
        gate.set()

    async def test_a_full_link_makes_dead_letters(self, world: Make) -> None:
        """What the link cannot hold is a dead letter of the sender, with the reason."""
        here = world(window=Window(waiting=1_000))
        here.pair.close()
        for _ in range(20):
            here.remote.tell("x" * 200)
            await asyncio.sleep(0)
        assert {letter.reason for letter in here.a.letters} == {"link_full"}
        with pytest.raises(RemoteError, match="link_full"):
            await here.remote.ask("y" * 2_000, block=False)

    async def test_undecodable_messages_change_nothing_else(self, world: Make) -> None:
        """A kind that the other side does not know is dead there; the next messages arrive."""
        here = world()
        here.a.node._codec = StructCodec([Order, Loose])
        here.remote.tell(Loose())
        here.remote.tell("after")
        await until(lambda: here.seen == ["after"])
        assert here.b.letters[0].reason == "not_encodable"
        assert "Loose" in here.b.letters[0].traceback
        with pytest.raises(RemoteError, match="not_encodable"):
            await here.remote.ask(Loose(), block=False)


class TestAsk:
    """Asks have a deadline, one answer, and the error of the other side as text."""

    async def test_answers_and_errors_come_back(self, world: Make) -> None:
        """A value as it was; an exception as its name and text."""
        here = world()
        assert await here.remote.ask(Order("tea", 1), block=False) == Order("tea", 1)
        with pytest.raises(RemoteError, match="ValueError: on purpose") as caught:
            await here.remote.ask("boom", block=False)
        assert caught.value.reason == "ValueError"
        with pytest.raises(RemoteError, match="not_found"):
            await here.a.node.ref("b", "nobody").ask(1, block=False)
        with pytest.raises(RemoteError, match="not_encodable"):
            await here.remote.ask("odd answer", block=False)
        assert here.ref.is_alive()

    async def test_asking_the_stopped_fails(self, world: Make) -> None:
        """An actor that has stopped answers with ActorDeadError over there."""
        here = world()
        await here.ref.stop(block=False)
        with pytest.raises(RemoteError, match="ActorDeadError"):
            await here.remote.ask(1, block=False)

    async def test_the_deadline_holds_on_both_sides(self, world: Make) -> None:
        """It fails in time here; there it is not handled; a late answer is counted."""
        here = world()
        gate, seen = here.gate(), []
        slow = here.b.system.spawn(Slow, seen, gate)
        here.b.node.export("slow", slow)
        ref = here.a.node.ref("b", "slow")
        first = ref.ask("first", block=False, timeout=0.05)
        second = ref.ask("second", block=False, timeout=0.05)
        with pytest.raises(AskTimeout):
            await first
        with pytest.raises(AskTimeout):
            await second
        gate.set()
        await until(lambda: here.a.system.counts.late_replies == 2)
        assert seen == ["first"]
        assert here.b.system.counts.expired_asks == 1

    async def test_a_replaced_process_fails_what_was_asked(self, world: Make) -> None:
        """Nobody waits for an answer of a process that is gone."""
        here = world()
        slow = here.b.system.spawn(Slow, [], here.gate())
        here.b.node.export("slow", slow)
        asked = here.a.node.ref("b", "slow").ask(1, block=False)
        await until(lambda: slow.actor_inbox.current is not None)
        here.replace_b()
        with pytest.raises(RemoteError, match="node_lost"):
            await asked

    async def test_a_blocking_ask_comes_from_another_thread(self, world: Make) -> None:
        """As for local refs: refused on the loop, fine elsewhere."""
        here = world()
        with pytest.raises(Exception, match="block=False"):
            here.remote.ask(1)
        assert await asyncio.to_thread(here.remote.ask, "hello", timeout=5) == "hello"


class TestWatch:
    """Terminated comes once, for every way an actor can be gone."""

    async def test_stopped_and_never_there(self, world: Make) -> None:
        """A stop is told, and so is a name that nobody has."""
        here = world()
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        here.a.system.watch(here.a.node.ref("b", "nobody"), told.append)
        await until(lambda: told)
        here.remote.stop()
        await until(lambda: len(told) == 2)
        assert [(one.ref.name, one.reason) for one in told] == [
            ("nobody", "not_found"), ("keeper", "stopped"),
        ]  # fmt: skip

    async def test_an_actor_watches_a_remote_one(self, world: Make) -> None:
        """``Actor.watch`` takes remote refs."""
        here = world()
        told: list[Any] = []

        class Watcher(Actor):
            def on_start(self) -> None:
                self.watch(here.remote)

            def on_receive(self, message: Any) -> None:
                told.append(message)

        here.a.system.spawn(Watcher)
        await asyncio.sleep(0.01)
        here.remote.stop()
        await until(lambda: told)
        assert told == [Terminated(here.remote, "stopped")]

    async def test_a_lost_process_is_told_once(self, world: Make) -> None:
        """Replaced or away for longer than the grace: node_lost, once for each watch."""
        here = world()
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        await here.remote.ask(1, block=False)
        here.replace_b()
        await until(lambda: told)
        here.a.system.watch(here.remote, told.append)
        await here.remote.ask(1, block=False)
        here.pair.close()
        await until(lambda: len(told) == 2)
        assert [one.reason for one in told] == ["node_lost", "node_lost"]

    async def test_a_short_cut_is_no_loss(self, world: Make) -> None:
        """A link that comes back within the grace ends no watch and no ask."""
        here = world()
        told: list[Terminated] = []
        here.a.system.watch(here.remote, told.append)
        for _ in range(5):
            here.pair.cut()
            assert await here.remote.ask(1, block=False) == 1
        assert told == []

    async def test_a_watch_taken_back_is_silent(self, world: Make) -> None:
        """Neither side keeps anything of it."""
        here = world()
        told: list[Terminated] = []
        subscription = here.a.system.watch(here.remote, told.append)
        await here.remote.ask(1, block=False)
        assert len(here.b.node._serving._watched) == 1
        subscription.cancel()
        subscription.cancel()
        await until(lambda: not here.b.node._serving._watched)
        here.remote.stop()
        await asyncio.sleep(0.01)
        assert told == []


async def counting_child(control: Any, path: Path) -> None:
    """A process that exports a keeper."""
    system = ActorSystem("b")
    node = RemoteNode(system, "b", TOKEN, codec=StructCodec([Order]))
    node.export("keeper", system.spawn(Keeper, [], mailbox=MailboxSpec(capacity=100_000)))
    await node.listen(path)
    control.ready()
    await control.wait_drain()
    await node.close()
    await system.stop(5)


@pytest.mark.process
async def test_over_a_real_socket_between_processes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tells, asks and watches of a real process; its death is told and its replacement serves."""
    caplog.set_level(logging.CRITICAL)
    path = tmp_path / "s"
    policy = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0)
    supervisor = ProcessSupervisor("test", on_event=lambda *_: None)
    await supervisor.start([ProcessSpec("b", counting_child, (path,), restart=policy)])
    side = Side("a")
    side.node.connect("b", path)
    remote = side.node.ref("b", "keeper")
    remote.tell_many(range(10_000))
    assert await remote.ask(Order("tea", 1), block=False) == Order("tea", 1)
    told: list[Terminated] = []
    side.system.watch(remote, told.append)
    await remote.ask(1, block=False)
    os.kill(supervisor.children()[0].pid, signal.SIGKILL)
    await until(lambda: told)
    assert [one.reason for one in told] == ["node_lost"]
    waiting: Awaitable[Any] = remote.ask("again", block=False, timeout=20)
    assert await waiting == "again"
    await side.node.close()
    await supervisor.stop(5)
    await side.system.stop(5)
