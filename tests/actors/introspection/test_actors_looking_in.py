"""Looking into a live system: one actor, the tree, a dump, counters, a signal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pykka
import pytest
from actors_support import Bench, Recorder, until

from actors import Actor, ActorSystem, AskTimeout, ChildSpec, RestartPolicy, SupervisorSpec


def test_inspect_shows_an_actor_from_outside() -> None:
    """Mailbox by type, timers, stash, watches; never a message's content."""
    bench = Bench()

    class Rich(Recorder):
        def on_receive(self, message: Any) -> Any:
            if message == "prepare":
                self.timers.start_single("wake", "secret", 9.0)
                self.watch(other)
                return None
            if message == "aside":
                return self.stash()
            return super().on_receive(message)

    other = bench.spawn(Recorder, [])
    ref = bench.system.spawn(Rich, [], name="rich", restart=RestartPolicy())
    for message in ("prepare", "aside"):
        ref.tell(message)
    bench.dispatcher.run()
    bench.system.watch(ref, lambda terminated: None)
    for message in (1, 2, "secret"):
        ref.tell(message)
    info = ref.inspect()
    assert (info.path, info.actor, info.state) == ("/bench/rich", "Rich", "ready")
    assert info.mailbox == {"int": 2, "str": 1}
    assert (info.stashed, info.timers, info.watchers, info.watching) == (1, ("'wake'",), 1, 1)
    assert (info.handled, info.instances, info.restarts, info.handling) == (2, 1, 0, "")
    assert "secret" not in repr(info)
    dump = bench.system.dump()
    assert "mailbox: 2 int, 1 str" in dump
    assert "secret" not in dump


async def test_what_a_busy_actor_handles_and_waits_for() -> None:
    """Type of the message in handling, path of whom it asked."""
    system = ActorSystem("t")
    gate = asyncio.Event()

    class Held(Actor):
        async def on_receive(self, message: Any) -> Any:
            if isinstance(message, Actor | pykka.ActorRef):
                return await message.ask(1, block=False)
            await gate.wait()
            return message

    slow, asker = system.spawn(Held, name="slow"), system.spawn(Held, name="asker")
    asked = asker.ask(slow, block=False)
    await until(lambda: asker.inspect().waits_for)
    assert asker.inspect().waits_for == ("/t/slow",)
    assert (asker.inspect().handling, asker.inspect().state) == ("ActorRef", "running")
    assert "/t/asker handles ActorRef, waits for /t/slow" in system.dump()
    gate.set()
    assert await asked == 1
    assert await system.stop(5)


def test_the_state_of_a_live_actor() -> None:
    """Read in its own turn; without what the runtime keeps there; the dead have none."""
    bench = Bench()
    ref = bench.spawn(Recorder, ["x"])
    state = ref.get_state()
    with pytest.raises(pykka.Timeout):
        state.get(timeout=0)
    bench.dispatcher.run()
    assert state.get(timeout=0) == {"seen": ["x"]}
    late = ref.get_state(timeout=1.0)
    bench.clock.advance(2.0)
    with pytest.raises(AskTimeout):
        late.get(timeout=0)
    ref.stop(block=False)
    bench.dispatcher.run()
    with pytest.raises(pykka.ActorDeadError):
        ref.get_state().get(timeout=0)


def test_the_tree_prints_itself() -> None:
    """Paths, classes, states, restarts, mailboxes; a long one is cut in a dump."""
    bench = Bench()
    supervisor = bench.system.supervise(
        SupervisorSpec(children=[ChildSpec(id="a", actor=Recorder, args=([],))]), name="top"
    )
    bench.dispatcher.run()
    child = bench.system.tree().children[0].children[0]
    assert (child.path, child.actor, child.state) == ("/bench/top/a", "Recorder", "idle")
    ref = bench.spawn(Recorder, [])
    ref.tell(1)
    assert str(bench.system.tree()).splitlines() == [
        "/bench  ActorSystem, running",
        "├─ top  Supervisor, idle",
        "│  └─ a  Recorder, idle",
        "└─ Recorder-1  Recorder, ready, mailbox 1",
    ]
    from actors.introspection import dump

    assert "... and 2 more" in dump(bench.system, limit=2)
    assert supervisor.path == "/bench/top"


def test_counters_are_a_plain_structure() -> None:
    """Everything that is counted, in one place."""
    bench = Bench()
    ref = bench.spawn(Recorder, [], capacity=1)
    for message in ("a", "b", "boom"):
        ref.tell(message)
    bench.dispatcher.run()
    ref.tell("boom")
    bench.dispatcher.run()
    found = bench.system.counters()
    assert (found.actors, found.started, found.stopped) == (0, 1, 1)
    assert (found.handled, found.failures, found.overflows) == (1, 1, 2)
    assert found.dead_letters == {"mailbox_full": 2, "failed": 1}
    assert found.dispatchers[0].name == "sync"


def test_a_signal_has_the_system_say_what_it_does() -> None:
    """SIGUSR1: the tree and every thread's stack go to the log."""
    program = """
import asyncio, logging, os, signal
logging.basicConfig(level=logging.CRITICAL)
from actors import Actor, ActorSystem, dump_on_signal
async def main():
    system = ActorSystem("signalled")
    system.spawn(Actor, name="somebody")
    dump_on_signal(system)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.2)
    await system.stop(5)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert "somebody  Actor, idle" in done.stderr
    assert "MainThread" in done.stderr
