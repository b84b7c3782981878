"""What must hold after any run, whatever happened in it: the checker of the chaos tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Handled", "Report", "check"]


@dataclass(frozen=True, slots=True)
class Handled:
    """One line of a recording agent, in the order of the file."""

    conversation: str
    number: int
    message_id: str


@dataclass(slots=True)
class Report:
    """What a run came to."""

    sent: int
    acknowledged: int
    handled: int
    lost: list[str] = field(default_factory=list)
    """Acknowledged and not handled."""
    invented: list[str] = field(default_factory=list)
    """Handled and never sent."""
    disordered: list[str] = field(default_factory=list)
    """Conversations whose messages were first handled in another order than they were accepted."""
    unanswered: list[str] = field(default_factory=list)
    """Handled and acknowledged, and without an answer in their conversation."""
    doubled: list[str] = field(default_factory=list)
    """Answered more than once: an effect that happened twice."""
    repeated: int = 0
    """Handled again after a crash: allowed, because their effects are suppressed."""

    @property
    def faults(self) -> dict[str, int]:
        """How often each promise was broken, without those that held."""
        kinds = ("lost", "invented", "disordered", "unanswered", "doubled")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}


def check(
    sent: Mapping[str, int],
    acknowledged: Sequence[str],
    handled: Sequence[Handled],
    answers: Sequence[str],
) -> Report:
    """Compare what was promised with what happened.

    Args:
        sent: id of each message that was ever sent, to its number in its conversation. The next of
            a conversation was sent when the one before was acknowledged.
        acknowledged: ids that the node acknowledged.
        handled: what the agents wrote down, in order.
        answers: what each answer in the conversations answers.
    """
    promised = set(acknowledged)
    first: dict[str, list[int]] = defaultdict(list)
    times: Counter[str] = Counter()
    for one in handled:
        times[one.message_id] += 1
        if times[one.message_id] == 1:
            first[one.conversation].append(one.number)
    answered = Counter(answers)
    return Report(
        sent=len(sent),
        acknowledged=len(promised),
        handled=len(times),
        lost=sorted(promised - times.keys()),
        invented=sorted(times.keys() - sent.keys()),
        disordered=sorted(key for key, numbers in first.items() if numbers != sorted(numbers)),
        unanswered=sorted(key for key in promised & times.keys() if not answered[key]),
        doubled=sorted(key for key, count in answered.items() if count > 1),
        repeated=sum(count - 1 for count in times.values()),
    )
