"""Laws of supervised processes: readiness, death, restart, giving up, draining."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import actors_children as mains
import pytest
from actors_support import until

import actors.processes.supervisor
from actors import ActorError, ProcessInfo, ProcessSpec, ProcessSupervisor, RestartPolicy
from actors.processes.supervisor import StartFailed

pytestmark = pytest.mark.process

QUICK = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, intensity=2, period_s=60)
NEVER = RestartPolicy(restart="temporary")


class Watched:
    """A supervisor, with what it told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.tells: list[tuple[str, tuple[Any, ...]]] = []
        self.pids: set[int] = set()
        self.supervisor = ProcessSupervisor(
            "caxton-test",
            on_event=self._on_event,
            on_tell=lambda name, words: self.tells.append((name, words)),
        )

    def _on_event(self, kind: str, name: str, text: str) -> None:
        self.events.append((kind, name, text))
        if kind == "started":
            self.pids.add(int(text.removeprefix("pid ")))

    def kinds(self, name: str) -> list[str]:
        return [kind for kind, who, _ in self.events if who == name]

    def child(self, name: str) -> ProcessInfo:
        return next(info for info in self.supervisor.children() if info.name == name)


def gone(pid: int) -> bool:
    """Whether there is no such process, or only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    """A supervisor that is stopped after the test and leaves no process."""
    watched = Watched()
    yield watched
    await watched.supervisor.stop(3)
    assert [pid for pid in watched.pids if not gone(pid)] == []


async def test_children_start_talk_and_drain_in_reverse(watched: Watched) -> None:
    """Children become ready, hear and tell; the group started last drains first."""
    supervisor = watched.supervisor
    names = ["one", "two", "three"]
    for name in names:
        await supervisor.start([ProcessSpec(name, mains.steady)])
    assert [info.name for info in supervisor.children()] == names
    for name in names:
        info = watched.child(name)
        assert info.state == "ready"
        assert info.restarts == 0
        assert supervisor.info(name) == {"pid": info.pid, "name": name}
        assert watched.kinds(name) == ["started", "ready"]
    title = Path(f"/proc/{watched.child('two').pid}/cmdline").read_bytes()
    assert title.startswith(b"caxton-test two")
    assert supervisor.send("two", "colour", {"a": [1]})
    await until(lambda: watched.tells == [("two", ("heard", "colour", {"a": [1]}))])
    assert not supervisor.send("nobody", "x", 1)
    watched.tells.clear()
    assert await supervisor.stop(20) is True
    assert [name for name, _ in watched.tells] == ["three", "two", "one"]
    assert all(0 < words[2] <= 20 for _, words in watched.tells)
    assert [(kind, name) for kind, name, _ in watched.events if kind == "exited"] == [
        ("exited", name) for name in reversed(names)
    ]
    assert {info.state for info in supervisor.children()} == {"stopped"}
    assert all(gone(pid) for pid in watched.pids)
    assert not supervisor.send("two", "x", 1)
    assert not supervisor.gave_up.is_set()


def _ready_times(watched: Watched, times: int) -> bool:
    return watched.kinds("a").count("ready") == times


async def test_a_killed_child_is_restarted_until_it_is_too_often(watched: Watched) -> None:
    """SIGKILL brings a new process with a new pid; beyond the intensity comes gave_up."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.steady, restart=QUICK)])
    pids = [watched.child("a").pid]
    for restart in (1, 2):
        os.kill(pids[-1], signal.SIGKILL)
        await until(functools.partial(_ready_times, watched, restart + 1), 20)
        pids.append(watched.child("a").pid)
        assert watched.child("a").restarts == restart
    assert len(set(pids)) == 3
    os.kill(pids[-1], signal.SIGKILL)
    async with asyncio.timeout(10):
        await supervisor.gave_up.wait()
    again = ["exited", "restarting", "started", "ready"]
    assert watched.kinds("a") == ["started", "ready", *again, *again, "exited", "gave_up"]
    assert watched.child("a").state == "failed"
    assert any("signal SIGKILL" in text for kind, _, text in watched.events if kind == "exited")


async def test_a_child_that_dies_before_it_is_ready_fails_the_start(watched: Watched) -> None:
    """A child that ends before it was ever ready is StartFailed at once, and not restarted."""
    spec = ProcessSpec("a", mains.dies, (False,), restart=QUICK)
    with pytest.raises(StartFailed, match=r"a ended before it was ready \(exit code 3") as caught:
        await watched.supervisor.start([spec])
    assert isinstance(caught.value, ActorError)
    assert caught.value.code == "start_failed"
    assert watched.kinds("a") == ["started", "exited"]
    assert watched.child("a").state == "failed"
    assert not watched.supervisor.gave_up.is_set()


async def test_children_that_may_end_are_no_failure(watched: Watched) -> None:
    """A temporary child's end, and a transient one's without failure, stop it; nobody gives up."""
    supervisor = watched.supervisor
    transient = RestartPolicy(restart="transient")
    await supervisor.start(
        [
            ProcessSpec("temporary", mains.dies, (True,), restart=NEVER),
            ProcessSpec("transient", mains.finishes, restart=transient),
        ]
    )
    await until(lambda: {info.state for info in supervisor.children()} == {"stopped"})
    for name in ("temporary", "transient"):
        assert watched.kinds(name) == ["started", "ready", "exited"]
    assert not supervisor.gave_up.is_set()
    with pytest.raises(StartFailed):
        await supervisor.start([ProcessSpec("early", mains.dies, (False,), restart=NEVER)])


@pytest.mark.parametrize(
    ("main", "why"),
    [(mains.stuck, "its event loop stood for"), (mains.mute, "no heartbeat for")],
    ids=["stuck", "mute"],
)
async def test_a_child_without_life_is_killed(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    main: Any,
    why: str,
) -> None:
    """A child whose event loop stands still, or whose heart does, is killed."""
    monkeypatch.setattr(actors.processes.supervisor, "WATCH_S", 0.05)
    spec = ProcessSpec("a", main, restart=NEVER, heartbeat_timeout_s=0.7)
    await watched.supervisor.start([spec])
    watched.supervisor._look()
    await until(lambda: "exited" in watched.kinds("a"))
    assert "signal SIGKILL" in watched.events[-1][2]
    assert why in caplog.text


async def test_a_child_that_is_never_ready_fails_the_start(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At its start timeout a child is StartFailed, and killed."""
    monkeypatch.setattr(actors.processes.supervisor, "WATCH_S", 0.05)
    spec = ProcessSpec("a", mains.unready, restart=NEVER, start_timeout_s=0.3)
    with pytest.raises(StartFailed, match="a was not ready within"):
        await watched.supervisor.start([spec])
    watched.supervisor._look()
    await until(lambda: "exited" in watched.kinds("a"))
    assert "killing a: not ready within" in caplog.text


async def test_stop_ends_who_hears_no_drain(watched: Watched) -> None:
    """Who hears no drain gets SIGTERM, then SIGKILL at the deadline; stop says False."""
    supervisor = watched.supervisor
    await supervisor.start(
        [
            ProcessSpec("deaf", mains.stubborn, (False,)),
            ProcessSpec("slow", mains.stubborn, (True,)),
        ]
    )
    assert await supervisor.stop(0.8) is False
    ends = {name: text for kind, name, text in watched.events if kind == "exited"}
    assert "exit code 0" in ends["slow"]
    assert "signal SIGKILL" in ends["deaf"]


async def test_stop_while_a_restart_waits(watched: Watched) -> None:
    """A child in its back-off is not started again by stop or after it."""
    supervisor = watched.supervisor
    policy = RestartPolicy(min_backoff_s=600, max_backoff_s=600)
    await supervisor.start([ProcessSpec("a", mains.finishes, restart=policy)])
    await until(lambda: watched.child("a").state == "restarting")
    assert not supervisor.send("a", "x", 1)
    assert await supervisor.stop(5) is True
    assert watched.child("a").state == "stopped"
    assert watched.kinds("a") == ["started", "ready", "exited", "restarting"]


async def test_ctrl_c_to_the_group_kills_no_child(watched: Watched) -> None:
    """SIGINT to a child's whole process group leaves it at work; SIGTERM is an order to drain."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.leader, restart=NEVER)])
    pid = watched.child("a").pid
    os.killpg(pid, signal.SIGINT)
    assert supervisor.send("a", "still", "there")
    await until(lambda: watched.tells == [("a", ("heard", "still", "there"))])
    os.kill(pid, signal.SIGTERM)
    await until(lambda: "exited" in watched.kinds("a"))
    assert watched.tells[-1][1][0] == "draining"
    assert "exit code 0" in watched.events[-1][2]


async def test_children_end_without_their_supervisor(watched: Watched) -> None:
    """When a supervisor is SIGKILLed its children drain and end, or are ended after the grace."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("parent", mains.parent, restart=NEVER)])
    pids = supervisor.info("parent")["pids"]
    assert len(pids) == 2
    assert not any(gone(pid) for pid in pids)
    os.kill(watched.child("parent").pid, signal.SIGKILL)
    await until(lambda: all(gone(pid) for pid in pids))


async def test_a_process_that_cannot_be_made_is_a_failure(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process at the start is StartFailed; at a restart it backs off, then gives up."""

    class NoProcess:
        def __init__(self, **_: Any) -> None:
            """Takes what a Process takes."""

        def start(self) -> None:
            raise BlockingIOError("no more processes")

    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.finishes, restart=QUICK)])
    monkeypatch.setattr(supervisor._context, "Process", NoProcess, raising=False)
    async with asyncio.timeout(10):
        await supervisor.gave_up.wait()
    assert watched.kinds("a")[2:] == ["exited", "restarting", "restarting", "gave_up"]
    assert not supervisor.send("a", "x", 1)
    with pytest.raises(StartFailed, match="no more processes"):
        await supervisor.start([ProcessSpec("b", mains.steady, restart=QUICK)])
    assert watched.kinds("b") == []
    assert watched.child("b").pid == 0
