"""How tools are used: calls by outcome, how long they take, and what waits for a worker."""

from __future__ import annotations

from collections import Counter
from typing import Final

from caxton.agents.behaviour import ToolResult
from caxton.observe.histogram import Histogram
from caxton.views import LATENCY_US, LatencyView, ToolsView, ToolUseView

__all__ = ["ToolUsage"]

MOST: Final = 200
"""Tools that are counted by name; the others are counted as one."""
OTHER: Final = "other"


class ToolUsage:
    """Counts the calls of one process. Totals count since it started."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Counter[str]] = {}
        self._took_us: dict[str, Histogram] = {}

    def called(self, tool: str, result: ToolResult) -> None:
        """A call ended."""
        if tool not in self._outcomes and len(self._outcomes) >= MOST:
            tool = OTHER
        outcome = "ok" if result.ok else result.reason or "failed"
        self._outcomes.setdefault(tool, Counter())[outcome] += 1
        self._took_us.setdefault(tool, Histogram()).add(int(result.took_ms * 1_000))

    def view(self, *, workers: int, busy: int, waiting: int, waiting_limit: int) -> ToolsView:
        """The counts, with how the workers are."""
        return ToolsView(
            workers,
            busy,
            waiting,
            waiting_limit,
            tuple(
                ToolUseView(name, dict(outcomes), _latency(self._took_us[name]))
                for name, outcomes in sorted(self._outcomes.items())
            ),
        )


def _latency(took: Histogram) -> LatencyView:
    return LatencyView(took.count, took.total, tuple(took.up_to(LATENCY_US)))
