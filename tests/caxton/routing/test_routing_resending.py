"""The process of another shard dies: what it had comes again, in order, without who killed it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from engine import CLIENT, NODE
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import ActorSystem
from caxton.agents.directory import Directory
from caxton.agents.worklist import Worklist
from caxton.errors import CaxtonError, ModelUnavailable, PoisonMessage, Postponed
from caxton.message import Message, encode, make_message
from caxton.routing.accepted import Accepted
from caxton.routing.breakers import Breakers
from caxton.routing.delivery import Delivery
from caxton.routing.retries import Retrying
from caxton.routing.trials import SUSPECT
from caxton.types import new_id


class Home:
    """The deliveries of shard 0, and the process of shard 1 that they go to."""

    def __init__(self, window: int, seed: int = 0) -> None:
        self.poisons: set[str] = set()
        self.failures: dict[str, int] = {}
        self.handled: list[str] = []
        self.buried: dict[str, CaxtonError] = {}
        self.settled: list[str] = []
        self.notes: list[tuple[int, int]] = []
        self.up = True
        self.deaths = 0
        self.items: list[Accepted] = []
        self._coming: list[Accepted] = []
        self._work = Worklist()
        self._random = random.Random(seed)
        directory = Directory(NODE, 2)
        self.agent = next(one for one in iter(new_id, b"") if directory.shard(one) == 1)
        directory.agents[self.agent] = None  # type: ignore[assignment]  # that it is there
        self.delivery = Delivery(
            directory,
            0,
            None,  # type: ignore[arg-type]  # no agent lives here
            self,
            window=window,
            reload=lambda sequence: None,
            settled=lambda one, outputs: self.settled.append(one.message.text),
            buried=lambda one, error, traceback: self.buried.update({one.message.text: error}),
            retrying=lambda one, delay_s: None,
            on_trial=self._note,
            other=lambda one: None,
            retries=Retrying(1),
            offline_limit=10,
            breakers=Breakers(
                ActorSystem("home"), lambda: 0, threshold=100_000, timeout_ms=5_000,
                changed=lambda one: None,
            ),
            slow_s=60.0,
            now_ms=lambda: 0,
        )  # fmt: skip
        self.sent: list[Accepted] = []

    def _note(self, sequence: int, group: int, begin: Any) -> None:
        self.notes.append((sequence, group))
        begin()

    def submit(self, conversations: Sequence[bytes], count: int) -> None:
        """Accept messages, of each conversation in turn."""
        for number in range(count):
            message = make_message(
                "request",
                sender=CLIENT,
                receiver=self.agent,
                content=str(number),
                conversation_id=conversations[number % len(conversations)],
            )
            accepted = Accepted(message, encode(message), number + 1, 0.0, self.delivery)
            self.sent.append(accepted)
            self.delivery.deliver(accepted, self.agent)

    # --- the other shard ---------------------------------------------------------------------

    def deliver(self, shard: int, accepted: Accepted) -> None:
        """What a dead process is sent is not for the next one."""
        if self.up and accepted not in self._coming + self.items:
            self._coming.append(accepted)

    def reachable(self, shard: int) -> bool:
        """Whether there is a process."""
        return self.up

    def unanswered(self) -> int:
        """None."""
        return 0

    def die(self) -> None:
        """The process ends, with what it knew."""
        self.deaths += 1
        self.up = False
        self.items = []
        self._coming = []
        self._work = Worklist()

    def start(self) -> None:
        """There is a new process."""
        self.up = True
        self.delivery.resend(1)

    def come(self) -> bool:
        """The agent gets what is on its way; whether it has something."""
        coming, self._coming = self._coming, []
        for one in coming:
            if not self._postponed(one):
                self.items.append(one)
        return bool(self.items)

    def _postponed(self, accepted: Accepted) -> bool:
        first = self._work.first(accepted)
        if first is not None:
            self._told(accepted, Postponed(agent="a", after=first.hex()))
        return first is not None

    def step(self, *, report: bool = True) -> None:
        """The process handles one message; whether it lives to tell."""
        firsts: dict[bytes, Accepted] = {}
        for one in self.items:
            firsts.setdefault(one.message.conversation_id, one)
        accepted = self._random.choice(list(firsts.values()))
        self.items.remove(accepted)
        text = accepted.message.text
        if text in self.poisons:
            self.die()
        elif self.failures.get(text):
            self.failures[text] -= 1
            self._work.hold(accepted)
            self._told(accepted, ModelUnavailable(provider="p", kind="busy", reason="not yet"))
            for one in list(self.items):
                if one.message.conversation_id == accepted.message.conversation_id:
                    self.items.remove(one)
                    if not self._postponed(one):
                        raise AssertionError("one passed an earlier one")
        else:
            self.handled.append(text)
            if report:
                self._told(accepted, None)

    def _told(self, accepted: Accepted, error: CaxtonError | None) -> None:
        message: Message = accepted.message
        if self.delivery.away.back(1, accepted.sequence, message.message_id) is not accepted:
            raise AssertionError(f"{message.text} is not there")
        if error is None:
            accepted.done(())
        else:
            accepted.failed(error, "")

    async def run(self, kills: Sequence[int] = ()) -> None:
        """Until everything is settled or buried; killed before these steps too."""
        steps = 0
        blamed = False
        async with asyncio.timeout(30):
            while len(self.settled) + len(self.buried) < len(self.sent):
                steps += 1
                # A second one that hits who is alone by chance is not to be told from its fault.
                if self.up and steps in kills and not (self.deaths >= SUSPECT and blamed):
                    blamed = self.deaths >= SUSPECT
                    if steps % 2 and self.come():
                        self.step(report=False)
                    if self.up:
                        self.die()
                elif not self.up:
                    # Meanwhile something may be sent, and some retries come.
                    await asyncio.sleep(0.001 * (steps % 3))
                    self.start()
                elif self.come():
                    self.step()
                await asyncio.sleep(0 if self.items or self._coming else 0.0005)


async def test_deaths_of_this_process_are_no_matter_of_those_elsewhere() -> None:
    """Suspects at another shard are tried without a note in the journal, and without a commit."""
    home = Home(window=100)
    home.submit([new_id()], 200)
    for _ in range(SUSPECT):
        home.die()
        home.start()
    await home.run()
    assert home.notes == []
    assert home.handled == [str(number) for number in range(200)]
    assert not home.delivery.trials


async def test_what_was_sent_to_no_process_is_not_blamed_for_its_death() -> None:
    """It waits for the next one, and does not count the death."""
    home = Home(window=100)
    home.die()
    home.submit([new_id()], 1)
    for _ in range(5):
        home.start()
        home.up = False
        (only,) = home.sent
        assert (only.deaths, only.kills) == (0, 0)
        home.delivery.away._unseen.add(only.sequence)
    home.up = True
    home.delivery.away.arrived(1)
    assert home.delivery.away.saw(only)
    home.start()
    assert only.deaths == 1
    await home.run()


@pytest.mark.parametrize("window", [1, 7, 1_000])
async def test_who_kills_a_process_elsewhere_is_found(window: int) -> None:
    """In few deaths, and everyone else is handled once and in order."""
    home = Home(window)
    home.poisons = {"700"}
    conversations = [new_id() for _ in range(10)]
    home.submit(conversations, 1_000)
    await home.run()
    assert isinstance(home.buried["700"], PoisonMessage)
    assert home.deaths <= SUSPECT + 5
    assert len(home.settled) == 999
    for number in range(10):
        mine = [int(text) for text in home.handled if int(text) % 10 == number]
        assert mine == sorted(set(mine))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    conversations=st.integers(1, 4),
    window=st.sampled_from([1, 2, 5, 100]),
    poisons=st.sets(st.integers(0, 59), max_size=2),
    failures=st.dictionaries(st.integers(0, 59), st.integers(1, 2), max_size=6),
    kills=st.lists(st.integers(1, 120), max_size=4),
    seed=st.integers(0, 1_000),
)
async def test_order_holds_whoever_dies_and_fails(
    count: int,
    conversations: int,
    window: int,
    poisons: set[int],
    failures: dict[int, int],
    kills: list[int],
    seed: int,
) -> None:
    """Who kills is buried, everyone else is handled, first in the order of the conversation; and
    no place at the agent is lost."""
    home = Home(window, seed)
    home.poisons = {str(one) for one in poisons}
    home.failures = {str(one): times for one, times in failures.items()}
    home.submit([new_id() for _ in range(conversations)], count)
    await home.run(kills)
    assert set(home.buried) == {str(one) for one in poisons if one < count}
    assert sorted(map(int, home.settled)) == [one for one in range(count) if one not in poisons]
    first = list(dict.fromkeys(map(int, home.handled)))
    for number in range(conversations):
        mine = [one for one in first if one % conversations == number]
        assert mine == sorted(mine)
    queue = home.delivery._queues[home.agent]
    assert (queue.flying, queue.count) == (0, 0)
    assert not home.delivery.trials
    assert home.delivery.away.at(1) == []
    home.delivery.close()
