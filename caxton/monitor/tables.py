"""The tables of the monitor: which columns there are, and which go first when room is short."""

from __future__ import annotations

from caxton.cli.columns import Column
from caxton.monitor.quantities import count_text, duration_text, rate_text, size_text
from caxton.monitor.state import AgentRow, ProcessRow
from caxton.views import ConversationView

__all__ = ["AGENTS", "CONVERSATIONS", "PROCESSES"]


def _state(row: AgentRow) -> str:
    """What is wrong with it, otherwise its state."""
    return row.trouble or row.view.state


def _trouble_style(row: AgentRow) -> str:
    if row.rank >= 5:
        return "fail"
    return "warn" if row.rank else "ok"


def _mailbox(row: AgentRow) -> str:
    view = row.view
    return f"{view.mailbox}/{view.mailbox_limit}" if view.mailbox_limit else str(view.mailbox)


def _reload(row: AgentRow) -> str:
    last = row.view.reload
    if last.state == "failed":
        return f"FAILED {last.detail or f'{row.view.file}:{last.line}:{last.column}'}"
    return f"ok {last.took_ms:.0f} ms" if last.state == "reloaded" else "ok"


def _reload_brief(row: AgentRow) -> str:
    last = row.view.reload
    return f"FAILED {last.line}:{last.column}" if last.state == "failed" else _reload(row)


AGENTS: tuple[Column[AgentRow], ...] = (
    Column("AGENT", lambda r: r.view.name, lambda _: "name", least=16),
    Column("KIND", lambda r: r.view.kind, drop=7),
    Column("VERSION", lambda r: r.view.version or "-", drop=5),
    Column("STATE", _state, _trouble_style),
    Column("MAILBOX", _mailbox, lambda r: "warn" if r.rank in (3, 4) else "", right=True),
    Column(
        "MSG/S", lambda r: "-" if r.rate is None else rate_text(r.rate).removesuffix("/s"),
        right=True,
    ),
    Column("HANDLED", lambda r: count_text(r.view.handled), right=True),
    Column(
        "FAILED", lambda r: count_text(r.view.failed),
        lambda r: "fail" if r.rank == 2 else "", right=True,
    ),
    Column("RESTARTS", lambda r: str(r.view.restarts), right=True, drop=4),
    Column("SHARD", lambda r: str(r.view.shard), right=True, drop=6),
    Column("CAPABILITIES", lambda r: ",".join(r.view.capabilities), least=12, drop=8),
    Column(
        "RELOAD", _reload,
        lambda r: "fail" if r.view.reload.state == "failed" else "dim",
        least=10, brief=_reload_brief,
    ),
)  # fmt: skip

_STATES = {"ready": "ok", "failed": "fail", "stopped": "fail"}

PROCESSES: tuple[Column[ProcessRow], ...] = (
    Column("PROCESS", lambda r: r.view.name, lambda _: "name"),
    Column("PID", lambda r: str(r.view.pid), right=True),
    Column("STATE", lambda r: r.view.state, lambda r: _STATES.get(r.view.state, "warn")),
    Column(
        "RESTARTS", lambda r: str(r.view.restarts),
        lambda r: "warn" if r.view.restarts else "", right=True,
    ),
    Column("UPTIME", lambda r: duration_text(r.view.uptime_ms), right=True),
    Column("RSS", lambda r: size_text(r.view.rss_bytes), right=True),
    Column(
        "CPU", lambda r: "-" if r.cpu_percent is None else f"{r.cpu_percent:.0f}%", right=True
    ),
)  # fmt: skip

CONVERSATIONS: tuple[Column[ConversationView], ...] = (
    Column("CONVERSATION", lambda c: c.id, lambda _: "name", brief=lambda c: c.id[:18]),
    Column("STATE", lambda c: c.state, lambda c: "ok" if c.state == "active" else "dim"),
    Column("PARTICIPANTS", lambda c: " ".join(c.participants), least=16),
    Column("PROTOCOL", lambda c: c.protocol or "-", drop=2),
    Column("MESSAGES", lambda c: count_text(c.messages), right=True),
    Column(
        "PENDING", lambda c: count_text(c.pending),
        lambda c: "warn" if c.pending else "", right=True,
    ),
    Column("SHARD", lambda c: str(c.shard), right=True, drop=3),
    Column(
        "LAST ACTIVITY", lambda c: c.last_activity, brief=lambda c: c.last_activity[11:19], drop=1
    ),
)  # fmt: skip
