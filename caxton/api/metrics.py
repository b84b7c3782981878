"""Prometheus exposition: rendered at scrape from the plain counters of the node.

Names are ``caxton_<thing>_<unit>``; labels are bounded: shards, processes, routes, and the first
200 agents by name, the rest summed as ``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from caxton.views import LATENCY_US, AgentView, LatencyView, NodeView, ShardView

__all__ = ["AGENT_METRICS", "METRICS", "MetricRow", "documented", "exposition"]

MAX_AGENTS = 200
"""Agents that get series of their own."""
OTHER = "other"
"""Label of all other agents together; an agent of this name is among them."""


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
    MetricRow("caxton_conversations_opened", "Conversations begun", "counter",
              "conversations_opened"),
    MetricRow("caxton_store_bytes", "Of the shard's store in use", "gauge", "store_bytes"),
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
    MetricRow("caxton_breakers_open", "Circuit breakers that are not closed", "gauge",
              "breakers_open"),
    MetricRow("caxton_breakers_opened", "Times a circuit breaker opened", "counter",
              "breakers_opened"),
    MetricRow("caxton_messages_offline", "Messages that wait for agents out of service", "gauge",
              "offline_waiting"),
    MetricRow("caxton_protocol_timeouts", "Protocol runs that nobody answered in time", "counter",
              "protocol_timeouts"),
    MetricRow("caxton_actors", "Actors alive", "gauge", "actors"),
    MetricRow("caxton_actor_failures", "Failures of actors", "counter", "actor_failures"),
    MetricRow("caxton_shard_actor_restarts", "Restarts of actors", "counter", "actor_restarts"),
    MetricRow("caxton_actor_dead_letters", "Messages that no actor handled", "counter",
              "actor_dead_letters"),
    MetricRow("caxton_mailbox_overflows", "Messages that found a full mailbox", "counter",
              "mailbox_overflows"),
    MetricRow("caxton_asks_expired", "Asks whose deadline passed", "counter", "asks_expired"),
    MetricRow("caxton_replies_late", "Answers that came too late", "counter", "replies_late"),
    MetricRow("caxton_turns", "Turns of actors", "counter", "turns"),
    MetricRow("caxton_turns_busy_seconds", "Time spent in turns", "counter", "turns_busy_us",
              1e-6),
    MetricRow("caxton_turns_slow", "Turns longer than 100 ms", "counter", "turns_slow"),
    MetricRow("caxton_turn_longest_seconds", "The longest turn", "gauge", "turn_longest_us", 1e-6),
    MetricRow("caxton_turn_delay_seconds", "Wait for a turn, moving mean", "gauge",
              "queue_delay_us", 1e-6),
)  # fmt: skip
"""By shard."""

AGENT_METRICS: tuple[MetricRow, ...] = (
    MetricRow("caxton_mailbox_messages", "Messages that wait for an agent", "gauge", "mailbox"),
    MetricRow("caxton_mailbox_limit_messages", "Most that may wait for an agent", "gauge",
              "mailbox_limit"),
    MetricRow("caxton_agent_handled", "Messages an agent handled", "counter", "handled"),
    MetricRow("caxton_agent_failed", "Messages an agent failed on", "counter", "failed"),
    MetricRow("caxton_actor_restarts", "Restarts of an agent's actor", "counter", "restarts"),
)  # fmt: skip
"""By agent."""


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One histogram of the table."""

    name: str
    help: str
    field: str
    """Field of ``ShardView``."""


LATENCIES: tuple[LatencyRow, ...] = (
    LatencyRow("caxton_message_routing_seconds", "Accepted to the agent's mailbox", "routing"),
    LatencyRow("caxton_durable_ack_seconds", "Accepted to acknowledged", "ack"),
    LatencyRow("caxton_commit_seconds", "One commit of the journal", "commit"),
)
"""By shard, in buckets from 0.1 ms to 10 s."""


TOOL_METRICS: tuple[MetricRow, ...] = (
    MetricRow("caxton_tool_workers", "Sandbox workers alive", "gauge", "workers"),
    MetricRow("caxton_tool_workers_busy", "Sandbox workers with a call", "gauge", "busy"),
    MetricRow("caxton_tool_calls_waiting", "Tool calls that wait for a worker", "gauge",
              "waiting"),
    MetricRow("caxton_tool_calls_waiting_limit", "Most that may wait", "gauge", "waiting_limit"),
)  # fmt: skip
"""Of the node."""


MEMORY_METRICS: tuple[MetricRow, ...] = (
    MetricRow("caxton_memory_open", "1 when the memory answers", "gauge", "open"),
    MetricRow("caxton_memory_entities", "Entities remembered", "gauge", "entities"),
    MetricRow("caxton_memory_relations", "Relations remembered", "gauge", "relations"),
    MetricRow("caxton_memory_unembedded", "Entities that wait for vectors", "gauge",
              "unembedded"),
    MetricRow("caxton_memory_searches", "Searches answered", "counter", "searches"),
    MetricRow("caxton_memory_writes", "Writes done", "counter", "writes"),
)  # fmt: skip
"""Of the node; zeros until somebody asks the memory."""


class _Collector(Collector):
    def __init__(
        self,
        node: NodeView,
        agents: Sequence[AgentView],
        requests: Mapping[tuple[str, int], int],
    ) -> None:
        self._node = node
        self._agents = agents
        self._requests = requests

    def collect(self) -> Iterable[Metric]:
        yield from self._of_node()
        for row in METRICS:
            yield _family(row, "shard", [(str(one.shard), one) for one in self._node.shards])
        for row in AGENT_METRICS:
            yield self._by_agent(row)
        for latency in LATENCIES:
            yield self._latency(latency)
        yield from self._of_tools()
        for row in MEMORY_METRICS:
            kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
            yield kind(row.name, row.help, value=float(getattr(self._node.memory, row.field)))
        yield self._without_memory()
        errors = CounterMetricFamily(
            "caxton_errors", "Messages refused or failed, by error code", labels=["code"]
        )
        codes: Counter[str] = Counter()
        for shard in self._node.shards:
            codes.update(shard.errors)
        for code, count in sorted(codes.items()):
            errors.add_metric([code], count)
        yield errors
        states = GaugeMetricFamily("caxton_agents", "Agents by state", labels=["state"])
        for state, count in sorted(Counter(one.state for one in self._agents).items()):
            states.add_metric([state], count)
        yield states
        requests = CounterMetricFamily(
            "caxton_http_requests", "Requests answered", labels=["route", "status"]
        )
        for (route, status), count in sorted(self._requests.items()):
            requests.add_metric([route, str(status)], count)
        yield requests

    def _without_memory(self) -> Metric:
        family = CounterMetricFamily(
            "caxton_memory_missed_turns",
            "Turns of agents that went on without memory context",
            labels=["shard", "reason"],
        )
        for shard in self._node.shards:
            for reason, count in sorted(shard.turns_without_memory.items()):
                family.add_metric([str(shard.shard), reason], count)
        return family

    def _of_node(self) -> Iterable[Metric]:
        node = self._node
        info = GaugeMetricFamily("caxton_build_info", "Version", labels=["version"])
        info.add_metric([node.version], 1)
        yield info
        yield GaugeMetricFamily("caxton_node_ready", "1 when ready", value=node.state == "ready")
        yield GaugeMetricFamily(
            "caxton_node_uptime_seconds", "Since the node's start", value=node.uptime_ms / 1_000
        )
        labels = ["process"]
        restarts = CounterMetricFamily("caxton_process_restarts", "Restarts", labels=labels)
        memory = GaugeMetricFamily(
            "caxton_process_resident_bytes", "Resident memory", labels=labels
        )
        cpu = CounterMetricFamily("caxton_process_cpu_seconds", "CPU time used", labels=labels)
        for process in node.processes:
            restarts.add_metric([process.name], process.restarts)
            memory.add_metric([process.name], process.rss_bytes)
            cpu.add_metric([process.name], process.cpu_seconds)
        yield from (restarts, memory, cpu)

    def _of_tools(self) -> Iterable[Metric]:
        tools = self._node.tools
        for row in TOOL_METRICS:
            yield GaugeMetricFamily(row.name, row.help, value=getattr(tools, row.field))
        calls = CounterMetricFamily(
            "caxton_tool_calls", "Tool calls that ended", labels=["tool", "outcome"]
        )
        took = HistogramMetricFamily("caxton_tool_seconds", "One tool call", labels=["tool"])
        for one in tools.tools:
            for outcome, count in sorted(one.outcomes.items()):
                calls.add_metric([one.name, outcome], count)
            _add_latency(took, one.name, one.took)
        yield from (calls, took)

    def _latency(self, row: LatencyRow) -> Metric:
        family = HistogramMetricFamily(row.name, row.help, labels=["shard"])
        for shard in self._node.shards:
            _add_latency(family, str(shard.shard), getattr(shard, row.field))
        return family

    def _by_agent(self, row: MetricRow) -> Metric:
        shown = [one for one in self._agents if one.name != OTHER][:MAX_AGENTS]
        family = _family(row, "agent", [(one.name, one) for one in shown])
        if len(shown) < len(self._agents):
            total = sum(getattr(one, row.field) for one in self._agents)
            family.add_metric([OTHER], total - sum(getattr(one, row.field) for one in shown))
        return family


def _add_latency(family: HistogramMetricFamily, label: str, view: LatencyView) -> None:
    buckets = [
        (str(bound / 1e6), count) for bound, count in zip(LATENCY_US, view.up_to, strict=False)
    ]
    buckets.append(("+Inf", view.count))
    family.add_metric([label], buckets, sum_value=view.total_us / 1e6)


def _family(
    row: MetricRow, label: str, rows: Sequence[tuple[str, ShardView | AgentView]]
) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(row.name, row.help, labels=[label])
    for name, view in rows:
        family.add_metric([name], getattr(view, row.field) * row.scale)
    return family


def documented() -> list[tuple[str, str, str, str]]:
    """Name as scraped, kind, label and meaning of every metric."""
    bare = NodeView("", "", "ready", "", 0, "", 0, "disk", "", "", "", 0, (), ())
    labels = dict.fromkeys((row.name for row in METRICS), "shard")
    labels |= dict.fromkeys((row.name for row in AGENT_METRICS), "agent")
    labels |= dict.fromkeys((row.name for row in LATENCIES), "shard, le")
    labels["caxton_tool_seconds"] = "tool, le"
    return [
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            labels.get(family.name, ", ".join(getattr(family, "_labelnames", ()))),
            family.documentation,
        )
        for family in _Collector(bare, (), {}).collect()
    ]


def exposition(
    node: NodeView, agents: Sequence[AgentView], requests: Mapping[tuple[str, int], int]
) -> tuple[bytes, str]:
    """The text of a scrape and its media type.

    Args:
        node: counters of shards and processes.
        agents: counters of agents.
        requests: answered requests by route and status.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node, agents, requests))
    return generate_latest(registry), CONTENT_TYPE_LATEST
