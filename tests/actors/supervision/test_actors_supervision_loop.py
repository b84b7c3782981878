"""Supervision on real dispatchers: supervisors on a thread of their own, children that await,
block and hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from actors_support import Boom, until
from supervision_bench import Stage, Worker

from actors import (
    Actor,
    ActorSystem,
    BlockingActor,
    ChildError,
    ChildSpec,
    Supervisor,
    SupervisorRef,
    SupervisorSpec,
    Terminated,
)


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    system = ActorSystem("loop")
    yield system
    await system.stop(2.0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


class Slow(Worker):
    """Starts and stops in several steps of the loop."""

    async def on_start(self) -> None:  # type: ignore[override]  # hooks may be async
        await asyncio.sleep(0)
        super().on_start()

    async def on_stop(self) -> None:  # type: ignore[override]  # hooks may be async
        await asyncio.sleep(0)
        super().on_stop()


class Hanging(Worker):
    """Its handler never ends by itself, and may refuse to be cut off."""

    async def on_receive(self, message: Any) -> Any:
        if message not in ("hang", "hang on"):
            return super().on_receive(message)
        self.stage.handled.append((self.name, message))
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if message == "hang" or self.stage.released:
                    raise


class Blocked(BlockingActor):
    """Blocks its thread until it is let go."""

    def __init__(self, stage: Stage, name: str, let_go: threading.Event) -> None:
        super().__init__()
        self.stage = stage
        self.name = name
        self.let_go = let_go

    def on_start(self) -> None:
        self.stage.log.append(f"+{self.name}")

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise Boom("on purpose")
        if message == "block":
            self.stage.handled.append((self.name, message))
            self.let_go.wait(20)
        return message


def child(stage: Stage, name: str, actor: type[Actor] = Worker, **options: Any) -> ChildSpec:
    """The specification of a child."""
    return ChildSpec(id=name, actor=actor, args=(stage, name), **options)


async def supervise(system: ActorSystem, *children: ChildSpec, **options: Any) -> SupervisorRef:
    """A supervisor whose children run."""
    options.setdefault("intensity", 10)
    supervisor = system.supervise(SupervisorSpec(children=children, **options))
    await supervisor.started
    return supervisor


async def refs_of(supervisor: SupervisorRef) -> dict[str, Any]:
    """The children's refs."""
    return {one.id: one.ref for one in await supervisor.children()}


async def test_supervisors_run_on_a_thread_of_their_own(system: ActorSystem, stage: Stage) -> None:
    """Akka, `internal-dispatcher`: a blocked event loop keeps no supervisor from its work."""
    restarted = threading.Event()

    class Told(Blocked):
        def on_start(self) -> None:
            super().on_start()
            if self.stage.log.count(f"+{self.name}") == 2:
                restarted.set()

    spec = ChildSpec(id="a", actor=Told, args=(stage, "a", threading.Event()))
    supervisor = await supervise(system, spec)
    ref = (await refs_of(supervisor))["a"]
    ref.tell("boom")
    # This blocks the event loop, until the supervisor has done its work or for ever.
    assert restarted.wait(10)
    assert await ref.ask("hello", block=False, timeout=5.0) == "hello"


async def test_a_blocked_loop_keeps_no_supervisor_from_giving_up(
    system: ActorSystem, stage: Stage
) -> None:
    """As above, up two levels."""
    ended = threading.Event()
    below = SupervisorSpec(
        intensity=0,
        children=[ChildSpec(id="a", actor=Blocked, args=(stage, "a", threading.Event()))],
    )
    supervisor = await supervise(
        system, ChildSpec(id="inner", actor=Supervisor, args=(below,)), intensity=0
    )
    system.watch(supervisor.ref, lambda _: ended.set())
    inner = (await refs_of(supervisor))["inner"].actor_inbox
    inner.actor.children()[0].cell.ref.tell("boom")
    assert ended.wait(10)
    assert len(system) == 0


async def test_children_with_async_hooks_start_and_stop_in_order(
    system: ActorSystem, stage: Stage
) -> None:
    """`supervisor`: one after the other, each awaited."""
    children = [child(stage, "a", Slow), child(stage, "b"), child(stage, "c", Slow)]
    supervisor = await supervise(system, *children, strategy="one_for_all")
    assert stage.take() == ["+a", "+b", "+c"]
    refs = await refs_of(supervisor)
    refs["b"].tell("boom")
    await until(lambda: len(stage.log) == 6)
    assert stage.take() == ["!b", "-c", "-a", "+a", "+b", "+c"]
    assert await refs_of(supervisor) == refs
    await supervisor.stop(block=False)
    assert stage.take() == ["-c", "-b", "-a"]
    await until(lambda: len(system) == 0)


async def test_an_async_start_that_fails_undoes_those_before(
    system: ActorSystem, stage: Stage
) -> None:
    """`supervisor:start_link/2`, with hooks that await."""
    stage.bad_starts["c"] = 1
    children = [child(stage, name, Slow) for name in "abc"]
    with pytest.raises(ChildError, match="start_failed"):
        await supervise(system, *children)
    await until(lambda: len(system) == 0)
    assert stage.take() == ["+a", "+b", "?c", "-b", "-a"]


async def test_a_handler_that_never_ends_is_cut_off(system: ActorSystem, stage: Stage) -> None:
    """`shutdown`: in its time, `on_stop` is run, and the message at work is a dead letter."""
    supervisor = await supervise(
        system, child(stage, "a"), child(stage, "b", Hanging, shutdown_s=0.05)
    )
    refs = await refs_of(supervisor)
    told: list[Terminated] = []
    system.watch(refs["b"], told.append)
    refs["b"].tell("hang")
    refs["b"].tell("after")
    await until(lambda: stage.handled)
    stopping = supervisor.stop_child("b")
    # The others go on meanwhile.
    assert await refs["a"].ask("hello", block=False, timeout=5.0) == ["hello"]
    await stopping
    assert stage.take() == ["+a", "+b", "-b"]
    assert [one.reason for one in told] == ["stopped"]
    assert dict(system.dead_letters.by_reason) == {"stopped": 2}
    assert system.counts.killed == 0


async def test_a_handler_that_refuses_is_killed(system: ActorSystem, stage: Stage) -> None:
    """`shutdown`: told, cut off, killed; then the next child has its turn."""
    supervisor = await supervise(
        system, child(stage, "a"), child(stage, "b", Hanging, shutdown_s=0.05)
    )
    refs = await refs_of(supervisor)
    told: list[Terminated] = []
    system.watch(refs["b"], told.append)
    refs["b"].tell("hang on")
    await until(lambda: stage.handled)
    task = refs["b"].actor_inbox._task
    assert task is not None
    await supervisor.stop(block=False)
    assert stage.take() == ["+a", "+b", "-a"]
    assert [one.reason for one in told] == ["killed"]
    await until(lambda: len(system) == 0)
    # Nobody waits for it any more; here its task must end with the test.
    assert not task.done()
    stage.released = True
    task.cancel()
    await until(task.done)


async def test_a_group_restart_cuts_off_who_hangs_and_keeps_its_ref(
    system: ActorSystem, stage: Stage
) -> None:
    """`shutdown` in a group restart: the instance goes, the ref and the mailbox stay."""
    supervisor = await supervise(
        system,
        child(stage, "a"),
        child(stage, "b", Hanging, shutdown_s=0.05),
        strategy="one_for_all",
    )
    refs = await refs_of(supervisor)
    told: list[Terminated] = []
    system.watch(refs["b"], told.append)
    refs["b"].tell("hang")
    refs["b"].tell("after")
    await until(lambda: stage.handled)
    stage.take()
    refs["a"].tell("boom")
    await until(lambda: stage.log[-1:] == ["+b"])
    assert stage.take() == ["!a", "-b", "+a", "+b"]
    await until(lambda: ("b", "after") in stage.handled)
    assert await refs_of(supervisor) == refs
    assert told == []
    assert dict(system.dead_letters.by_reason) == {"failed": 1, "stopped": 1}


async def test_a_blocking_handler_is_left_behind(system: ActorSystem, stage: Stage) -> None:
    """`shutdown`, brutal_kill: no thread can be ended, but nobody waits for it either."""
    let_go = threading.Event()
    blocking = ChildSpec(id="b", actor=Blocked, args=(stage, "b", let_go), shutdown_s=0.05)
    supervisor = await supervise(system, child(stage, "a"), blocking, strategy="one_for_all")
    refs = await refs_of(supervisor)
    refs["b"].tell("block")
    refs["b"].tell("never")
    await until(lambda: stage.handled)
    stage.take()
    refs["a"].tell("boom")
    await until(lambda: stage.log[-1:] == ["+b"])
    assert stage.take() == ["!a", "+a", "+b"]
    new = (await refs_of(supervisor))["b"]
    assert new != refs["b"]
    assert await new.ask("hello", block=False, timeout=5.0) == "hello"
    let_go.set()
    assert dict(system.dead_letters.by_reason) == {"failed": 1, "killed": 1}


async def test_the_system_stops_its_trees(stage: Stage) -> None:
    """`application`: in order, and in time."""
    system = ActorSystem("ends")
    below = SupervisorSpec(children=[child(stage, "b", Slow), child(stage, "c")])
    nested = ChildSpec(id="inner", actor=Supervisor, args=(below,), shutdown_s=None)
    await supervise(system, child(stage, "a", Slow), nested)
    stage.take()
    assert await system.stop(5.0)
    assert stage.take() == ["-c", "-b", "-a"]
    assert len(system) == 0


async def test_the_system_stops_during_a_start_that_hangs(stage: Stage) -> None:
    """`application`: what does not come up in time is cut off."""

    class Never(Worker):
        async def on_start(self) -> None:  # type: ignore[override]  # hooks may be async
            self.stage.log.append(f"({self.name}")
            await asyncio.Event().wait()

    system = ActorSystem("ends")
    spec = SupervisorSpec(children=[child(stage, "a"), child(stage, "b", Never, shutdown_s=0.05)])
    supervisor = system.supervise(spec)
    await until(lambda: "(b" in stage.log)
    assert not await system.stop(0.05)
    assert not supervisor.is_alive()
    assert len(system) == 0
    assert stage.log[-1] == "-a"


async def test_thousands_of_children_start_and_stop_on_the_loop(
    system: ActorSystem, stage: Stage
) -> None:
    """`supervisor`, simple_one_for_one, on real dispatchers."""
    supervisor = await supervise(system)
    refs = await supervisor.start_copies(child(stage, "w", restart="transient"), 2_000)
    assert len(refs) == 2_000
    for ref in refs:
        ref.tell("exit")
    await until(lambda: stage.log.count("-w") == 2_000)
    await until(lambda: len(system) == 1)
    assert (await supervisor.count())["active"] == 0


async def test_many_threads_command_one_supervisor(system: ActorSystem, stage: Stage) -> None:
    """Commands are messages: from any thread, one after the other."""
    supervisor = await supervise(system, intensity=1_000)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                name = f"{number}-{turn}"
                ref = supervisor.start_child(child(stage, name)).get(timeout=20)
                ref.tell("boom")
                supervisor.stop_child(name).get(timeout=20)
                supervisor.delete_child(name).get(timeout=20)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0.001)
    assert errors == []
    assert await supervisor.children() == []
    assert len(system) == 1
