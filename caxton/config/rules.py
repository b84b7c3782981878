"""What settings must be to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caxton.config.config import Config

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One setting that has to fit others."""

    key: str
    """The setting that is named when it does not."""
    allowed: Callable[[Config], str]
    """What it may be, given the others."""
    holds: Callable[[Config], bool]
    reason: str
    """Why, for the documentation."""


def _retries_ms(config: Config) -> float:
    """The longest that all retries of a message can take together: ten are the most."""
    delays = (config.retry_delay_ms * config.retry_factor**n for n in range(10))
    return 1.2 * sum(min(30_000.0, delay) for delay in delays)


RULES: tuple[Rule, ...] = (
    Rule(
        "limits.pending",
        lambda c: f"at least limits.agent_queue ({c.limits_agent_queue:,})",
        lambda c: c.limits_pending >= c.limits_agent_queue,
        "an agent's mailbox holds pending messages",
    ),
    Rule(
        "conversation.timeout_ms",
        lambda c: f"more than the ten retries of a message take ({_retries_ms(c):,.0f} ms)",
        lambda c: c.conversation_timeout_ms > _retries_ms(c),
        "a conversation must not end while its message is tried again",
    ),
    Rule(
        "breaker.timeout_ms",
        lambda c: f"at least retry.delay_ms times 3 retries ({3 * c.retry_delay_ms:,} ms)",
        lambda c: c.breaker_timeout_ms >= 3 * c.retry_delay_ms,
        "a breaker must not let a probe through before its messages come again",
    ),
)
"""Every rule; a configuration that breaks one is refused as a whole."""
