"""What settings must be to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caxton.types import MessageTimeoutMs

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


def _least_ms(config: Config) -> int:
    return config.message_retries * config.retry_delay_ms


RULES: tuple[Rule, ...] = (
    Rule(
        "limits.pending",
        lambda c: f"at least limits.agent_queue ({c.limits_agent_queue:,})",
        lambda c: c.limits_pending >= c.limits_agent_queue,
        "an agent's mailbox holds pending messages",
    ),
    Rule(
        "message.timeout_ms",
        lambda c: (
            f"0, or at least {MessageTimeoutMs.low:,} ms and more than retry.delay_ms "
            f"({c.retry_delay_ms:,} ms)"
        ),
        lambda c: (
            not c.message_timeout_ms
            or (
                c.message_timeout_ms >= MessageTimeoutMs.low
                and c.message_timeout_ms > c.retry_delay_ms
            )
        ),
        "a message must not end before it is tried again",
    ),
    Rule(
        "conversation.timeout_ms",
        lambda c: f"more than the ten retries of a message take ({_retries_ms(c):,.0f} ms)",
        lambda c: c.conversation_timeout_ms > _retries_ms(c),
        "a conversation must not end while its message is tried again",
    ),
    Rule(
        "breaker.timeout_ms",
        lambda c: f"at least retry.delay_ms times message.retries ({_least_ms(c):,} ms)",
        lambda c: c.breaker_timeout_ms >= _least_ms(c),
        "a breaker must not let a probe through before its messages come again",
    ),
    Rule(
        "memory.url",
        lambda c: f"the URL of a server, which memory.backend ({c.memory_backend}) needs",
        lambda c: c.memory_backend == "embedded" or bool(c.memory_url),
        "a memory on a server needs to know which",
    ),
    Rule(
        "memory.words_weight",
        lambda c: "above 0 when memory.vector_weight is 0",
        lambda c: c.memory_vector_weight > 0 or c.memory_words_weight > 0,
        "a search looks for meaning, words, or both",
    ),
)
"""Every rule; a configuration that breaks one is refused as a whole."""
