"""When a child that ended comes back. Rules: OTP Design Principles, "Supervisor Behaviour",
"Child Specification" (`restart`) and "Automatic Shutdown"; module `supervisor`."""

from __future__ import annotations

from typing import Any

import pytest
from actors_support import cell_of
from supervision_bench import TreeBench

from actors import ChildSpec, SupervisorSpec, Terminated

ENDS = ["normal", "failure", "stop directive", "kill", "exit"]


def end(bench: TreeBench, ref: Any, how: str) -> None:
    """End a child in some way and run all turns."""
    match how:
        case "normal":
            ref.tell("exit")
        case "failure":
            ref.tell("boom")
        case "stop directive":
            ref.tell(LookupError("the end of it"))
        case "kill":
            cell_of(ref).kill()
        case "exit":
            ref.tell(SystemExit(1))
    bench.run()


COMES_BACK = {
    "permanent": {"normal", "failure", "kill"},
    "transient": {"failure", "kill"},
    "temporary": set[str](),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_who_comes_back_after_what(bench: TreeBench, restart: Any, how: str) -> None:
    """`supervisor`: permanent always, transient after an abnormal end, temporary never. A stop
    directive and what is no `Exception` end a child for good whatever its type, by its own
    policy."""
    child = bench.worker("a", restart=restart, directives={LookupError: "stop"})
    supervisor = bench.supervise([child, bench.worker("b")])
    bench.stage.take()
    end(bench, bench.ref(supervisor, "a"), how)
    back = how in COMES_BACK[restart]
    assert ("+a" in bench.stage.take()) == back
    if restart == "temporary":
        assert bench.ids(supervisor) == ["b"]
    else:
        assert bench.states(supervisor) == {"a": "idle" if back else "down", "b": "idle"}
    assert bench.info(supervisor, "b").restarts == 0


def test_a_permanent_child_that_stops_itself_keeps_its_ref(bench: TreeBench) -> None:
    """`supervisor`: permanent is always restarted. Ours: under the same ref, mailbox kept."""
    supervisor = bench.supervise(bench.workers("a"))
    ref = bench.ref(supervisor, "a")
    stopped = ref.stop(block=False)
    ref.tell("later")
    bench.run()
    assert bench.stage.take() == ["+a", "-a", "+a"]
    assert stopped.get(timeout=0) is True
    assert ref.is_alive()
    assert bench.stage.handled == [("a", "later")]


def test_a_normal_end_of_a_permanent_child_counts_as_a_restart(bench: TreeBench) -> None:
    """`supervisor`, "Maximum Restart Intensity": restarts are counted, not failures."""
    supervisor = bench.supervise(bench.workers("a"), intensity=1)
    bench.tell(supervisor, "a", "exit")
    assert supervisor.is_alive()
    bench.tell(supervisor, "a", "exit")
    assert not supervisor.is_alive()


def test_a_transient_child_that_ended_keeps_its_specification(bench: TreeBench) -> None:
    """`supervisor:which_children/1`: listed without a process; `restart_child/2` starts it."""
    supervisor = bench.supervise(bench.workers("a", restart="transient"))
    bench.tell(supervisor, "a", "exit")
    assert bench.info(supervisor, "a").ref is None
    bench.now(supervisor.restart_child("a"))
    assert bench.states(supervisor) == {"a": "idle"}


def test_a_killed_child_comes_back_under_a_new_ref(bench: TreeBench) -> None:
    """Reference Manual, "Processes": the end of a process is final; who watched is told."""
    supervisor = bench.supervise(bench.workers("a"))
    old = bench.ref(supervisor, "a")
    told: list[Terminated] = []
    bench.system.watch(old, told.append)
    cell_of(old).kill()
    bench.run()
    assert [one.reason for one in told] == ["killed"]
    new = bench.ref(supervisor, "a")
    assert new != old
    assert new.path == old.path
    assert not old.is_alive()


def test_temporary_children_that_end_leave_nothing_behind(bench: TreeBench) -> None:
    """`supervisor`: the child specification of a temporary child goes with it."""
    supervisor = bench.supervise(bench.workers("ab", restart="temporary"))
    bench.tell(supervisor, "a", "boom")
    bench.tell(supervisor, "b", "exit")
    assert bench.now(supervisor.children()) == []
    assert bench.now(supervisor.count())["specs"] == 0
    assert bench.paths() == ["/bench/supervisor"]
    assert bench.now(supervisor.start_child(bench.worker("a"))).is_alive()


# --- automatic shutdown ----------------------------------------------------------------------


def significant(bench: TreeBench, name: str, restart: str = "transient", **more: Any) -> ChildSpec:
    """A significant child."""
    return bench.worker(name, restart=restart, significant=True, **more)


@pytest.mark.parametrize(
    ("restart", "how", "ends"),
    [
        ("transient", "normal", True),
        ("transient", "failure", False),
        ("transient", "kill", False),
        ("temporary", "normal", True),
        ("temporary", "failure", True),
        ("temporary", "kill", True),
    ],
)
def test_any_significant(bench: TreeBench, restart: str, how: str, ends: bool) -> None:
    """`supervisor`, `auto_shutdown`: a transient significant child by a normal end, a temporary
    one by any end of its own."""
    children = [bench.worker("a"), significant(bench, "b", restart), significant(bench, "c")]
    supervisor = bench.supervise(children, auto_shutdown="any_significant")
    bench.stage.take()
    end(bench, bench.ref(supervisor, "b"), how)
    assert supervisor.is_alive() == (not ends)
    if ends:
        assert bench.stage.take()[-2:] == ["-c", "-a"]
        assert len(bench.system) == 0


def test_all_significant(bench: TreeBench) -> None:
    """`supervisor`, `auto_shutdown`: when the last active significant child has ended."""
    children = [bench.worker("a"), significant(bench, "b"), significant(bench, "c", "temporary")]
    supervisor = bench.supervise(children, auto_shutdown="all_significant")
    end(bench, bench.ref(supervisor, "c"), "failure")
    assert supervisor.is_alive()
    end(bench, bench.ref(supervisor, "b"), "normal")
    assert not supervisor.is_alive()
    assert bench.stage.take()[-2:] == ["-b", "-a"]


def test_all_significant_counts_a_child_in_back_off(bench: TreeBench) -> None:
    """`supervisor`, `auto_shutdown`: a child that is to come back has not ended."""
    slow = significant(bench, "b", min_backoff_s=1.0, random_factor=0.0)
    supervisor = bench.supervise([slow, significant(bench, "c")], auto_shutdown="all_significant")
    end(bench, bench.ref(supervisor, "b"), "kill")
    end(bench, bench.ref(supervisor, "c"), "normal")
    assert supervisor.is_alive()
    bench.advance(1.0)
    assert bench.states(supervisor) == {"b": "idle", "c": "down"}
    end(bench, bench.ref(supervisor, "b"), "normal")
    assert not supervisor.is_alive()


@pytest.mark.parametrize("mode", ["any_significant", "all_significant"])
def test_a_significant_child_that_is_stopped_by_command_ends_nobody(
    bench: TreeBench, mode: Any
) -> None:
    """`supervisor`, `auto_shutdown`: terminated by itself, not by its supervisor."""
    supervisor = bench.supervise([significant(bench, "b")], auto_shutdown=mode)
    bench.now(supervisor.stop_child("b"))
    assert supervisor.is_alive()


def test_a_child_that_is_not_significant_ends_nobody(bench: TreeBench) -> None:
    """`supervisor`, `auto_shutdown`: only significant children matter."""
    children = [bench.worker("a", restart="transient"), significant(bench, "b")]
    supervisor = bench.supervise(children, auto_shutdown="any_significant")
    bench.tell(supervisor, "a", "exit")
    assert supervisor.is_alive()


def test_an_automatic_shutdown_goes_up_through_significant_supervisors(bench: TreeBench) -> None:
    """Design Principles, "Automatic Shutdown": a supervisor that is significant itself."""
    inner = SupervisorSpec(children=[significant(bench, "b")], auto_shutdown="any_significant")
    nested = bench.nested("inner", inner, restart="transient", significant=True)
    supervisor = bench.supervise([bench.worker("a"), nested], auto_shutdown="any_significant")
    bench.tell(bench.below(supervisor, "inner"), "b", "exit")
    assert not supervisor.is_alive()
    assert bench.stage.take() == ["+a", "+b", "-b", "-a"]
    assert len(bench.system) == 0


def test_a_permanent_supervisor_that_shuts_itself_down_comes_back(bench: TreeBench) -> None:
    """Design Principles, "Automatic Shutdown": the warning for permanent supervisors."""
    inner = SupervisorSpec(children=[significant(bench, "b")], auto_shutdown="any_significant")
    supervisor = bench.supervise([bench.nested("inner", inner)])
    bench.tell(bench.below(supervisor, "inner"), "b", "exit")
    assert bench.stage.take() == ["+b", "-b", "+b"]
    assert bench.info(supervisor, "inner").restarts == 1


def test_significant_is_refused_where_it_means_nothing(bench: TreeBench) -> None:
    """`supervisor`: not for permanent children, and not with `auto_shutdown` never."""
    with pytest.raises(ValueError, match="significant"):
        bench.worker("a", restart="permanent", significant=True)
    with pytest.raises(ValueError, match="significant"):
        SupervisorSpec(children=[significant(bench, "a")])


def test_start_child_refuses_a_significant_child_without_auto_shutdown(bench: TreeBench) -> None:
    """`supervisor:start_child/2`: the specification is checked as those of the start are."""
    supervisor = bench.supervise([])
    refused = supervisor.start_child(significant(bench, "a"))
    bench.run()
    with pytest.raises(ValueError, match="significant"):
        refused.get(timeout=0)
    assert bench.ids(supervisor) == []
