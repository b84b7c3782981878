"""A message that kills its process is found and buried; what was beside it is handled."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, agent_id, reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caxton.agents.behaviour import Outgoing
from caxton.message import Message
from caxton.routing.accepted import Accepted
from caxton.routing.trials import FIRST, SUSPECT, Trials
from caxton.types import format_id, new_id

Make = Callable[..., Engine]

TARGET = agent_id("work")


async def test_a_poison_message_is_buried_and_the_others_are_handled(make_engine: Make) -> None:
    """Each run dies with the poison; after few runs it is a dead letter, once, and all is done."""
    handled: list[str] = []
    died = asyncio.Event()
    at_work: list[str] = []

    async def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        at_work.append(message.text)
        if message.text == "poison":
            # The process would be gone here, with whatever else was under way.
            died.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0.002)
        handled.append(message.text)
        return reply("done")

    engine = make_engine({"work": work})
    engine.submit(*(engine.message("work", content=text) for text in ("a", "poison", "b", "c")))
    runs = 0
    while True:
        runs += 1
        done = asyncio.ensure_future(engine.until(lambda: not engine.shard.journal.pending))
        dying = asyncio.ensure_future(died.wait())
        await asyncio.wait({done, dying}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            break
        assert runs < 10
        done.cancel()
        died.clear()
        await engine.shard.router.commit.flush(5)
        await engine.crash()
    await done
    assert sorted(set(handled)) == ["a", "b", "c"]
    (letter,) = engine.shard.dead_letters.newest(9)
    assert letter.reason == "POISON_MESSAGE"
    assert "2 times" in letter.detail
    assert SUSPECT + 2 <= at_work.count("poison") <= SUSPECT + 3
    assert runs == at_work.count("poison") + 1
    assert not engine.shard.router.delivery.trials


class Mortal:
    """An agent whose process dies by some messages, and in which nothing is done while it is to
    die by itself."""

    def __init__(self, make_engine: Make, poisons: set[str]) -> None:
        self.engine = make_engine({"work": self._work})
        self.poisons = poisons
        self.idle = False
        self.deaths = 0
        self.handled: list[str] = []
        self._died = asyncio.Event()

    def _work(self, message: Message, context: Any) -> Any:
        if message.text in self.poisons:
            self._died.set()
        if self.idle or self._died.is_set():
            # The process is gone, with whatever else was under way.
            return asyncio.Event().wait()
        self.handled.append(message.text)
        return ()

    async def die(self) -> None:
        """The process is killed, and there is another."""
        self.deaths += 1
        await self.engine.shard.router.commit.flush(5)
        await self.engine.crash()
        self._died.clear()

    async def live(self, kill_after: int | None = None) -> bool:
        """Until nothing is pending or it dies, also by itself once ``kill_after`` more messages
        are handled; whether nothing is pending."""
        enough = math.inf if kill_after is None else len(self.handled) + kill_after
        await self.engine.until(
            lambda: (
                self._died.is_set()
                or len(self.handled) >= enough
                or not self.engine.shard.journal.pending
            ),
            30,
        )
        if not self._died.is_set() and not self.engine.shard.journal.pending:
            return True
        await self.die()
        return False

    async def suspected(self, *messages: Message) -> None:
        """Submit messages, all of which are pending at so many deaths that they are suspects."""
        self.idle = True
        self.engine.submit(*messages)
        await self.engine.until(lambda: len(self.engine.asker.acks) == len(messages))
        for _ in range(SUSPECT):
            await self.die()
        self.idle = False


async def test_innocents_are_through_in_few_commits(make_engine: Make) -> None:
    """Thousands that were pending at two deaths go in growing groups, in order, and are free."""
    mortal = Mortal(make_engine, set())
    engine, conversation = mortal.engine, new_id()
    texts = [str(number) for number in range(2_000)]
    await mortal.suspected(
        *(engine.message("work", content=one, conversation_id=conversation) for one in texts)
    )
    assert await mortal.live()
    assert mortal.handled == texts
    assert engine.shard.router.commit.commits <= 40
    assert engine.shard.journal.dead_letters == 0
    assert not engine.shard.router.delivery.trials
    await engine.shard.router.commit.flush(5)
    state = engine.shard.journal._last
    assert (state.trial, state.group) == (0, 0)


@pytest.mark.parametrize("place", [0, 70, 1_500, 1_999])
async def test_one_among_thousands_is_found_in_few_deaths(make_engine: Make, place: int) -> None:
    """Everyone else is handled, once and in order, and one is a dead letter."""
    mortal = Mortal(make_engine, {str(place)})
    engine = mortal.engine
    conversations = [new_id() for _ in range(40)]
    messages = [
        engine.message("work", content=str(one), conversation_id=conversations[one % 40])
        for one in range(2_000)
    ]
    await mortal.suspected(*messages)
    while not await mortal.live():
        assert mortal.deaths < 20
    assert mortal.deaths <= SUSPECT + 5
    (letter,) = engine.shard.dead_letters.newest(9)
    assert letter.reason == "POISON_MESSAGE"
    assert letter.message_id == format_id(messages[place].message_id)
    assert engine.shard.journal.dead_letters == 1
    for one in range(40):
        seen = [text for text in mortal.handled if int(text) % 40 == one]
        assert seen == [str(text) for text in range(one, 2_000, 40) if text != place]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    count=st.integers(1, 150),
    poisons=st.sets(st.integers(0, 149), max_size=2),
    # More may hit who is alone by chance, twice: that is not to be told from its fault.
    kills=st.lists(st.integers(0, 60), max_size=SUSPECT + 1),
    conversations=st.integers(1, 5),
    room=st.sampled_from([16, 1_000]),
)
async def test_random_deaths_convict_nobody_else(
    count: int,
    poisons: set[int],
    kills: list[int],
    conversations: int,
    room: int,
) -> None:
    """Whenever else the process dies, who kills it is buried and everyone else is handled, in the
    order of their conversation."""
    with tempfile.TemporaryDirectory() as folder:

        def make(agents: dict[str, Any]) -> Engine:
            return Engine(Path(folder), agents, limits_agent_queue=room)

        mortal = Mortal(make, {str(one) for one in poisons})
        await _dies_at_random(mortal, count, poisons, kills, conversations)
        await mortal.engine.stop()


async def _dies_at_random(
    mortal: Mortal, count: int, poisons: set[int], kills: list[int], conversations: int
) -> None:
    engine = mortal.engine
    keys = [new_id() for _ in range(conversations)]
    engine.submit(
        *(
            engine.message("work", content=str(one), conversation_id=keys[one % conversations])
            for one in range(count)
        )
    )
    await engine.until(lambda: len(engine.asker.acks) == count or mortal._died.is_set())
    for one in kills:
        await mortal.live(kill_after=one)
    while not await mortal.live():
        assert mortal.deaths < 40
    there = {str(one) for one in poisons if one < count}
    assert set(mortal.handled) == {str(one) for one in range(count)} - there
    letters = engine.shard.dead_letters.newest(9)
    assert [one.reason for one in letters] == ["POISON_MESSAGE"] * len(there)
    first = list(dict.fromkeys(int(text) for text in mortal.handled))
    for key in range(conversations):
        mine = [one for one in first if one % conversations == key]
        assert mine == sorted(mine)


async def test_a_stop_in_good_order_blames_nobody(make_engine: Make) -> None:
    """What is pending when a node is stopped is no suspect at the next start."""
    hold = asyncio.Event()

    async def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        await hold.wait()
        return ()

    engine = make_engine({"work": work})
    engine.submit(engine.message("work", content="x"))
    await engine.until(lambda: len(engine.asker.acks) == 1)
    await engine.shard.router.commit.flush(5)
    await engine.shard.stop(0.1)
    engine.shard = engine._shard()
    recovered = engine.shard.journal.recover()
    assert (recovered.died, recovered.trial, len(recovered.pending)) == (False, 0, 1)
    hold.set()


def _accepted(conversation: bytes, number: int, deaths: int) -> Accepted:
    class Bare:
        conversation_id = conversation

    accepted = Accepted(Bare(), b"", number, 0.0, None)  # type: ignore[arg-type]  # all that is looked at
    accepted.deaths = deaths
    accepted.target = TARGET
    return accepted


class Tried:
    """Trials whose notes and deliveries are kept. This shard is 0."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.notes: list[tuple[int, int]] = []
        self.trials = Trials(0, self._note, lambda one, agent: self.sent.append(one.sequence))

    def _note(self, sequence: int, group: int, begin: Callable[[], None]) -> None:
        self.notes.append((sequence, group))
        begin()

    async def take(self, *many: Accepted, shard: int) -> None:
        """Have suspects be tried at a shard."""
        for accepted in many:
            assert self.trials.takes(accepted, TARGET, shard)
        await asyncio.sleep(0)

    async def end(self, *many: Accepted, shard: int) -> list[int]:
        """They live; returns who comes after them."""
        before = len(self.sent)
        for accepted in many:
            self.trials.ended(accepted, shard)
        await asyncio.sleep(0)
        return self.sent[before:]


async def test_later_messages_of_a_suspects_conversation_stand_behind_it() -> None:
    """Order holds on trial too; other conversations are not held up; each shard has its own, and
    the journal is told what is tried in its own process."""
    tried = Tried()
    trials = tried.trials
    one, other = new_id(), new_id()
    suspect, behind = _accepted(one, 1, SUSPECT), _accepted(one, 2, 0)
    await tried.take(suspect, shard=0)
    await tried.take(behind, shard=0)
    assert not trials.takes(_accepted(other, 3, 0), TARGET, 0)
    assert not trials.takes(suspect, TARGET, 0)
    elsewhere = [_accepted(new_id(), number, SUSPECT) for number in (4, 5)]
    await tried.take(*elsewhere, shard=1)
    assert (tried.sent, tried.notes, len(trials)) == ([1, 4, 5], [(1, 0)], 4)
    assert await tried.end(behind, shard=0) == []
    assert await tried.end(suspect, shard=0) == [2]
    assert trials.died(7, [behind]) == (None, set())
    assert await tried.end(behind, shard=0) == []
    assert tried.notes == [(1, 0), (2, 0), (0, 0)]
    await tried.end(*elsewhere, shard=1)
    assert not trials
    assert tried.notes[3:] == []


async def test_while_some_are_tried_nobody_who_saw_a_death_is_beside_them() -> None:
    """It may be what causes the next one."""
    tried = Tried()
    beside = _accepted(new_id(), 9, 1)
    assert not tried.trials.takes(beside, TARGET, 0)
    await tried.take(_accepted(new_id(), 1, SUSPECT), shard=0)
    assert tried.trials.takes(beside, TARGET, 0)


async def test_groups_grow_while_they_live_and_shrink_around_who_kills() -> None:
    """A group that a process died with comes again in front, in eighths, until all of it passed;
    who was the only one is guilty and goes alone."""
    tried = Tried()
    many = [_accepted(new_id(), number, SUSPECT) for number in range(1, 1_001)]
    await tried.take(*many, shard=1)
    assert tried.sent == list(range(1, FIRST + 1))
    assert await tried.end(*many[:64], shard=1) == list(range(65, 193))
    # Of 128, 8 were handled and 20 waited for room.
    await tried.end(*many[64:72], shard=1)
    guilty, back = tried.trials.died(1, many[72:172])
    assert (guilty, back) == (None, {one.sequence for one in many[72:172]})
    assert await tried.end(*many[172:192], shard=1) == list(range(73, 85))
    assert tried.trials.died(1, many[72:73]) == (many[72], set())
    assert many[72].kills == 1
    assert await tried.end(*many[72:84], shard=1) == list(range(85, 97))
    sizes, following = [], list(range(85, 97))
    for _ in range(10):
        following = await tried.end(*(many[one - 1] for one in following), shard=1)
        sizes.append(len(following))
    assert sizes == [12] * 8 + [24, 48]
    tried.trials.recovered(80)
    own = [_accepted(new_id(), number, SUSPECT) for number in range(2_001, 2_030)]
    own[4].kills = 1
    await tried.take(*own, shard=0)
    assert tried.notes == [(0, 4)]
    assert await tried.end(*own[:4], shard=0) == [2_005]
    assert len(await tried.end(own[4], shard=0)) == 10
    assert tried.notes == [(0, 4), (2_005, 0), (0, 10)]


async def test_a_group_stands_in_order_with_who_comes_again() -> None:
    """An earlier one of the conversation that failed meanwhile is tried before the later ones."""
    tried = Tried()
    conversation = new_id()
    early, *later = (_accepted(conversation, number, SUSPECT) for number in range(1, 6))
    await tried.take(*later, shard=1)
    await tried.take(early, shard=1)
    assert tried.trials.died(1, later)[1] == {2, 3, 4, 5}
    await asyncio.sleep(0)
    assert tried.sent[4:] == [1]
    assert await tried.end(early, shard=1) == [2]


async def test_after_a_death_messages_are_passed_on_once_they_are_in_the_journal(
    make_engine: Make,
) -> None:
    """In order with what comes meanwhile; when the process has lived for a while, at once again."""
    order: list[tuple[str, int]] = []

    def work(message: Message, context: Any) -> tuple[Outgoing, ...]:
        order.append((message.text, engine.shard.router.commit.commits))
        return ()

    engine = make_engine({"work": work})
    conversation = new_id()
    engine.submit(engine.message("work", content="first", conversation_id=conversation))
    await engine.settled()
    await engine.crash()
    router = engine.shard.router
    await engine.until(lambda: router.commit.commits or not router.journal.open)
    for text in ("a", "b"):
        engine.submit(engine.message("work", content=text, conversation_id=conversation))
        await asyncio.sleep(0)
    await engine.settled()
    assert [text for text, _ in order] == ["first", "a", "b"]
    assert all(commits for _, commits in order[1:])
    router.careful._until = 0.0
    engine.submit(engine.message("work", content="c", conversation_id=conversation))
    await engine.settled()
    before = router.commit.commits
    engine.submit(engine.message("work", content="d", conversation_id=conversation))
    assert order[-1] == ("d", before)
    await engine.settled()
