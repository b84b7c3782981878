"""A node that answers from what a test puts into it, over a real socket."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from caxton.errors import AgentNotFound, CaxtonError, ConversationNotFound, DeadLetterNotFound
from caxton.views import (
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    MessageView,
    NodeView,
    ProcessView,
    ReloadView,
    ShardView,
)

FIRST = "019a5c1e-0000-7000-8000-000000000001"
SECOND = "019a5c1e-0000-7000-8000-000000000002"
OTHER = "019b0000-0000-7000-8000-000000000003"
REQUEST_ID = "019a5c1e-1111-7000-8000-000000000001"


def an_agent(name: str = "Greeter", **changes: Any) -> AgentView:
    facts: dict[str, Any] = {
        "id": f"id-of-{name}",
        "name": name,
        "kind": "config",
        "state": "running",
        "version": "1.0.0",
        "capabilities": ("greeting",),
        "shard": 0,
        "mailbox_limit": 1_000,
        "file": f"{name}.md",
    }
    return AgentView(**(facts | changes))


BROKEN = ReloadView(
    state="failed",
    at="2026-01-02T03:04:05.000Z",
    detail="Billing.md:7:3 `tool`: unknown key, did you mean `tools`?",
    line=7,
    column=3,
)


def a_node(**changes: Any) -> NodeView:
    facts: dict[str, Any] = {
        "id": "0f0f0f0f-0000-7000-8000-000000000000",
        "version": "0.1.0",
        "state": "ready",
        "url": "http://127.0.0.1:8080",
        "pid": 100,
        "started_at": "2026-01-02T03:04:05.000Z",
        "uptime_ms": 8_000_000,
        "durability": "disk",
        "data": "./caxton-data",
        "agents_folder": "./agents",
        "provider": "rules",
        "agents": 1,
        "processes": (
            ProcessView("supervisor", 100, "ready", 0, 8_000_000, 40 << 20, 1.0),
            ProcessView("shard-0", 101, "ready", 0, 8_000_000, 50 << 20, 2.0),
        ),
        "shards": (ShardView(0, accepted=9, handled=9, pending_limit=1_000, routing_p50_us=400),),
    }
    return NodeView(**(facts | changes))


def a_letter(identity: str) -> DeadLetterView:
    return DeadLetterView(
        id=identity,
        at="2026-01-02T03:04:05.000Z",
        reason="AGENT_FAILED",
        detail="agent `Greeter` failed on this message 4 times",
        attempts=4,
        performative="request",
        sender="client",
        receiver="Greeter",
        capability="",
        message_id=REQUEST_ID,
        conversation_id=FIRST,
        size=3,
        shard=0,
    )


def a_conversation(identity: str = FIRST, **changes: Any) -> ConversationView:
    facts: dict[str, Any] = {
        "id": identity,
        "state": "active",
        "initiator": "client",
        "participants": ("client", "Greeter"),
        "protocol": "fipa-request",
        "messages": 2,
        "pending": 0,
        "created_at": "2026-01-02T03:04:05.000Z",
        "last_activity": "2026-01-02T03:04:06.000Z",
        "shard": 0,
    }
    return ConversationView(**(facts | changes))


def a_detail(view: ConversationView | None = None) -> ConversationDetail:
    asked = {
        "message_id": REQUEST_ID,
        "performative": "request",
        "content": "who are you?\nreally",
        "created_at": "2026-01-02T03:04:05.123Z",
    }
    answered = {
        "message_id": "019a5c1e-1111-7000-8000-000000000002",
        "in_reply_to": REQUEST_ID,
        "performative": "failure",
        "content_base64": "AAEC",
        "created_at": "2026-01-02T03:04:06.456Z",
    }
    unasked = {"message_id": "m3", "performative": "inform", "capability": "greeting"}
    return ConversationDetail(
        view or a_conversation(pending=1),
        (
            MessageView(1, "handled", "client", "Greeter", asked),
            MessageView(2, "dead", "Greeter", "client", answered),
            MessageView(3, "pending", "client", "", unasked),
        ),
    )


class FakeNode:
    """What it answers is in its public fields; what it was sent is in ``posted``."""

    def __init__(self) -> None:
        self.node = a_node()
        self.agents = [an_agent()]
        self.conversations = [a_conversation()]
        self.detail = a_detail()
        self.events = [
            Event(1, "2026-01-02T03:04:05.000Z", "agent.loaded", "Greeter", "Greeter.md 1.0.0"),
            Event(2, "2026-01-02T03:04:06.000Z", "agent.reload_failed", "Billing", "7:3 broken"),
        ]
        self.reply: dict[str, Any] = {"performative": "inform", "content": "I am Greeter."}
        self.letters = {name: a_letter(name) for name in ("0-2", "0-1")}
        self.binary = False
        self.others: dict[tuple[str, str], Any] = {}
        """Answers by method and path."""
        self.changed: list[tuple[str, str]] = []
        self.refusal: CaxtonError | None = None
        self.silent = threading.Event()
        """When set, requests hang until the node is closed."""
        self.posted: list[dict[str, Any]] = []
        self.queries: list[dict[str, list[str]]] = []
        self._closing = threading.Event()
        outer = self

        class Handler(_Handler):
            fake = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_closing(self) -> None:
        self._closing.wait(20)

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.refusal is not None:
            return problem(self.refusal)
        if (method, path) in self.others:
            self.changed.append((method, path))
            return 200, self.others[method, path]
        if path.startswith("/api/v1/dead-letters"):
            return self._letter(method, path.removeprefix("/api/v1/dead-letters").strip("/"))
        if method == "POST":
            return self._message(body)
        if path == "/api/v1/node":
            return 200, self.node
        if path == "/api/v1/agents":
            return 200, {"items": self._chosen(), "next_page_token": ""}
        if path == "/api/v1/conversations":
            return 200, {"items": self.conversations, "next_page_token": ""}
        if path.startswith("/api/v1/agents/"):
            name = path.rpartition("/")[2]
            found = [one for one in self.agents if one.name == name]
            return (200, found[0]) if found else problem(AgentNotFound(agent=name, near=""))
        if path == f"/api/v1/conversations/{self.detail.conversation.id}":
            return 200, self.detail
        return problem(ConversationNotFound(conversation=path.rpartition("/")[2]))

    def _letter(self, method: str, rest: str) -> tuple[int, Any]:
        if not rest:
            return 200, {"items": list(self.letters.values()), "next_page_token": ""}
        name = rest.partition("/")[0]
        if name not in self.letters:
            return problem(DeadLetterNotFound(letter=name))
        if method == "GET":
            content = {"content_base64": "AAEC"} if self.binary else {"content": "who are you?"}
            return 200, DeadLetterDetail(self.letters[name], "RuntimeError: no", content)
        self.changed.append((method, name))
        return 200, self.letters.pop(name)

    def _chosen(self) -> list[AgentView]:
        state = self.queries[-1].get("state", [None])[0]
        capability = self.queries[-1].get("capability", [None])[0]
        return [
            one
            for one in self.agents
            if state in (None, one.state) and capability in (None, *one.capabilities)
        ]

    def _message(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.posted.append(body)
        ack = {
            "message_id": body["message_id"],
            "conversation_id": body.get("conversation_id", FIRST),
            "durability": "disk",
            "shard": 0,
            "duplicate": False,
        }
        if "wait" not in self.queries[-1]:
            return 202, ack
        reply = {"sender": "id-of-Greeter", "sender_name": "Greeter", **self.reply}
        return 200, {**ack, "reply": reply}


def problem(error: CaxtonError) -> tuple[int, Any]:
    return error.status, {"code": error.code, "detail": error.detail, "fields": error.fields}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeNode

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(size)) if size else None
        if self.fake.silent.is_set():
            self.fake.wait_closing()
            return
        self.fake.queries.append(parse_qs(parts.query))
        if parts.path == "/api/v1/events" and self.fake.refusal is None:
            self._events()
            return
        status, answer = self.fake.answer(method, parts.path, body)
        data = msgspec.json.encode(answer, enc_hook=str)
        self.send_response(status)
        kind = "application/json" if status < 300 else "application/problem+json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _events(self) -> None:
        after = int(self.headers.get("Last-Event-ID", "0").rpartition("-")[2])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in self.fake.events:
            if event.id > after:
                head = f"id: 00000001-{event.id}\nevent: {event.type}\ndata: ".encode()
                self.wfile.write(head + msgspec.json.encode(event) + b"\n\n")
        self.wfile.flush()
        self.fake.wait_closing()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
