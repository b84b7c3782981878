"""The settings table."""

from __future__ import annotations

from caxton.capability import Strategy
from caxton.config.memory_rows import MEMORY_ROWS
from caxton.config.profiles import PROFILES
from caxton.config.setting import Setting, choice, databases, flag, path, row, secret, text
from caxton.types import (
    AgentQueueSize,
    Bound,
    ChannelCapacity,
    CircuitBreakerThreshold,
    CircuitBreakerTimeoutMs,
    ConversationTimeoutMs,
    DeadLetterQueueSize,
    HealthCheckIntervalMs,
    MaxConversationParticipants,
    MaxRetries,
    MessageTimeoutMs,
    RetryBackoffFactor,
    RetryDelayMs,
    TraceSamplingRatio,
    WorkerCount,
)

__all__ = ["BY_FIELD", "BY_KEY", "SETTINGS", "TEN_MIB"]

TEN_MIB = 10 * 1024 * 1024

SETTINGS: tuple[Setting, ...] = (
    row(
        "profile",
        "Values that belong together, in place of the defaults.",
        choice(*PROFILES),
        "standard, development or production",
    ),
    row("agents", "Folder of agent files; sub-folders are read too.", path, "a folder"),
    row("data", "Folder that holds everything the node keeps.", path, "a folder"),
    row("workspace", "Folder that relative paths in agent files start from.", path, "a folder"),
    row(
        "shards",
        "Shard processes; 0 runs everything in the calling process.",
        Bound("shards", int, 0, WorkerCount.high),
    ),
    row("host", "Address the API listens on.", text, "an address"),
    row("port", "Port the API listens on; 0 takes a free one.", Bound("port", int, 0, 65_535)),
    row(
        "durability",
        "What an acknowledgement means: `disk` survives power loss, `process` a killed process.",
        choice("disk", "process"),
        "disk or process",
    ),
    row("watch", "Reload agent files when they change.", flag, "true or false"),
    row(
        "shutdown_timeout_ms",
        "How long a drain may take before processes are killed, in ms.",
        Bound("shutdown_timeout_ms", int, 100, 300_000, unit="ms"),
    ),
    row(
        "start_timeout_ms",
        "How long a process may take to become ready, in ms.",
        Bound("start_timeout_ms", int, 1_000, 600_000, unit="ms"),
    ),
    row(
        "limits.message_bytes",
        "Largest content of a message, in bytes.",
        Bound("limits.message_bytes", int, 1_024, TEN_MIB, unit="bytes"),
    ),
    row(
        "limits.pending",
        "Messages a shard holds that are accepted and not yet handled; more are refused.",
        Bound("limits.pending", int, 1_000, 10_000_000, unit="messages"),
    ),
    row(
        "limits.inbound",
        "Messages that code beside the node has on their way at a time; more wait, or are refused.",
        ChannelCapacity,
    ),
    row(
        "limits.agent_queue",
        "Messages in an agent's mailbox; more wait in the journal.",
        AgentQueueSize,
    ),
    row(
        "limits.rate",
        "Messages a second that one sender may submit to a shard; 0 for as many as it likes.",
        Bound("limits.rate", int, 0, 1_000_000, unit="messages a second"),
    ),
    row(
        "limits.rate_burst",
        "Messages that a sender may submit at once after a pause; 0 for those of one second.",
        Bound("limits.rate_burst", int, 0, 10_000_000, unit="messages"),
    ),
    row(
        "limits.offline_queue",
        "Messages of a shard that wait for one agent that is out of service; more fail.",
        Bound("limits.offline_queue", int, 1, 1_000_000, unit="messages"),
    ),
    row(
        "limits.agents",
        "Agents on one node.",
        Bound("limits.agents", int, 1, 1_000_000, unit="agents"),
    ),
    row(
        "capability.strategy",
        "How a provider of a capability is chosen, where nothing else was set for it.",
        choice(*(one.value for one in Strategy)),
        "sticky, priority, round_robin, least_loaded, fastest or broadcast",
    ),
    row(
        "health.interval_ms",
        "Between two heartbeats of a shard and looks at its agents, in ms.",
        HealthCheckIntervalMs,
    ),
    row(
        "health.stuck_ms",
        "An agent whose messages have all taken longer has failed until one ends, in ms.",
        Bound("health.stuck_ms", int, 1_000, 3_600_000, unit="ms"),
    ),
    row(
        "conversation.timeout_ms",
        "Idle time after which a conversation ends, in ms.",
        ConversationTimeoutMs,
    ),
    row(
        "conversation.participants",
        "Participants of one conversation.",
        MaxConversationParticipants,
    ),
    row(
        "conversation.active",
        "Conversations a shard keeps in memory; the idlest others wait on disk.",
        Bound("conversation.active", int, 100, 10_000_000),
    ),
    row(
        "breaker.threshold",
        "Failures in a row after which an agent's circuit breaker opens.",
        CircuitBreakerThreshold,
    ),
    row(
        "breaker.timeout_ms",
        "How long a breaker is open the first time, in ms; twice as long each further time.",
        CircuitBreakerTimeoutMs,
    ),
    row(
        "breaker.slow_ms",
        "Handling that takes longer counts as a failure for the breaker, in ms; 0 for never.",
        Bound("breaker.slow_ms", int, 0, 3_600_000, unit="ms"),
    ),
    row(
        "message.timeout_ms",
        "How long a message may take to be handled when its sender does not say, in ms; 0 for as "
        "long as it takes.",
        Bound("message.timeout_ms", int, 0, MessageTimeoutMs.high, unit="ms"),
    ),
    row(
        "message.retries",
        "How often a failing delivery is tried again when the sender does not say.",
        MaxRetries,
    ),
    row("retry.delay_ms", "Before a failed delivery is tried again, in ms.", RetryDelayMs),
    row("retry.factor", "How much longer each further delay is.", RetryBackoffFactor),
    row(
        "dead_letter.limit",
        "Dead letters a shard keeps; the oldest go first.",
        DeadLetterQueueSize,
    ),
    row(
        "storage.map_bytes",
        "Largest size of one LMDB store, in bytes. It grows up to it while the node runs.",
        Bound("storage.map_bytes", int, 16 * 1024 * 1024, 1 << 44, unit="bytes"),
    ),
    row(
        "storage.keep_messages",
        "Handled messages a shard keeps for history and for recognising duplicates.",
        Bound("storage.keep_messages", int, 1_000, 1_000_000_000, unit="messages"),
    ),
    row(
        "storage.keep_days",
        "Days that a shard keeps handled messages; 0 for any time.",
        Bound("storage.keep_days", int, 0, 36_500, unit="days"),
    ),
    row(
        "storage.keep_bytes",
        "Bytes of messages that a shard keeps, when more than those it needs; 0 for any size.",
        Bound("storage.keep_bytes", int, 0, 1 << 44, unit="bytes"),
    ),
    row("tools.workers", "Sandbox workers that run tools.", Bound("tools.workers", int, 1, 64)),
    row("mcp.enabled", "Whether MCP clients are served at `/mcp`.", flag, "true or false"),
    row(
        "mcp.token",
        "Bearer token that `/mcp` asks for; empty for none, which only loopback allows.",
        secret,
        "text",
        secret=True,
    ),
    row(
        "mcp.hosts",
        "Names besides the address and this machine's own under which `/mcp` may be asked for.",
        text,
        "names with commas between",
    ),
    row(
        "mcp.tools",
        "Tools offered at `/mcp`; `sandboxed` leaves out those of other MCP servers.",
        text,
        "sandboxed, all, none, or names with commas between (`server__*` for all of a server)",
    ),
    row("mcp.memory", "Whether memory tools are offered at `/mcp`.", flag, "true or false"),
    row(
        "mcp.permissions",
        "YAML file with what tools may reach when called at `/mcp`; empty for nothing.",
        text,
        "a file with `permissions:` as in an agent file",
    ),
    row(
        "mcp.timeout_ms",
        "Longest time a call at `/mcp` may take, in ms.",
        Bound("mcp.timeout_ms", int, 1_000, MessageTimeoutMs.high, unit="ms"),
    ),
    row(
        "mcp.servers",
        "File of MCP servers whose tools agents may list, such as `.mcp.json`. They are not "
        "sandboxed; empty for none.",
        text,
        "a file with `mcpServers`",
    ),
    row(
        "tools.each",
        "Sandbox workers that the tools of one agent may have at once; 0 for all of them.",
        Bound("tools.each", int, 0, 64),
    ),
    row(
        "tools.waiting",
        "Tool calls that may wait for a worker; more are refused.",
        Bound("tools.waiting", int, 0, 100_000, unit="calls"),
    ),
    row(
        "tools.keep_bytes",
        "Large tool results that are kept by their hash; the oldest go first.",
        Bound("tools.keep_bytes", int, 0, 1 << 44, unit="bytes"),
    ),
    row(
        "tools.databases",
        "Databases that agents may be granted: `name=file` or `name=url`, parted by commas.",
        databases,
        "name=file or name=url, parted by commas",
        secret=True,
    ),
    row(
        "tools.folder",
        "Folder of tools of your own, in the workspace; it need not exist.",
        path,
        "a path",
    ),
    *MEMORY_ROWS,
    row(
        "llm.provider",
        "Language-model provider: `auto` takes openai when a key or base URL is set, else rules.",
        text,
        "auto or the name of an installed provider",
    ),
    row(
        "llm.base_url",
        "Base URL of an OpenAI-compatible server.",
        text,
        "a URL",
        env=("OPENAI_BASE_URL",),
    ),
    row(
        "llm.api_key", "Key for that server.", secret, "text", secret=True, env=("OPENAI_API_KEY",)
    ),
    row(
        "llm.model",
        "Model to ask for when an agent file names none.",
        text,
        "a model name",
        env=("OPENAI_MODEL",),
    ),
    row(
        "llm.timeout_ms",
        "How long one model call may take, in ms.",
        Bound("llm.timeout_ms", int, 1_000, 600_000, unit="ms"),
    ),
    row(
        "trace.exporter",
        "Where traces go; all but `console` need `pip install 'caxton[tracing]'`.",
        choice("none", "console", "otlp", "otlp-grpc", "zipkin"),
        "none, console, otlp, otlp-grpc or zipkin",
    ),
    row(
        "trace.ratio",
        "Share of the messages that are traced, of those whose sender does not say.",
        TraceSamplingRatio,
    ),
    row(
        "trace.endpoint",
        "URL that traces go to; empty for the exporter's own (`OTEL_EXPORTER_…` are read).",
        text,
        "a URL",
    ),
    row("metrics.enabled", "Whether `/metrics` is there.", flag, "true or false"),
    row(
        "log.level",
        "Least important level that is logged.",
        choice("debug", "info", "warning", "error"),
        "debug, info, warning or error",
    ),
    row(
        "log.messages",
        "Which messages have a line in the log when they end: those that `failed`, with `sampled` "
        "also those that are traced.",
        choice("none", "failed", "sampled", "all"),
        "none, failed, sampled or all",
    ),
)

BY_FIELD = {setting.field: setting for setting in SETTINGS}
BY_KEY = {setting.key: setting for setting in SETTINGS}
