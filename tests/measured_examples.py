"""Of a property test, coverage sees a few examples only; all of them run without its tracer.

With a tracer in the thread, Python 3.11 takes three times as long for everything, hypothesis and
the standard library included, and after a few examples hardly a line is new. So where coverage
measures, such a test runs twice: a few examples with the tracer, then the whole test without.
A test marked ``repeats`` runs without the tracer only.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import Phase, settings

MEASURED = 10
"""Most examples of a test that coverage sees; of one that has few, it sees a quarter."""


def _fewer(wanted: settings) -> settings:
    most = min(MEASURED, wanted.max_examples // 4)
    return settings(wanted, max_examples=max(1, most), phases=[Phase.generate], database=None)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Tests with ``given``."""
    test: Any = pyfuncitem.obj
    tracer = sys.gettrace()
    wanted = getattr(test, "_hypothesis_internal_use_settings", None)
    if tracer is None or wanted is None:
        return (yield)
    holder = getattr(test, "__func__", test)
    names = pyfuncitem._fixtureinfo.argnames
    holder._hypothesis_internal_use_settings = _fewer(wanted)
    try:
        test(**{name: pyfuncitem.funcargs[name] for name in names})
    finally:
        holder._hypothesis_internal_use_settings = wanted
    # Both in this frame: the tracer counts calls and returns.
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


def _measured_machine(item: pytest.Item) -> bool:
    """Run a few examples of a state machine, which is a case of unittest; False if it is none."""
    case: Any = getattr(item.parent, "obj", None)
    machine = getattr(case, "runTest", None)
    if not hasattr(machine, "_hypothesis_state_machine_class"):
        return False
    wanted = case.settings
    case.settings = _fewer(wanted)
    try:
        case("runTest").runTest()
    finally:
        case.settings = wanted
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """State machines, and tests that repeat."""
    tracer = sys.gettrace()
    if tracer is None:
        return (yield)
    if item.get_closest_marker("repeats") is None and not _measured_machine(item):
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The cases of a schema are worked out while tests are collected, in each worker."""
    tracer = sys.gettrace()
    if tracer is None or type(collector).__name__ != "SchemathesisCase":
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
