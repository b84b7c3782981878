"""How many restarts are too many, and who learns of it. Rules: OTP Design Principles, "Supervisor
Behaviour", "Maximum Restart Intensity"; the back-off is Pekko's `restartWithBackoff`."""

from __future__ import annotations

from typing import Any

import pytest
from actors_support import Boom
from supervision_bench import TreeBench, Worker, instance

from actors import SupervisorSpec, Terminated


def test_the_default_is_one_restart_in_five_seconds() -> None:
    """`supervisor`: `intensity` defaults to 1 and `period` to 5."""
    spec = SupervisorSpec()
    assert (spec.strategy, spec.intensity, spec.period_s) == ("one_for_one", 1, 5.0)


def test_one_restart_too_many_ends_all_children_in_reverse_order(bench: TreeBench) -> None:
    """`supervisor`: more than `intensity` restarts within `period` and the supervisor terminates
    all its children and then itself."""
    supervisor = bench.supervise(bench.workers("abc"), intensity=2, period_s=5)
    for _ in range(2):
        bench.tell(supervisor, "b", "boom")
    assert supervisor.is_alive()
    bench.stage.take()
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "-c", "-a"]
    assert not supervisor.is_alive()
    assert len(bench.system) == 0


def test_the_intensity_is_of_all_children_together(bench: TreeBench) -> None:
    """`supervisor`: restarts are counted per supervisor, not per child."""
    supervisor = bench.supervise(bench.workers("abc"), intensity=2)
    for name in "ab":
        bench.tell(supervisor, name, "boom")
    assert supervisor.is_alive()
    bench.tell(supervisor, "c", "boom")
    assert not supervisor.is_alive()


def test_the_period_is_a_sliding_window(bench: TreeBench) -> None:
    """`supervisor`: the last `period` seconds, whenever that is."""
    supervisor = bench.supervise(bench.workers("a"), intensity=2, period_s=5)
    for moment in (0.0, 4.0, 5.5, 9.5, 11.0):
        bench.advance(moment - bench.clock.now())
        bench.tell(supervisor, "a", "boom")
        assert supervisor.is_alive(), moment
    # 9.5 and 11.0 are within five seconds of 14.0.
    bench.advance(14.0 - bench.clock.now())
    bench.tell(supervisor, "a", "boom")
    assert not supervisor.is_alive()


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_counts_once(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: one child's end is one restart, whoever is taken along."""
    supervisor = bench.supervise(bench.workers("abcd"), strategy=strategy, intensity=2)
    for _ in range(2):
        bench.tell(supervisor, "a", "boom")
    assert supervisor.is_alive()
    bench.tell(supervisor, "a", "boom")
    assert not supervisor.is_alive()


def test_intensity_zero_allows_no_restart(bench: TreeBench) -> None:
    """`supervisor`: more than 0 restarts is the first."""
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["+a", "!a"]
    assert not supervisor.is_alive()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_restarts_that_fail_use_up_the_intensity(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: a child that does not start any more ends its supervisor."""
    supervisor = bench.supervise(bench.workers("ab"), strategy=strategy, intensity=3)
    bench.stage.bad_starts["a"] = 100
    bench.tell(supervisor, "a", "boom")
    assert not supervisor.is_alive()
    assert bench.stage.bad_starts["a"] == 97
    assert len(bench.system) == 0
    assert bench.system.counts.gave_up == 1


# --- escalation --------------------------------------------------------------------------------


def two_levels(bench: TreeBench, outer: int, inner: int) -> Any:
    """A supervisor of a worker and of a supervisor of two."""
    below = SupervisorSpec(children=bench.workers("bc"), intensity=inner)
    return bench.supervise([bench.worker("a"), bench.nested("inner", below)], intensity=outer)


def test_a_supervisor_that_gives_up_is_restarted_by_the_one_above(bench: TreeBench) -> None:
    """Design Principles: the next higher level takes some action: it restarts the supervisor."""
    supervisor = two_levels(bench, outer=1, inner=0)
    ref = bench.ref(supervisor, "inner")
    bench.stage.take()
    bench.tell(bench.below(supervisor, "inner"), "b", "boom")
    assert bench.stage.take() == ["!b", "-c", "+b", "+c"]
    assert bench.ref(supervisor, "inner") == ref
    assert bench.info(supervisor, "inner").restarts == 1
    assert bench.states(bench.below(supervisor, "inner")) == {"b": "idle", "c": "idle"}


def test_a_restarted_supervisor_has_its_whole_intensity_again(bench: TreeBench) -> None:
    """`supervisor`: the count is part of the supervisor's state, which a restart begins anew."""
    supervisor = two_levels(bench, outer=1, inner=1)
    inner = bench.below(supervisor, "inner")
    for _ in range(3):
        bench.tell(inner, "b", "boom")
    assert supervisor.is_alive()
    assert bench.info(supervisor, "inner").restarts == 1
    bench.tell(inner, "b", "boom")
    assert not supervisor.is_alive()


def test_giving_up_goes_up_to_the_system(bench: TreeBench) -> None:
    """Design Principles: a failure that no level can mend ends the whole tree."""
    supervisor = two_levels(bench, outer=0, inner=0)
    told: list[Terminated] = []
    bench.system.watch(supervisor.ref, told.append)
    bench.stage.take()
    bench.tell(bench.below(supervisor, "inner"), "b", "boom")
    assert bench.stage.take() == ["!b", "-c", "-a"]
    assert [one.reason for one in told] == ["gave_up"]
    assert len(bench.system) == 0
    gave_up = [event.path for event in bench.events if event.kind == "gave_up"]
    assert gave_up == ["/bench/supervisor/inner", "/bench/supervisor"]
    assert bench.system.counters().gave_up == 2


def test_a_temporary_supervisor_that_gives_up_is_forgotten(bench: TreeBench) -> None:
    """`supervisor`: a temporary child is never restarted, also when it is a supervisor."""
    below = SupervisorSpec(children=bench.workers("b"), intensity=0)
    nested = bench.nested("inner", below, restart="temporary")
    supervisor = bench.supervise([bench.worker("a"), nested], intensity=0)
    bench.tell(bench.below(supervisor, "inner"), "b", "boom")
    assert supervisor.is_alive()
    assert bench.ids(supervisor) == ["a"]


def test_children_that_were_started_later_are_not_those_of_a_restarted_supervisor(
    bench: TreeBench,
) -> None:
    """`supervisor:start_child/2`: a dynamically added child is lost when its supervisor dies."""
    supervisor = two_levels(bench, outer=1, inner=0)
    inner = bench.below(supervisor, "inner")
    bench.now(inner.start_child(bench.worker("d")))
    bench.tell(inner, "b", "boom")
    assert bench.ids(inner) == ["b", "c"]
    assert len(bench.paths()) == len(bench.system) == 5


def test_a_directive_for_the_failure_of_a_supervisor(bench: TreeBench) -> None:
    """Ours: `directives` of a nested supervisor are for its giving up."""
    from actors import SupervisorFailed

    for directive, alive, ids in (("stop", True, ["a", "inner"]), ("escalate", False, [])):
        tree = TreeBench()
        below = SupervisorSpec(children=tree.workers("b"), intensity=0)
        nested = tree.nested("inner", below, directives={SupervisorFailed: directive})
        supervisor = tree.supervise([tree.worker("a"), nested])
        tree.tell(tree.below(supervisor, "inner"), "b", "boom")
        assert supervisor.is_alive() == alive
        if alive:
            assert tree.ids(supervisor) == ids
            assert tree.states(supervisor)["inner"] == "down"


# --- back-off ----------------------------------------------------------------------------------


def delay_of_restart(bench: TreeBench, supervisor: Any) -> float:
    """How long child ``a`` is down after a failure."""
    before = bench.clock.now()
    bench.tell(supervisor, "a", "boom")
    assert bench.states(supervisor)["a"] == "restarting"
    while bench.states(supervisor)["a"] == "restarting":
        bench.advance(0.25)
    return bench.clock.now() - before


def test_the_back_off_doubles_with_each_failure(bench: TreeBench) -> None:
    """Pekko: from the minimum to the maximum, doubled each time."""
    child = bench.worker("a", min_backoff_s=1.0, max_backoff_s=4.0, random_factor=0.0)
    supervisor = bench.supervise([child])
    assert [delay_of_restart(bench, supervisor) for _ in range(4)] == [1.0, 2.0, 4.0, 4.0]


def test_the_back_off_begins_again_after_health(bench: TreeBench) -> None:
    """Pekko: the mean of minimum and maximum without a failure resets it."""
    child = bench.worker("a", min_backoff_s=1.0, max_backoff_s=4.0, random_factor=0.0)
    supervisor = bench.supervise([child], period_s=1.0)
    delays = []
    for health in (0.0, 0.0, 3.0, 0.0):
        bench.advance(health)
        delays.append(delay_of_restart(bench, supervisor))
    assert delays == [1.0, 2.0, 1.0, 2.0]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_waits_for_the_back_off_of_the_child_that_failed(
    bench: TreeBench, strategy: Any
) -> None:
    """Ours: OTP has no back-off; the whole group is down while it lasts."""
    child = bench.worker("a", min_backoff_s=1.0, random_factor=0.0)
    supervisor = bench.supervise([child, bench.worker("b")], strategy=strategy)
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-b"]
    assert bench.states(supervisor) == {"a": "restarting", "b": "restarting"}
    bench.advance(0.9)
    assert bench.stage.take() == []
    bench.advance(0.1)
    assert bench.stage.take() == ["+a", "+b"]


def test_no_back_off_is_otps_immediate_restart(bench: TreeBench) -> None:
    """`supervisor`: a child is restarted at once; no timer is needed for it."""
    for strategy in ("one_for_one", "one_for_all", "rest_for_one"):
        tree = TreeBench()
        supervisor = tree.supervise(tree.workers("ab"), strategy=strategy)
        before = tree.dispatcher.timers
        tree.tell(supervisor, "a", "boom")
        assert tree.states(supervisor) == {"a": "idle", "b": "idle"}
        assert tree.dispatcher.timers == before


def test_the_jitter_stays_in_its_share(bench: TreeBench) -> None:
    """Pekko, `randomFactor`: each delay is longer by up to that share."""
    children = [bench.worker(f"w{n}", min_backoff_s=1.0, random_factor=0.5) for n in range(50)]
    supervisor = bench.supervise(children, intensity=100)
    for one in bench.now(supervisor.children()):
        one.ref.tell("boom")
    bench.run()
    bench.stage.take()
    bench.advance(0.999)
    assert bench.stage.take() == []
    bench.advance(0.25)
    first = len(bench.stage.take())
    assert 0 < first < 50
    bench.advance(0.251)
    assert first + len(bench.stage.take()) == 50


def test_the_last_straw_is_told_with_its_cause(bench: TreeBench) -> None:
    """Design Principles: the supervisor reports which child it gave up for."""

    class Cause(Worker):
        def on_receive(self, message: Any) -> Any:
            raise Boom(message)

    supervisor = bench.supervise([bench.worker("a", actor=Cause)], intensity=0)
    assert instance(bench.ref(supervisor, "a"))
    bench.tell(supervisor, "a", "last straw")
    event = next(event for event in bench.events if event.kind == "gave_up")
    assert "the last one of a" in event.detail
