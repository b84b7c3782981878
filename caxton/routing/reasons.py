"""Why a message failed, in the words of FIPA's FAILURE, and whether trying again may help.

One row for each error code. A temporary failure comes again after a back-off, until the tries of
the message are used up; a permanent one becomes a dead letter at once. Both end in a FAILURE to the
sender (FIPA SC00037), with ``reason`` in its content, and in an event.
"""

from __future__ import annotations

from typing import Final

import orjson

from caxton.errors import CaxtonError
from caxton.performative import FailureReason
from caxton.types import format_id

__all__ = ["REASONS", "failure_content", "reason_of", "temporary"]


_R = FailureReason

REASONS: Final[dict[str, tuple[FailureReason, bool]]] = {
    "AGENT_NOT_FOUND": (_R.AGENT_NOT_FOUND, False),
    "NO_CAPABILITY_PROVIDERS": (_R.AGENT_NOT_FOUND, False),
    "AGENT_NOT_RESPONDING": (_R.AGENT_NOT_RESPONDING, True),
    "AGENT_OFFLINE": (_R.AGENT_NOT_RESPONDING, True),
    "AGENT_FAILED": (_R.AGENT_NOT_RESPONDING, True),
    "POISON_MESSAGE": (_R.AGENT_NOT_RESPONDING, False),
    "POSTPONED": (_R.AGENT_NOT_RESPONDING, True),
    "TURN_STOPPED": (_R.AGENT_NOT_RESPONDING, False),
    "MODEL_UNAVAILABLE": (_R.AGENT_NOT_RESPONDING, True),
    "TOOL_FAILED": (_R.AGENT_NOT_RESPONDING, False),
    "INTERNAL_ERROR": (_R.AGENT_NOT_RESPONDING, False),
    "NODE_UNREACHABLE": (_R.NETWORK_ERROR, True),
    "NODE_NOT_READY": (_R.NETWORK_ERROR, True),
    "STORAGE_ERROR": (_R.RESOURCE_EXHAUSTED, True),
    "STORAGE_FULL": (_R.RESOURCE_EXHAUSTED, True),
    "RATE_LIMITED": (_R.RESOURCE_EXHAUSTED, True),
    "BUDGET_SPENT": (_R.RESOURCE_EXHAUSTED, True),
    "MESSAGE_TOO_LARGE": (_R.MESSAGE_TOO_LARGE, False),
    "VALIDATION_ERROR": (_R.INVALID_MESSAGE, False),
    "PROTOCOL_VIOLATION": (_R.INVALID_MESSAGE, False),
    "PROMPT_TEMPLATE_INVALID": (_R.INVALID_MESSAGE, False),
    "NOT_AUTHORIZED": (_R.INVALID_MESSAGE, False),
    "TOOL_NOT_ALLOWED": (_R.INVALID_MESSAGE, False),
    "CIRCUIT_OPEN": (_R.CIRCUIT_BREAKER_OPEN, True),
    "QUEUE_FULL": (_R.QUEUE_FULL, True),
    "TIMEOUT": (_R.TIMEOUT, True),
}
"""Error code to reason, and whether it is temporary. A code without a row is a fault of the agent,
as temporary as its error says."""


def reason_of(error: CaxtonError) -> FailureReason:
    """The reason that a FAILURE names for ``error``."""
    row = REASONS.get(error.code)
    return _R.AGENT_NOT_RESPONDING if row is None else row[0]


def temporary(error: CaxtonError) -> bool:
    """Whether the same message may succeed when it comes again."""
    row = REASONS.get(error.code)
    return error.retryable if row is None else row[1]


def failure_content(error: CaxtonError, message_id: bytes) -> bytes:
    """The content of the FAILURE or NOT_UNDERSTOOD that answers a message: JSON."""
    body = {
        "reason": reason_of(error).value,
        "code": error.code,
        "title": error.title,
        "detail": str(error),
        "remedy": error.remedy,
        "retryable": error.retryable,
        "message_id": format_id(message_id),
    }
    return orjson.dumps(body)
