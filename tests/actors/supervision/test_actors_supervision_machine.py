"""A model of a tree of supervision, run against random histories: failures, group restarts, stops,
kills and commands, in any order and at any moment."""

from __future__ import annotations

import contextlib
from typing import Any

from actors_machine_support import DIRECTIVES, Ledger, Message, Subject, lane_of
from actors_support import Bench, Boom, cell_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pykka import ActorDeadError

from actors import (
    Actor,
    ActorRef,
    ChildError,
    ChildSpec,
    MailboxSpec,
    Supervisor,
    SupervisorRef,
    SupervisorSpec,
    Terminated,
    TreeNode,
)
from actors.future import Future

NAMES = ["a", "b", "c", "d", "e"]
"""``a`` to ``c`` are there from the start; ``d`` and ``e`` come and go."""
REDELIVERIES = 1
CHILD = st.sampled_from(NAMES)
KINDS = st.sampled_from(
    ["fine"] * 4 + ["boom"] * 3 + ["stash", "stash", "open", "resume", "halt", "quit", "exit"]
    + ["escalate"]
)  # fmt: skip


class Member(Subject):
    """A subject whose next starts may fail, and that counts who is alive under its name."""

    def __init__(self, machine: TreeMachine, name: str) -> None:
        super().__init__(machine.ledger.handled)
        self.machine = machine
        self.name = name

    def on_start(self) -> None:
        if self.machine.bad_starts > 0:
            self.machine.bad_starts -= 1
            raise Boom("a bad start")
        self.machine.lives.append(("+", self.name))

    def on_stop(self) -> None:
        self.machine.lives.append(("-", self.name))


class Watcher(Actor):
    """Watches refs it is told, and never fails."""

    def __init__(self, told: list[Terminated]) -> None:
        super().__init__()
        self.told = told

    def on_receive(self, message: Any) -> None:
        if isinstance(message, Terminated):
            self.told.append(message)
        else:
            self.watch(message)


class TreeMachine(RuleBasedStateMachine):
    """See the module. A top supervisor has a nested one, which has the members."""

    @initialize(
        strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
        intensity=st.sampled_from([100, 3, 100, 1, 0]),
        outer=st.sampled_from([100, 2, 0]),
        types=st.lists(
            st.sampled_from(["permanent", "permanent", "transient", "temporary"]),
            min_size=5,
            max_size=5,
        ),
        capacity=st.sampled_from([2, 1_000]),
        overflow=st.sampled_from(["fail", "drop_old", "spill"]),
        lanes=st.sampled_from([1, 2]),
        backoff=st.sampled_from([0.0, 0.0, 1.0]),
        shutdown=st.sampled_from([None, 0.0, 5.0]),
        throughput=st.integers(1, 3),
    )
    def start(
        self,
        strategy: Any,
        intensity: int,
        outer: int,
        types: list[Any],
        capacity: int,
        overflow: Any,
        lanes: int,
        backoff: float,
        shutdown: float | None,
        throughput: int,
    ) -> None:
        self.bench = Bench(throughput)
        self.ledger = Ledger()
        self.bad_starts = 0
        self.lives: list[tuple[str, str]] = []
        self.commands: list[tuple[str, Future[Any]]] = []
        self.told: list[Terminated] = []
        self.watched: list[ActorRef[Any]] = []
        self.called: list[tuple[ActorRef[Any], list[Terminated]]] = []
        self.refs: dict[str, list[ActorRef[Any]]] = {name: [] for name in NAMES}
        self.stopped = False
        spilled = self.ledger.spilled
        mailbox = MailboxSpec(
            capacity,
            overflow,
            (lambda envelope: spilled.append(envelope.message)) if overflow == "spill" else None,
            lanes=lanes,
            priority=lane_of if lanes > 1 else None,
            stash=3,
        )
        self.specs = {
            name: ChildSpec(
                id=name,
                actor=Member,
                args=(self, name),
                restart=kind,
                mailbox=mailbox,
                shutdown_s=shutdown,
                max_redeliveries=REDELIVERIES,
                directives=DIRECTIVES,
                min_backoff_s=backoff,
                max_backoff_s=4.0,
                random_factor=0.0,
            )
            for name, kind in zip(NAMES, types, strict=True)
        }
        inner = SupervisorSpec(
            strategy=strategy,
            intensity=intensity,
            children=[self.specs[name] for name in NAMES[:3]],
        )
        nested = ChildSpec(id="inner", actor=Supervisor, args=(inner,), shutdown_s=None)
        self.watcher = self.bench.system.spawn(Watcher, self.told, name="watcher")
        self.top = self.bench.system.supervise(
            SupervisorSpec(intensity=outer, children=[nested]), name="top"
        )
        self.bench.dispatcher.run()
        self._learn()

    # --- looking -------------------------------------------------------------------------------

    def _cells(self) -> dict[str, Any]:
        """The live cells below the top, by name."""
        found = {}
        todo = [cell_of(self.top.ref)]
        while todo:
            actor: Any = todo.pop().actor
            if actor is not None and actor.supervises:
                for child in actor.children():
                    if child.cell is not None:
                        found[child.id] = child.cell
                        todo.append(child.cell)
        return found

    def _learn(self) -> None:
        """Refs that have come up since the last look."""
        for name, cell in self._cells().items():
            if name == "inner" and cell.ref is not None:
                # Another one after it was killed.
                ready = Future[None]()
                ready.set(None)
                self.inner = SupervisorRef(cell.ref, ready)
            if name in self.refs and cell.ref is not None and cell.ref not in self.refs[name]:
                self.refs[name].append(cell.ref)

    def _last(self, name: str) -> ActorRef[Any] | None:
        return self.refs[name][-1] if self.refs[name] else None

    # --- what happens --------------------------------------------------------------------------

    @rule(name=CHILD, sender=st.integers(0, 1), kind=KINDS)
    def tell(self, name: str, sender: int, kind: str) -> None:
        ref = self._last(name)
        if ref is not None:
            self.ledger.tell(ref, self.ledger.message(sender, kind, name))

    @rule(name=CHILD, sender=st.integers(0, 1), kind=KINDS, limited=st.booleans())
    def ask(self, name: str, sender: int, kind: str, limited: bool) -> None:
        ref = self._last(name)
        if ref is not None:
            self.ledger.ask(ref, self.ledger.message(sender, kind, name), limited)

    @rule(kind=st.sampled_from(["boom", "fine"]))
    def tell_all(self, kind: str) -> None:
        for name in NAMES:
            self.tell(name, 0, kind)

    @rule(storm=st.lists(st.tuples(CHILD, KINDS), min_size=4, max_size=12), turns=st.integers(0, 9))
    def storm(self, storm: list[tuple[str, str]], turns: int) -> None:
        for name, kind in storm:
            self.tell(name, 0, kind)
        self.turn(turns)

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.bench.dispatcher.step()
        self._learn()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.dispatcher.advance(seconds)
        self._learn()

    @rule(times=st.integers(1, 4))
    def starts_fail(self, times: int) -> None:
        self.bad_starts = times

    @rule(name=CHILD, what=st.sampled_from(["start", "start", "stop", "restart", "delete"]))
    def command(self, name: str, what: str) -> None:
        match what:
            case "start":
                asked = self.inner.start_child(self.specs[name])
            case "stop":
                asked = self.inner.stop_child(name)
            case "restart":
                asked = self.inner.restart_child(name)
            case _:
                asked = self.inner.delete_child(name)
        self.commands.append((f"{what} {name}", asked))

    @rule(count=st.integers(1, 3))
    def start_copies(self, count: int) -> None:
        template = ChildSpec(id="copy", actor=Member, args=(self, "copy"), restart="temporary")
        self.commands.append(("copies", self.inner.start_copies(template, count)))

    @rule(name=CHILD)
    def watch(self, name: str) -> None:
        ref = self._last(name)
        if ref is None:
            return
        if ref not in self.watched:
            self.watched.append(ref)
            self.watcher.tell(ref)
        called: list[Terminated] = []
        self.called.append((ref, called))
        self.bench.system.watch(ref, called.append)

    @rule(name=CHILD, how=st.sampled_from(["stop", "stop now", "kill"]))
    def end(self, name: str, how: str) -> None:
        ref = self._last(name)
        if ref is None:
            return
        if how == "stop":
            self.commands.append(("stop", ref.stop(block=False)))
        elif how == "kill":
            cell_of(ref).kill()
        else:
            cell_of(ref).stop_now()

    @precondition(lambda self: sum(self.ledger.numbers.values()) > 10)
    @rule(level=st.sampled_from(["top", "inner"]), how=st.sampled_from(["stop", "stop", "kill"]))
    def end_supervisor(self, level: str, how: str) -> None:
        ref = self.top.ref if level == "top" else self.inner.ref
        if how == "kill":
            cell_of(ref).kill()
        else:
            self.commands.append((f"stop {level}", ref.stop(block=False)))

    # --- what holds ----------------------------------------------------------------------------

    @invariant()
    def messages(self) -> None:
        if hasattr(self, "bench"):
            mine = [one for one in self.bench.dead() if isinstance(one, Message)]
            self.ledger.check_now(mine, REDELIVERIES, directed=True)

    @invariant()
    def ends_are_told_once(self) -> None:
        if not hasattr(self, "bench"):
            return
        for ref, called in self.called:
            assert len(called) == bool(cell_of(ref).ended_because)
        refs = [one.ref for one in self.told]
        assert len(refs) == len(set(refs))

    @invariant()
    def the_tree_and_the_counters_agree(self) -> None:
        if not hasattr(self, "bench"):
            return
        counters = self.bench.system.counters()
        kinds = self.bench.kinds()
        assert counters.restarts == kinds.count("restarted")
        assert counters.failures == kinds.count("failed")
        assert counters.killed == kinds.count("killed")
        assert counters.stopped == kinds.count("stopped")
        paths = _paths(self.bench.system.tree())
        assert len(paths) == len(set(paths)), "two actors under one path"

    def settle(self) -> None:
        """Let everything happen that is to happen."""
        self.bad_starts = 0
        for _ in range(50):
            self.bench.dispatcher.advance(20.0)
            self._learn()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.settle()
        self.at_rest()
        self.commands.append(("stop top", self.top.stop(block=False)))
        self.settle()
        assert not self.top.is_alive()
        assert len(self.bench.system) == 1, _paths(self.bench.system.tree())
        self.messages()
        self.ends_are_told_once()
        assert {one.ref for one in self.told} == set(self.watched)
        self.watcher.stop(block=False)
        self.settle()
        mine = [one for one in self.bench.dead() if isinstance(one, Message)]
        expired = self.ledger.check_end(mine)
        counters = self.bench.system.counters()
        assert (counters.actors, counters.waiting, counters.stashed) == (0, 0, 0)
        assert counters.started == counters.stopped
        assert counters.expired_asks == expired
        assert sum(counters.dead_letters.values()) == len(self.bench.letters)
        for _, asked in self.commands:
            # A refusal is an answer too.
            with contextlib.suppress(ChildError, ActorDeadError, ValueError):
                asked.get(timeout=0)

    def at_rest(self) -> None:
        """When nothing happens any more, nobody is in between."""
        if not self.top.is_alive():
            assert len(self.bench.system) == 1
            return
        tree = self.bench.system.tree()
        paths = _paths(tree)
        assert len(paths) == len(self.bench.system), "an actor that is not in the tree"
        for node in _nodes(tree):
            assert node.state in ("idle", "running"), f"{node.path} is still {node.state}"
            assert node.depth == 0
        if "/bench/top/inner" in paths:
            asked = self.inner.children()
            self.bench.dispatcher.run()
            for child in asked.get(timeout=0):
                assert child.state in ("idle", "down"), child
                assert (child.ref is None) == (child.state == "down")
                assert child.spec.restart != "temporary" or child.state == "idle"


def _nodes(node: TreeNode) -> list[TreeNode]:
    found = [node]
    for child in node.children:
        found += _nodes(child)
    return found


def _paths(tree: TreeNode) -> list[str]:
    return [node.path for node in _nodes(tree)[1:]]


TestTreeMachine = TreeMachine.TestCase
TestTreeMachine.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
