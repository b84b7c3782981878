"""The keeper: what it writes is there after a kill, and everyone who follows sees the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.agents.definition import AgentDefinition
from caxton.agents.directory import Directory
from caxton.agents.keeper import Keeper
from caxton.capability import Strategy
from caxton.errors import AgentNotFound, ClientNotFound, InternalError
from caxton.storage.entries import ClientRecord, StateRecord
from caxton.storage.registry import AgentRecord, Registry, ReloadRecord
from caxton.types import named_id

SPACE = bytes(range(16))


def agent(name: str, *, removed: bool = False) -> AgentRecord:
    return AgentRecord(
        id=named_id(SPACE, name), name=name, revision=0, file=f"{name}.md",
        definition=AgentDefinition(name=name, capabilities=("work",)), fingerprint="",
        reload=ReloadRecord(), removed=removed,
    )  # fmt: skip


class World:
    """A registry with its keeper."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.registry = Registry(folder / "registry")
        self.directory = Directory(SPACE, 2)
        self.directory.follow(self.registry)
        if names:
            self.directory.apply(self.registry.write([agent(name) for name in names]))
        self.told = 0
        self.events: list[tuple[str, str, str]] = []
        self.keeper = Keeper(self.registry, self.directory, self._tell, self._event)

    def _tell(self) -> None:
        self.told += 1

    def _event(self, *words: str) -> None:
        self.events.append((words[0], words[1], words[2]))

    def follower(self) -> Directory:
        """Another process's view of the same registry."""
        other = Directory(SPACE, 2)
        other.follow(self.registry)
        return other


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made: list[World] = []

    def make(*names: str) -> World:
        made.append(World(tmp_path, *names))
        return made[-1]

    yield make
    for one in made:
        one.registry.close()


Make = Callable[..., World]


def view(directory: Directory) -> tuple[object, ...]:
    return (
        directory.states, directory.routes, directory.registered, directory.strategies,
        directory.beats,
    )  # fmt: skip


def test_a_running_agent_has_a_route_and_each_change_is_told_once(world: Make) -> None:
    """Running brings the route, anything else takes it away; the same state again is no change."""
    one = world("a", "b")
    key = named_id(SPACE, "a")
    one.keeper.report([(key, "running", 5, ""), (named_id(SPACE, "nobody"), "running", 5, "")])
    route = one.directory.routes[key]
    assert (route.hops, route.shard, route.node_id) == (0, one.directory.shard(key), SPACE)
    one.keeper.report([(key, "running", 6, "")])
    one.keeper.report([(key, "failed", 7, "stuck")])
    assert one.events == [
        ("agent.state", "a", "unloaded → running"),
        ("agent.state", "a", "running → failed: stuck"),
    ]
    assert one.told == 2
    assert not one.follower().routes
    assert one.directory.providers("work") == [named_id(SPACE, "b")]
    with pytest.raises(AgentNotFound):
        one.keeper.stopped(named_id(SPACE, "nobody"), True)


def test_what_an_operator_wants_outlives_every_state(world: Make) -> None:
    """Stopped stays stopped through reports and a new process, until it is started."""
    one = world("a")
    key = named_id(SPACE, "a")
    one.keeper.stopped(key, True)
    one.keeper.report([(key, "running", 5, "")])
    one.keeper.report([(key, "draining", 6, "")])
    other = one.follower()
    assert other.states[key] == StateRecord(key, "draining", 6, "", True)
    assert other.providers("work") == []
    one.keeper.stopped(key, False)
    one.keeper.report([(key, "running", 9, "")])
    assert one.follower().providers("work") == [key]


def test_an_agent_that_is_removed_leaves_nothing(world: Make) -> None:
    """No route, no wish of an operator: the same file later begins anew."""
    one = world("a")
    key = named_id(SPACE, "a")
    one.keeper.report([(key, "running", 5, "")])
    one.keeper.stopped(key, True)
    stored = one.registry.write([agent("a", removed=True)])
    one.directory.apply(stored)
    one.keeper.removed(stored)
    other = one.follower()
    assert key not in other.routes
    assert (other.states[key].state, other.states[key].stopped) == ("unloaded", False)


def test_clients_are_known_while_they_are_registered(world: Make) -> None:
    """The id follows from the name; registering again changes the metadata only."""
    one = world()
    row = one.keeper.client("ui", {"team": "web"})
    key = msgspec.convert(row, ClientRecord).id
    assert one.keeper.client("ui", {"team": "web"}) == row
    assert len(one.events) == 1
    made = one.directory.registered[key].created_at
    one.keeper.client("ui", {"team": "app"})
    other = one.follower()
    assert other.known(key)
    assert (other.name(key), other.registered[key].metadata) == ("ui", {"team": "app"})
    assert other.registered[key].created_at == made
    one.keeper.client_removed(key)
    assert not one.follower().known(key)
    with pytest.raises(ClientNotFound):
        one.keeper.client_removed(key)


async def test_a_question_it_does_not_know_is_an_error(world: Make) -> None:
    """Names come over the wire."""
    one = world()
    await one.keeper.answer("registry_strategy", {"capability": "work", "strategy": "priority"})
    assert one.directory.offers.strategy("work") is Strategy.PRIORITY
    await one.keeper.answer("registry_strategy", {"capability": "work", "strategy": ""})
    assert one.directory.offers.strategy("work") is Strategy.STICKY
    with pytest.raises(InternalError):
        await one.keeper.answer("registry_nothing", {})


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("report"), st.sampled_from("abc"),
            st.sampled_from(("running", "draining", "stopped", "failed")),
        ),
        st.tuples(st.just("stopped"), st.sampled_from("abc"), st.booleans()),
        st.tuples(st.just("strategy"), st.sampled_from("xy"), st.sampled_from(("", "priority"))),
        st.tuples(st.just("client"), st.sampled_from("uv"), st.sampled_from(("1", "2"))),
        st.tuples(st.just("beat"), st.integers(0, 2), st.integers(0, 9)),
        st.tuples(st.just("follow"), st.none(), st.none()),
    ),
    max_size=30,
)  # fmt: skip


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_a_follower_that_comes_late_or_often_sees_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, Any, Any]]
) -> None:
    """Reading every change, some of them at once, or all at the end: one state."""
    one = World(tmp_path_factory.mktemp("r"), "a", "b", "c")
    following = Directory(SPACE, 2)
    for number, (kind, first, second) in enumerate(steps):
        if kind == "report":
            one.keeper.report([(named_id(SPACE, first), second, number, "")])
        elif kind == "stopped":
            one.keeper.stopped(named_id(SPACE, first), second)
        elif kind == "strategy":
            one.keeper.strategy(first, second)
        elif kind == "client":
            one.keeper.client(first, {"n": second})
        elif kind == "beat":
            one.keeper.beat(first, second)
        else:
            following.follow(one.registry)
    following.follow(one.registry)
    assert view(following) == view(one.directory) == view(one.follower())
    one.registry.close()


def _write_until_killed(folder: str, ready: Any) -> None:
    one = World(Path(folder), *(f"agent-{number}" for number in range(20)))
    for number in range(100_000):
        name = f"agent-{number % 20}"
        one.keeper.report([(named_id(SPACE, name), ("running", "failed")[number // 20 % 2], 1, "")])
        one.keeper.client(f"client-{number}", {})
        if number == 40:
            ready.set()


@pytest.mark.process
def test_a_killed_keeper_leaves_whole_changes(tmp_path: Path) -> None:
    """After SIGKILL the registry reads; exactly the running agents have routes."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_write_until_killed, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    one = World(tmp_path)
    assert len(one.directory.states) == 20
    for key, state in one.directory.states.items():
        assert (key in one.directory.routes) is (state.state == "running")
    assert len(one.directory.registered) >= 40
    before = one.registry.entry_revision
    one.keeper.client("after", {})
    assert one.registry.entry_revision == before + 1
    one.registry.close()
