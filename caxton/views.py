"""What a node shows of itself: the bodies of the REST API, which the CLI and the monitor read.

Times are RFC 3339 text in UTC; ids are UUID text; durations carry their unit in the name.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "LATENCY_US",
    "PAGE",
    "Ack",
    "AgentView",
    "ConversationDetail",
    "ConversationView",
    "DeadLetterDetail",
    "DeadLetterView",
    "Event",
    "LatencyView",
    "MemoryView",
    "MessageView",
    "NodeView",
    "ProcessView",
    "ProtocolView",
    "ReloadView",
    "ShardView",
    "ToolServerView",
    "ToolUseView",
    "ToolView",
    "ToolsView",
]


PAGE = 1_000
"""Messages of a conversation that one answer shows at most."""


class Ack(msgspec.Struct, frozen=True):
    """An accepted message: it is in the journal at the level that ``durability`` names."""

    message_id: str
    conversation_id: str
    durability: Literal["disk", "process"]
    """``disk``: flushed, survives power loss. ``process``: survives the death of every process."""
    shard: int
    duplicate: bool = False
    """True when this message id had been accepted before; nothing was done twice."""


class ReloadView(msgspec.Struct, frozen=True):
    """How the last change of an agent's file went."""

    state: Literal["loaded", "reloaded", "failed"] = "loaded"
    at: str = ""
    took_ms: float = 0.0
    """From the file event to the new version being in service."""
    detail: str = ""
    """For a failure: ``FILE:LINE:COLUMN `field`: rule``."""
    line: int = 0
    column: int = 0
    warnings: tuple[str, ...] = ()


class AgentView(msgspec.Struct, frozen=True):
    """One agent, as ``caxton agent ls`` shows it."""

    id: str
    name: str
    kind: Literal["config", "wasm", "python"]
    state: Literal["unloaded", "loaded", "running", "draining", "stopped", "failed"]
    version: str
    capabilities: tuple[str, ...]
    shard: int
    mailbox: int = 0
    """Messages that wait for it."""
    mailbox_limit: int = 0
    handled: int = 0
    failed: int = 0
    restarts: int = 0
    description: str = ""
    file: str = ""
    tools: tuple[str, ...] = ()
    reload: ReloadView = ReloadView()
    priority: int = 50
    """Among providers of one capability; higher is asked first."""
    since: str = ""
    """When it came to its state."""
    reason: str = ""
    """Why it is in its state, when nobody asked for that."""
    last_heartbeat: str = ""
    """When it was last found to work."""


class ProtocolView(msgspec.Struct, frozen=True):
    """Where a conversation is in a protocol that is checked."""

    name: str
    over: bool
    initiator: str
    participants: dict[str, str]
    """Name of each participant, to the state of its run."""
    deadline: str = ""
    """Until when the next answer is awaited; empty when nobody said."""


class ConversationView(msgspec.Struct, frozen=True):
    """One conversation in a list."""

    id: str
    state: Literal["active", "ended"]
    initiator: str
    participants: tuple[str, ...]
    """Names where they are known, ids otherwise; the initiator first."""
    protocol: str
    messages: int
    pending: int
    """Messages accepted and not yet handled."""
    created_at: str
    last_activity: str
    shard: int
    expires_at: str = ""
    """When it ends if nothing is said meanwhile; empty for a subscription that is under way."""
    progress: ProtocolView | None = None
    parent: str = ""
    """Id of the conversation that it branched from."""


class MessageView(msgspec.Struct, frozen=True):
    """One message of a conversation, in journal order."""

    sequence: int
    state: Literal["pending", "handled", "dead"]
    sender_name: str
    receiver_name: str
    message: dict[str, Any]
    """The JSON form of the message."""


class ConversationDetail(msgspec.Struct, frozen=True):
    """A conversation with its messages in order; ``in_reply_to`` makes them a tree."""

    conversation: ConversationView
    messages: tuple[MessageView, ...]
    """The newest ones that were asked for."""
    before: int = 0
    """Ask for messages before this sequence number to go on; 0 when there are no older ones."""


class DeadLetterView(msgspec.Struct, frozen=True):
    """A message that could not be handled, in a list."""

    id: str
    """Shard and sequence number, such as ``0-1234``."""
    at: str
    reason: str
    """Error code."""
    detail: str
    attempts: int
    performative: str
    sender: str
    """Names where they are known, ids otherwise."""
    receiver: str
    capability: str
    message_id: str
    conversation_id: str
    size: int
    """Bytes of content."""
    shard: int


class DeadLetterDetail(msgspec.Struct, frozen=True):
    """A dead letter with everything that is known of it."""

    letter: DeadLetterView
    traceback: str
    """Of the agent's last failure; empty when it never got there."""
    message: dict[str, Any]
    """The JSON form of the message."""


class ProcessView(msgspec.Struct, frozen=True):
    """One process of the node."""

    name: str
    pid: int
    state: Literal["starting", "ready", "restarting", "stopped", "failed"]
    restarts: int = 0
    uptime_ms: int = 0
    rss_bytes: int = 0
    cpu_seconds: float = 0.0


LATENCY_US = (
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
)  # fmt: skip
"""Upper bounds of the buckets of a latency, in microseconds."""


class LatencyView(msgspec.Struct, frozen=True):
    """The distribution of a latency since its process started."""

    count: int = 0
    total_us: int = 0
    up_to: tuple[int, ...] = ()
    """How many were at most each bound of ``LATENCY_US``, to within an eighth of the bound."""


class ShardView(msgspec.Struct, frozen=True):
    """Counters and latencies of one shard. Totals count since its process started."""

    shard: int
    accepted: int = 0
    handled: int = 0
    failed: int = 0
    duplicates: int = 0
    refused: int = 0
    dead_letters: int = 0
    pending: int = 0
    pending_limit: int = 0
    conversations: int = 0
    agents: int = 0
    journal_messages: int = 0
    commits: int = 0
    commit_p50_us: int = 0
    commit_p99_us: int = 0
    batch_p50: int = 0
    routing_p50_us: int = 0
    """Accepted to handed to the agent's mailbox."""
    routing_p99_us: int = 0
    ack_p50_us: int = 0
    """Accepted to acknowledged at the node's durability."""
    ack_p99_us: int = 0
    routing: LatencyView = LatencyView()
    ack: LatencyView = LatencyView()
    commit: LatencyView = LatencyView()
    errors: dict[str, int] = {}
    """Error code to messages that were refused or failed with it."""
    turns_without_memory: dict[str, int] = {}
    """Why the memory gave no context, to turns of agents that went on without."""
    conversations_opened: int = 0
    store_bytes: int = 0
    """Of its LMDB store that are in use."""
    actors: int = 0
    """Actors alive: agents, conversations and what serves them."""
    actor_failures: int = 0
    actor_restarts: int = 0
    actor_dead_letters: int = 0
    """Messages that no actor handled; the journal keeps those that were accepted."""
    breakers_open: int = 0
    """Circuit breakers that are not closed."""
    breakers_opened: int = 0
    protocol_timeouts: int = 0
    """Runs of protocols that ended because nobody answered in time."""
    offline_waiting: int = 0
    """Messages that wait for agents out of service."""
    mailbox_overflows: int = 0
    asks_expired: int = 0
    replies_late: int = 0
    turns: int = 0
    turns_busy_us: int = 0
    """Time spent in turns of actors."""
    turns_slow: int = 0
    """Turns longer than 100 ms, during which no other actor of the shard was served."""
    turn_longest_us: int = 0
    queue_delay_us: int = 0
    """From an actor's wish for a turn to the turn: a moving mean."""


class ToolView(msgspec.Struct, frozen=True):
    """A tool that agents may list."""

    name: str
    description: str
    source: str
    """``builtin``, ``folder`` for the tools folder, or ``mcp:`` and the name of an MCP server."""
    sandboxed: bool
    """False: it runs outside of the sandbox, with all that its server may do."""
    input_schema: dict[str, Any] = {}
    calls: int = 0
    """How often it was called since the node started."""
    problem: str = ""
    """Why it, or its newest version, cannot be called; empty when it can."""


class ToolServerView(msgspec.Struct, frozen=True):
    """An MCP server whose tools agents may list. Never sandboxed."""

    name: str
    kind: Literal["stdio", "http"]
    state: Literal["starting", "connected", "waiting", "stopped"]
    """``waiting``: it failed, and is started again after a pause."""
    tools: int = 0
    restarts: int = 0
    detail: str = ""
    """Why it is not connected."""
    sandboxed: bool = False


class ToolUseView(msgspec.Struct, frozen=True):
    """How one tool is used. Totals count since the tools process started."""

    name: str
    outcomes: dict[str, int] = {}
    """``ok``, or why a call failed, to how often."""
    took: LatencyView = LatencyView()

    @property
    def calls(self) -> int:
        """Calls that ended."""
        return sum(self.outcomes.values())


class ToolsView(msgspec.Struct, frozen=True):
    """The sandbox's workers, and how tools are used."""

    workers: int = 0
    busy: int = 0
    waiting: int = 0
    """Calls that wait for a worker."""
    waiting_limit: int = 0
    tools: tuple[ToolUseView, ...] = ()


class MemoryView(msgspec.Struct, frozen=True):
    """The memory, where it was asked for anything; zeros before."""

    open: bool = False
    entities: int = 0
    relations: int = 0
    unembedded: int = 0
    """Entities that wait for vectors."""
    searches: int = 0
    writes: int = 0
    """Since its process started."""
    note: str = ""
    """What is not as it should be."""


class NodeView(msgspec.Struct, frozen=True):
    """The node at one glance."""

    id: str
    version: str
    state: Literal["starting", "ready", "degraded", "draining"]
    url: str
    pid: int
    started_at: str
    uptime_ms: int
    durability: Literal["disk", "process"]
    data: str
    agents_folder: str
    provider: str
    agents: int
    processes: tuple[ProcessView, ...]
    shards: tuple[ShardView, ...]
    warnings: tuple[str, ...] = ()
    tool_servers: tuple[ToolServerView, ...] = ()
    """MCP servers whose tools agents may list. They are not sandboxed."""
    tools: ToolsView = ToolsView()
    memory: MemoryView = MemoryView()


class Event(msgspec.Struct, frozen=True):
    """Something an operator may want to know. ``id`` grows by one on each node start."""

    id: int
    at: str
    type: str
    """Dotted name, such as ``agent.reloaded``, ``agent.reload_failed``, ``process.restarted``,
    ``dead_letter``."""
    subject: str
    text: str
