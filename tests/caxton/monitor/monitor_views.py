"""Views of an invented node, for the monitor's tests."""

from __future__ import annotations

from typing import Any

from caxton.monitor.state import Snapshot
from caxton.views import AgentView, ConversationView, NodeView, ProcessView, ReloadView, ShardView

BROKEN = ReloadView(
    state="failed",
    detail="billing.md:7:3 `tool`: unknown key, did you mean `tools`?",
    line=7,
    column=3,
)


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def agent(name: str, **changes: Any) -> AgentView:
    facts: dict[str, Any] = {
        "id": name,
        "name": name,
        "kind": "config",
        "state": "running",
        "version": "1.4.0",
        "capabilities": (f"{name}-work",),
        "shard": 0,
        "mailbox_limit": 1_000,
        "file": f"{name}.md",
    }
    return AgentView(**(facts | changes))


def shard(number: int = 0, **changes: Any) -> ShardView:
    facts: dict[str, Any] = {
        "shard": number,
        "pending_limit": 1_000_000,
        "conversations": 115,
        "routing_p50_us": 400,
        "routing_p99_us": 3_100,
        "ack_p50_us": 1_500,
        "ack_p99_us": 12_000,
        "commit_p50_us": 1_100,
        "commit_p99_us": 9_000,
    }
    return ShardView(**(facts | changes))


def process(name: str, pid: int, **changes: Any) -> ProcessView:
    facts: dict[str, Any] = {
        "name": name,
        "pid": pid,
        "state": "ready",
        "uptime_ms": 7_980_000,
        "rss_bytes": 48 << 20,
    }
    return ProcessView(**(facts | changes))


def node(**changes: Any) -> NodeView:
    facts: dict[str, Any] = {
        "id": "0f0f0f0f-0000-7000-8000-000000000000",
        "version": "0.1.0",
        "state": "ready",
        "url": "http://127.0.0.1:8080",
        "pid": 100,
        "started_at": "2026-01-02T03:04:05.000Z",
        "uptime_ms": 7_980_000,
        "durability": "disk",
        "data": "./caxton-data",
        "agents_folder": "./agents",
        "provider": "rules",
        "agents": 4,
        "processes": (
            process("supervisor", 100),
            process("shard-0", 101, cpu_seconds=10.0),
            process("shard-1", 102, state="restarting", restarts=3),
        ),
        "shards": (shard(0), shard(1)),
    }
    return NodeView(**(facts | changes))


AGENTS = (
    agent("analyst", handled=310, mailbox=12),
    agent("billing", reload=BROKEN, version="2.0.1"),
    agent("scraper", mailbox=640, kind="wasm"),
    agent("writer", state="failed", restarts=5, failed=9),
)


def conversation(number: int, **changes: Any) -> ConversationView:
    facts: dict[str, Any] = {
        "id": f"019a5c1e-0000-7000-8000-{number:012d}",
        "state": "active",
        "initiator": "client",
        "participants": ("client", "analyst"),
        "protocol": "fipa-request",
        "messages": 2,
        "pending": 0,
        "created_at": "2026-01-02T03:04:05.000Z",
        "last_activity": "2026-01-02T03:04:06.000Z",
        "shard": 0,
    }
    return ConversationView(**(facts | changes))


def snapshot(**changes: Any) -> Snapshot:
    agents = changes.pop("agents_", AGENTS)
    conversations = changes.pop("conversations_", (conversation(1), conversation(2, pending=3)))
    return Snapshot(node(**changes), agents, conversations)
