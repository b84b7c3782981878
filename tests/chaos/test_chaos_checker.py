"""The checker finds what it is there to find: a check that cannot fail shows nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psutil
import pytest
from chaos_checker import Handled, check
from chaos_nemesis import Nemesis

SENT = {"a": 0, "b": 1, "c": 0}
GOOD = [Handled("x", 0, "a"), Handled("x", 1, "b"), Handled("y", 0, "c")]


def test_a_run_that_kept_its_promises() -> None:
    """A message that was handled again after a crash is no fault; its second answer would be."""
    report = check(SENT, ["a", "b"], [*GOOD, Handled("x", 0, "a")], ["a", "b", "c"])
    assert report.faults == {}
    assert (report.sent, report.acknowledged, report.handled, report.repeated) == (3, 2, 3, 1)


@pytest.mark.parametrize(
    ("handled", "answers", "fault"),
    [
        (GOOD[:1] + GOOD[2:], ["a", "c"], {"lost": 1}),
        ([*GOOD, Handled("y", 1, "d")], ["a", "b", "c"], {"invented": 1}),
        ([GOOD[1], GOOD[0], GOOD[2]], ["a", "b", "c"], {"disordered": 1}),
        (GOOD, ["a", "c"], {"unanswered": 1}),
        (GOOD, ["a", "b", "b", "c"], {"doubled": 1}),
    ],
    ids=["lost", "invented", "disordered", "unanswered", "doubled"],
)
def test_each_broken_promise_is_found(
    handled: list[Handled], answers: list[str], fault: dict[str, int]
) -> None:
    """By its kind."""
    assert check(SENT, ["a", "b", "c"], handled, answers).faults == fault


class Process:
    """A process that notes its signals."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.signals: list[int] = []
        self.gone = False

    def cmdline(self) -> list[str]:
        return [self.title]

    def send_signal(self, number: int) -> None:
        if self.gone:
            raise psutil.NoSuchProcess(1)
        self.signals.append(number)


class Faults:
    """Notes what goes wrong."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.ended = True

    def fill(self, process: Process) -> None:
        if process.gone:
            raise psutil.NoSuchProcess(1)
        self.said.append(("fill",))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: self.said.append((name, *given))


class Node:
    """A node of such processes."""

    def __init__(self) -> None:
        titles = ("caxton shard-0", "caxton shard-1", "caxton gateway", "caxton tools", "other")
        self.processes = [Process(title) for title in titles]
        self.restarts = 0
        self.faults = Faults()
        self.bursts: list[tuple[int, int]] = []

    def burst(self, messages: int, size: int) -> None:
        self.bursts.append((messages, size))

    def family(self) -> list[psutil.Process]:
        return self.processes  # type: ignore[return-value]  # all that is asked of one

    def restart(self) -> None:
        self.restarts += 1


def test_a_seed_stands_for_the_same_harm() -> None:
    """Every kind comes; a process that is stopped goes on; nobody else is touched."""

    def harmed(seed: int) -> tuple[Node, Nemesis]:
        node = Node()
        nemesis = Nemesis(node, seed, sleep=lambda seconds: None)
        for _ in range(200):
            nemesis.harm(1.0)
        return node, nemesis

    node, nemesis = harmed(7)
    again, same = harmed(7)
    assert [one.signals for one in node.processes] == [one.signals for one in again.processes]
    assert nemesis.done == same.done != harmed(8)[1].done
    assert set(nemesis.done) == {
        "kill shard", "kill gateway", "kill tools", "hang shard", "kill supervisor",
        "kill before commit", "kill after commit", "slow disk", "full disk", "jump of the clock",
        "burst", "large message",
    }  # fmt: skip
    assert node.restarts == nemesis.done["kill supervisor"]
    assert nemesis.kills == sum(count for kind, count in nemesis.done.items() if "kill" in kind)
    assert sum(nemesis.done.values()) == 200
    assert node.bursts == again.bursts
    assert {size for _, size in node.bursts} == {200, 10 * 1024 * 1024}
    kinds = [one[0] for one in node.faults.said]
    assert kinds.count("fill") == kinds.count("empty") == nemesis.done["full disk"]
    slow = [one[1] for one in node.faults.said if one[0] == "slow"]
    assert slow[1::2] == [0] * nemesis.done["slow disk"]
    assert node.processes[-1].signals == []
    for one in node.processes[:2]:
        assert one.signals.count(signal.SIGSTOP) == one.signals.count(signal.SIGCONT)


def test_a_process_that_is_gone_is_not_counted() -> None:
    """Another harm is done instead."""
    node = Node()
    for one in node.processes[:4]:
        one.gone = True
    node.faults.ended = False
    nemesis = Nemesis(node, 3, sleep=lambda seconds: None)
    for _ in range(100):
        nemesis.harm(1.0)
    assert set(nemesis.done) == {
        "kill supervisor", "slow disk", "jump of the clock", "burst", "large message",
    }  # fmt: skip
