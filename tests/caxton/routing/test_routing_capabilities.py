"""The strategies, by their laws, over directories and queues of the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import Directory
from caxton.capability import Strategy
from caxton.conversations.record import ConversationRecord
from caxton.errors import NoCapabilityProviders
from caxton.message import Message, make_message
from caxton.routing.capabilities import EXPLORE, CapabilityResolver
from caxton.storage.registry import AgentRecord, ReloadRecord
from caxton.types import named_id, new_id

NODE = new_id()
CLIENT = new_id()
ANY = tuple(Strategy)


class Queues:
    """What the delivery would say, as the test wants it."""

    def __init__(self) -> None:
        self.loads: dict[bytes, float] = {}
        self.healths: dict[bytes, float] = {}
        self.full: set[bytes] = set()
        self.speeds: dict[bytes, float] = {}
        self.watched: set[bytes] = set()

    def load(self, agent_id: bytes) -> float:
        return self.loads.get(agent_id, 0.0)

    def health(self, agent_id: bytes) -> float:
        return self.healths.get(agent_id, 1.0)

    def blocked(self, agent_id: bytes) -> bool:
        return agent_id in self.full

    def expected_s(self, agent_id: bytes) -> float:
        return self.speeds.get(agent_id, 0.0)

    def watch_speed(self, agents: Iterable[bytes]) -> None:
        self.watched.update(agents)


def agent(name: str) -> bytes:
    return named_id(NODE, name)


def record(
    name: str, revision: int, *, priority: int = 50, version: str = "1.0.0", removed: bool = False
) -> AgentRecord:
    definition = AgentDefinition(
        name=name, version=version, capabilities=("work",), priority=priority
    )
    return AgentRecord(
        id=agent(name), name=name, revision=revision, file=f"{name}.md", definition=definition,
        fingerprint="", reload=ReloadRecord(), removed=removed,
    )  # fmt: skip


class World:
    """A directory with providers a, b, c, … of ``work``."""

    def __init__(self, count: int, strategy: Strategy, **priorities: int) -> None:
        self.names = [chr(ord("a") + index) for index in range(count)]
        self.ids = [agent(name) for name in self.names]
        self.directory = Directory(NODE, 1, strategy)
        self.revision = 0
        for name in self.names:
            self.put(name, priority=priorities.get(name, 50))
        self.queues = Queues()
        self.resolver = CapabilityResolver(self.directory, self.queues)

    def put(self, name: str, **more: object) -> None:
        self.revision += 1
        self.directory.apply([record(name, self.revision, **more)])  # type: ignore[arg-type]

    def choose(self, conversation: ConversationRecord | None = None, **more: object) -> bytes:
        address = str(more.get("address", "work"))
        return self.resolver.choose(address, conversation or talk(), CLIENT)


def talk() -> ConversationRecord:
    return ConversationRecord.begin(inform())


def inform(**more: str) -> Message:
    return make_message("inform", sender=CLIENT, capability="work", **more)  # type: ignore[arg-type]


@given(st.integers(1, 8), st.integers(0, 60), st.sets(st.integers(0, 7)))
def test_round_robin_gives_each_able_provider_the_same_share(
    count: int, rounds: int, full: set[int]
) -> None:
    """After any number of choices no two able providers differ by more than one."""
    world = World(count, Strategy.ROUND_ROBIN)
    able = [one for index, one in enumerate(world.ids) if index not in full]
    world.queues.full = {one for one in world.ids if one not in able} if able else set()
    shares = Counter(world.choose() for _ in range(rounds))
    fair = [shares[one] for one in able or world.ids]
    assert max(fair) - min(fair) <= 1
    assert sum(fair) == rounds


@given(st.data(), st.sampled_from((Strategy.STICKY, Strategy.BROADCAST)))
@settings(max_examples=60)
def test_a_conversation_never_leaves_its_provider_without_cause(
    data: st.DataObject, strategy: Strategy
) -> None:
    """Only out of service, or full while another one is not, moves it; and it moves to one able."""
    world = World(4, strategy)
    conversation = talk()
    present = set(world.names)
    held = world.choose(conversation)
    for _ in range(data.draw(st.integers(1, 25))):
        name = data.draw(st.sampled_from(world.names))
        one = agent(name)
        step = data.draw(st.sampled_from(("load", "sick", "full", "free", "leave", "come")))
        if step == "load":
            world.queues.loads[one] = data.draw(st.floats(0, 2))
        elif step == "sick":
            world.queues.healths[one] = data.draw(st.floats(0.001, 1))
        elif step == "full":
            world.queues.full.add(one)
        elif step == "free":
            world.queues.full.discard(one)
        elif step == "leave" and len(present) > 1:
            present.discard(name)
            world.put(name, removed=True)
        elif step == "come":
            present.add(name)
            world.put(name)
        there = {agent(each) for each in present}
        able = there - world.queues.full
        chosen = world.choose(conversation)
        if held in able or (held in there and not able):
            assert chosen == held
        else:
            assert chosen in (able or there)
        assert conversation.assigned["work"] == chosen
        held = chosen


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_priority_takes_the_highest_that_is_able(ranks: list[int], full: set[int]) -> None:
    """Equal ones take turns; when all are full the highest waits."""
    names = [chr(ord("a") + index) for index in range(len(ranks))]
    world = World(len(ranks), Strategy.PRIORITY, **dict(zip(names, ranks, strict=True)))
    world.queues.full = {one for index, one in enumerate(world.ids) if index in full}
    able = [rank for index, rank in enumerate(ranks) if index not in full] or ranks
    top = {
        one
        for index, one in enumerate(world.ids)
        if ranks[index] == max(able) and (index not in full or able is ranks)
    }
    assert {world.choose() for _ in range(2 * len(ranks))} == top


def test_sticky_takes_the_best_score() -> None:
    """Priority × health × (1 − load)."""
    world = World(3, Strategy.STICKY, a=50, b=50, c=100)
    assert world.choose() == agent("c")
    world.queues.loads[agent("c")] = 0.6
    world.queues.healths[agent("a")] = 0.9
    assert world.choose() == agent("b")
    world.queues.healths[agent("b")] = 0.5
    assert world.choose() == agent("a")


def test_least_loaded_takes_the_shortest_queue_and_shares_between_equal_ones() -> None:
    """The load decides; none loaded, all are used."""
    world = World(3, Strategy.LEAST_LOADED)
    assert {world.choose() for _ in range(6)} == set(world.ids)
    world.queues.loads = {agent("a"): 0.2, agent("b"): 0.1, agent("c"): 0.3}
    assert {world.choose() for _ in range(6)} == {agent("b")}


def test_fastest_measures_and_goes_on_trying_the_others() -> None:
    """The shortest expected time wins; now and then another one shows whether it got better."""
    world = World(3, Strategy.FASTEST)
    world.choose()
    assert world.queues.watched == set(world.ids)
    world.queues.speeds = {agent("a"): 0.5, agent("b"): 0.1, agent("c"): 0.3}
    shares = Counter(world.choose() for _ in range(3 * EXPLORE))
    assert shares[agent("b")] >= 3 * EXPLORE - 3
    assert len(shares) > 1


@pytest.mark.parametrize("strategy", ANY)
def test_every_strategy_finds_the_only_able_provider(strategy: Strategy) -> None:
    """Whoever it prefers, a full queue is passed over; many providers change nothing."""
    world = World(60, strategy)
    world.queues.full = set(world.ids[:-1])
    assert {world.choose() for _ in range(70)} == {world.ids[-1]}


@pytest.mark.parametrize("strategy", ANY)
def test_nobody_serves_its_own_request_and_a_refusal_counts(strategy: Strategy) -> None:
    """The sender and those that gave the message back are never chosen."""
    world = World(3, strategy)
    sender, refused, left = world.ids
    for _ in range(5):
        assert world.resolver.choose("work", talk(), sender, (refused,)) == left
    with pytest.raises(NoCapabilityProviders):
        world.resolver.choose("work", talk(), sender, (refused, left))


def test_a_range_takes_only_fitting_providers_and_keeps_the_conversation() -> None:
    """The agent that serves a name serves a range of it too, when it fits."""
    world = World(0, Strategy.STICKY)
    for name, version in (("a", "1.0.0"), ("b", "1.5.0"), ("c", "2.1.0")):
        world.put(name, version=version)
    assert world.choose(address="work@>=2") == agent("c")
    assert world.choose(address="work@>=1,<1.2") == agent("a")
    conversation = talk()
    first = world.choose(conversation)
    assert world.choose(conversation, address="work@>=0.1") == first
    with pytest.raises(NoCapabilityProviders) as refusal:
        world.choose(address="work@>=3")
    assert "work@1.0.0, work@1.5.0, work@2.1.0" in str(refusal.value)


def test_a_broadcast_is_for_informs_outside_of_protocols() -> None:
    """Everyone but the sender; nothing else is copied."""
    world = World(3, Strategy.BROADCAST)
    everyone = world.resolver.everyone
    assert set(everyone(inform()) or ()) == set(world.ids)
    assert everyone(inform(protocol="fipa-request")) is None
    assert everyone(make_message("request", sender=CLIENT, capability="work")) is None
    own = make_message("inform", sender=world.ids[0], capability="work")
    assert set(everyone(own) or ()) == set(world.ids[1:])
    assert everyone(make_message("inform", sender=CLIENT, capability="other")) is None


def test_an_offer_follows_the_directory() -> None:
    """A change is seen by the next choice; turns go on where they were."""
    world = World(2, Strategy.ROUND_ROBIN)
    assert [world.choose() for _ in range(3)] == [*world.ids, world.ids[0]]
    world.put("b", removed=True)
    assert world.choose() == world.ids[0]
    world.put("b")
    world.directory.strategies["work"] = Strategy.PRIORITY
    world.directory.offers.changed()
    world.put("b", priority=90)
    assert {world.choose() for _ in range(4)} == {agent("b")}
