"""How children are stopped. Rules: OTP Design Principles, "Supervisor Behaviour", "Child
Specification" (`shutdown`); module `supervisor`.

A child on a dispatcher that nobody runs is one whose thread is blocked.
"""

from __future__ import annotations

from typing import Any

import pytest
from actors_support import cell_of
from supervision_bench import TreeBench, Worker

from actors import ChildSpec, SupervisorSpec, Terminated
from actors.supervision.procedure import CUT_OFF_S
from actors.testkit import SyncDispatcher


def blocked(bench: TreeBench, name: str, **options: Any) -> tuple[ChildSpec, SyncDispatcher]:
    """A worker whose turns the test runs by itself."""
    dispatcher = SyncDispatcher(bench.clock)
    return bench.worker(name, dispatcher=dispatcher, **options), dispatcher


def test_a_child_may_handle_what_is_in_its_mailbox(bench: TreeBench) -> None:
    """Ours: as pykka's stop, within the shutdown time."""
    supervisor = bench.supervise(bench.workers("a"))
    ref = bench.ref(supervisor, "a")
    for number in range(5):
        ref.tell(number)
    supervisor.stop(block=False)
    bench.run()
    assert [message for _, message in bench.stage.handled] == [0, 1, 2, 3, 4]
    assert bench.dead() == []


def test_the_next_child_is_stopped_when_the_one_before_has_ended(bench: TreeBench) -> None:
    """`supervisor`: one after the other, each waited for."""
    slow, turns = blocked(bench, "b")
    supervisor = bench.supervise([bench.worker("a")])
    started = supervisor.start_child(slow)
    bench.run()
    turns.run()
    bench.now(started)
    supervisor.stop(block=False)
    bench.run()
    assert "-a" not in bench.stage.log
    turns.run()
    bench.run()
    assert bench.stage.log[-2:] == ["-b", "-a"]


@pytest.mark.parametrize("seconds", [0.2, 5.0])
def test_who_does_not_stop_within_its_shutdown_time_is_killed(
    bench: TreeBench, seconds: float
) -> None:
    """`shutdown`, an integer: told to stop, waited for, then killed. Ours: cut off in between."""
    slow, turns = blocked(bench, "b", shutdown_s=seconds)
    supervisor = bench.supervise([bench.worker("a")])
    started = supervisor.start_child(slow)
    bench.run()
    turns.run()
    ref = bench.now(started)
    told: list[Terminated] = []
    bench.system.watch(ref, told.append)
    ref.tell("never handled")
    stopped = supervisor.stop(block=False)
    bench.advance(seconds + CUT_OFF_S - 0.01)
    assert told == []
    bench.advance(0.01)
    assert [one.reason for one in told] == ["killed"]
    assert bench.now(stopped) is True
    assert bench.stage.log[-1] == "-a"
    assert "-b" not in bench.stage.log
    assert [(letter.envelope.message, letter.reason) for letter in bench.letters] == [
        ("never handled", "killed")
    ]
    assert len(bench.system) == 0
    # What it does from now on counts for nothing.
    turns.run()
    assert "-b" not in bench.stage.log
    assert bench.stage.handled == []


def test_brutal_kill_asks_nobody(bench: TreeBench) -> None:
    """`shutdown`, brutal_kill: ended at once, without `on_stop`; the mailbox is dead letters."""
    supervisor = bench.supervise([bench.worker("a"), bench.worker("b", shutdown_s=0)])
    ref = bench.ref(supervisor, "b")
    bench.stage.take()
    supervisor.stop(block=False)
    ref.tell("late")
    bench.run()
    assert bench.stage.take() == ["-a"]
    assert [(letter.envelope.message, letter.reason) for letter in bench.letters] == [
        ("late", "killed")
    ]
    assert bench.system.counts.killed == 1
    assert len(bench.system) == 0


def test_infinity_waits_as_long_as_it_takes(bench: TreeBench) -> None:
    """`shutdown`, infinity: for supervisors, which need time for their own children."""
    slow, turns = blocked(bench, "b", shutdown_s=None)
    supervisor = bench.supervise([bench.worker("a")])
    started = supervisor.start_child(slow)
    bench.run()
    turns.run()
    ref = bench.now(started)
    stopped = supervisor.stop(block=False)
    bench.advance(1_000_000)
    assert ref.is_alive()
    turns.run()
    assert bench.now(stopped) is True
    assert bench.stage.log[-2:] == ["-b", "-a"]


def test_a_nested_supervisor_with_a_shutdown_time_is_killed_with_all_below(
    bench: TreeBench,
) -> None:
    """`shutdown`: a kill of a supervisor would orphan its children in OTP, so it warns; here the
    subtree is killed with it."""
    slow, turns = blocked(bench, "c", shutdown_s=None)
    below = SupervisorSpec(children=bench.workers("b"))
    supervisor = bench.supervise([bench.nested("inner", below, shutdown_s=1.0)])
    started = bench.below(supervisor, "inner").start_child(slow)
    bench.run()
    turns.run()
    bench.now(started)
    bench.stage.take()
    stopped = supervisor.stop(block=False)
    bench.advance(1.0 + 2 * CUT_OFF_S)
    assert bench.now(stopped) is True
    assert len(bench.system) == 0
    assert bench.paths() == []


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_goes_on_without_a_child_that_hangs(
    bench: TreeBench, strategy: Any
) -> None:
    """`shutdown` in a group restart: the child is killed in its time, and all come up again."""
    slow, turns = blocked(bench, "b", shutdown_s=2.0)
    supervisor = bench.supervise([bench.worker("a")], strategy=strategy)
    started = supervisor.start_child(slow)
    bench.run()
    turns.run()
    old = bench.now(started)
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.states(supervisor) == {"a": "restarting", "b": "halting"}
    bench.advance(2.0 + CUT_OFF_S)
    assert not old.is_alive()
    assert bench.states(supervisor) == {"a": "idle", "b": "restarting"}
    turns.run()
    bench.run()
    assert bench.states(supervisor) == {"a": "idle", "b": "idle"}
    assert bench.stage.take() == ["!a", "+a", "+b"]
    assert bench.ref(supervisor, "b") != old
    assert len(bench.system) == 3


def test_the_others_go_on_while_one_is_waited_for(bench: TreeBench) -> None:
    """Ours: who is stopped holds up nobody but its supervisor's next step."""
    slow, turns = blocked(bench, "b", shutdown_s=3.0)
    supervisor = bench.supervise([bench.worker("a")])
    started = supervisor.start_child(slow)
    bench.run()
    turns.run()
    bench.now(started)
    stopped = supervisor.stop_child("b")
    bench.run()
    bench.tell(supervisor, "a", "hello", "boom", "again")
    assert bench.stage.handled[-1] == ("a", "again")
    assert bench.info(supervisor, "a").restarts == 1
    bench.advance(3.0 + CUT_OFF_S)
    assert bench.now(stopped) is None
    assert bench.states(supervisor) == {"a": "idle", "b": "down"}


def test_children_started_together_stop_together(bench: TreeBench) -> None:
    """`supervisor`, simple_one_for_one: its instances are stopped in no particular order, at
    once."""
    supervisor = bench.supervise([bench.worker("first")])
    turns = SyncDispatcher(bench.clock)
    template = bench.worker("copy", dispatcher=turns, shutdown_s=1.0)
    started = supervisor.start_copies(template, 100)
    bench.run()
    turns.run()
    assert len(bench.now(started)) == 100
    supervisor.stop(block=False)
    # None of them obeys: one shutdown time for all of them, not a hundred.
    bench.advance(1.0 + 2 * CUT_OFF_S)
    assert bench.system.counts.killed == 100
    assert len(bench.system) == 0


@pytest.mark.parametrize("message", ["boom", "exit"])
def test_a_child_that_ends_by_itself_while_it_is_stopped(bench: TreeBench, message: str) -> None:
    """`supervisor`: an end that comes during the shutdown is no reason for a restart."""
    supervisor = bench.supervise(bench.workers("ab"))
    ref = bench.ref(supervisor, "b")
    stopped = supervisor.stop_child("b")
    ref.tell(message)
    bench.run()
    assert bench.now(stopped) is None
    assert bench.states(supervisor) == {"a": "idle", "b": "down"}
    assert not ref.is_alive()
    assert bench.stage.log.count("+b") == 1
    assert len(bench.system) == 2


def test_a_child_that_fails_on_its_way_out_is_not_left_behind(bench: TreeBench) -> None:
    """`supervisor`: who fails while it is stopped has ended; what it left is dead letters."""
    supervisor = bench.supervise(bench.workers("ab"))
    ref = bench.ref(supervisor, "b")
    supervisor.stop(block=False)
    ref.tell("boom")
    ref.tell("after")
    bench.run()
    assert len(bench.system) == 0
    assert not supervisor.is_alive()
    assert bench.dead() == ["boom", "after"]


def test_an_on_stop_that_raises_keeps_nobody(bench: TreeBench) -> None:
    """`supervisor`: a child that fails in its clean-up has ended all the same."""

    class Messy(Worker):
        def on_stop(self) -> None:
            super().on_stop()
            raise RuntimeError("the clean-up")

    supervisor = bench.supervise([bench.worker("a"), bench.worker("b", actor=Messy)])
    bench.stage.take()
    supervisor.stop(block=False)
    bench.run()
    assert bench.stage.take() == ["-b", "-a"]
    assert len(bench.system) == 0


def test_a_killed_supervisor_takes_its_children_along(bench: TreeBench) -> None:
    """Ours: no orphans, at any depth."""
    below = SupervisorSpec(children=bench.workers("bc"))
    supervisor = bench.supervise([bench.worker("a"), bench.nested("inner", below)])
    cell_of(supervisor.ref).kill()
    bench.run()
    assert len(bench.system) == 0
    assert bench.system.counts.killed == 5
    assert bench.stage.take() == ["+a", "+b", "+c"]
