"""What a supervisor can be asked. Rules: module `supervisor`, `start_child/2`, `terminate_child/2`,
`restart_child/2`, `delete_child/2`, `which_children/1`, `count_children/1`."""

from __future__ import annotations

from typing import Any

import pytest
from supervision_bench import TreeBench, Worker

from actors import ChildError, ChildSpec, SupervisorSpec


def test_start_child_starts_and_supervises(bench: TreeBench) -> None:
    """`start_child/2`: added to the children, at the end, and supervised as they are."""
    supervisor = bench.supervise(bench.workers("a"))
    ref = bench.now(supervisor.start_child(bench.worker("b")))
    assert bench.ids(supervisor) == ["a", "b"]
    assert ref.path == "/bench/supervisor/b"
    ref.tell("boom")
    bench.run()
    assert bench.stage.take() == ["+a", "+b", "!b", "+b"]
    supervisor.stop(block=False)
    bench.run()
    assert bench.stage.take() == ["-b", "-a"]


def test_start_child_refuses_the_id_of_a_child_that_runs(bench: TreeBench) -> None:
    """`start_child/2`: `{error, {already_started, Child}}`."""
    supervisor = bench.supervise(bench.workers("a"))
    assert bench.refused(supervisor.start_child(bench.worker("a"))) == "running"
    assert bench.stage.take() == ["+a"]


def test_start_child_refuses_the_id_of_a_child_that_is_down(bench: TreeBench) -> None:
    """`start_child/2`: `{error, already_present}`."""
    supervisor = bench.supervise(bench.workers("a"))
    bench.now(supervisor.stop_child("a"))
    assert bench.refused(supervisor.start_child(bench.worker("a"))) == "already_present"


def test_start_child_discards_a_child_that_does_not_start(bench: TreeBench) -> None:
    """`start_child/2`: the specification is discarded, and the supervisor goes on."""
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    bench.stage.bad_starts["b"] = 1
    assert bench.refused(supervisor.start_child(bench.worker("b"))) == "start_failed"
    assert bench.ids(supervisor) == ["a"]
    assert supervisor.is_alive()
    assert len(bench.system) == 2
    assert bench.now(supervisor.start_child(bench.worker("b"))).is_alive()


def test_start_child_starts_supervisors_too(bench: TreeBench) -> None:
    """`start_child/2`: a child is a worker or a supervisor."""
    supervisor = bench.supervise([])
    below = SupervisorSpec(children=bench.workers("ab"))
    bench.now(supervisor.start_child(bench.nested("inner", below)))
    assert bench.stage.take() == ["+a", "+b"]
    bench.stage.bad_starts["d"] = 1
    bad = SupervisorSpec(children=bench.workers("cd"))
    assert bench.refused(supervisor.start_child(bench.nested("bad", bad))) == "start_failed"
    assert bench.stage.take() == ["+c", "?d", "-c"]
    assert bench.now(supervisor.count()) == {
        "specs": 1, "active": 1, "supervisors": 1, "workers": 0,
    }  # fmt: skip


def test_stop_child_keeps_the_specification(bench: TreeBench) -> None:
    """`terminate_child/2`: the process ends, the specification stays."""
    supervisor = bench.supervise(bench.workers("ab"))
    ref = bench.ref(supervisor, "a")
    bench.now(supervisor.stop_child("a"))
    assert not ref.is_alive()
    assert bench.stage.take() == ["+a", "+b", "-a"]
    info = bench.info(supervisor, "a")
    assert (info.ref, info.state, info.kind) == (None, "down", "worker")
    # Again is no error.
    assert bench.now(supervisor.stop_child("a")) is None


def test_stop_child_forgets_a_temporary_child(bench: TreeBench) -> None:
    """`terminate_child/2`: a temporary child's specification goes as soon as it ends."""
    supervisor = bench.supervise(bench.workers("a", restart="temporary"))
    bench.now(supervisor.stop_child("a"))
    assert bench.ids(supervisor) == []
    assert bench.refused(supervisor.stop_child("a")) == "not_found"


def test_restart_child_starts_a_child_that_is_down(bench: TreeBench) -> None:
    """`restart_child/2`: with its specification, in its place in the order."""
    supervisor = bench.supervise(bench.workers("ab"))
    bench.now(supervisor.stop_child("a"))
    ref = bench.now(supervisor.restart_child("a"))
    assert ref.is_alive()
    assert bench.ids(supervisor) == ["a", "b"]
    assert bench.states(supervisor) == {"a": "idle", "b": "idle"}


def test_restart_child_uses_up_no_intensity(bench: TreeBench) -> None:
    """`supervisor`: only restarts that the supervisor does by itself count."""
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    for _ in range(5):
        bench.now(supervisor.stop_child("a"))
        bench.now(supervisor.restart_child("a"))
    assert supervisor.is_alive()


def test_restart_child_keeps_the_specification_of_a_child_that_does_not_start(
    bench: TreeBench,
) -> None:
    """`restart_child/2`: `{error, Error}` leaves the child as it was."""
    supervisor = bench.supervise(bench.workers("ab"))
    bench.now(supervisor.stop_child("a"))
    bench.stage.bad_starts["a"] = 1
    assert bench.refused(supervisor.restart_child("a")) == "start_failed"
    assert bench.states(supervisor) == {"a": "down", "b": "idle"}
    assert bench.now(supervisor.restart_child("a")).is_alive()


def test_restart_child_refuses_what_is_not_down(bench: TreeBench) -> None:
    """`restart_child/2`: running, restarting, not_found."""
    child = bench.worker("a", min_backoff_s=1.0)
    supervisor = bench.supervise([child])
    assert bench.refused(supervisor.restart_child("a")) == "running"
    bench.tell(supervisor, "a", "boom")
    assert bench.refused(supervisor.restart_child("a")) == "restarting"
    assert bench.refused(supervisor.restart_child("z")) == "not_found"


def test_delete_child_forgets_a_child_that_is_down(bench: TreeBench) -> None:
    """`delete_child/2`: the specification of a child that does not run."""
    child = bench.worker("b", min_backoff_s=1.0)
    supervisor = bench.supervise([bench.worker("a"), child])
    assert bench.refused(supervisor.delete_child("a")) == "running"
    bench.tell(supervisor, "b", "boom")
    assert bench.refused(supervisor.delete_child("b")) == "restarting"
    assert bench.refused(supervisor.delete_child("z")) == "not_found"
    bench.now(supervisor.stop_child("a"))
    bench.now(supervisor.delete_child("a"))
    assert bench.ids(supervisor) == ["b"]
    assert bench.refused(supervisor.restart_child("a")) == "not_found"
    assert bench.now(supervisor.start_child(bench.worker("a"))).is_alive()


def test_children_and_count(bench: TreeBench) -> None:
    """`which_children/1` and `count_children/1`: specs, active, supervisors, workers."""
    below = SupervisorSpec(children=bench.workers("x"))
    slow = bench.worker("c", min_backoff_s=1.0)
    supervisor = bench.supervise([*bench.workers("ab"), slow, bench.nested("inner", below)])
    bench.now(supervisor.stop_child("b"))
    bench.tell(supervisor, "c", "boom")
    seen = [(one.id, one.state, one.kind) for one in bench.now(supervisor.children())]
    assert seen == [
        ("a", "idle", "worker"),
        ("b", "down", "worker"),
        ("c", "restarting", "worker"),
        ("inner", "idle", "supervisor"),
    ]
    assert bench.now(supervisor.count()) == {
        "specs": 4, "active": 2, "supervisors": 1, "workers": 3,
    }  # fmt: skip


def test_a_dead_supervisor_answers_nobody(bench: TreeBench) -> None:
    """`supervisor`: all functions fail if the supervisor does not exist."""
    import pykka

    supervisor = bench.supervise([])
    supervisor.stop(block=False)
    bench.run()
    for asked in (
        supervisor.start_child(bench.worker("a")),
        supervisor.stop_child("a"),
        supervisor.children(),
    ):
        with pytest.raises(pykka.ActorDeadError):
            asked.get(timeout=0)


# --- many ------------------------------------------------------------------------------------


def test_start_children_starts_a_batch(bench: TreeBench) -> None:
    """Ours: many children in one command, each supervised by itself."""
    supervisor = bench.supervise(bench.workers("a"))
    refs = bench.now(supervisor.start_children(bench.workers("bcd")))
    assert [ref.path[-1] for ref in refs] == ["b", "c", "d"]
    refs[1].tell("boom")
    bench.run()
    assert bench.stage.take() == ["+a", "+b", "+c", "+d", "!c", "+c"]
    assert bench.now(supervisor.start_children([])) == []


def test_start_children_refuses_a_batch_with_an_id_twice(bench: TreeBench) -> None:
    """`start_child/2`: ids are one of a kind; nothing of the batch is started."""
    supervisor = bench.supervise(bench.workers("a"))
    twice = [bench.worker("b"), bench.worker("c"), bench.worker("b")]
    assert bench.refused(supervisor.start_children(twice)) == "already_present"
    known = [bench.worker("b"), bench.worker("a")]
    assert bench.refused(supervisor.start_children(known)) == "running"
    assert bench.ids(supervisor) == ["a"]
    assert len(bench.system) == 2


def test_start_children_tells_of_the_first_that_fails(bench: TreeBench) -> None:
    """`start_child/2`: those that start stay, the one that does not is not taken in."""
    bench.stage.bad_starts.update({"c": 1, "d": 1})
    supervisor = bench.supervise([])
    asked = supervisor.start_children(bench.workers("bcde"))
    bench.run()
    with pytest.raises(ChildError) as caught:
        asked.get(timeout=0)
    assert (caught.value.child, caught.value.reason) == ("c", "start_failed")
    assert bench.ids(supervisor) == ["b", "e"]
    assert bench.system.counts.late_replies == 0


@pytest.mark.repeats
def test_start_copies_in_thousands(bench: TreeBench) -> None:
    """`supervisor`, simple_one_for_one: many instances of one specification."""
    bench.dispatcher.throughput = 64
    supervisor = bench.supervise([], intensity=10_000)
    template = bench.worker("copy")
    refs = bench.now(supervisor.start_copies(template, 5_000))
    assert len(refs) == len({ref.path for ref in refs}) == 5_000
    assert bench.now(supervisor.count())["active"] == 5_000
    bench.stage.take()
    for ref in refs[::5]:
        ref.tell("boom")
    bench.run()
    log = bench.stage.take()
    assert (log.count("!copy"), log.count("+copy")) == (1_000, 1_000)
    assert all(ref.is_alive() for ref in refs)
    more = bench.now(supervisor.start_copies(template, 10))
    assert not {ref.path for ref in more} & {ref.path for ref in refs}
    supervisor.stop(block=False)
    bench.run()
    assert bench.stage.take().count("-copy") == 5_010
    assert len(bench.system) == 0


def test_temporary_copies_leave_no_trace(bench: TreeBench) -> None:
    """`supervisor`, simple_one_for_one: connections, jobs and the like come and go."""
    supervisor = bench.supervise([])
    refs = bench.now(supervisor.start_copies(bench.worker("job", restart="temporary"), 500))
    for number, ref in enumerate(refs):
        ref.tell(["exit", "boom"][number % 2])
    bench.run()
    assert bench.now(supervisor.count())["specs"] == 0
    assert len(bench.system) == 1
    assert supervisor.is_alive()


# --- specifications ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "a/b"),
        ("restart", "sometimes"),
        ("shutdown_s", -1.0),
        ("max_redeliveries", 101),
        ("min_backoff_s", -0.1),
        ("max_backoff_s", -0.1),
        ("random_factor", 1.1),
        ("directives", {KeyboardInterrupt: "stop"}),
        ("directives", {ValueError: "pray"}),
    ],
)
def test_a_child_specification_is_checked(field: str, value: Any) -> None:
    """`check_childspecs/1`: what is wrong is told with its name."""
    values: dict[str, Any] = {"id": "a", "actor": Worker, field: value}
    with pytest.raises(ValueError, match=field if field != "id" else "id"):
        ChildSpec(**values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "all_for_one"),
        ("intensity", -1),
        ("intensity", 10_001),
        ("period_s", 0.0),
        ("auto_shutdown", "always"),
        ("children", [ChildSpec(id="a", actor=Worker), ChildSpec(id="a", actor=Worker)]),
    ],
)
def test_a_supervisor_specification_is_checked(field: str, value: Any) -> None:
    """`supervisor`, `init/1`: flags out of range, an id twice."""
    with pytest.raises(ValueError, match=field):
        SupervisorSpec(**{field: value})
