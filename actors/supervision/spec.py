"""Specifications of supervisors and their children, with OTP's names and rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from actors.mailbox.spec import MailboxSpec
from actors.supervision.directive import Directive, check_directives

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.cell.life import Recipe
    from actors.dispatch.dispatcher import Dispatcher

__all__ = ["ChildInfo", "ChildSpec", "RestartType", "Strategy", "SupervisorSpec"]

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
RestartType = Literal["permanent", "transient", "temporary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """A child of a supervisor. Raises ``ValueError`` when a value is out of its range."""

    id: str
    """Its name below the supervisor; one of a kind there. Not empty, without ``/``."""

    actor: type[Actor]
    """Its class; ``Supervisor``, with a ``SupervisorSpec`` for its argument, for a nested one."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    restart: RestartType = "permanent"
    """``permanent``: always restarted, also after it stopped itself. ``transient``: only after a
    failure. ``temporary``: never, and the supervisor forgets it when it ends."""

    shutdown_s: float | None = 5.0
    """Time to handle what is in its mailbox and to stop, in seconds, before it is killed; 0 kills
    at once (OTP's brutal_kill); None waits for ever (OTP's infinity, for supervisors)."""

    significant: bool = False
    """Whether its normal end counts for the supervisor's ``auto_shutdown``; not for a permanent
    child, which does not end."""

    mailbox: MailboxSpec | None = None
    dispatcher: Dispatcher | None = None
    """Runs its turns; that of its class or of the system when not given."""

    max_redeliveries: int = 0
    """How often the message that failed is given to the restarted actor before it becomes a dead
    letter. 0 to 100."""

    directives: Mapping[type[Exception], Directive] = field(default_factory=dict)
    """As ``RestartPolicy.directives``; ``escalate`` lets the supervisor fail."""

    min_backoff_s: float = 0.0
    """Delay of the first restart, in seconds. OTP has none."""
    max_backoff_s: float = 10.0
    """Longest delay, in seconds. At least ``min_backoff_s``."""
    random_factor: float = 0.2
    """Each delay is lengthened by up to this share. 0 to 1."""
    reset_after_s: float | None = None
    """Healthy time after which the delay starts from its minimum again; None means the mean of
    the two back-offs."""

    recipe: Recipe = field(init=False, repr=False, compare=False)
    """Class, positional and keyword arguments; copies share them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", (self.actor, self.args, dict(self.kwargs)))
        checks = (
            ("id", bool(self.id) and "/" not in self.id, "a name without `/`"),
            ("restart", self.restart in ("permanent", "transient", "temporary"), "an OTP type"),
            ("shutdown_s", self.shutdown_s is None or self.shutdown_s >= 0, "at least 0, or None"),
            ("max_redeliveries", 0 <= self.max_redeliveries <= 100, "0 to 100"),
            ("min_backoff_s", self.min_backoff_s >= 0, "at least 0"),
            ("max_backoff_s", self.max_backoff_s >= self.min_backoff_s, "at least min_backoff_s"),
            ("random_factor", 0 <= self.random_factor <= 1, "0 to 1"),
            ("significant", not (self.significant and self.restart == "permanent"),
             "only for children that are not permanent"),
        )  # fmt: skip
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")
        check_directives(self.directives)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSpec:
    """A supervisor and the children it starts with, in their order.

    Raises ``ValueError`` when a value is out of its range.
    """

    strategy: Strategy = "one_for_one"
    """``one_for_one``: the child that failed is restarted. ``one_for_all``: all are.
    ``rest_for_one``: it and those started after it are."""

    intensity: int = 1
    """Restarts allowed within the period, of all children together; one more and the supervisor
    stops its children and fails itself. 0 to 10,000; 1 is OTP's default."""

    period_s: float = 5.0
    """Length of the period, in seconds. More than 0; 5 is OTP's default."""

    auto_shutdown: Literal["never", "any_significant", "all_significant"] = "never"
    """Whether the supervisor ends when one or all of its significant children have ended."""

    children: Sequence[ChildSpec] = ()

    def __post_init__(self) -> None:
        ids = [child.id for child in self.children]
        checks = (
            ("strategy", self.strategy in ("one_for_one", "one_for_all", "rest_for_one"),
             "one_for_one, one_for_all, rest_for_one"),
            ("intensity", 0 <= self.intensity <= 10_000, "0 to 10,000"),
            ("period_s", self.period_s > 0, "more than 0"),
            ("auto_shutdown", self.auto_shutdown in ("never", "any_significant", "all_significant"),
             "never, any_significant, all_significant"),
        )  # fmt: skip
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")
        twice = {name for name in ids if ids.count(name) > 1} if len(ids) > len(set(ids)) else ()
        if twice:
            raise ValueError(f"children: id {min(twice)!r} given twice, one of a kind allowed")
        if self.auto_shutdown == "never" and any(child.significant for child in self.children):
            raise ValueError("significant: given, allowed only with an auto_shutdown")


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child as its supervisor sees it."""

    id: str
    ref: Any
    """Its ref; None when it does not run."""
    state: str
    """A cell's state, or ``waiting`` for its start, ``down`` when it was stopped on purpose."""
    restarts: int
    kind: Literal["worker", "supervisor"]
    spec: ChildSpec
