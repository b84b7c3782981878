"""Property tests where coverage measures: a few examples with its tracer, and all without."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import measured_examples
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

seen: list[bool] = []
"""Of each example, whether there was a tracer."""


class Tracing:
    """What ``sys`` has of tracing, without the thread's own."""

    def __init__(self, tracer: object) -> None:
        self.tracer = tracer

    def gettrace(self) -> object:
        return self.tracer

    def settrace(self, tracer: object) -> None:
        self.tracer = tracer


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    seen.clear()
    made = Tracing("coverage")
    monkeypatch.setattr(measured_examples, "sys", made)
    return made


def ran(hook: Generator[None, Any, Any], test: Callable[[], object]) -> None:
    """As pytest runs a test within the hook."""
    next(hook)
    test()
    with pytest.raises(StopIteration):
        hook.send(None)


def item_of(test: Any, **funcargs: object) -> Any:
    info = SimpleNamespace(argnames=tuple(funcargs))
    return SimpleNamespace(obj=test, funcargs=funcargs, _fixtureinfo=info)


@pytest.mark.parametrize(("examples", "measured"), [(100, 10), (12, 3), (2, 1)])
def test_a_few_are_measured_and_all_are_run(tracing: Tracing, examples: int, measured: int) -> None:
    """The tracer is back after the test, and the number of examples."""

    @settings(max_examples=examples)
    @given(number=st.integers())
    def holds(number: int) -> None:
        seen.append(tracing.tracer is not None)

    ran(measured_examples.pytest_pyfunc_call(item_of(holds)), holds)
    assert seen == [True] * measured + [False] * examples
    assert tracing.tracer == "coverage"


def test_a_state_machine_too(tracing: Tracing) -> None:
    """Which is a case of unittest."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            seen.append(tracing.tracer is not None)

        @rule()
        def goes_on(self) -> None:
            """Do nothing."""

    case = Machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=2)
    item: Any = SimpleNamespace(
        parent=SimpleNamespace(obj=case), get_closest_marker=lambda name: None
    )
    ran(measured_examples.pytest_runtest_call(item), case("runTest").runTest)
    assert seen == [True] * seen.count(True) + [False] * seen.count(False)
    assert 1 <= seen.count(True) <= 12 < 40 <= seen.count(False) <= 44
    assert case.settings.max_examples == 40


def test_what_fails_while_it_is_measured_fails(tracing: Tracing) -> None:
    """The number of examples is what it was."""

    @settings(max_examples=40)
    @given(number=st.integers())
    def fails(number: int) -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        next(measured_examples.pytest_pyfunc_call(item_of(fails)))
    assert fails._hypothesis_internal_use_settings.max_examples == 40
    assert tracing.tracer == "coverage"


def test_what_repeats_is_not_measured(tracing: Tracing) -> None:
    """It runs once, without the tracer."""
    item: Any = SimpleNamespace(parent=None, get_closest_marker={"repeats": True}.get)
    ran(
        measured_examples.pytest_runtest_call(item), lambda: seen.append(tracing.tracer is not None)
    )
    assert seen == [False]
    assert tracing.tracer == "coverage"


@pytest.mark.parametrize("tracer", [None, "coverage"])
def test_other_tests_run_once(tracing: Tracing, tracer: object) -> None:
    """Without coverage, and without examples."""

    def once() -> None:
        seen.append(tracing.tracer is not None)

    tracing.tracer = tracer
    ran(measured_examples.pytest_pyfunc_call(item_of(once)), once)
    assert seen == [tracer is not None]


@pytest.mark.parametrize("name", ["SchemathesisCase", "Module"])
def test_cases_of_a_schema_are_collected_without_the_tracer(tracing: Tracing, name: str) -> None:
    """And modules with it: what they import is measured."""
    collector: Any = type(name, (), {})()
    ran(
        measured_examples.pytest_make_collect_report(collector),
        lambda: seen.append(tracing.tracer is not None),
    )
    assert seen == [name == "Module"]
    assert tracing.tracer == "coverage"
