"""What a failure means for a child, its messages and those who know it. The directives are those of
Akka's classic supervision; the rest is ours, on top of module `supervisor`."""

from __future__ import annotations

from typing import Any

import pytest
from actors_support import Boom, cell_of
from supervision_bench import TreeBench, Worker, instance

from actors import Actor, MailboxSpec, SupervisorSpec, Terminated


class Closest(LookupError):
    """A class with an ancestry."""


class Closer(Closest, ValueError):
    """A class with two parents."""


# --- directives --------------------------------------------------------------------------------


def test_resume_keeps_the_instance_and_its_state(bench: TreeBench) -> None:
    """Akka, "Supervision Directives": resume. The message is a dead letter with its traceback."""
    supervisor = bench.supervise(bench.workers("a", directives={Boom: "resume"}), intensity=0)
    ref = bench.ref(supervisor, "a")
    before = instance(ref)
    bench.tell(supervisor, "a", 1, "boom", 2)
    assert instance(ref) is before
    assert before.seen == [1, "boom", 2]
    assert bench.stage.take() == ["+a"]
    assert bench.dead() == ["boom"]
    assert "Boom: on purpose" in bench.letters[0].traceback
    assert bench.info(supervisor, "a").restarts == 0
    assert bench.system.counters().resumed == 1
    assert "resumed" in bench.kinds()


def test_restart_gives_a_new_instance_the_same_mailbox(bench: TreeBench) -> None:
    """Akka, "Supervision Directives": restart, which is the default."""
    supervisor = bench.supervise(bench.workers("a"))
    ref = bench.ref(supervisor, "a")
    before = instance(ref)
    bench.tell(supervisor, "a", 1, "boom", 2)
    assert instance(ref) is not before
    assert instance(ref).seen == [2]
    assert bench.info(supervisor, "a").restarts == 1


def test_stop_ends_the_child_for_good(bench: TreeBench) -> None:
    """Akka, "Supervision Directives": stop; the rest of its mailbox is dead letters."""
    supervisor = bench.supervise(bench.workers("ab", directives={Boom: "stop"}), intensity=0)
    ref = bench.ref(supervisor, "a")
    told: list[Terminated] = []
    bench.system.watch(ref, told.append)
    bench.tell(supervisor, "a", 1, "boom", 2)
    assert bench.dead() == ["boom", 2]
    assert [letter.reason for letter in bench.letters] == ["failed", "stopped"]
    assert [one.reason for one in told] == ["failed"]
    assert bench.states(supervisor) == {"a": "down", "b": "idle"}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_escalate_fails_the_supervisor(bench: TreeBench, strategy: Any) -> None:
    """Akka, "Supervision Directives": escalate; as if the supervisor itself had failed."""
    children = [bench.worker("a"), bench.worker("b", directives={Boom: "escalate"})]
    supervisor = bench.supervise(children, strategy=strategy)
    bench.stage.take()
    bench.tell(supervisor, "b", "boom")
    assert bench.stage.take() == ["!b", "-a"]
    assert not supervisor.is_alive()
    assert len(bench.system) == 0
    kinds = [kind for kind in bench.kinds() if kind in ("escalated", "gave_up")]
    assert kinds == ["escalated", "gave_up"]


def test_escalate_is_decided_one_level_up(bench: TreeBench) -> None:
    """Akka: the parent's supervisor decides about the parent, which brings all children back."""
    below = SupervisorSpec(
        children=[bench.worker("b"), bench.worker("c", directives={Boom: "escalate"})]
    )
    supervisor = bench.supervise([bench.worker("a"), bench.nested("inner", below)])
    bench.stage.take()
    bench.tell(bench.below(supervisor, "inner"), "c", "boom")
    assert bench.stage.take() == ["!c", "-b", "+b", "+c"]
    assert bench.info(supervisor, "inner").restarts == 1


@pytest.mark.parametrize(
    ("error", "resumed"),
    [(Closer(), True), (Closest(), True), (LookupError(), False), (KeyError(), False)],
)
def test_the_closest_class_wins(bench: TreeBench, error: Exception, resumed: bool) -> None:
    """Ours: as `except` clauses would, but by ancestry rather than by their order."""
    directives = {Exception: "stop", LookupError: "restart", Closest: "resume", ValueError: "stop"}
    supervisor = bench.supervise(bench.workers("a", directives=directives))
    bench.tell(supervisor, "a", error)
    info = bench.info(supervisor, "a")
    assert (info.state, info.restarts) == ("idle", 0 if resumed else 1)


def test_a_temporary_child_may_resume(bench: TreeBench) -> None:
    """Ours: resuming is no restart; for what is not resumed a temporary child ends."""
    child = bench.worker("a", restart="temporary", directives={ValueError: "resume"})
    supervisor = bench.supervise([child])
    bench.tell(supervisor, "a", ValueError())
    assert bench.ids(supervisor) == ["a"]
    bench.tell(supervisor, "a", "boom")
    assert bench.ids(supervisor) == []


def test_an_ask_that_fails_is_its_askers_failure(bench: TreeBench) -> None:
    """pykka: the exception is the answer; the actor has not failed."""
    supervisor = bench.supervise(bench.workers("a"), intensity=0)
    asked = bench.ref(supervisor, "a").ask("boom", block=False)
    with pytest.raises(Boom):
        bench.now(asked)
    assert bench.info(supervisor, "a").restarts == 0


# --- poison ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("times", [0, 1, 3])
def test_poison_is_redelivered_k_times_then_a_dead_letter(
    bench: TreeBench, strategy: Any, times: int
) -> None:
    """Ours, as a broker's redelivery count: the next message has its turn at last."""
    children = [bench.worker("a", max_redeliveries=times), bench.worker("b")]
    supervisor = bench.supervise(children, strategy=strategy)
    bench.tell(supervisor, "a", 1, "boom", 2)
    mine = [message for name, message in bench.stage.handled if name == "a"]
    assert mine == [1, *["boom"] * (1 + times), 2]
    assert bench.dead() == ["boom"]
    assert "Boom: on purpose" in bench.letters[0].traceback
    assert bench.info(supervisor, "a").restarts == 1 + times


def test_each_poisonous_message_has_its_own_count(bench: TreeBench) -> None:
    """Ours: two of them, and the second is redelivered as often as the first."""
    supervisor = bench.supervise(bench.workers("a", max_redeliveries=1))
    bench.tell(supervisor, "a", "boom", "boom", 2)
    assert [message for _, message in bench.stage.handled] == ["boom"] * 4 + [2]
    assert bench.dead() == ["boom", "boom"]


def test_messages_of_another_lane_do_not_reset_the_count(bench: TreeBench) -> None:
    """Ours: what is handled between two deliveries of a poison says nothing of the poison."""

    class Fed(Worker):
        def on_start(self) -> None:
            super().on_start()
            self.actor_ref.tell("urgent")

    spec = MailboxSpec(lanes=2, priority=lambda message: 0 if message == "urgent" else 1)
    child = bench.worker("a", actor=Fed, mailbox=spec, max_redeliveries=2)
    supervisor = bench.supervise([child], intensity=100)
    bench.tell(supervisor, "a", "boom", "last")
    poison = [message for _, message in bench.stage.handled if message == "boom"]
    assert len(poison) == 3
    assert bench.dead() == ["boom"]
    assert bench.stage.handled[-1] == ("a", "last")


def test_what_is_unstashed_by_a_restart_does_not_reset_the_count(bench: TreeBench) -> None:
    """Ours: the stash comes back before the poison, at each restart."""
    supervisor = bench.supervise(bench.workers("a", max_redeliveries=2), intensity=100)
    bench.tell(supervisor, "a", "stash", "boom")
    poison = [message for _, message in bench.stage.handled if message == "boom"]
    assert len(poison) == 3
    assert bench.dead() == ["boom"]


# --- what is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_messages_sent_during_a_restart_are_kept_in_their_order(
    bench: TreeBench, strategy: Any
) -> None:
    """Ours: in OTP they would be lost with the mailbox; here the mailbox outlives the instance."""
    child = bench.worker("a", min_backoff_s=1.0, random_factor=0.0)
    supervisor = bench.supervise([child, bench.worker("b")], strategy=strategy)
    a, b = bench.ref(supervisor, "a"), bench.ref(supervisor, "b")
    for message in (1, "boom", 2, 3):
        a.tell(message)
    bench.run()
    for message in (4, 5):
        a.tell(message)
        b.tell(message)
    asked = b.ask("question", block=False)
    bench.run()
    bench.advance(1.0)
    for name, messages in (("a", [1, "boom", 2, 3, 4, 5]), ("b", [4, 5, "question"])):
        assert [message for who, message in bench.stage.handled if who == name] == messages
    assert asked.get(timeout=0) == [4, 5, "question"]
    assert bench.dead() == ["boom"]


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_the_stash_is_kept_over_a_restart(bench: TreeBench, strategy: Any) -> None:
    """Akka, `Stash`: what was put aside comes back to the front, in its order."""

    class Keeper(Worker):
        ready = False

        def on_receive(self, message: Any) -> Any:
            if message == "ready":
                self.ready = True
                self.unstash_all()
            elif not self.ready and isinstance(message, int):
                self.stash()
                return None
            return super().on_receive(message)

    children = [bench.worker("a", actor=Keeper), bench.worker("b")]
    supervisor = bench.supervise(children, strategy=strategy)
    a = bench.ref(supervisor, "a")
    asked = a.ask(0, block=False)
    bench.tell(supervisor, "a", 1, 2)
    assert len(cell_of(a).extras().stash or ()) == 3
    failing = a if strategy == "one_for_one" else bench.ref(supervisor, "b")
    failing.tell("boom")
    bench.run()
    bench.tell(supervisor, "a", 3, "ready")
    mine = [m for name, m in bench.stage.handled if name == "a" and m != "boom"]
    assert mine == ["ready", 0, 1, 2, 3]
    assert asked.get(timeout=0) is not None
    assert bench.dead() == ["boom"]


def test_timers_end_with_their_instance(bench: TreeBench) -> None:
    """Akka, `TimerScheduler`: bound to the instance that started them."""

    class Ticking(Worker):
        def on_start(self) -> None:
            super().on_start()
            if not self.stage.handled:
                self.timers.start_single("late", "tick", 1.0)

    supervisor = bench.supervise([bench.worker("a", actor=Ticking)])
    bench.tell(supervisor, "a", "boom")
    bench.advance(10)
    assert bench.stage.handled == [("a", "boom")]
    assert bench.dispatcher.timers == 0


# --- who knows it -----------------------------------------------------------------------------


class Watcher(Actor):
    """Watches refs it is told and keeps what it learns."""

    def __init__(self, told: list[Terminated]) -> None:
        super().__init__()
        self.told = told

    def on_receive(self, message: Any) -> None:
        if isinstance(message, Terminated):
            self.told.append(message)
        else:
            self.watch(message)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_watch_fires_once_at_the_end_and_not_at_a_restart(
    bench: TreeBench, strategy: Any
) -> None:
    """Akka, death watch: a restart is invisible to who watches; the end is told once."""
    supervisor = bench.supervise(bench.workers("ab"), strategy=strategy)
    told: list[Terminated] = []
    called: list[Terminated] = []
    watcher = bench.spawn(Watcher, told)
    ref = bench.ref(supervisor, "b")
    watcher.tell(ref)
    bench.run()
    bench.system.watch(ref, called.append)
    bench.tell(supervisor, "a", "boom")
    bench.tell(supervisor, "b", "boom")
    bench.tell(supervisor, "b", "exit")
    assert (told, called) == ([], [])
    supervisor.stop(block=False)
    bench.run()
    assert [(one.ref, one.reason) for one in told] == [(ref, "stopped")]
    assert called == told


def test_a_watch_outlives_the_restart_of_who_watches(bench: TreeBench) -> None:
    """Akka: the watches of an actor stay over its restarts."""

    class Guard(Worker):
        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Terminated):
                self.stage.handled.append((self.name, message.reason))
                return None
            if message == "watch":
                self.watch(bench.ref_of_b)  # type: ignore[attr-defined]  # set below
                return None
            return super().on_receive(message)

    supervisor = bench.supervise([bench.worker("g", actor=Guard), bench.worker("b")])
    bench.ref_of_b = bench.ref(supervisor, "b")  # type: ignore[attr-defined]  # for Guard
    bench.tell(supervisor, "g", "watch", "boom")
    bench.now(supervisor.stop_child("b"))
    bench.run()
    assert bench.stage.handled == [("g", "boom"), ("g", "stopped")]


def test_the_tree_shows_path_state_restarts_and_depth(bench: TreeBench) -> None:
    """As `observer`'s application tree."""
    below = SupervisorSpec(children=bench.workers("b"))
    child = bench.worker("a", min_backoff_s=1.0)
    supervisor = bench.supervise([child, bench.nested("inner", below)])
    bench.tell(bench.below(supervisor, "inner"), "b", "boom")
    bench.tell(supervisor, "a", "boom", 1, 2)
    node = bench.system.tree().children[0]
    assert (node.path, node.actor, node.state) == ("/bench/supervisor", "Supervisor", "idle")
    a, inner = node.children
    assert (a.path, a.state, a.restarts, a.depth) == (
        "/bench/supervisor/a", "restarting", 0, 2,
    )  # fmt: skip
    assert (inner.children[0].path, inner.children[0].restarts) == (
        "/bench/supervisor/inner/b", 1,
    )  # fmt: skip
    picture = str(bench.system.tree()).splitlines()
    assert picture == [
        "/bench  ActorSystem, running",
        "└─ supervisor  Supervisor, idle",
        "   ├─ a  Worker, restarting, mailbox 2",
        "   └─ inner  Supervisor, idle",
        "      └─ b  Worker, idle, restarts 1",
    ]
    bench.advance(2)
    assert bench.system.tree().children[0].children[0].restarts == 1


def test_events_and_counters_tell_the_same_story(bench: TreeBench) -> None:
    """As SASL's progress and supervisor reports."""
    supervisor = bench.supervise(bench.workers("ab"), strategy="one_for_all", intensity=2)
    bench.tell(supervisor, "a", "boom")
    bench.tell(supervisor, "b", "exit")
    bench.tell(supervisor, "a", 1)
    bench.tell(supervisor, "b", "boom")
    story = [(event.kind, event.path.rsplit("/", 1)[1]) for event in bench.events]
    assert story == [
        ("started", "a"), ("started", "b"), ("started", "supervisor"),
        ("failed", "a"), ("restarted", "a"), ("restarted", "b"),
        ("restarted", "a"), ("restarted", "b"),
        ("failed", "b"), ("stopped", "b"), ("stopped", "a"),
        ("gave_up", "supervisor"), ("stopped", "supervisor"),
    ]  # fmt: skip
    counters = bench.system.counters()
    assert (counters.started, counters.stopped, counters.actors) == (3, 3, 0)
    assert (counters.failures, counters.restarts, counters.gave_up) == (2, 4, 1)
    assert counters.dead_letters == {"failed": 2}
