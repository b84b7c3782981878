"""Shared by the tests of supervision: workers that write down their lives, a bench for trees."""

from __future__ import annotations

from collections import Counter
from typing import Any

from actors_support import Bench, Boom

from actors import (
    Actor,
    ActorRef,
    ChildError,
    ChildSpec,
    Future,
    Supervisor,
    SupervisorRef,
    SupervisorSpec,
)


class Stage:
    """What outlives the workers: their log, and how often their next starts are to fail."""

    def __init__(self) -> None:
        self.log: list[str] = []
        """``+name`` for a start, ``-name`` for a stop in good order, ``!name`` for a failure."""
        self.handled: list[tuple[str, Any]] = []
        self.bad_starts = Counter[str]()
        self.released = False
        """Whether handlers that hang may end."""

    def take(self) -> list[str]:
        """The log since the last look."""
        log, self.log = self.log, []
        return log


class Worker(Actor):
    """Lives on a stage; ``boom`` raises, an exception is raised, ``exit`` stops it."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__()
        self.stage = stage
        self.name = name
        self.seen: list[Any] = []

    def on_start(self) -> None:
        if self.stage.bad_starts[self.name] > 0:
            self.stage.bad_starts[self.name] -= 1
            self.stage.log.append(f"?{self.name}")
            raise Boom(f"{self.name} does not start")
        self.stage.log.append(f"+{self.name}")

    def on_stop(self) -> None:
        self.stage.log.append(f"-{self.name}")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.stage.log.append(f"!{self.name}")

    def on_receive(self, message: Any) -> Any:
        self.stage.handled.append((self.name, message))
        self.seen.append(message)
        if message == "boom":
            raise Boom("on purpose")
        if isinstance(message, BaseException):
            raise message
        if message == "exit":
            self.stop()
        elif message == "stash":
            self.stash()
        return list(self.seen)


class TreeBench(Bench):
    """A bench with a stage, and supervisors on its dispatcher."""

    def __init__(self, throughput: int = 1) -> None:
        super().__init__(throughput)
        self.stage = Stage()

    def worker(self, name: str, **options: Any) -> ChildSpec:
        """The specification of a worker."""
        return ChildSpec(id=name, actor=options.pop("actor", Worker), args=(self.stage, name),
                         **options)  # fmt: skip

    def workers(self, names: str, **options: Any) -> list[ChildSpec]:
        """A specification for each letter."""
        return [self.worker(name, **options) for name in names]

    def nested(self, name: str, spec: SupervisorSpec, **options: Any) -> ChildSpec:
        """The specification of a supervisor below another; OTP gives them all the time."""
        options.setdefault("shutdown_s", None)
        return ChildSpec(id=name, actor=Supervisor, args=(spec,), **options)

    def supervise(self, children: list[ChildSpec], **options: Any) -> SupervisorRef:
        """Start a supervisor with all its children."""
        options.setdefault("intensity", 10)
        supervisor = self.system.supervise(SupervisorSpec(children=children, **options))
        self.run()
        return supervisor

    def run(self) -> None:
        """All turns that wait."""
        self.dispatcher.run()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.dispatcher.advance(seconds)

    def now(self, future: Any) -> Any:
        """What a future gives after all turns."""
        self.run()
        return future.get(timeout=0)

    def refused(self, future: Any) -> str:
        """Why a supervisor refused a command."""
        self.run()
        try:
            future.get(timeout=0)
        except ChildError as error:
            return error.reason
        raise AssertionError("not refused")

    def ref(self, supervisor: SupervisorRef, child_id: str) -> ActorRef[Any]:
        """The ref of a child that has one."""
        ref: ActorRef[Any] = self.info(supervisor, child_id).ref
        assert ref is not None
        return ref

    def info(self, supervisor: SupervisorRef, child_id: str) -> Any:
        """What the supervisor knows of a child."""
        found = [one for one in self.now(supervisor.children()) if one.id == child_id]
        assert len(found) == 1
        return found[0]

    def ids(self, supervisor: SupervisorRef) -> list[str]:
        """The children that the supervisor knows."""
        return [one.id for one in self.now(supervisor.children())]

    def states(self, supervisor: SupervisorRef) -> dict[str, str]:
        """The state of each child."""
        return {one.id: one.state for one in self.now(supervisor.children())}

    def below(self, supervisor: SupervisorRef, child_id: str) -> SupervisorRef:
        """The commands of a nested supervisor."""
        started = Future[None]()
        started.set(None)
        return SupervisorRef(self.ref(supervisor, child_id), started)

    def tell(self, supervisor: SupervisorRef, child_id: str, *messages: Any) -> None:
        """Tell a child something and run all turns."""
        ref = self.ref(supervisor, child_id)
        for message in messages:
            ref.tell(message)
        self.run()

    def paths(self) -> list[str]:
        """The paths of all live actors, from the tree."""
        found: list[str] = []
        todo = [self.system.tree()]
        while todo:
            node = todo.pop()
            found.append(node.path)
            todo += node.children
        return sorted(found)[1:]


def instance(ref: ActorRef[Any]) -> Any:
    """The live instance behind a ref."""
    return ref.actor_inbox.actor
