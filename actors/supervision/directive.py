"""Directives: what a failure of a kind means for its actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, get_args

__all__ = ["DIRECTIVES", "Directed", "Directive", "check_directives", "directive_for"]

Directive = Literal["resume", "restart", "stop", "escalate"]
DIRECTIVES: Final = get_args(Directive)


class Directed(Protocol):
    """What a policy says of failures."""

    @property
    def restart(self) -> str:
        """``permanent``, ``transient`` or ``temporary``."""
        ...

    @property
    def directives(self) -> Mapping[type[Exception], Directive]:
        """By the class of the failure."""
        ...


def check_directives(directives: Mapping[type[Exception], Directive]) -> None:
    """Raises ``ValueError`` for a key that is no class of exceptions or an unknown directive."""
    given: Mapping[Any, Any] = directives
    for kind, directive in given.items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ValueError(f"directives: {kind!r} given, subclasses of Exception allowed")
        if directive not in DIRECTIVES:
            raise ValueError(
                f"directives: {directive!r} given for {kind.__name__}, "
                f"{', '.join(DIRECTIVES)} allowed"
            )


def directive_for(policy: Directed | None, error: BaseException) -> Directive:
    """What ``error`` means for an actor of this policy.

    Without a policy any failure stops, as in pykka. What is no ``Exception`` (an exit, an
    interrupt) stops its actor whatever the policy. A temporary child is never restarted.
    """
    if policy is None or not isinstance(error, Exception):
        return "stop"
    for kind in type(error).__mro__:
        directive = policy.directives.get(kind)
        if directive is not None:
            break
    else:
        directive = "restart"
    return "stop" if directive == "restart" and policy.restart == "temporary" else directive
