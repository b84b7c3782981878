"""Errors of the sandbox: one exception with a closed set of reasons, and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """Why a module was refused or a call ended. Stable: callers and metrics may match on it."""

    OUT_OF_FUEL = "out_of_fuel"
    TIMEOUT = "timeout"
    TRAP = "trap"
    BAD_POINTER = "bad_pointer"
    REPLY_TOO_LARGE = "reply_too_large"
    MESSAGE_TOO_LARGE = "message_too_large"
    MISSING_EXPORT = "missing_export"
    UNGRANTED_IMPORT = "ungranted_import"
    COMPILE_FAILED = "compile_failed"
    COMPILE_TIMEOUT = "compile_timeout"
    MODULE_TOO_LARGE = "module_too_large"
    NOT_A_MODULE = "not_a_module"
    HOST_ERROR = "host_error"
    GUEST_ABORT = "guest_abort"
    KILLED = "killed"
    INSTANCE_DEAD = "instance_dead"
    BAD_ARGUMENTS = "bad_arguments"


Details = Mapping[str, int | str]


class SandboxError(Exception):
    """A module was refused, or a guest was stopped.

    ``reason`` is the stable code. ``details`` carries the numbers and names involved (given,
    limit, import). The message says what happened, which limit applied and what to do.
    """

    def __init__(self, reason: Reason, message: str, **details: int | str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.details: dict[str, int | str] = details

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, self.message, self.details))


class SandboxBusy(SandboxError):
    """The pool's waiting line is full, or the wait for a worker reached its deadline."""


class InvalidSetting(ValueError):
    """A limit or a grant is out of range: names the field, the value given and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} is {value!r}; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


def _rebuild(
    kind: type[SandboxError], reason: Reason, message: str, details: dict[str, int | str]
) -> SandboxError:
    return kind(reason, message, **details)
