"""The table of failure reasons."""

from __future__ import annotations

import orjson
from engine import CLIENT

from caxton.errors import ERRORS, AgentFailed, CaxtonError, CircuitOpen, error_from_code
from caxton.message import make_message
from caxton.performative import FailureReason
from caxton.routing.reasons import (
    REASONS,
    failure_content,
    reason_of,
    temporary,
)
from caxton.types import new_id

STATED = {"AGENT_FAILED": True, "NO_CAPABILITY_PROVIDERS": False}
"""Where the pipeline judges otherwise than a client should: a crash may not repeat itself, and who
has no provider is told at once."""


def test_every_row_is_an_error_and_every_reason_has_a_row() -> None:
    """The table names no code that is not there, and all nine reasons of the design."""
    assert REASONS.keys() <= ERRORS.keys()
    assert {reason for reason, _ in REASONS.values()} == set(FailureReason)
    assert len(FailureReason) == 9


def test_temporary_is_what_the_error_says() -> None:
    """A row differs from the error table only where that is stated."""
    for code, (reason, again) in REASONS.items():
        error = error_from_code(code, {})
        assert again == STATED.get(code, ERRORS[code].retryable), code
        assert (reason_of(error), temporary(error)) == (reason, again)


def test_an_unknown_code_is_a_fault_of_the_agent() -> None:
    """An agent may raise what this table does not know."""

    class Odd(CaxtonError):
        retryable = True

    Odd.code = "ODD_ONE_OUT"
    assert reason_of(Odd(reason="x")) is FailureReason.AGENT_NOT_RESPONDING
    assert temporary(Odd(reason="x"))


def test_a_failure_says_why_in_words_and_in_codes() -> None:
    """``reason`` is FIPA's, ``code`` ours; ``detail`` has the values."""
    message = make_message("request", sender=CLIENT, receiver=new_id())
    error = CircuitOpen(target="w", retry_after_ms=5)
    body = orjson.loads(failure_content(error, message.message_id))
    assert body["reason"] == "CircuitBreakerOpen"
    assert body["code"] == "CIRCUIT_OPEN"
    assert body["retryable"] is True
    assert "`w`" in body["detail"]
    failed = AgentFailed(agent="w", attempts=1, reason="x")
    body = orjson.loads(failure_content(failed, message.message_id))
    assert body["reason"] == "AgentNotResponding"
