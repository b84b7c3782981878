"""Laws of supervised processes: readiness, death, restart, giving up, draining."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import actors_children as mains
import pytest
from actors_support import until

import actors.processes.child
from actors import (
    ActorError,
    ProcessInfo,
    ProcessSpec,
    ProcessSupervisor,
    RestartPolicy,
    StartFailed,
)
from actors.testkit.faults import armed

pytestmark = pytest.mark.process

QUICK = RestartPolicy(min_backoff_s=0.0, max_backoff_s=0.0, intensity=2, period_s=60)
NEVER = RestartPolicy(restart="temporary")
UNKNOWN = pickle.dumps(("nonsense", 1))
WRONG = pickle.dumps(("ready", 1))


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


@pytest.mark.alone
@pytest.mark.parametrize(
    ("main", "why"),
    [(mains.stuck, "its event loop stood for"), (mains.frozen, "no heartbeat for 0.")],
    ids=["stuck", "frozen"],
)
async def test_a_child_without_life_is_killed(
    watched: Watched, caplog: pytest.LogCaptureFixture, main: Any, why: str
) -> None:
    """A child whose event loop stands still, or whose heart does, is killed."""
    spec = ProcessSpec("a", main, restart=NEVER, heartbeat_timeout_s=0.7)
    await watched.supervisor.start([spec])
    await until(lambda: "exited" in watched.kinds("a"))
    assert "signal SIGKILL" in watched.events[-1][2]
    assert why in caplog.text
    reason = "stuck" if main is mains.stuck else "silent"
    assert watched.supervisor.counters().kills == {reason: 1}


async def test_what_a_loop_is_stuck_in_is_logged_before_the_kill(
    watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    """At half the timeout a stuck child is asked for a dump, which shows where it is stuck."""
    spec = ProcessSpec("a", mains.stuck, restart=NEVER, heartbeat_timeout_s=0.7)
    await watched.supervisor.start([spec])
    await until(lambda: "exited" in watched.kinds("a"))
    said = capfd.readouterr().err
    assert "dump of a" in said
    assert "time.sleep(600)" in said
    assert "more of the stuck one" in said


@pytest.mark.alone
@pytest.mark.parametrize("timeout_s", [0.5, 1.0])
async def test_a_stopped_child_is_replaced_in_time(watched: Watched, timeout_s: float) -> None:
    """After SIGSTOP a child is killed within its timeout and one look, and a new one serves."""
    spec = ProcessSpec("a", mains.steady, restart=QUICK, heartbeat_timeout_s=timeout_s)
    await watched.supervisor.start([spec])
    stopped = watched.child("a").pid
    began = time.monotonic()
    os.kill(stopped, signal.SIGSTOP)
    await until(lambda: "exited" in watched.kinds("a"))
    # An eighth of the timeout is a look; the rest is for a busy machine.
    assert time.monotonic() - began < timeout_s * 1.125 + 0.4
    await until(functools.partial(_ready_times, watched, 2))
    assert watched.child("a").pid != stopped
    assert watched.supervisor.counters().kills == {"silent": 1}


async def test_a_child_that_stops_before_it_is_ready_again(watched: Watched) -> None:
    """The heartbeat counts as soon as it has begun, long before the start timeout."""
    spec = ProcessSpec("a", mains.unready, restart=NEVER, heartbeat_timeout_s=0.3)
    starting = asyncio.create_task(watched.supervisor.start([spec]))
    await until(lambda: watched.pids and watched.supervisor._children["a"].beats)
    os.kill(watched.child("a").pid, signal.SIGSTOP)
    with pytest.raises(StartFailed, match="signal SIGKILL"):
        await starting


@pytest.mark.alone
async def test_a_supervisor_that_stood_still_kills_nobody(watched: Watched) -> None:
    """Heartbeats that could not be read while this process stood still are no silence."""
    spec = ProcessSpec("a", mains.steady, restart=NEVER, heartbeat_timeout_s=0.4)
    await watched.supervisor.start([spec])
    time.sleep(1.0)
    for _ in range(3):
        watched.supervisor._look()
    await asyncio.sleep(0.1)
    assert watched.child("a").state == "ready"
    assert watched.supervisor.counters().kills == {}


@pytest.mark.parametrize(
    "said",
    [
        b"\0\0\0\5abcde",
        b"\xff\xff\xff\xff",
        len(UNKNOWN).to_bytes(4, "big") + UNKNOWN,
        len(WRONG).to_bytes(4, "big") + WRONG,
    ],
    ids=["no-pickle", "too-long", "unknown-word", "wrong-value"],
)
async def test_a_child_that_talks_nonsense_is_replaced(watched: Watched, said: bytes) -> None:
    """What is no word makes the child broken: killed and restarted; the supervisor lives on."""
    await watched.supervisor.start([ProcessSpec("a", mains.babbles, (said,), restart=QUICK)])
    async with asyncio.timeout(10):
        await watched.supervisor.gave_up.wait()
    counters = watched.supervisor.counters()
    assert counters.kills == {"garbled": 3}
    assert counters.exits == {"signal SIGKILL": 3}
    assert (counters.started, counters.restarts, counters.gave_up) == (3, 2, 1)
    await watched.supervisor.start([ProcessSpec("b", mains.steady)])
    assert watched.supervisor.counters().children == {"failed": 1, "ready": 1}


@pytest.mark.alone
async def test_half_a_word_and_a_full_pipe_block_nothing(watched: Watched) -> None:
    """A child stopped in the middle of a word, and that reads nothing, holds up no other."""
    supervisor = watched.supervisor
    await supervisor.start(
        [
            ProcessSpec("half", mains.half_said, restart=NEVER, heartbeat_timeout_s=1.0),
            ProcessSpec("well", mains.steady, restart=NEVER),
        ]
    )
    began = time.monotonic()
    while supervisor.send("half", "flood", bytes(1_000_000)):
        assert time.monotonic() - began < 1
    assert supervisor.counters().dropped_words == 1
    assert supervisor.send("well", "still", "there")
    await until(lambda: watched.tells == [("well", ("heard", "still", "there"))])
    assert watched.child("half").state == "ready"
    await until(lambda: "exited" in watched.kinds("half"))
    assert supervisor.counters().kills == {"silent": 1}
    assert supervisor.counters().dropped_words == 1


async def test_long_words_pass_both_ways(watched: Watched) -> None:
    """A word longer than any buffer arrives whole."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.steady)])
    value = os.urandom(5_000_000)
    assert supervisor.send("a", "long", value)
    await until(lambda: watched.tells == [("a", ("heard", "long", value))])


async def test_an_owner_that_raises_stops_no_supervision(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What ``on_event`` and ``on_tell`` raise is logged; words after it are heard."""

    def fails(*_: Any) -> None:
        raise LookupError("on purpose")

    supervisor = watched.supervisor
    monkeypatch.setattr(supervisor, "_on_event", fails)
    monkeypatch.setattr(supervisor, "_on_tell", fails)
    await supervisor.start([ProcessSpec("a", mains.steady, restart=NEVER)])
    watched.pids.add(watched.child("a").pid)
    supervisor.send("a", "x", 1)
    await until(lambda: "on_tell failed" in caplog.text)
    assert "on_event failed on ready of a" in caplog.text
    assert await supervisor.stop(5) is True


async def test_a_name_is_taken_while_its_child_lives(watched: Watched) -> None:
    """A second child of a name is refused, unless the first has ended for good."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.finishes, restart=NEVER)])
    await until(lambda: watched.child("a").state == "stopped")
    await supervisor.start([ProcessSpec("a", mains.steady)])
    with pytest.raises(ValueError, match="child here already"):
        await supervisor.start([ProcessSpec("a", mains.steady)])
    assert len(supervisor.children()) == 1


async def test_what_cannot_be_pickled_fails_the_start(watched: Watched) -> None:
    """Arguments that cannot travel are StartFailed with the reason."""
    with pytest.raises(StartFailed, match=r"a cannot be started: .*pickle"):
        await watched.supervisor.start([ProcessSpec("a", mains.waits_for, (lambda: 1,))])
    assert watched.child("a").state == "failed"


@pytest.mark.parametrize("field", ["start_timeout_s", "heartbeat_timeout_s", "shutdown_s"])
def test_times_out_of_range_are_refused(field: str) -> None:
    """A spec names the value that is wrong and what is allowed."""
    with pytest.raises(ValueError, match=f"{field}: -1 given"):
        ProcessSpec("a", mains.steady, **{field: -1})  # type: ignore[arg-type]  # on purpose


async def test_a_budget_out_of_range_is_refused() -> None:
    """Intensity and period of a supervisor are checked."""
    with pytest.raises(ValueError, match="intensity: -1"):
        ProcessSupervisor("x", on_event=lambda *_: None, intensity=-1)
    with pytest.raises(ValueError, match="period_s: 0"):
        ProcessSupervisor("x", on_event=lambda *_: None, intensity=1, period_s=0)


async def test_a_child_that_is_never_ready_fails_the_start(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """At its start timeout a child is StartFailed, and killed; the texts tell the exact time."""
    spec = ProcessSpec("a", mains.unready, restart=NEVER, start_timeout_s=0.5)
    with pytest.raises(StartFailed, match=r"a was not ready within 0\.5 s"):
        await watched.supervisor.start([spec])
    await until(lambda: "exited" in watched.kinds("a"))
    assert "not ready within 0.5 s" in caplog.text


async def test_dump_asks_the_child(watched: Watched, capfd: pytest.CaptureFixture[str]) -> None:
    """``dump`` has the child log its threads; nobody is no child."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.steady)])
    assert supervisor.dump("a")
    assert not supervisor.dump("nobody")
    supervisor.send("a", "x", 1)
    await until(lambda: watched.tells)
    assert "dump of a" in capfd.readouterr().err


@pytest.mark.alone
async def test_stop_ends_who_hears_no_drain(watched: Watched) -> None:
    """Who hears no drain gets SIGTERM, then SIGKILL at the deadline; stop says False."""
    supervisor = watched.supervisor
    await supervisor.start(
        [
            ProcessSpec("deaf", mains.stubborn, (False,)),
            ProcessSpec("slow", mains.stubborn, (True,)),
        ]
    )
    assert await supervisor.stop(4) is False
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


async def test_ctrl_c_kills_no_child_that_begins(watched: Watched) -> None:
    """From its first moment a child survives SIGINT; in its main the signal is not blocked."""
    starting = asyncio.create_task(
        watched.supervisor.start([ProcessSpec("a", mains.lists_signals, restart=NEVER)])
    )
    await until(lambda: watched.pids)
    (pid,) = watched.pids
    while not starting.done():
        os.kill(pid, signal.SIGINT)
        await asyncio.sleep(0.002)
    await starting
    assert watched.supervisor.info("a") == {"blocked": set()}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


async def test_stop_ends_who_hangs_after_its_drain(watched: Watched) -> None:
    """A process that a thread of its own keeps alive after the drain is killed at the deadline."""
    await watched.supervisor.start([ProcessSpec("a", mains.hangs_at_exit)])
    assert await watched.supervisor.stop(0.5) is False
    assert gone(watched.child("a").pid)


async def test_stop_while_children_start(watched: Watched) -> None:
    """A stop during the start fails the start, and leaves nothing."""
    supervisor = watched.supervisor
    specs = [ProcessSpec(name, mains.unready) for name in ("a", "b")]
    starting = asyncio.create_task(supervisor.start(specs, "one_for_all"))
    await until(lambda: watched.pids)
    await supervisor.stop(5)
    with pytest.raises(StartFailed, match="a ended before it was ready"):
        await starting
    with pytest.raises(StartFailed, match="the supervisor stops"):
        await supervisor.start([ProcessSpec("c", mains.steady)])
    assert len(watched.pids) == 1


async def test_children_end_without_their_supervisor(watched: Watched) -> None:
    """When a supervisor is SIGKILLed its children drain and end, or are ended after the grace."""
    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("parent", mains.parent, restart=NEVER)])
    pids = supervisor.info("parent")["pids"]
    assert len(pids) == 3
    assert not any(gone(pid) for pid in pids)
    os.kill(watched.child("parent").pid, signal.SIGKILL)
    await until(lambda: all(gone(pid) for pid in pids))


async def test_a_process_that_cannot_be_made_is_a_failure(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process at the start is StartFailed; at a restart it backs off, then gives up."""

    def no_process(*_: Any) -> Any:
        raise BlockingIOError("no more processes")

    supervisor = watched.supervisor
    await supervisor.start([ProcessSpec("a", mains.finishes, restart=QUICK)])
    monkeypatch.setattr(actors.processes.child, "spawn", no_process)
    async with asyncio.timeout(10):
        await supervisor.gave_up.wait()
    assert watched.kinds("a")[2:] == ["exited", "restarting", "restarting", "gave_up"]
    assert not supervisor.send("a", "x", 1)
    with pytest.raises(StartFailed, match="no more processes"):
        await supervisor.start([ProcessSpec("b", mains.steady, restart=QUICK)])
    assert watched.kinds("b") == []
    assert watched.child("b").pid == 0


async def test_a_start_that_fails_once_is_tried_again(watched: Watched) -> None:
    """The fault point ``process.start``: a restart that fails counts, and another follows."""
    supervisor = watched.supervisor
    with armed("process.start=req:@2"):
        await supervisor.start([ProcessSpec("a", mains.steady, restart=QUICK)])
        os.kill(watched.child("a").pid, signal.SIGKILL)
        await until(functools.partial(_ready_times, watched, 2))
    again = ["exited", "restarting", "restarting", "started", "ready"]
    assert watched.kinds("a") == ["started", "ready", *again]
    assert watched.child("a").restarts == 2
    assert supervisor.counters().restarts == 1
