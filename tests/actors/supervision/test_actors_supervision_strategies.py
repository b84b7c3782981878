"""Who is stopped and who is started when a child fails. Rules: OTP Design Principles, "Supervisor
Behaviour", "Restart Strategy"; module `supervisor`, "Supervision Principles"."""

from __future__ import annotations

from typing import Any

import pytest
from supervision_bench import TreeBench, instance

from actors import SupervisorSpec


def test_one_for_one_restarts_only_the_child_that_failed(bench: TreeBench) -> None:
    """`supervisor`: one_for_one, only the child that terminated is affected."""
    supervisor = bench.supervise(bench.workers("abc"))
    bench.stage.take()
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "+b"]


def test_one_for_all_stops_all_in_reverse_and_starts_all_in_order(bench: TreeBench) -> None:
    """`supervisor`: one_for_all, all others are terminated, then all are restarted."""
    supervisor = bench.supervise(bench.workers("abc"), strategy="one_for_all")
    bench.stage.take()
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "-c", "-a", "+a", "+b", "+c"]


@pytest.mark.parametrize(
    ("failing", "then"),
    [
        ("a", ["!a", "-d", "-c", "-b", "+a", "+b", "+c", "+d"]),
        ("c", ["!c", "-d", "+c", "+d"]),
        ("d", ["!d", "+d"]),
    ],
)
def test_rest_for_one_takes_those_started_after_it(
    bench: TreeBench, failing: str, then: list[str]
) -> None:
    """`supervisor`: rest_for_one, the children after the terminated one in start order."""
    supervisor = bench.supervise(bench.workers("abcd"), strategy="rest_for_one")
    bench.stage.take()
    bench.tell(supervisor, failing, "boom")
    assert bench.stage.take() == then


def test_rest_for_one_counts_children_started_later_as_after(bench: TreeBench) -> None:
    """`supervisor:start_child/2`: a dynamic child is at the end of the start order."""
    supervisor = bench.supervise(bench.workers("ab"), strategy="rest_for_one")
    bench.now(supervisor.start_child(bench.worker("z")))
    bench.stage.take()
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "-z", "+b", "+z"]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_refs_survive_a_restart(bench: TreeBench, strategy: Any) -> None:
    """Ours, stronger than OTP's registered names: the same ref, a new instance."""
    supervisor = bench.supervise(bench.workers("ab"), strategy=strategy)
    refs = [bench.ref(supervisor, name) for name in "ab"]
    before = [instance(ref) for ref in refs]
    refs[0].tell("boom")
    bench.run()
    assert [bench.ref(supervisor, name) for name in "ab"] == refs
    after = [instance(ref) for ref in refs]
    assert after[0] is not before[0]
    assert (after[1] is before[1]) == (strategy == "one_for_one")
    assert [ref.is_alive() for ref in refs] == [True, True]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_forgets_temporary_children(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: a temporary child is never restarted, even when a sibling's death takes it
    down; its specification goes with it."""
    children = [bench.worker("a"), bench.worker("t", restart="temporary"), bench.worker("c")]
    supervisor = bench.supervise(children, strategy=strategy)
    temporary = bench.ref(supervisor, "t")
    temporary_path = temporary.path
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-c", "-t", "+a", "+c"]
    assert bench.ids(supervisor) == ["a", "c"]
    assert not temporary.is_alive()
    assert temporary_path not in bench.paths()


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_starts_transient_children_again(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: terminated by its supervisor for a restart, a transient child comes back."""
    children = [bench.worker("a"), bench.worker("t", restart="transient")]
    supervisor = bench.supervise(children, strategy=strategy)
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-t", "+a", "+t"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_leaves_children_alone_that_were_stopped_on_purpose(
    bench: TreeBench, strategy: Any
) -> None:
    """`supervisor:terminate_child/2`: such a child is started by `restart_child/2`. (OTP's group
    restarts start it too; here who stopped it has the last word.)"""
    supervisor = bench.supervise(bench.workers("abc"), strategy=strategy)
    bench.now(supervisor.stop_child("b"))
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-c", "+a", "+c"]
    assert bench.states(supervisor)["b"] == "down"
    bench.now(supervisor.restart_child("b"))
    assert bench.stage.take() == ["+b"]
    assert bench.ids(supervisor) == ["a", "b", "c"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_child_that_fails_restarts_nobody(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: the strategy applies to a child that terminated and should be restarted."""
    children = [bench.worker("t", restart="temporary"), bench.worker("b")]
    supervisor = bench.supervise(children, strategy=strategy)
    bench.stage.take()
    bench.tell(supervisor, "t", "boom")
    assert bench.stage.take() == ["!t"]
    assert bench.ids(supervisor) == ["b"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_transient_child_that_ends_normally_restarts_nobody(
    bench: TreeBench, strategy: Any
) -> None:
    """`supervisor`: a transient child is restarted only if it terminates abnormally."""
    children = [bench.worker("t", restart="transient"), bench.worker("b")]
    supervisor = bench.supervise(children, strategy=strategy)
    bench.stage.take()
    bench.tell(supervisor, "t", "exit")
    assert bench.stage.take() == ["-t"]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_failed_restart_counts_again_and_is_tried_again(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: a child that does not start again is one more restart, until it does."""
    supervisor = bench.supervise(bench.workers("ab"), strategy=strategy, intensity=3)
    bench.stage.take()
    bench.stage.bad_starts["a"] = 2
    bench.tell(supervisor, "a", "boom")
    log = bench.stage.take()
    assert [entry for entry in log if "a" in entry] == ["!a", "?a", "?a", "+a"]
    assert supervisor.is_alive()
    # Three of three are used up.
    bench.tell(supervisor, "a", "boom")
    assert not supervisor.is_alive()


@pytest.mark.parametrize(
    ("strategy", "again"),
    [("one_for_all", ["-a", "+a", "+b", "+c"]), ("rest_for_one", ["+b", "+c"])],
)
def test_a_group_restart_that_fails_halfway_begins_again(
    bench: TreeBench, strategy: Any, again: list[str]
) -> None:
    """`supervisor`: the child that did not start again is a restart by the same strategy."""
    supervisor = bench.supervise(bench.workers("abc"), strategy=strategy)
    bench.stage.take()
    bench.stage.bad_starts["b"] = 1
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-c", "-b", "+a", "?b", *again]


def test_rest_for_one_begins_again_with_the_child_that_did_not_start(bench: TreeBench) -> None:
    """`supervisor`, rest_for_one: a failed restart concerns the child and those after it."""
    supervisor = bench.supervise(bench.workers("abc"), strategy="rest_for_one")
    bench.stage.take()
    bench.stage.bad_starts["c"] = 2
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "-c", "+b", "?c", "?c", "+c"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_nested_supervisors_are_part_of_a_group(bench: TreeBench, strategy: Any) -> None:
    """Design Principles, "Supervision Trees": the whole subtree goes down and comes up."""
    inner = SupervisorSpec(children=bench.workers("bc"))
    supervisor = bench.supervise(
        [bench.worker("a"), bench.nested("inner", inner), bench.worker("d")], strategy=strategy
    )
    bench.stage.take()
    bench.tell(supervisor, "a", "boom")
    assert bench.stage.take() == ["!a", "-d", "-c", "-b", "+a", "+b", "+c", "+d"]
    assert len(bench.system) == 6
    assert len(bench.paths()) == 6


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_two_failures_at_once_are_one_group_restart(bench: TreeBench, strategy: Any) -> None:
    """`supervisor`: a child that is down already when its group is taken down costs nothing."""
    supervisor = bench.supervise(bench.workers("abc"), strategy=strategy, intensity=1)
    bench.stage.take()
    refs = [bench.ref(supervisor, name) for name in "ab"]
    for ref in refs:
        ref.tell("boom")
    bench.run()
    assert bench.stage.take() == ["!a", "!b", "-c", "+a", "+b", "+c"]
    assert supervisor.is_alive()
    assert bench.states(supervisor) == {"a": "idle", "b": "idle", "c": "idle"}


def test_the_failure_of_the_later_child_first(bench: TreeBench) -> None:
    """`supervisor`, rest_for_one: an earlier child that fails too is a restart of its own."""
    supervisor = bench.supervise(bench.workers("abc"), strategy="rest_for_one", intensity=2)
    bench.stage.take()
    refs = [bench.ref(supervisor, name) for name in "ba"]
    for ref in refs:
        ref.tell("boom")
    bench.run()
    log = bench.stage.take()
    assert log[:2] == ["!b", "!a"]
    assert bench.states(supervisor) == {"a": "idle", "b": "idle", "c": "idle"}
    assert [entry for entry in log if entry[0] == "+"][-3:] == ["+a", "+b", "+c"]
