"""Exit codes: what a script can rely on.

``serve`` has codes of its own, in ``caxton.serve``: 70 gave up, 74 storage, 78 configuration,
98 address in use.
"""

from __future__ import annotations

from typing import Final

from caxton.errors import CaxtonError, NodeNotReady, NodeUnreachable, Timeout

__all__ = [
    "CONFLICT",
    "CRITICAL",
    "DENIED",
    "FAILED",
    "INTERRUPTED",
    "INVALID",
    "NOT_FOUND",
    "OK",
    "TIMED_OUT",
    "UNREACHABLE",
    "USAGE",
    "WARNINGS",
    "exit_code",
]

OK: Final = 0
"""It was done."""
FAILED: Final = 1
"""It was tried and failed; also a reply that is a FAILURE, REFUSE or NOT_UNDERSTOOD."""
USAGE: Final = 2
"""The command line itself is wrong."""
UNREACHABLE: Final = 3
"""No node answers, or it is not ready."""
NOT_FOUND: Final = 4
"""There is no such agent, conversation or capability."""
INVALID: Final = 5
"""A value, an agent file or the configuration breaks a rule."""
CONFLICT: Final = 6
"""It does not fit the present state, such as a second node on one data folder."""
DENIED: Final = 7
"""Not authorised."""
TIMED_OUT: Final = 8
"""Nothing came back before the deadline."""
WARNINGS: Final = 10
"""``status`` and ``doctor``: works, and something needs attention."""
CRITICAL: Final = 20
"""``status`` and ``doctor``: something does not work."""
INTERRUPTED: Final = 130
"""Ctrl-C: 128 and the number of SIGINT."""

_BY_STATUS: Final = {
    400: INVALID,
    401: DENIED,
    403: DENIED,
    404: NOT_FOUND,
    409: CONFLICT,
    413: INVALID,
    422: INVALID,
}


def exit_code(error: CaxtonError) -> int:
    """The exit code that stands for an error."""
    if isinstance(error, NodeUnreachable | NodeNotReady):
        return UNREACHABLE
    if isinstance(error, Timeout):
        return TIMED_OUT
    return _BY_STATUS.get(error.status, FAILED)
