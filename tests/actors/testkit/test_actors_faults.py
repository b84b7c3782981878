"""Laws of fault points."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from actors import ActorError
from actors import fault_points as points
from actors.testkit.faults import FaultEvent, FaultInjected, FaultPlan, FaultRule, armed


def fate(call: Callable[[str], None], name: str, calls: int) -> list[int]:
    """The calls, from 1, that fail."""
    failed = []
    for number in range(1, calls + 1):
        try:
            call(name)
        except FaultInjected:
            failed.append(number)
    return failed


def test_nothing_fails_unless_armed() -> None:
    """A point that is not armed does nothing; nor does one after the block."""
    assert fate(points.point, "a", 100) == []
    with armed("a=req:1"):
        assert fate(points.point, "a", 2) == [1, 2]
    assert fate(points.point, "a", 100) == []
    assert points._plan is None


def test_request_and_reply_fail_independently() -> None:
    """Each half has its own count and chances."""
    with armed("a=req:@1@3,rep:@2;seed=1") as plan:
        assert fate(points.point, "a", 4) == [1, 3]
        assert fate(points.replied, "a", 4) == [2]
        assert fate(points.point, "b", 4) == []
        assert (plan.calls("a"), plan.calls("a", "reply"), plan.calls("c")) == (4, 4, 0)


def test_the_seed_decides_whatever_else_is_called() -> None:
    """The same seed gives each point the same fate, however calls of points interleave."""
    rules = "a=req:0.3,rep:0.3;b*=req:0.3"
    with armed(rules, seed=7) as plan:
        alone = fate(points.point, "a", 200)
        assert str(plan) == f"{rules};seed=7"
    mixed = []
    with armed(rules, seed=7):
        for number in range(1, 201):
            fate(points.replied, "a", 1)
            fate(points.point, "b2", 2)
            mixed += [number] if fate(points.point, "a", 1) else []
    with armed(rules, seed=8):
        other = fate(points.point, "a", 200)
    assert alone == mixed != other
    assert 30 < len(alone) < 90


def test_a_pattern_gives_each_point_chances_of_its_own() -> None:
    """Points of one pattern do not share counts."""
    with armed("link.*=req:@2;*=rep:@1"):
        assert fate(points.point, "link.a", 3) == [2]
        assert fate(points.point, "link.b", 3) == [2]
        assert fate(points.replied, "link.a", 3) == []
        assert fate(points.replied, "other", 3) == [1]


def test_a_limit_bounds_the_failures() -> None:
    """At most so many fail, and the first of those that would without the limit."""
    with armed("a=req:0.5", seed=3):
        free = fate(points.point, "a", 50)
    with armed("a=req:0.5x3", seed=3):
        assert fate(points.point, "a", 50) == free[:3]


def test_what_failed_is_logged_and_can_be_run_again(caplog: pytest.LogCaptureFixture) -> None:
    """The seed is logged, each failure is, and a log makes a plan of just those failures."""
    caplog.set_level(logging.WARNING, "actors.faults")
    with armed("a=req:0.2,rep:0.2", seed=11) as plan:
        failed = fate(points.point, "a", 50), fate(points.replied, "a", 50)
        log, again = list(plan.log), plan.replay()
    assert "seed=11" in caplog.text
    assert f"fault: request of a fails, call {failed[0][0]}" in caplog.text
    assert log == [
        *(FaultEvent("a", "request", call) for call in failed[0]),
        *(FaultEvent("a", "reply", call) for call in failed[1]),
    ]
    with armed(again):
        assert (fate(points.point, "a", 50), fate(points.replied, "a", 50)) == failed


def test_the_error_is_typed_or_ones_own() -> None:
    """FaultInjected says point, half, call and seed; a rule may raise something else."""
    with armed("a=rep:1;seed=5"), pytest.raises(FaultInjected, match="call 1, seed 5") as caught:
        points.replied("a")
    error = caught.value
    assert isinstance(error, ActorError)
    assert (error.code, error.point, error.half) == ("fault_injected", "a", "reply")
    own: dict[str, dict[points.Half, FaultRule]] = {
        "a": {"request": FaultRule(error=ConnectionResetError)}
    }
    with armed(own), pytest.raises(ConnectionResetError, match="request of a fails"):
        points.point("a")


@pytest.mark.parametrize(
    "text",
    ["a", "a=", "a=req", "a=req:", "a=req:x", "a=ask:1", "a=req:2", "=req:1", "seed=x", "a=req:@0"],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    """A mistake in a plan is an error, not a test without faults."""
    with pytest.raises(ValueError, match="allowed"), armed(text):
        pytest.fail("it was armed")


def test_rules_out_of_range_are_refused() -> None:
    """A limit below none is refused."""
    with pytest.raises(ValueError, match="limit: -1 given"):
        FaultRule(limit=-1)
    assert FaultPlan({}).seed != FaultPlan({}).seed


def test_the_environment_arms_a_process() -> None:
    """A process started with ACTORS_FAULTS fails by it; a mistake there ends it at once."""
    program = (
        "from actors import fault_points as p\n"
        "try:\n p.point('a')\nexcept Exception as e:\n print(e.code, e.seed)"
    )

    def run(faults: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "ACTORS_FAULTS": faults},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("a=req:@1;seed=9").stdout == "fault_injected 9\n"
    assert "allowed" in run("a=sometimes").stderr
