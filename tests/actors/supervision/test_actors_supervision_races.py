"""Things that happen at once: what a supervisor does when it is in the middle of something."""

from __future__ import annotations

from typing import Any

import pytest
from actors_support import cell_of
from pykka import ActorDeadError
from supervision_bench import TreeBench, Worker

from actors import ChildError, SupervisorSpec
from actors.testkit import SyncDispatcher


def held(bench: TreeBench, name: str, **options: Any) -> tuple[Any, SyncDispatcher]:
    """A worker that starts, works and stops only when the test runs its dispatcher."""
    turns = SyncDispatcher(bench.clock)
    return bench.worker(name, dispatcher=turns, **options), turns


def settle(bench: TreeBench, turns: SyncDispatcher) -> None:
    """Run both dispatchers until neither has anything to do."""
    while bench.dispatcher.ready or turns.ready:
        bench.run()
        turns.run()


def test_stop_during_the_start_waits_for_the_start(bench: TreeBench) -> None:
    """`supervisor:init/1` is synchronous: a stop comes after it."""
    child, turns = held(bench, "b")
    spec = SupervisorSpec(children=[bench.worker("a"), child, bench.worker("c")])
    supervisor = bench.system.supervise(spec)
    bench.run()
    stopped = supervisor.stop(block=False)
    bench.run()
    assert bench.stage.take() == ["+a"]
    settle(bench, turns)
    assert bench.now(stopped) is True
    assert bench.stage.take() == ["+b", "+c", "-c", "-b", "-a"]
    assert len(bench.system) == 0


def test_stop_now_during_the_start_undoes_what_there_is(bench: TreeBench) -> None:
    """`exit(Supervisor, shutdown)`: what was started is stopped in reverse."""
    child, turns = held(bench, "b")
    supervisor = bench.system.supervise(SupervisorSpec(children=[bench.worker("a"), child]))
    bench.run()
    cell_of(supervisor.ref).stop_now()
    bench.run()
    turns.run()
    bench.advance(10)
    turns.run()
    bench.run()
    assert bench.stage.take()[-1] == "-a"
    assert len(bench.system) == 0
    assert not supervisor.is_alive()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_stop_during_a_back_off_ends_at_once(bench: TreeBench, strategy: Any) -> None:
    """Ours: a restart that is still to come is called off."""
    child = bench.worker("a", min_backoff_s=100.0, max_backoff_s=100.0)
    supervisor = bench.supervise([child, bench.worker("b")], strategy=strategy)
    bench.tell(supervisor, "a", "boom", "kept")
    stopped = supervisor.stop(block=False)
    assert bench.now(stopped) is True
    assert len(bench.system) == 0
    assert bench.dead() == ["boom", "kept"]
    bench.advance(1_000)
    assert "+a" not in bench.stage.log[2:]
    assert bench.paths() == []


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_kill_during_a_back_off_starts_nobody_later(bench: TreeBench, strategy: Any) -> None:
    """A dead supervisor's timers start no children of nobody."""
    child = bench.worker("a", min_backoff_s=1.0)
    supervisor = bench.supervise([child, bench.worker("b")], strategy=strategy)
    bench.tell(supervisor, "a", "boom")
    cell_of(supervisor.ref).kill()
    bench.stage.take()
    bench.advance(1_000)
    assert bench.stage.take() == []
    assert len(bench.system) == 0


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_stop_in_the_middle_of_a_group_restart(bench: TreeBench, strategy: Any) -> None:
    """A group that is on its way down or up is stopped like any other."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise([bench.worker("a")], strategy=strategy)
    started = supervisor.start_child(child)
    bench.run()
    turns.run()
    bench.now(started)
    bench.now(supervisor.start_child(bench.worker("c")))
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-c"]
    stopped = supervisor.stop(block=False)
    bench.run()
    turns.run()
    bench.run()
    turns.run()
    assert bench.now(stopped) is True
    assert bench.stage.take() == ["-b"]
    assert len(bench.system) == 0


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_start_child_during_a_group_restart(bench: TreeBench, strategy: Any) -> None:
    """A child that starts meanwhile is not part of the group, and not forgotten either."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise([bench.worker("a")], strategy=strategy)
    started = supervisor.start_child(child)
    bench.run()
    turns.run()
    bench.now(started)
    bench.tell(supervisor, "a", "boom")
    new = supervisor.start_child(bench.worker("d"))
    assert bench.now(new).is_alive()
    settle(bench, turns)
    assert bench.states(supervisor) == {"a": "idle", "b": "idle", "d": "idle"}
    bench.stage.take()
    # And the supervisor is not stuck.
    bench.tell(supervisor, "d", "boom")
    settle(bench, turns)
    assert bench.states(supervisor) == {"a": "idle", "b": "idle", "d": "idle"}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_child_that_starts_when_a_group_goes_down_stays_up(
    bench: TreeBench, strategy: Any
) -> None:
    """Its start and the failure of another cross: nobody waits for a start that was before."""
    late, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("ac"), strategy=strategy)
    started = supervisor.start_child(late)
    failing = bench.ref(supervisor, "a")
    failing.tell("boom")
    settle(bench, turns)
    assert started.get(timeout=0).is_alive()
    assert bench.states(supervisor) == {"a": "idle", "c": "idle", "b": "idle"}
    assert bench.now(supervisor.stop_child("c")) is None


def test_stop_child_of_a_child_that_starts(bench: TreeBench) -> None:
    """Who waits for the start is told; the child does not come up after all."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("a"))
    started = supervisor.start_child(child)
    stopped = supervisor.stop_child("b")
    bench.run()
    assert bench.refused(started) == "stopping"
    for _ in range(3):
        turns.run()
        bench.run()
    assert stopped.get(timeout=0) is None
    assert bench.states(supervisor) == {"a": "idle", "b": "down"}
    assert len(bench.system) == 2
    assert bench.stage.log.count("+b") == bench.stage.log.count("-b")


def test_start_child_while_the_supervisor_gives_up(bench: TreeBench) -> None:
    """A supervisor on its way down takes nobody in: there would be none to stop it."""
    child, turns = held(bench, "b", shutdown_s=5.0)
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    started = supervisor.start_child(child)
    bench.run()
    turns.run()
    bench.now(started)
    bench.tell(supervisor, "a", "boom")
    assert supervisor.is_alive()
    assert bench.refused(supervisor.start_child(bench.worker("z"))) == "stopping"
    assert bench.refused(supervisor.start_copies(bench.worker("z"), 3)) == "stopping"
    assert bench.refused(supervisor.restart_child("a")) == "stopping"
    turns.run()
    bench.run()
    assert not supervisor.is_alive()
    assert len(bench.system) == 0


def test_start_child_while_the_supervisor_stops(bench: TreeBench) -> None:
    """As for any actor that has stopped."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("a"))
    started = supervisor.start_child(child)
    bench.run()
    turns.run()
    bench.now(started)
    supervisor.stop(block=False)
    waiting = supervisor.start_child(bench.worker("y"))
    bench.run()
    late = supervisor.start_child(bench.worker("z"))
    turns.run()
    bench.run()
    for asked in (waiting, late):
        with pytest.raises(ActorDeadError):
            asked.get(timeout=0)
    assert len(bench.system) == 0


def test_a_stop_that_comes_while_the_supervisor_gives_up(bench: TreeBench) -> None:
    """It ends once, and who asked for the stop is answered."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    started = supervisor.start_child(child)
    bench.run()
    turns.run()
    bench.now(started)
    bench.tell(supervisor, "a", "boom")
    stopped = supervisor.stop(block=False)
    bench.run()
    turns.run()
    assert bench.now(stopped) is True
    assert [event.kind for event in bench.events].count("gave_up") == 1
    assert len(bench.system) == 0


def test_a_kill_that_comes_while_the_supervisor_stops(bench: TreeBench) -> None:
    """Who asked for the stop is answered."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("a"))
    supervisor.start_child(child)
    settle(bench, turns)
    stopped = supervisor.stop(block=False)
    bench.run()
    cell_of(supervisor.ref).kill()
    assert bench.now(stopped) is True
    assert len(bench.system) == 0


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("then", ["nothing", "delete", "restart"])
def test_a_child_that_is_ended_by_hand_in_the_back_off_of_its_group(
    bench: TreeBench, strategy: Any, then: str
) -> None:
    """It stays down, may be deleted or started by command, and the others come up."""
    children = bench.workers("abc", min_backoff_s=1.0, random_factor=0.0)
    supervisor = bench.supervise(children, strategy=strategy)
    ref = bench.ref(supervisor, "b")
    bench.tell(supervisor, "a", "boom")
    cell_of(ref).stop_now()
    bench.run()
    assert bench.states(supervisor)["b"] == "down"
    if then == "delete":
        bench.now(supervisor.delete_child("b"))
    elif then == "restart":
        bench.now(supervisor.restart_child("b"))
    bench.advance(1.0)
    expected = {"a": "idle", "b": "down", "c": "idle"}
    if then == "delete":
        del expected["b"]
    elif then == "restart":
        expected["b"] = "idle"
    assert bench.states(supervisor) == expected
    assert len(bench.paths()) == len(bench.system) == 1 + list(expected.values()).count("idle")


def test_a_kill_answers_every_command(bench: TreeBench) -> None:
    """Who waits for a start or a stop that will not be done any more is told so."""
    child, turns = held(bench, "b")
    supervisor = bench.supervise(bench.workers("a"))
    started = supervisor.start_child(child)
    copies = supervisor.start_copies(bench.worker("copy", dispatcher=turns), 3)
    stops = [supervisor.stop_child(name) for name in "aba"]
    bench.dispatcher.step()
    bench.run()
    cell_of(supervisor.ref).kill()
    settle(bench, turns)
    for asked in (started, copies, *stops[1:]):
        with pytest.raises((ActorDeadError, ChildError)):
            asked.get(timeout=0)
    assert len(bench.system) == 0


def test_a_permanent_supervisor_that_is_told_to_stop_answers_and_comes_back(
    bench: TreeBench,
) -> None:
    """`supervisor`: a permanent child is always restarted, also when it is a supervisor."""
    nested = bench.nested("inner", SupervisorSpec(children=bench.workers("b")))
    supervisor = bench.supervise([nested])
    ref = bench.ref(supervisor, "inner")
    assert bench.now(ref.stop(block=False)) is True
    assert bench.stage.take() == ["+b", "-b", "+b"]
    assert bench.ref(supervisor, "inner") == ref
    assert ref.inspect().watchers == 0


def test_a_child_that_is_killed_in_its_back_off_costs_no_second_place(bench: TreeBench) -> None:
    """It comes back once, at the end of one back-off."""
    child = bench.worker("a", min_backoff_s=1.0, max_backoff_s=1.0, random_factor=0.0)
    supervisor = bench.supervise([child])
    ref = bench.ref(supervisor, "a")
    bench.tell(supervisor, "a", "boom")
    cell_of(ref).kill()
    bench.advance(10)
    assert bench.stage.take() == ["+a", "!a", "+a"]
    assert len(bench.system) == 2


def test_stop_child_twice_at_once(bench: TreeBench) -> None:
    """Both are answered when the child has ended, also when the first has it forgotten."""
    child, turns = held(bench, "b", restart="temporary")
    supervisor = bench.supervise(bench.workers("a"))
    started = supervisor.start_child(child)
    settle(bench, turns)
    assert started.get(timeout=0).is_alive()
    both = [supervisor.stop_child("b") for _ in range(2)]
    bench.run()
    assert bench.states(supervisor)["b"] == "stopping"
    settle(bench, turns)
    assert [one.get(timeout=0) for one in both] == [None, None]
    assert bench.ids(supervisor) == ["a"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_child_that_ends_for_good_while_its_group_goes_down(
    bench: TreeBench, strategy: Any
) -> None:
    """What its own directive ended, its group's restart does not bring back."""
    late, turns = held(bench, "b", directives={LookupError: "stop"})
    supervisor = bench.supervise(bench.workers("a"), strategy=strategy)
    started = supervisor.start_child(late)
    bench.run()
    turns.run()
    ref = bench.now(started)
    bench.tell(supervisor, "a", "boom")
    # The message was there first: signals come before messages, so only a busy child can do this.
    cell_of(ref).gone("failed")
    turns.run()
    bench.run()
    assert bench.states(supervisor) == {"a": "idle", "b": "down"}
    assert len(bench.system) == 2


def test_an_escalation_while_the_group_goes_down(bench: TreeBench) -> None:
    """It wins: the supervisor fails."""
    late, turns = held(bench, "b", directives={LookupError: "escalate"})
    supervisor = bench.supervise(bench.workers("ac"), strategy="one_for_all")
    supervisor.start_child(late)
    settle(bench, turns)
    refs = [bench.ref(supervisor, name) for name in "ab"]
    refs[0].tell("boom")
    bench.dispatcher.step()
    # The supervisor knows of the one failure when the other happens.
    refs[1].tell(LookupError())
    turns.run()
    settle(bench, turns)
    assert not supervisor.is_alive()
    assert len(bench.system) == 0
    assert bench.stage.take() == ["+a", "+c", "+b", "!a", "!b", "-c"]


def test_a_nested_supervisor_is_stopped_while_its_children_restart(bench: TreeBench) -> None:
    """The procedure of the lower one is dropped, and the order kept."""
    child = bench.worker("b", min_backoff_s=50.0, max_backoff_s=50.0)
    below = SupervisorSpec(children=[child, bench.worker("c")], strategy="one_for_all")
    supervisor = bench.supervise([bench.worker("a"), bench.nested("inner", below)])
    bench.tell(bench.below(supervisor, "inner"), "b", "boom")
    assert bench.stage.take() == ["+a", "+b", "+c", "!b", "-c"]
    stopped = supervisor.stop(block=False)
    assert bench.now(stopped) is True
    assert bench.stage.take() == ["-a"]
    assert len(bench.system) == 0


def test_the_whole_tree_fails_at_once(bench: TreeBench) -> None:
    """Every worker of three levels at the same moment: all come back, each once."""
    lowest = SupervisorSpec(children=bench.workers("ef"), strategy="one_for_all", intensity=5)
    middle = SupervisorSpec(
        children=[*bench.workers("cd"), bench.nested("low", lowest)],
        strategy="rest_for_one",
        intensity=5,
    )
    supervisor = bench.supervise([*bench.workers("ab"), bench.nested("mid", middle)])
    mid = bench.below(supervisor, "mid")
    low = bench.below(mid, "low")
    refs = [bench.ref(supervisor, name) for name in "ab"]
    refs += [bench.ref(mid, name) for name in "cd"] + [bench.ref(low, name) for name in "ef"]
    for ref in refs:
        ref.tell("boom")
    bench.run()
    assert all(ref.is_alive() for ref in refs[:4])
    assert len(bench.paths()) == len(bench.system) == 9
    assert set(bench.states(supervisor).values()) == {"idle"}
    assert set(bench.states(mid).values()) == {"idle"}
    assert set(bench.states(bench.below(mid, "low")).values()) == {"idle"}
    stopped = supervisor.stop(block=False)
    assert bench.now(stopped) is True
    assert len(bench.system) == 0


def test_a_blocking_actor_with_an_async_start_fails_to_start(bench: TreeBench) -> None:
    """There is no loop to await it on; its supervisor is told, and waits for nobody."""

    class Async(Worker):
        async def on_start(self) -> None:  # type: ignore[override]  # hooks may be async
            raise AssertionError("never awaited")

    supervisor = bench.supervise(bench.workers("a"))
    refused = supervisor.start_child(bench.worker("b", actor=Async))
    assert bench.refused(refused) == "start_failed"
    assert bench.ids(supervisor) == ["a"]
