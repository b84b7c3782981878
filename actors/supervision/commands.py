"""What a supervisor can be asked, and the ref that asks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from actors.future import Future
from actors.supervision.spec import ChildInfo, ChildSpec

__all__ = [
    "Children",
    "Count",
    "DeleteChild",
    "RestartChild",
    "StartChildren",
    "StartCopies",
    "StopChild",
    "SupervisorRef",
]


class StartChildren(NamedTuple):
    """Start children as one batch."""

    specs: Sequence[ChildSpec]


class StartCopies(NamedTuple):
    """Start children of one specification as one batch."""

    template: ChildSpec
    ids: Sequence[str]


class StopChild(NamedTuple):
    """Stop a child and keep its specification."""

    id: str


class RestartChild(NamedTuple):
    """Start a child again that was stopped or has ended."""

    id: str


class DeleteChild(NamedTuple):
    """Forget the specification of a child that does not run."""

    id: str


class Children(NamedTuple):
    """List the children."""


class Count(NamedTuple):
    """Count the children."""


class SupervisorRef:
    """Commands of a supervisor: each returns a future, to ``get()`` or to await.

    Args:
        ref: of the supervisor's actor.
        started: set when its first children run.
    """

    def __init__(self, ref: Any, started: Future[None]) -> None:
        self.ref = ref
        self.started = started
        """Set when the first children have started; ``ChildError`` when one could not."""
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<SupervisorRef for {self.ref}>"

    @property
    def path(self) -> str:
        """Where it stands in the tree."""
        path: str = self.ref.path
        return path

    def is_alive(self) -> bool:
        """Whether it supervises."""
        alive: bool = self.ref.is_alive()
        return alive

    def start_child(self, spec: ChildSpec) -> Future[Any]:
        """Start a child; its ref. ``ChildError``: ``already_present``, ``running`` or
        ``start_failed``, which leaves no trace of it."""
        asked: Future[Any] = self._ask(StartChildren((spec,)))
        only: Future[Any] = asked.map(lambda refs: refs[0])
        return only

    def start_children(self, specs: Iterable[ChildSpec]) -> Future[list[Any]]:
        """Start many at once, which stop together too; their refs in the order they came up."""
        return self._ask(StartChildren(tuple(specs)))

    def start_copies(self, template: ChildSpec, count: int) -> Future[list[Any]]:
        """Start ``count`` children of one specification with numbers for ids (OTP's
        simple_one_for_one)."""
        base = template.id
        ids = [f"{base}-{number}" for number in itertools.islice(self._numbers, count)]
        return self._ask(StartCopies(template, ids))

    def stop_child(self, child_id: str) -> Future[None]:
        """Stop a child; its specification stays unless it is temporary."""
        return self._ask(StopChild(child_id))

    def restart_child(self, child_id: str) -> Future[Any]:
        """Start a child again that was stopped or has ended; its new ref."""
        asked: Future[Any] = self._ask(RestartChild(child_id))
        only: Future[Any] = asked.map(lambda refs: refs[0])
        return only

    def delete_child(self, child_id: str) -> Future[None]:
        """Forget a child that does not run."""
        return self._ask(DeleteChild(child_id))

    def children(self) -> Future[list[ChildInfo]]:
        """The children in the order of their start."""
        return self._ask(Children())

    def count(self) -> Future[dict[str, int]]:
        """Numbers of ``specs``, ``active``, ``supervisors`` and ``workers``."""
        return self._ask(Count())

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop the children in reverse order, then the supervisor; as ``ActorRef.stop``."""
        return self.ref.stop(block=block, timeout=timeout)

    def _ask(self, command: Any) -> Future[Any]:
        asked: Future[Any] = self.ref.ask(command, block=False)
        return asked
