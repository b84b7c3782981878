"""Starting and stopping a tree. Rules: OTP Design Principles, "Supervisor Behaviour"; module
`supervisor`, "Supervision Principles"."""

from __future__ import annotations

import pytest
from actors_support import Boom
from supervision_bench import Stage, TreeBench, Worker

from actors import ChildError, SupervisorFailed, SupervisorSpec, Terminated


def test_children_start_in_the_order_of_the_list(bench: TreeBench) -> None:
    """`supervisor`: when started, it starts its children in order, from left to right."""
    supervisor = bench.supervise(bench.workers("abc"))
    assert bench.stage.take() == ["+a", "+b", "+c"]
    assert bench.ids(supervisor) == ["a", "b", "c"]
    assert supervisor.started.get(timeout=0) is None


def test_each_child_starts_after_the_one_before_has_started(bench: TreeBench) -> None:
    """Design Principles, "Child Specification": start is synchronous, one after the other."""

    class Witness(Worker):
        def on_start(self) -> None:
            running = [path for path in bench.paths() if path.count("/") == 3]
            self.stage.log.append(f"{self.name} sees {len(running)}")

    bench.supervise([bench.worker(name, actor=Witness) for name in "abc"])
    assert bench.stage.take() == ["a sees 1", "b sees 2", "c sees 3"]


def test_children_stop_in_the_reverse_order(bench: TreeBench) -> None:
    """`supervisor`: when it terminates, it first terminates its children from right to left."""
    supervisor = bench.supervise(bench.workers("abc"))
    bench.stage.take()
    stopped = supervisor.stop(block=False)
    assert bench.now(stopped) is True
    assert bench.stage.take() == ["-c", "-b", "-a"]
    assert not supervisor.is_alive()
    assert len(bench.system) == 0


def test_the_supervisor_ends_after_its_children(bench: TreeBench) -> None:
    """`supervisor`: children first, then the supervisor itself."""
    supervisor = bench.supervise(bench.workers("ab"))
    supervisor.stop(block=False)
    bench.run()
    stopped = [event.path for event in bench.events if event.kind == "stopped"]
    assert stopped == ["/bench/supervisor/b", "/bench/supervisor/a", "/bench/supervisor"]


def test_a_child_that_fails_to_start_undoes_those_before_in_reverse_order(
    bench: TreeBench,
) -> None:
    """`supervisor:start_link/2`: if any child start fails, all children already started are
    terminated and the supervisor fails."""
    bench.stage.bad_starts["c"] = 1
    supervisor = bench.supervise(bench.workers("abcd"))
    assert bench.stage.take() == ["+a", "+b", "?c", "-b", "-a"]
    with pytest.raises(ChildError) as caught:
        supervisor.started.get(timeout=0)
    assert caught.value.reason == "start_failed"
    assert caught.value.child == "c"
    assert isinstance(caught.value.__cause__, Boom)
    assert not supervisor.is_alive()
    assert len(bench.system) == 0


def test_a_first_start_is_not_tried_again(bench: TreeBench) -> None:
    """`supervisor:start_link/2`: restart types are for children that have been started."""
    bench.stage.bad_starts["a"] = 1
    bench.supervise(bench.workers("a"), intensity=100)
    bench.advance(100)
    assert bench.stage.take() == ["?a"]


def test_a_constructor_that_raises_is_a_failed_start(bench: TreeBench) -> None:
    """`supervisor:start_link/2`: whatever the start function fails with."""

    class Unmade(Worker):
        def __init__(self, stage: Stage, name: str) -> None:
            super().__init__(stage, name)
            raise Boom("not made")

    supervisor = bench.supervise([*bench.workers("a"), bench.worker("b", actor=Unmade)])
    assert bench.stage.take() == ["+a", "-a"]
    with pytest.raises(ChildError, match="start_failed"):
        supervisor.started.get(timeout=0)
    assert len(bench.system) == 0


def test_a_supervisor_may_have_no_children(bench: TreeBench) -> None:
    """`supervisor`, "Supervision Principles": the list of children may be empty."""
    supervisor = bench.supervise([])
    assert supervisor.started.get(timeout=0) is None
    assert bench.now(supervisor.count()) == {
        "specs": 0, "active": 0, "supervisors": 0, "workers": 0,
    }  # fmt: skip
    supervisor.stop(block=False)
    bench.run()
    assert not supervisor.is_alive()


def test_supervisors_are_children_of_supervisors(bench: TreeBench) -> None:
    """Design Principles, "Supervision Trees": depth first up, and the reverse of it down."""
    inner = SupervisorSpec(children=bench.workers("bc"))
    supervisor = bench.supervise(
        [bench.worker("a"), bench.nested("inner", inner), bench.worker("d")]
    )
    assert bench.stage.take() == ["+a", "+b", "+c", "+d"]
    assert bench.paths() == [
        "/bench/supervisor",
        "/bench/supervisor/a",
        "/bench/supervisor/d",
        "/bench/supervisor/inner",
        "/bench/supervisor/inner/b",
        "/bench/supervisor/inner/c",
    ]
    assert bench.info(supervisor, "inner").kind == "supervisor"
    supervisor.stop(block=False)
    bench.run()
    assert bench.stage.take() == ["-d", "-c", "-b", "-a"]
    assert len(bench.system) == 0


def test_a_nested_supervisor_that_cannot_start_fails_the_one_above(bench: TreeBench) -> None:
    """`supervisor:start_link/2`: a failed start goes up the tree, undoing all of it."""
    bench.stage.bad_starts["c"] = 1
    inner = SupervisorSpec(children=bench.workers("bc"))
    supervisor = bench.supervise([bench.worker("a"), bench.nested("inner", inner)])
    assert bench.stage.take() == ["+a", "+b", "?c", "-b", "-a"]
    with pytest.raises(ChildError) as caught:
        supervisor.started.get(timeout=0)
    assert caught.value.child == "inner"
    assert len(bench.system) == 0


def test_two_trees_do_not_touch_each_other(bench: TreeBench) -> None:
    """Design Principles, "Supervision Trees": a failure stays within its own tree."""
    spec = SupervisorSpec(intensity=0, children=bench.workers("a"))
    first = bench.system.supervise(spec, name="first")
    second = bench.system.supervise(SupervisorSpec(children=bench.workers("b")), name="second")
    bench.run()
    bench.tell(first, "a", "boom")
    assert not first.is_alive()
    assert second.is_alive()
    assert bench.states(second) == {"b": "idle"}


def test_who_watches_a_supervisor_learns_why_it_ended(bench: TreeBench) -> None:
    """Reference Manual, "Processes", monitors: once, with the reason."""
    told: list[Terminated] = []
    stopped = bench.supervise([])
    given_up = bench.system.supervise(
        SupervisorSpec(intensity=0, children=bench.workers("a")), name="other"
    )
    bench.run()
    bench.system.watch(stopped.ref, told.append)
    bench.system.watch(given_up.ref, told.append)
    stopped.stop(block=False)
    bench.tell(given_up, "a", "boom")
    assert [one.reason for one in told] == ["stopped", "gave_up"]


def test_the_system_stops_a_tree_from_the_top(bench: TreeBench) -> None:
    """`application`: the end of the whole is the shutdown of its topmost supervisor."""
    inner = SupervisorSpec(children=bench.workers("bc"))
    bench.supervise([bench.worker("a"), bench.nested("inner", inner)])
    bench.stage.take()
    for cell in bench.system.cells():
        assert cell.ref is not None
        cell.ref.stop(block=False)
    bench.run()
    assert bench.stage.take() == ["-c", "-b", "-a"]
    assert len(bench.system) == 0


def test_the_failure_of_a_supervisor_names_itself_and_its_reason(bench: TreeBench) -> None:
    """Design Principles, "Maximum Restart Intensity": the supervisor reports why it ends."""
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    bench.tell(supervisor, "a", "boom")
    event = next(event for event in bench.events if event.kind == "gave_up")
    assert event.path == "/bench/supervisor"
    assert "more than 0 restarts within 5 s" in event.detail
    assert SupervisorFailed.code == "supervisor_failed"
