"""Random histories of a cluster: what hand-off promises holds in each of them."""

from __future__ import annotations

from typing import Any

import pytest
from handoff_world import World
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.entities.handoff import HandoffOptions

ENTITIES = [f"e{number}" for number in range(6)]
NAMES = ["a", "b", "c", "d"]


class Quiet(RuleBasedStateMachine):
    """Nodes join and leave, control messages are lost, doubled and late; no node goes down."""

    crashes = False
    calm_until = 3.0
    """No fault before this time, so that something is under way when one comes."""

    @initialize(move=st.sampled_from([1, 3, 8]), first=st.sampled_from([1, 2]))
    def begin(self, move: int, first: int) -> None:
        options = HandoffOptions(
            slots=6,
            move_absolute=move,
            move_relative=1.0,
            min_nodes=first,
            timeout_s=80_000.0,
            lease_s=10.0 if self.crashes else 80_000.0,
            grace_s=2.0,
        )
        self.world = World(options)
        for name in NAMES[:first]:
            self.world.join(name)
            self.world.work()

    @rule(data=st.data(), entity=st.sampled_from(ENTITIES), times=st.integers(1, 3))
    def tell(self, data: Any, entity: str, times: int) -> None:
        names = sorted(node.name for node in self.world.running() if node.shard.status != "left")
        if names:
            name = data.draw(st.sampled_from(names))
            for _ in range(times):
                self.world.tell(name, entity)

    @rule(data=st.data(), times=st.integers(1, 4))
    def carry(self, data: Any, times: int) -> None:
        links = sorted(self.world.links())
        if links:
            pair = data.draw(st.sampled_from(links))
            for _ in range(min(times, len(self.world.data[pair]))):
                self.world.carry(pair)

    @rule(data=st.data(), what=st.sampled_from(["take", "take", "take", "again", "drop"]))
    def carry_control(self, data: Any, what: str) -> None:
        if self.world.control:
            place = data.draw(st.integers(0, len(self.world.control) - 1))
            self.world.carry_control(place, again=what == "again", drop=what == "drop")

    @rule()
    def carry_all_control(self) -> None:
        for _ in range(min(20, len(self.world.control))):
            self.world.carry_control(0)

    @rule(data=st.data())
    def handle(self, data: Any) -> None:
        ready = sorted(
            (node.name, entity)
            for node in self.world.running()
            for entity, mail in node.mail.items()
            if mail
        )
        if ready:
            name, entity = data.draw(st.sampled_from(ready))
            self.world.nodes[name].handle(entity)

    @rule(data=st.data())
    def stopped(self, data: Any) -> None:
        stopping = sorted(
            (node.name, slot) for node in self.world.running() for slot in node.stopping
        )
        if stopping:
            name, slot = data.draw(st.sampled_from(stopping))
            self.world.nodes[name].stopped(slot)

    @rule()
    def wait(self) -> None:
        """Long enough for the next report; without crashes never so long that a lease runs out."""
        if self.crashes or self.world.now < 40_000:
            self.world.wait(2.0 if self.crashes else 20_000.0)

    @rule()
    def work(self) -> None:
        self.world.work()

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        node = self.world.nodes.get(name)
        if node is None or node.shard.status == "left":
            # A process ends when what it sent is confirmed: when it has arrived.
            for pair in list(self.world.data):
                while pair[0] == name and self.world.data[pair]:
                    if pair in self.world.links():
                        self.world.carry(pair)
                    else:
                        return
            self.world.join(name)

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if name in self.world.nodes and not self.world.nodes[name].paused:
            self.world.nodes[name].shard.leave()

    @precondition(lambda self: self.crashes and self.world.now > self.calm_until)
    @rule(name=st.sampled_from(NAMES), told=st.booleans())
    def crash(self, name: str, told: bool) -> None:
        if name in self.world.nodes:
            self.calm_until = self.world.now + 8
            self.world.crash(name, told=told)

    @precondition(lambda self: self.crashes and self.world.now > self.calm_until)
    @rule(name=st.sampled_from(NAMES))
    def pause(self, name: str) -> None:
        """A node hangs, or goes on: it sees first of all what time it is."""
        node = self.world.nodes.get(name)
        if node is not None:
            node.paused = not node.paused
            self.world.downs += 1
            if not node.paused:
                node.shard.tick(self.world.now)

    @precondition(lambda self: self.crashes and self.world.now > self.calm_until)
    @rule(name=st.sampled_from(NAMES))
    def cut(self, name: str) -> None:
        """The coordinator and a node that runs do not hear each other, or do again."""
        self.world.downs += 1
        self.world.cut ^= {name}

    @precondition(lambda self: self.crashes)
    @rule()
    def wait_out_a_lease(self) -> None:
        for _ in range(7):
            self.world.wait(2.0)
            self.world.work()

    @precondition(lambda self: self.crashes and self.world.now > self.calm_until)
    @rule()
    def restart_coordinator(self) -> None:
        self.calm_until = self.world.now + 30
        self.world.restart_coordinator()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.check()
        self.world.settle()
        self.world.check()
        self.world.check_balanced()
        if not self.crashes and self.world.running():
            alive = {node.name for node in self.world.running()}
            if self.world.coordinator.members & alive:
                self.world.check_nothing_lost()


class Stormy(Quiet):
    """The same with crashes, hangs, lost leases and coordinators that start again."""

    crashes = True


LIMITS = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TestQuiet = Quiet.TestCase
TestQuiet.settings = LIMITS
TestStormy = Stormy.TestCase
TestStormy.settings = LIMITS


@pytest.fixture(autouse=True)
def _quiet_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "actors")
