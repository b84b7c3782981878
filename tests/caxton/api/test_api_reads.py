"""Lists, single things, probes, metrics and pages."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import msgspec
import pytest
from fake_entry import CONTENT, FakeEntry, agent_id, agent_view
from prometheus_client.parser import text_string_to_metric_families

from caxton import __version__
from caxton.api.app import Limits, make_app
from caxton.api.metrics import exposition
from caxton.api.query import page_token
from caxton.errors import ERRORS, NodeNotReady
from caxton.types import format_id, new_id
from caxton.views import LATENCY_US, LatencyView, MemoryView, ToolsView, ToolUseView


async def test_agents_come_in_pages(http, entry) -> None:
    """Following next_page_token gives every agent once, by name."""
    entry.views = [agent_view(f"Agent{number:02}") for number in range(25)][::-1]
    names: list[str] = []
    token = ""
    while True:
        query = {"page_size": "10"} | ({"page_token": token} if token else {})
        page = (await http.get("/api/v1/agents", params=query)).json()
        names += [one["name"] for one in page["items"]]
        token = page["next_page_token"]
        if not token:
            break
    assert names == [f"Agent{number:02}" for number in range(25)]


async def test_page_goes_on_by_name_when_agents_come_and_go(http, entry) -> None:
    """An agent that vanishes between two pages takes no other with it."""
    entry.views = [agent_view(name) for name in ("A", "B", "C")]
    page = (await http.get("/api/v1/agents?page_size=2")).json()
    del entry.views[0]
    rest = await http.get(f"/api/v1/agents?page_size=2&page_token={page['next_page_token']}")
    assert [one["name"] for one in rest.json()["items"]] == ["C"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Analyst", "Greeter"]),
        ("?state=loaded", ["Analyst"]),
        ("?state=failed", []),
        ("?capability=data-analysis", ["Analyst"]),
        ("?capability=Data_Analysis", ["Analyst"]),
        ("?capability=greeter&state=running", ["Greeter"]),
    ],
)
async def test_agents_are_filtered(http, query, names) -> None:
    """State and capability choose among the agents."""
    page = (await http.get(f"/api/v1/agents{query}")).json()
    assert [one["name"] for one in page["items"]] == names


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/v1/agents?page_size=0", "page_size"),
        ("/api/v1/agents?page_size=1001", "page_size"),
        ("/api/v1/agents?page_size=²", "page_size"),
        ("/api/v1/agents?page_token=!", "page_token"),
        ("/api/v1/agents?page_token=%C3%A9", "page_token"),
        ("/api/v1/agents?page_token=_w", "page_token"),
        ("/api/v1/agents?state=happy", "state"),
        ("/api/v1/agents?capability=", "capability"),
        ("/api/v1/agents?pagesize=1", "pagesize"),
        ("/api/v1/agents?state=failed&state=failed", "state"),
        (f"/api/v1/conversations?page_token={page_token('x')}", "page_token"),
        (f"/api/v1/conversations?page_token={page_token('100001')}", "page_token"),
        ("/api/v1/conversations?state=active", "state"),
        ("/api/v1/node?x=1", "x"),
        ("/health?x", "x"),
        ("/api/v1/events?types=", "types"),
        ("/api/v1/events?types=A%0A", "types"),
    ],
)
async def test_bad_parameter_is_named(http, path, parameter) -> None:
    """A parameter that is unknown, given twice or out of range is one problem that names it."""
    response = await http.get(path)
    (error,) = response.json()["errors"]
    assert (response.status_code, error["in"], error["parameter"]) == (422, "query", parameter)


async def test_near_parameter_is_suggested(http) -> None:
    """The problem for an unknown parameter names the nearest known one."""
    detail = (await http.get("/api/v1/agents?pagesize=1")).json()["detail"]
    assert "did you mean `page_size`?" in detail


async def test_one_agent_by_name_or_id(http) -> None:
    """An agent is found by its name in any case, and by its id."""
    by_name = (await http.get("/api/v1/agents/gReEtEr")).json()
    by_id = (await http.get(f"/api/v1/agents/{format_id(agent_id('Greeter'))}")).json()
    assert by_name == by_id
    assert by_name["name"] == "Greeter"


UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
"""An identifier that nothing has; the same in every process that collects the tests."""


@pytest.mark.parametrize(("agent", "status"), [("Nobody", 404), (UNKNOWN, 404), ("x" * 101, 422)])
async def test_agent_that_is_not_there(http, agent, status) -> None:
    """What names no agent is a problem."""
    assert (await http.get(f"/api/v1/agents/{agent}")).status_code == status


async def test_conversations_come_in_pages(http) -> None:
    """Conversations come newest first, in pages; one has its messages."""
    ids = [format_id(new_id()) for _ in range(5)]
    for one in ids:
        await http.post("/api/v1/messages", json={"capability": "x", "conversation_id": one})
    page = (await http.get("/api/v1/conversations?page_size=3")).json()
    token = page["next_page_token"]
    rest = (await http.get(f"/api/v1/conversations?page_size=3&page_token={token}")).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_page_token"] == ""
    detail = (await http.get(f"/api/v1/conversations/{ids[0]}")).json()
    assert detail["conversation"]["id"] == ids[0]
    assert len(detail["messages"]) == 1


@pytest.mark.parametrize(("key", "status"), [("x", 422), (UNKNOWN, 404)])
async def test_conversation_that_is_not_there(http, key, status) -> None:
    """An unknown conversation is 404, what is no id 422."""
    response = await http.get(f"/api/v1/conversations/{key}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


async def test_node_at_one_glance(http) -> None:
    """The node's own account."""
    assert (await http.get("/api/v1/node")).json()["durability"] == "disk"


# --- probes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/livez"])
async def test_health_asks_nobody(http, entry, path) -> None:
    """Health is about this process alone."""
    entry.failure = RuntimeError("down")
    response = await http.get(path)
    assert (response.status_code, response.json()) == (
        200,
        {"status": "healthy", "version": __version__},
    )


@pytest.mark.parametrize("path", ["/ready", "/readyz"])
@pytest.mark.parametrize(
    ("state", "status"), [("ready", 200), ("starting", 503), ("degraded", 503), ("draining", 503)]
)
async def test_readiness_follows_the_node(http, entry, path, state, status) -> None:
    """Only a ready node is 200; the checks are listed in any case."""
    entry.state = state
    response = await http.get(path)
    assert (response.status_code, response.json()["status"]) == (status, state)
    assert [one["name"] for one in response.json()["checks"]] == ["gateway", "shard 0"]


async def test_node_that_cannot_tell_is_degraded(http, entry) -> None:
    """A node that fails to give its account is not ready."""
    entry.failure = NodeNotReady(part="every shard")
    response = await http.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "degraded")


async def test_node_that_does_not_tell_is_degraded(entry, monkeypatch) -> None:
    """A node that gives no account in time is not ready."""

    async def never() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(entry, "status", never)
    transport = httpx2.ASGITransport(app=make_app(entry, limits=Limits(status_s=0.01)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "degraded")


# --- metrics ---------------------------------------------------------------------------------


def _samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_are_what_the_node_counts(http) -> None:
    """The exposition parses, and holds the node's counters and the requests answered."""
    await http.get("/health")
    response = await http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = _samples(response.text)
    assert found["caxton_messages_accepted_total", ("0",)] == 7
    assert found["caxton_commit_p99_seconds", ("0",)] == pytest.approx(0.002)
    assert found["caxton_node_uptime_seconds", ()] == 1.5
    assert found["caxton_process_restarts_total", ("gateway",)] == 3
    assert found["caxton_agents", ("running",)] == 1
    assert found["caxton_http_requests_total", ("/health", "200")] == 1
    assert all(name.startswith("caxton_") for name, _ in found)


async def test_the_memory_is_in_the_metrics(entry: FakeEntry) -> None:
    """What it says of itself, and the turns of agents that went on without it, by shard and
    reason; zeros, and no series, before."""
    node = await entry.status()
    before = _samples(exposition(node, [], {})[0].decode())
    assert before["caxton_memory_open", ()] == 0
    assert not any(name == "caxton_memory_missed_turns_total" for name, _ in before)
    shards = tuple(
        msgspec.structs.replace(
            node.shards[0], shard=n, turns_without_memory={"timeout": n + 1, "paused": 9}
        )
        for n in range(2)
    )
    memory = MemoryView(
        open=True, entities=12, relations=7, unembedded=3, searches=40, writes=25, note="slow"
    )
    changed = msgspec.structs.replace(node, shards=shards, memory=memory)
    found = _samples(exposition(changed, [], {})[0].decode())
    assert {
        name.removeprefix("caxton_memory_"): value
        for (name, labels), value in found.items()
        if name.startswith("caxton_memory_") and not labels
    } == {
        "open": 1, "entities": 12, "relations": 7, "unembedded": 3, "searches_total": 40,
        "writes_total": 25,
    }  # fmt: skip
    missed = {k[1]: v for k, v in found.items() if k[0] == "caxton_memory_missed_turns_total"}
    assert missed == {
        ("timeout", "0"): 1, ("paused", "0"): 9, ("timeout", "1"): 2, ("paused", "1"): 9,
    }  # fmt: skip


async def test_latencies_are_histograms_and_errors_have_codes(entry: FakeEntry) -> None:
    """Buckets count up to their bound, in seconds; errors of all shards are one series a code."""
    node = await entry.status()
    up_to = (0, 1, 2, *(3,) * (len(LATENCY_US) - 3))
    shards = [
        msgspec.structs.replace(
            node.shards[0], shard=n, routing=LatencyView(4, 1_500, up_to), errors={"TIMEOUT": 2}
        )
        for n in range(2)
    ]
    text, _ = exposition(msgspec.structs.replace(node, shards=tuple(shards)), [], {})
    found = _samples(text.decode())
    bucket = "caxton_message_routing_seconds_bucket"
    assert [found[bucket, (le, "1")] for le in ("0.0001", "0.00025", "0.0005", "10.0", "+Inf")] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert found["caxton_message_routing_seconds_sum", ("0",)] == pytest.approx(0.0015)
    assert found["caxton_errors_total", ("TIMEOUT",)] == 4


async def test_agents_beyond_200_are_summed(entry: FakeEntry) -> None:
    """Agents as a label are bounded; the rest, and one named ``other``, are one series."""
    views = [agent_view(f"a{number:03}", handled=1) for number in range(250)]
    views.append(agent_view("other", handled=5))
    text, _ = exposition(await entry.status(), views, {})
    found = _samples(text.decode())
    names = [labels for name, labels in found if name == "caxton_agent_handled_total"]
    assert len(names) == 201
    assert found["caxton_agent_handled_total", ("other",)] == 55


# --- pages -----------------------------------------------------------------------------------


async def test_docs_page_needs_nothing_from_elsewhere(http) -> None:
    """The page refers to nothing but this node, and its policy says so."""
    response = await http.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "https://" not in response.text
    assert "http://" not in response.text


async def test_every_error_has_its_place_in_the_docs(http) -> None:
    """The ``type`` of every problem leads to text about it."""
    text = (await http.get("/docs/errors")).text
    assert all(f'id="{code}"' in text for code in ERRORS)


# --- what is not there -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1/agents/", "/health/", "/api/v1/agents/a/b"])
async def test_unknown_path_is_a_problem(http, path) -> None:
    """404 is a problem too, and no redirect."""
    response = await http.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/messages"), ("DELETE", "/api/v1/agents"), ("BREW", "/health")],
)
async def test_wrong_method_is_a_problem(http, method, path) -> None:
    """405 is a problem that names what is allowed, with Allow."""
    response = await http.request(method, path)
    assert (response.status_code, response.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"]
    assert response.headers["allow"] in response.json()["detail"]


async def test_head_is_get_without_a_body(http) -> None:
    """HEAD is answered wherever GET is, also where the body would not end."""
    for path in ("/health", "/api/v1/events"):
        response = await http.head(path)
        assert (response.status_code, response.headers["x-content-type-options"]) == (
            200,
            "nosniff",
        )


async def test_dead_letters_are_listed_read_retried_and_discarded(http, entry) -> None:
    """A page of them, one of them, and what changes them; an unknown or odd id is told."""
    first = (await http.get("/api/v1/dead-letters?page_size=2")).json()
    assert [one["id"] for one in first["items"]] == ["0-3", "0-2"]
    rest = await http.get(f"/api/v1/dead-letters?page_size=2&page_token={first['next_page_token']}")
    assert [one["id"] for one in rest.json()["items"]] == ["0-1"]
    assert (await http.get("/api/v1/dead-letters/0-1")).json()["traceback"] == "Traceback"
    retried = await http.post("/api/v1/dead-letters/0-1/retry")
    assert (retried.status_code, retried.json()["id"]) == (202, "0-1")
    discarded = await http.delete("/api/v1/dead-letters/0-2")
    assert (discarded.status_code, discarded.json()["id"]) == (200, "0-2")
    assert list(entry.letters) == ["0-3"]
    missing = await http.delete("/api/v1/dead-letters/0-2")
    assert (missing.status_code, missing.json()["code"]) == (404, "DEAD_LETTER_NOT_FOUND")
    odd = await http.get("/api/v1/dead-letters/x")
    assert (odd.status_code, odd.json()["code"]) == (404, "DEAD_LETTER_NOT_FOUND")


async def test_large_results_are_read_by_their_hash(http: httpx2.AsyncClient) -> None:
    """As bytes that no browser shows; another hash is not found, what is no hash either."""
    found = await http.get(f"/api/v1/content/{CONTENT}")
    assert (found.status_code, found.content) == (200, b'{"large": true}')
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["x-content-type-options"] == "nosniff"
    for name in ("0" * 64, "x", "..%2Fregistry"):
        missing = await http.get(f"/api/v1/content/{name}")
        assert missing.status_code == 404
    assert (await http.get("/api/v1/content/" + "0" * 64)).json()["code"] == "CONTENT_NOT_FOUND"


async def test_how_tools_are_used_is_in_the_metrics(
    http: httpx2.AsyncClient, entry: FakeEntry
) -> None:
    """Calls by outcome, their time, the workers and what waits."""
    took = LatencyView(3, 33_000, (0,) * len(LATENCY_US))
    use = ToolUseView("csv_parser", {"ok": 2, "timeout": 1}, took)
    entry.tool_usage = ToolsView(2, 1, 5, 64, (use,))
    text = (await http.get("/metrics")).text
    for line in (
        'caxton_tool_calls_total{outcome="ok",tool="csv_parser"} 2.0',
        'caxton_tool_calls_total{outcome="timeout",tool="csv_parser"} 1.0',
        'caxton_tool_seconds_count{tool="csv_parser"} 3.0',
        'caxton_tool_seconds_sum{tool="csv_parser"} 0.033',
        "caxton_tool_workers 2.0",
        "caxton_tool_workers_busy 1.0",
        "caxton_tool_calls_waiting 5.0",
        "caxton_tool_calls_waiting_limit 64.0",
    ):
        assert line in text
