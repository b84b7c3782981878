"""What a region of entities allows, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.dispatch.dispatcher import Dispatcher
from actors.mailbox.spec import MailboxSpec
from actors.supervision.restart import RestartPolicy

__all__ = ["EntityCounters", "EntityOptions"]


@dataclass(frozen=True, slots=True)
class EntityOptions:
    """When entities are passivated, and what their actors are started with.

    The defaults of idle time and active limit are Pekko's, those of memory pressure Orleans'.
    Raises ``ValueError`` when a value is out of its range.
    """

    idle_s: float | None = 120.0
    """Seconds without a message after which an entity is passivated: at least these, at most two
    ticks more. 0.001 to 31,536,000; None: never."""

    active_limit: int = 100_000
    """Entities in memory. Beyond it the least recently used are passivated. 1 to 10,000,000."""

    memory: Callable[[], float] | None = None
    """Share of the memory in use, 0 to 1. Read once per tick; None: memory is not looked at."""

    memory_high: float = 0.80
    """Share above which shedding begins. More than ``memory_low``, at most 1."""

    memory_low: float = 0.75
    """Share below which shedding ends. 0 to ``memory_high``."""

    shed_batch: int = 1_000
    """Entities passivated per tick for want of memory. 1 to 1,000,000."""

    buffer_limit: int = 100_000
    """Messages held for entities that are coming or going, all together. A new one beyond it is a
    dead letter. 1 to 10,000,000."""

    stop_timeout_s: float = 60.0
    """How long a passivating entity may take before it is killed. 0.001 to 86,400."""

    tick_s: float = 1.0
    """Seconds between two looks at the entities: the resolution of idle time and of "recently
    used". 0.001 to 3,600; kept between a 1,000th and a 16th of ``idle_s``."""

    mailbox: MailboxSpec | None = None
    """The mailbox of each entity's actor."""

    restart: RestartPolicy | None = None
    """The restart policy of each entity's actor. None: a failure ends it, and the next message
    makes a new one."""

    dispatcher: Dispatcher | None = None
    """Runs the entities' turns; the default of their class when not given."""

    def __post_init__(self) -> None:
        idle = self.idle_s
        checks = (
            ("idle_s", idle is None or 0.001 <= idle <= 31_536_000, "0.001 to 31,536,000 or None"),
            ("active_limit", 1 <= self.active_limit <= 10_000_000, "1 to 10,000,000"),
            ("memory_high", self.memory_low < self.memory_high <= 1, "above memory_low, up to 1"),
            ("memory_low", 0 <= self.memory_low < self.memory_high, "0 to memory_high"),
            ("shed_batch", 1 <= self.shed_batch <= 1_000_000, "1 to 1,000,000"),
            ("buffer_limit", 1 <= self.buffer_limit <= 10_000_000, "1 to 10,000,000"),
            ("stop_timeout_s", 0.001 <= self.stop_timeout_s <= 86_400, "0.001 to 86,400"),
            ("tick_s", 0.001 <= self.tick_s <= 3_600, "0.001 to 3,600"),
        )
        for name, good, allowed in checks:
            if not good:
                raise ValueError(f"{name}: {getattr(self, name)!r} given, {allowed} allowed")

    @property
    def tick(self) -> float:
        """Seconds from one look at the entities to the next."""
        if self.idle_s is None:
            return self.tick_s
        return max(min(self.tick_s, self.idle_s / 16), self.idle_s / 1_000)


@dataclass(slots=True)
class EntityCounters:
    """What a region counts. All but ``active``, ``closing`` and ``held`` only grow."""

    active: int = 0
    """Entities in memory that take messages."""
    closing: int = 0
    """Entities that run their ``on_stop``."""
    held: int = 0
    """Messages held for entities that are coming or going."""
    opened: int = 0
    """Incarnations made."""
    passivated: dict[str, int] = field(default_factory=dict)
    """By cause: ``idle``, ``limit``, ``memory``, ``wish``, ``moved``, ``closed``."""
    ended: int = 0
    """Entities that stopped by themselves."""
    failed: int = 0
    """Entities whose actor failed for good."""
    start_failed: int = 0
    """Incarnations that could not be made or started."""
    killed: int = 0
    """Entities that took longer than ``stop_timeout_s`` to stop."""
    refused: int = 0
    """Messages beyond ``buffer_limit``, or for a region that is closed."""
