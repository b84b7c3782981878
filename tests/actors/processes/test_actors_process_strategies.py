"""OTP's rules of strategies, order and intensity, over child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import actors_children as mains
import pytest
from actors_support import until

from actors import ProcessSpec, ProcessSupervisor, RestartPolicy

pytestmark = pytest.mark.process

QUICK = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, intensity=20, period_s=60)
NAMES = ("a", "b", "c")


class Family:
    """Three children that write down when they are up and when they drain."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "order"
        self.events: list[tuple[str, str]] = []
        self.supervisor = self.supervise()
        self.go()

    def supervise(self, intensity: int | None = None) -> ProcessSupervisor:
        self.supervisor = ProcessSupervisor(
            "family",
            on_event=lambda kind, name, _: self.events.append((kind, name)),
            intensity=intensity,
            period_s=60,
        )
        return self.supervisor

    def spec(
        self, name: str, policy: RestartPolicy = QUICK, shutdown_s: float = 5.0
    ) -> ProcessSpec:
        return ProcessSpec(name, mains.waits_for, (str(self.path),), policy, shutdown_s=shutdown_s)

    def go(self) -> None:
        Path(f"{self.path}.go").touch()

    def halt(self) -> None:
        Path(f"{self.path}.go").unlink()

    def order(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def pids(self) -> dict[str, int]:
        return {child.name: child.pid for child in self.supervisor.children()}

    def states(self) -> list[str]:
        return [child.state for child in self.supervisor.children()]

    def kill(self, name: str) -> None:
        os.kill(self.pids()[name], signal.SIGKILL)

    async def all_ready(self, ups: int) -> None:
        """Until ``ups`` starts were noted and all are ready."""
        await until(
            lambda: (
                len([line for line in self.order() if line.startswith("up")]) == ups
                and set(self.states()) == {"ready"}
            )
        )


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[Family]:
    """A family, stopped after the test."""
    family = Family(tmp_path)
    yield family
    await family.supervisor.stop(3)
    assert set(family.states()) <= {"stopped", "failed"}


async def test_one_for_one_restarts_the_one_that_failed(family: Family) -> None:
    """one_for_one: only the terminated child is restarted."""
    await family.supervisor.start([family.spec(name) for name in NAMES])
    before = family.pids()
    family.kill("b")
    await family.all_ready(4)
    after = family.pids()
    assert [name for name in NAMES if before[name] != after[name]] == ["b"]


async def test_a_child_started_later_can_stop_last(family: Family) -> None:
    """Those that use it drain before it does."""
    await family.supervisor.start([family.spec("a")])
    await family.supervisor.start([family.spec("b")], stops_last=True)
    await family.supervisor.start([family.spec("c")])
    await family.supervisor.stop(10)
    drained = [line.split()[1] for line in family.order() if not line.startswith("up")]
    assert drained == ["c", "a", "b"]


async def test_one_for_all_restarts_all_in_order(family: Family) -> None:
    """one_for_all: all others are ended in reverse order, then all are started in order."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "one_for_all")
    assert family.order() == ["up a", "up b", "up c"]
    before = family.pids()
    family.kill("b")
    await family.all_ready(6)
    assert family.order()[3:] == ["down c", "down a", "up a", "up b", "up c"]
    assert not set(before.values()) & set(family.pids().values())
    # Each start waits for the one before it.
    began = family.events[family.events.index(("restarting", "b")) :]
    assert [name for kind, name in began if kind in ("started", "ready")] == list("aabbcc")
    restarts = {child.name: child.restarts for child in family.supervisor.children()}
    assert restarts == {"a": 0, "b": 1, "c": 0}
    assert family.supervisor.counters().restarts == 3


async def test_rest_for_one_restarts_those_after_it(family: Family) -> None:
    """rest_for_one: the terminated child and those started after it; those before it stay."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "rest_for_one")
    before = family.pids()
    family.kill("b")
    await family.all_ready(5)
    assert family.order()[3:] == ["down c", "up b", "up c"]
    assert family.pids()["a"] == before["a"]


async def test_stop_is_the_reverse_of_the_start(family: Family) -> None:
    """A group whose children need each other is stopped one by one, the last started first."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "rest_for_one")
    assert await family.supervisor.stop(10)
    assert family.order()[3:] == ["down c", "down b", "down a"]


async def test_a_restart_that_fails_begins_again(family: Family) -> None:
    """A child that falls while the group starts again starts the procedure again."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "one_for_all")
    family.halt()
    family.kill("a")
    await until(lambda: family.events[-1] == ("started", "a"))
    family.kill("a")
    await until(lambda: family.events.count(("started", "a")) == 3)
    family.go()
    await family.all_ready(6)
    assert family.order()[3:] == ["down c", "down b", "up a", "up b", "up c"]
    assert family.events.count(("started", "c")) == 2


async def test_one_before_falls_while_those_after_it_start(family: Family) -> None:
    """When an earlier child falls during the restart of later ones, it comes up before them."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "rest_for_one")
    family.halt()
    family.kill("b")
    await until(lambda: family.events[-1] == ("started", "b"))
    family.kill("a")
    await until(lambda: ("restarting", "a") in family.events)
    family.go()
    await until(lambda: family.states() == ["ready"] * 3 and len(family.order()) >= 8, 30.0)
    assert family.order()[-3:] == ["up a", "up b", "up c"]


async def test_a_temporary_child_ended_by_the_others_stays_away(family: Family) -> None:
    """A temporary child is never restarted, not even by one_for_all; its end restarts no other."""
    specs = [
        family.spec("a"),
        family.spec("b", RestartPolicy(restart="temporary")),
        family.spec("c"),
    ]
    await family.supervisor.start(specs, "one_for_all")
    family.kill("a")
    await until(lambda: family.order()[3:] == ["down c", "down b", "up a", "up c"])
    await until(lambda: family.states() == ["ready", "stopped", "ready"])
    events = len(family.events)
    assert ("restarting", "b") not in family.events
    assert family.events[events:] == []


async def test_a_transient_child_that_ended_well_comes_back_with_the_group(family: Family) -> None:
    """A transient child's normal end concerns no other; a later one_for_all starts it again."""
    transient = RestartPolicy(restart="transient", min_backoff_s=0.0, max_backoff_s=0.0)
    specs = [family.spec("a"), family.spec("b", transient)]
    await family.supervisor.start(specs, "one_for_all")
    os.kill(family.pids()["b"], signal.SIGTERM)
    await until(lambda: family.states() == ["ready", "stopped"])
    family.kill("a")
    await family.all_ready(4)
    assert family.order()[2:] == ["down b", "up a", "up b"]


async def test_the_budget_of_the_supervisor_counts_all_children(family: Family) -> None:
    """intensity and period: one restart more than allowed, whoever's, and it gives up."""
    supervisor = family.supervise(intensity=2)
    await supervisor.start([family.spec(name) for name in NAMES])
    for ups, name in ((4, "a"), (5, "b")):
        family.kill(name)
        await family.all_ready(ups)
    assert not supervisor.gave_up.is_set()
    family.kill("c")
    async with asyncio.timeout(5):
        await supervisor.gave_up.wait()
    assert family.states() == ["ready", "ready", "failed"]
    assert supervisor.counters().gave_up == 1


async def test_a_group_of_which_one_gave_up_restarts_no_more(family: Family) -> None:
    """When a child gives up during the restart of its group, the rest stay stopped."""
    supervisor = family.supervise(intensity=1)
    await supervisor.start([family.spec(name) for name in NAMES], "one_for_all")
    family.halt()
    family.kill("a")
    await until(lambda: family.events[-1] == ("started", "a"))
    family.kill("a")
    async with asyncio.timeout(5):
        await supervisor.gave_up.wait()
    assert family.states() == ["failed", "stopped", "stopped"]
    assert await supervisor.stop(5)


async def test_who_does_not_drain_for_the_group_is_killed(family: Family) -> None:
    """shutdown: a child that hangs is killed after its time, and the group comes back."""
    specs = [family.spec("a"), family.spec("b", shutdown_s=0.3), family.spec("c", shutdown_s=0.0)]
    await family.supervisor.start(specs, "one_for_all")
    os.kill(family.pids()["b"], signal.SIGSTOP)
    family.kill("a")
    await family.all_ready(6)
    # c had no time to drain (brutal_kill), b could not.
    assert family.order()[3:] == ["up a", "up b", "up c"]
    assert family.supervisor.counters().kills == {"undrained": 2}


@pytest.mark.alone
async def test_stop_waits_for_no_back_off(family: Family) -> None:
    """A stop during a back-off of a group, or while its children drain, ends it at once."""
    slow = RestartPolicy(min_backoff_s=600, max_backoff_s=600)
    await family.supervisor.start([family.spec(name, slow) for name in NAMES], "one_for_all")
    family.kill("c")
    await until(lambda: family.states()[0] == "restarting")
    began = time.monotonic()
    assert await family.supervisor.stop(60)
    assert time.monotonic() - began < 2
    assert set(family.states()) == {"stopped"}


async def test_a_restart_that_cannot_be_is_giving_up(
    family: Family, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails in the restart itself is logged and ends in gave_up, not in silence."""
    await family.supervisor.start([family.spec(name) for name in NAMES], "one_for_all")

    def fails() -> None:
        raise TypeError("on purpose")

    monkeypatch.setattr(family.supervisor._children["b"], "launch", fails)
    family.kill("a")
    async with asyncio.timeout(10):
        await family.supervisor.gave_up.wait()
    assert "b cannot be restarted" in caplog.text
    assert family.states() == ["ready", "failed", "stopped"]
