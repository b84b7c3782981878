"""The errors that end a call: each says which limit applied, with its numbers, and what to do.

Engines and the host's side of the ABI share them, so that one cause has one sentence everywhere.
"""

from __future__ import annotations

from sandbox.errors import Reason, SandboxError
from sandbox.limits import Limits


def range_error(size: int, what: str, ptr: int, length: int) -> SandboxError | None:
    """The error for a range outside a memory of ``size`` bytes, or None. All are unsigned."""
    if ptr + length <= size:
        return None
    return SandboxError(
        Reason.BAD_POINTER,
        f"{what}: bytes {ptr} to {ptr + length} are outside the guest's memory of {size} bytes",
        pointer=ptr,
        length=length,
        memory=size,
    )


def out_of_fuel(limits: Limits) -> SandboxError:
    """The error for a spent budget."""
    return SandboxError(
        Reason.OUT_OF_FUEL,
        f"the call used up its {limits.fuel} units of fuel; give it less work or raise fuel",
        limit=limits.fuel,
    )


def timed_out(limits: Limits) -> SandboxError:
    """The error for a passed wall clock."""
    return SandboxError(
        Reason.TIMEOUT,
        f"the call took longer than {limits.wall_ms} ms; give it less work or raise wall_ms",
        limit_ms=limits.wall_ms,
    )


def trapped(trap: str) -> SandboxError:
    """The error for a trap, by the engine's name of it."""
    return SandboxError(
        Reason.TRAP,
        f"the guest trapped: {trap.replace('_', ' ')}; this is an error in the guest",
        trap=trap,
    )


def host_failed(function: str, error: Exception) -> SandboxError:
    """The error for an exception in a host function: ours, not the guest's."""
    return SandboxError(
        Reason.HOST_ERROR, f"host function {function} failed: {error!r}", function=function
    )


def too_large(reason: Reason, what: str, given: int, field: str, limit: int) -> SandboxError:
    """The error for a size over a limit, naming the field that holds it."""
    return SandboxError(
        reason,
        f"{what} has {given} bytes, the limit {field} is {limit}",
        given=given,
        limit=limit,
        field=field,
    )


def check_message(what: str, data: bytes, limits: Limits) -> None:
    """Refuse input over ``message_bytes``, before the guest sees any of it."""
    if len(data) > limits.message_bytes:
        raise too_large(
            Reason.MESSAGE_TOO_LARGE, what, len(data), "message_bytes", limits.message_bytes
        )


def check_output(size: int, limits: Limits) -> None:
    """Refuse what a command printed when it is over ``stdout_bytes``."""
    if size > limits.stdout_bytes:
        raise too_large(
            Reason.REPLY_TOO_LARGE, "standard output", size, "stdout_bytes", limits.stdout_bytes
        ) from None
