"""Hand-off, step by step: limits, time-outs, bounds, leases and terms."""

from __future__ import annotations

import logging

import pytest
from handoff_world import World

from actors.entities.coordinator import Coordinator
from actors.entities.handoff import Deliver, HandoffOptions, HandOver, Mark
from actors.entities.ring import SLOTS, assign, slot_of


def world(*names: str, **options: object) -> World:
    made = World(HandoffOptions(**{"slots": 12, "move_relative": 1.0, **options}))  # type: ignore[arg-type]
    for name in names:
        made.join(name)
        made.work()
    return made


def entity(slot: int, slots: int = 12) -> str:
    """An entity of a slot."""
    return next(f"e{n}" for n in range(1_000) if slot_of(f"e{n}", slots) == slot)


def test_only_so_many_slots_move_at_a_time() -> None:
    """Pekko's limits: 20 slots and a tenth of all, whichever is less; at least one."""
    assert HandoffOptions().move_limit == 20
    assert HandoffOptions(slots=100).move_limit == 10
    assert HandoffOptions(slots=4).move_limit == 1
    made = world("a", slots=64, move_absolute=5)
    made.join("b")
    most = 0
    for _ in range(10_000):
        if made.control:
            made.carry_control(0)
        elif made.links():
            made.carry(made.links()[0])
        else:
            stopping = [(n, s) for n in made.running() for s in n.stopping]
            if not stopping:
                break
            stopping[0][0].stopped(stopping[0][1])
        most = max(most, made.coordinator.moving)
    assert most == 5
    assert made.coordinator.owners() == assign("ab", 64)
    made.check_balanced()


def test_it_waits_for_its_first_nodes() -> None:
    made = world("a", min_nodes=3)
    made.join("b")
    made.tell("a", "x")
    made.work()
    assert set(made.coordinator.owners()) == {""}
    assert made.nodes["a"].shard.counts.held == 1
    made.join("c")
    made.work()
    assert made.coordinator.owners() == assign("abc", 12)
    assert made.coordinator.moved == 0, "nothing had to move"
    made.check_nothing_lost()


def test_what_is_held_has_a_bound() -> None:
    made = world(buffer_limit=2)
    made.join("a")
    for _ in range(4):
        made.tell("a", "x")
    assert [reason for _, reason in made.refused] == ["shard_buffer_full"] * 2
    made.settle()
    assert len(made.handled) == 2
    assert made.nodes["a"].shard.counts.refused == 2


def test_the_last_node_keeps_its_slots() -> None:
    made = world("a")
    made.nodes["a"].shard.leave()
    made.settle()
    assert made.nodes["a"].shard.status == "member"
    made.join("b")
    made.settle()
    assert made.nodes["a"].shard.status == "left"
    assert set(made.coordinator.owners()) == {"b"}
    made.tell("a", "x")
    assert made.refused == [(("a", "x", 1), "shard_left")]


def test_entities_that_do_not_stop_are_killed(caplog: pytest.LogCaptureFixture) -> None:
    """After the hand-off's time; what was in their mailboxes goes on."""
    caplog.set_level(logging.WARNING, "actors")
    made = world("a", timeout_s=30.0, lease_s=1_000.0, slots=1)
    made.tell("a", "x")
    assert made.nodes["a"].mail["x"]
    made.join("b")
    made.nodes["a"].shard.leave()
    while made.control:
        made.carry_control(0)
    made.carry(("b", "a"))
    assert made.nodes["a"].stopping.keys() == {0}
    made.wait(29.0)
    assert made.nodes["a"].stopping.keys() == {0}
    made.wait(2.0)
    assert made.nodes["a"].stopping == {}
    assert made.nodes["a"].shard.counts.forced == 1
    made.settle()
    assert made.handled == [("x", ("a", "x", 1))]
    assert made.coordinator.owners() == ("b",)
    assert "did not stop in time" in caplog.text


def test_a_mark_that_does_not_come_is_not_waited_for_for_ever() -> None:
    made = world("a", timeout_s=30.0, lease_s=1_000.0, slots=1)
    made.join("b")
    made.nodes["a"].shard.leave()
    while made.control:
        made.carry_control(0)
    made.wait(31.0)
    assert made.nodes["a"].stopping.keys() == {0}
    assert made.nodes["a"].shard.counts.forced == 1


def test_a_message_of_a_past_round_is_refused() -> None:
    """It is of a node that went down meanwhile; handled now it would be out of order."""
    made = world("a", "b")
    made.settle()
    slot = made.coordinator.owners().index("a")
    node = made.nodes["a"]
    node.shard.receive("b", Deliver(slot, 1, entity(slot), ("b", "old", 1)), made.now)
    node.shard.receive("b", HandOver(slot, 1, ((entity(slot), ("b", "old", 2)),)), made.now)
    node.shard.receive("b", Mark(slot, 1), made.now)
    made.settle()
    assert made.refused == [(("b", "old", 1), "node_lost")]
    assert node.shard.counts.lost == 1
    assert node.shard.counts.stale == 1
    assert made.handled == []


def test_a_lease_ends_before_its_slots_are_given_away() -> None:
    """A node that hears nothing kills its entities; only then another gets them."""
    made = world("a", "b", lease_s=10.0, grace_s=3.0)
    made.settle()
    made.nodes["a"].shard.route(entity(made.coordinator.owners().index("b")), ("a", "x", 1))
    made.carry(("a", "b"))
    assert made.nodes["b"].slots
    ended = given = 0.0
    for _ in range(40):
        made.wait(0.5)
        made.control = [one for one in made.control if "b" not in one]
        while made.control:
            made.carry_control(0)
        if not made.nodes["b"].slots:
            ended = ended or made.now
        if set(made.coordinator.owners()) == {"a"}:
            given = given or made.now
    assert ended
    assert given >= ended + 3.0
    assert made.nodes["b"].shard.counts.leases_lost >= 1
    assert made.nodes["b"].mail == {}
    made.settle()
    made.check_balanced()
    assert made.coordinator.members == {"a", "b"}


def test_a_new_coordinator_begins_anew() -> None:
    """All drop what they own, as it cannot know; its rounds are above those before."""
    made = world("a", "b", lease_s=10.0)
    made.settle()
    before = dict(made.rounds)
    made.restart_coordinator()
    made.wait(2.0)
    made.work()
    assert set(made.coordinator.owners()) == {""}
    made.settle()
    assert made.coordinator.owners() == assign("ab", 12)
    assert all(made.rounds[slot] > before[slot] for slot in range(12))
    assert made.nodes["a"].shard.counts.leases_lost == 1


def test_a_node_that_died_for_certain_is_replaced_at_once() -> None:
    made = world("a", "b")
    made.settle()
    made.crash("b", told=True)
    made.work()
    assert set(made.coordinator.owners()) == {"a"}
    made.coordinator.node_down("b", made.now)
    made.coordinator.node_down("nobody", made.now)
    made.join("b")
    made.settle()
    assert made.coordinator.owners() == assign("ab", 12)


def test_a_node_that_left_may_die() -> None:
    """Nobody waits for the marks of the dead."""
    made = world("a", "b", slots=1)
    made.nodes["b"].shard.leave()
    while made.control:
        made.carry_control(0)
    made.settle()
    made.data.clear()
    made.crash("b", told=True)
    made.join("c")
    made.nodes["a"].shard.leave()
    made.settle()
    assert made.coordinator.owners() == ("c",)
    assert made.nodes["a"].shard.counts.forced == 0


def test_a_proxy_owns_nothing() -> None:
    made = world("a")
    made.join("p", proxy=True)
    made.settle()
    assert made.coordinator.owners() == ("a",) * 12
    made.tell("p", "x")
    made.settle()
    made.check_nothing_lost()
    assert made.nodes["p"].slots == set()


def test_options_are_checked() -> None:
    assert HandoffOptions().slots == SLOTS
    for wrong in (
        {"slots": 0},
        {"load_factor": 0.5},
        {"min_nodes": 0},
        {"move_absolute": 0},
        {"move_relative": 1.5},
        {"timeout_s": 0.0},
        {"lease_s": 0.0},
        {"grace_s": -1.0},
        {"buffer_limit": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            HandoffOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="term"):
        Coordinator(world(), now=0.0, term=0)
