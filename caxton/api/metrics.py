"""Prometheus exposition: rendered at scrape from the plain counters of the shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from caxton.views import AgentView, NodeView, ShardView

__all__ = ["METRICS", "MetricRow", "exposition"]

MAX_AGENTS = 200
"""Agents that get series of their own; the rest are summed as ``other``."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of the table."""

    name: str
    help: str
    kind: str
    """``counter`` or ``gauge``."""
    field: str
    """Field of ``ShardView`` or ``AgentView``."""
    scale: float = 1.0


METRICS: tuple[MetricRow, ...] = (
    MetricRow("caxton_messages_accepted", "Messages accepted", "counter", "accepted"),
    MetricRow("caxton_messages_handled", "Messages handled", "counter", "handled"),
    MetricRow("caxton_messages_failed", "Messages that failed for good", "counter", "failed"),
    MetricRow("caxton_messages_refused", "Messages refused", "counter", "refused"),
    MetricRow("caxton_messages_duplicate", "Messages recognised again", "counter", "duplicates"),
    MetricRow("caxton_commits", "Journal commits", "counter", "commits"),
    MetricRow("caxton_dead_letters", "Dead letters kept", "gauge", "dead_letters"),
    MetricRow("caxton_messages_pending", "Accepted, not handled", "gauge", "pending"),
    MetricRow("caxton_messages_pending_limit", "Most that may be pending", "gauge",
              "pending_limit"),
    MetricRow("caxton_conversations", "Conversations in memory", "gauge", "conversations"),
    MetricRow("caxton_journal_messages", "Messages in the journal", "gauge", "journal_messages"),
    MetricRow("caxton_commit_p99_seconds", "Commit, 99th percentile", "gauge", "commit_p99_us",
              1e-6),
    MetricRow("caxton_message_routing_p50_seconds", "Accepted to mailbox, median", "gauge",
              "routing_p50_us", 1e-6),
    MetricRow("caxton_message_routing_p99_seconds", "Accepted to mailbox, 99th percentile",
              "gauge", "routing_p99_us", 1e-6),
    MetricRow("caxton_durable_ack_p50_seconds", "Accepted to acknowledged, median", "gauge",
              "ack_p50_us", 1e-6),
    MetricRow("caxton_durable_ack_p99_seconds", "Accepted to acknowledged, 99th percentile",
              "gauge", "ack_p99_us", 1e-6),
)  # fmt: skip
"""By shard."""

AGENT_METRICS: tuple[MetricRow, ...] = (
    MetricRow("caxton_mailbox_messages", "Messages that wait for an agent", "gauge", "mailbox"),
    MetricRow("caxton_agent_handled", "Messages an agent handled", "counter", "handled"),
    MetricRow("caxton_agent_failed", "Messages an agent failed on", "counter", "failed"),
    MetricRow("caxton_actor_restarts", "Restarts of an agent's actor", "counter", "restarts"),
)
"""By agent."""


class _Collector:
    def __init__(self, node: NodeView, agents: Sequence[AgentView]) -> None:
        self._node = node
        self._agents = agents

    def collect(self) -> Iterable[Metric]:
        node = self._node
        info = GaugeMetricFamily("caxton_build_info", "Version", labels=["version"])
        info.add_metric([node.version], 1)
        yield info
        restarts = CounterMetricFamily(
            "caxton_process_restarts", "Restarts of a process", labels=["process"]
        )
        memory = GaugeMetricFamily(
            "caxton_process_resident_bytes", "Resident memory", labels=["process"]
        )
        for process in node.processes:
            restarts.add_metric([process.name], process.restarts)
            memory.add_metric([process.name], process.rss_bytes)
        yield restarts
        yield memory
        for row in METRICS:
            yield _family(row, "shard", [(str(one.shard), one) for one in node.shards])
        for row in AGENT_METRICS:
            yield self._by_agent(row)

    def _by_agent(self, row: MetricRow) -> Metric:
        shown = [(one.name, one) for one in self._agents[:MAX_AGENTS]]
        family = _family(row, "agent", shown)
        rest = self._agents[MAX_AGENTS:]
        if rest:
            family.add_metric(["other"], sum(getattr(one, row.field) for one in rest))
        return family


def _family(
    row: MetricRow, label: str, rows: Sequence[tuple[str, ShardView | AgentView]]
) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(row.name, row.help, labels=[label])
    for name, view in rows:
        family.add_metric([name], getattr(view, row.field) * row.scale)
    return family


def exposition(node: NodeView, agents: Sequence[AgentView]) -> tuple[bytes, str]:
    """The text of a scrape and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node, agents))
    return generate_latest(registry), CONTENT_TYPE_LATEST
