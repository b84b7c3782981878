"""The memory over REST, and the clients that speak it: the real service behind the real app."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "memory")]

from fake_embedder import FakeEmbedder
from fake_entry import FakeEntry
from fake_memory import FakeMemory

from caxton.api.app import make_app
from caxton.client import AsyncClient
from caxton.errors import (
    AgentNotFound,
    EntityConflict,
    EntityNotFound,
    ImportInvalid,
    MemoryUnavailable,
    NotAuthorized,
)
from caxton.memory.model import GLOBAL, WORKSPACE, Entity, Relation
from caxton.memory.requests import (
    EntityDraft,
    Import,
    ImportEntity,
    Maintain,
    RelationName,
    Weights,
)
from caxton.memory_client import AsyncMemoryClient, MemoryClient

ROOT = "/api/v1/memory"
DANGLING = b"""{"entity_name":"a","entity_type":"b"}
{"from_entity":"a","to_entity":"c","relation_type":"d"}"""
ADA = {
    "entity_name": "Ada Lovelace",
    "entity_type": "person",
    "observations": ["wrote the first program"],
    "memory_scope": "workspace",
}


@pytest.fixture
async def remembered(entry: FakeEntry) -> AsyncIterator[FakeMemory]:
    """The memory of the node, with a model."""
    entry.remembered.embedder = FakeEmbedder()
    yield entry.remembered
    await entry.remembered.close()


@pytest.fixture
async def memory(http: Any, remembered: FakeMemory) -> AsyncIterator[AsyncMemoryClient]:
    """The same through the client."""
    async with AsyncClient("http://localhost") as client:
        await client._http.aclose()
        client._http = http
        yield client.memory


async def _post(http: httpx2.AsyncClient, path: str, **body: Any) -> Any:
    response = await http.post(f"{ROOT}{path}", json=body)
    assert response.status_code < 300, response.text
    return response.json()


# --- entities --------------------------------------------------------------------------------


async def test_an_entity_is_stored_read_and_forgotten(http, remembered) -> None:
    """With the names and statuses that the documents give."""
    stored = await http.post(f"{ROOT}/entities", json=ADA)
    assert stored.status_code == 201
    body = stored.json()
    assert body == {
        "entity_id": "workspace/ada lovelace", "entity_name": "Ada Lovelace",
        "entity_type": "person", "memory_scope": "workspace", "created": True, "added": 1,
        "observation_count": 1, "version": 1, "embedding_generated": True, "similar": [],
        "created_at": "2023-11-14T22:13:20.000Z", "updated_at": "2023-11-14T22:13:20.000Z",
        "entity": None,
    }  # fmt: skip
    again = {**ADA, "observations": ["wrote the first program", "knew Babbage"]}
    more = await _post(http, "/entities?include_entity=true", **again)
    assert (more["created"], more["added"], more["version"]) == (False, 1, 2)
    assert [one["text"] for one in more["entity"]["observations"]] == again["observations"]
    read = (await http.get(f"{ROOT}/entities/ada%20LOVELACE")).json()
    assert read["entity_name"] == "Ada Lovelace"
    assert read["relations"] == read["also_in"] == []
    gone = await http.delete(f"{ROOT}/entities/Ada Lovelace")
    assert gone.json() == {"entities": 1, "relations": 0, "observations": 2}
    assert (await http.get(f"{ROOT}/entities/Ada Lovelace")).status_code == 404
    assert (await http.delete(f"{ROOT}/entities/Ada Lovelace")).status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"entity_type": "machine"}, 409, None),
        ({"agent_id": "Nobody"}, 404, None),
        ({"agent_id": "Analyst"}, 403, None),
        ({"entity_name": " "}, 422, "/entity_name"),
        ({"entity_nam": "x"}, 422, "/entity_nam"),
        ({"observations": [1]}, 422, "/observations/0"),
        ({"importance": 2}, 422, "/importance"),
        ({"valid_from": "today"}, 422, "/valid_from"),
        ({"valid_from": "2026-01-02T00:00:00Z", "valid_to": "2026-01-01T00:00:00Z"}, 422,
         "/valid_to"),
        ({"memory_scope": "moon"}, 422, "/memory_scope"),
        ({"memory_scope": "agent"}, 422, "/memory_scope"),
        ({"observations": ["x" * 1_048_577]}, 413, "/observations/0"),
        ({"observations": [f"{n}{'x' * 1_048_000}" for n in range(11)]}, 413, "/observations"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_told(
    http, remembered, change: dict[str, Any], status: int, field: str | None
) -> None:
    """One problem that names field, value and what is allowed; nothing was written."""
    await _post(http, "/entities", **ADA)
    response = await http.post(f"{ROOT}/entities", json=ADA | change)
    assert response.status_code == status
    if field is not None:
        assert response.json()["errors"][0]["pointer"] == f"#{field}"
    assert len(remembered.kept.entities) == 1


async def test_an_unknown_field_has_a_hint(http) -> None:
    """Did you mean."""
    response = await http.post(f"{ROOT}/entities", json={**ADA, "observation": ["x"]})
    assert "did you mean `observations`?" in response.json()["detail"]
    batch = {"entities": [{"entity_name": "a", "entity_typ": "b"}]}
    response = await http.post(f"{ROOT}/entities/batch", json=batch)
    assert "did you mean `entity_type`?" in response.json()["detail"]
    assert response.json()["errors"][0]["pointer"] == "#/entities/0/entity_typ"


async def test_a_batch_has_an_outcome_for_each(http, remembered) -> None:
    """One at fault does not fail the others, unless all or none was asked for."""
    await _post(http, "/entities", **ADA)
    others = [{"entity_name": f"e{n}", "entity_type": "thing"} for n in range(3)]
    wrong = {"entity_name": "Ada Lovelace", "entity_type": "machine"}
    large = {**others[0], "observations": ["x" * 1_048_577]}
    given = [others[0], wrong, others[1], large, {**others[0], "observations": ["x"]}]
    found = await _post(http, "/entities/batch", entities=given)
    counts = found["entities_created"], found["entities_updated"], found["failed_entities"]
    assert counts == (2, 1, 2)
    assert [one.get("error", {}).get("code") for one in found["results"]] == [
        None, "ENTITY_CONFLICT", None, "ENTITY_TOO_LARGE", None,
    ]  # fmt: skip
    whole = {"entities": [others[2], wrong], "atomic": True}
    assert (await http.post(f"{ROOT}/entities/batch", json=whole)).status_code == 409
    assert len(remembered.kept.entities) == 3
    over = {"entities": [others[0]] * 101}
    assert (await http.post(f"{ROOT}/entities/batch", json=over)).status_code == 422


async def test_names_may_hold_slashes(http, remembered) -> None:
    """Sent as %2F, or as they are; `observations` below a name is another path."""
    for name in ("src/main.py", "notes/observations", "100% ä?#"):
        await _post(http, "/entities", **{**ADA, "entity_name": name})
    for path in ("src%2Fmain.py", "src/main.py", "notes%2Fobservations", "100%25%20%C3%A4%3F%23"):
        assert (await http.get(f"{ROOT}/entities/{path}")).status_code == 200, path
        graph = await http.get(f"{ROOT}/graph/{path}")
        assert len(graph.json()["graph"]["nodes"]) == 1
    refused = await http.get(f"{ROOT}/entities/notes/observations")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    added = await http.post(
        f"{ROOT}/entities/src%2Fmain.py/observations", json={"observations": ["has tests"]}
    )
    assert added.status_code == 201
    assert added.json()["observation_count"] == 2


async def test_pages_of_entities(http, remembered) -> None:
    """In a fixed order, by type, without observations when asked; a token of others is refused."""
    kinds = ["even", "odd"]
    given = [
        {"entity_name": f"e{n}", "entity_type": kinds[n % 2], "observations": ["x"]}
        for n in range(7)
    ]
    await _post(http, "/entities/batch", entities=given)
    names, token = [], ""
    while True:
        query = {"page_size": "3", "include_observations": "false"} | (
            {"page_token": token} if token else {}
        )
        page = (await http.get(f"{ROOT}/entities", params=query)).json()
        names += [one["entity_name"] for one in page["items"]]
        assert all(one["observations"] == [] for one in page["items"])
        token = page["next_page_token"]
        if not token:
            break
    assert sorted(names) == [f"e{n}" for n in range(7)]
    odd = (await http.get(f"{ROOT}/entities", params={"entity_types": "odd, none"})).json()
    assert len(odd["items"]) == 3
    refused = await http.get(f"{ROOT}/entities", params={"page_token": "x"})
    assert refused.json()["errors"][0]["parameter"] == "page_token"


# --- scopes ----------------------------------------------------------------------------------


async def test_agents_see_what_their_scope_allows(http, remembered) -> None:
    """By name or id; of several entities of a name, that of the nearest scope."""
    agent = next(one for one in (await http.get("/api/v1/agents")).json()["items"]
                 if one["name"] == "Greeter")  # fmt: skip
    for scope in ("workspace", "global", "agent:Greeter", "agent:Analyst"):
        await _post(http, "/entities", **{**ADA, "memory_scope": scope, "observations": [scope]})
    for name in ("Greeter", "greeter", agent["id"]):
        found = (await http.get(f"{ROOT}/entities/Ada Lovelace?agent_id={name}")).json()
        assert found["memory_scope"] == "agent:greeter"
        assert found["also_in"] == ["workspace"]
    own = await http.get(f"{ROOT}/entities", params={"agent_id": "Greeter",
                                                     "memory_scope": "agent"})  # fmt: skip
    assert [one["memory_scope"] for one in own.json()["items"]] == ["agent:greeter"]
    refused = await http.get(f"{ROOT}/search?query=Ada&agent_id=Analyst&memory_scope=workspace")
    assert refused.status_code == 403
    found = (await http.get(f"{ROOT}/search?query=Ada&agent_id=Analyst")).json()
    assert {one["memory_scope"] for one in found["results"]} == {"agent:analyst"}


async def test_what_an_agent_remembers_is_forgotten(http, remembered) -> None:
    """With a confirmation; also of an agent that is gone, and never another path's."""
    for scope in ("workspace", "agent:Greeter", "agent:Gone"):
        await _post(http, "/entities", **{**ADA, "memory_scope": scope})
    assert (await http.delete(f"{ROOT}/Greeter")).status_code == 422
    assert (await http.delete(f"{ROOT}/Greeter?confirm=false")).status_code == 422
    assert (await http.delete(f"{ROOT}/Greeter?confirm=true")).json()["entities"] == 1
    assert (await http.delete(f"{ROOT}/Gone?confirm=true")).json()["entities"] == 1
    assert (await http.delete(f"{ROOT}/Gone?confirm=true")).status_code == 404
    assert (await http.delete(f"{ROOT}/search?confirm=true")).status_code == 405
    wide = await http.delete(f"{ROOT}/Greeter?confirm=true&memory_scope=workspace")
    assert wide.json()["entities"] == 1
    await _post(http, "/entities", **ADA)
    path = f"{ROOT}/entities?confirm=true&memory_scope=workspace&entity_types=machine"
    assert (await http.delete(path)).json()["entities"] == 0
    assert (await http.delete(path.partition("&entity")[0])).json()["entities"] == 1
    assert remembered.kept.entities == {}


# --- search and graph ------------------------------------------------------------------------


async def test_search(http, remembered) -> None:
    """By words and meaning, with relations, by time; parameters are checked."""
    await _post(http, "/entities", **ADA)
    await _post(http, "/entities", entity_name="Engine", entity_type="machine",
                observations=["was never built"], valid_to="1900-01-01T00:00:00Z")  # fmt: skip
    await _post(http, "/relations", from_entity="Ada Lovelace", to_entity="Engine",
                relation_type="wrote for", bidirectional=True)  # fmt: skip
    asked = {"query": "the first program", "include_relations": "true"}
    found = (await http.get(f"{ROOT}/search", params=asked)).json()
    assert found["semantic"] is True
    assert [one["entity_name"] for one in found["results"]] == ["Ada Lovelace"]
    first = found["results"][0]
    assert 0 < first["similarity_score"] <= 1
    assert 0 < first["score"] <= 1
    assert [one["relation_type"] for one in first["relations"]] == ["wrote for"] * 2
    for query, count in (
        ({"temporal_filter": "all"}, 2),
        ({"temporal_filter": "date_range", "end_date": "1899-01-01T00:00:00Z"}, 2),
        ({"temporal_filter": "date_range", "start_date": "1901-01-01T00:00:00Z"}, 1),
        ({"temporal_filter": "all", "entity_types": "machine"}, 1),
        ({"temporal_filter": "all", "limit": "1"}, 1),
        ({"weights": "words:1,vector:0"}, 1),
        ({"min_similarity": "1"}, 0),
    ):
        answer = await http.get(f"{ROOT}/search", params={"query": "built program", **query})
        assert len(answer.json()["results"]) == count, query
    assert remembered.asked[-2].weights == Weights(vector=0.0, words=1.0)
    for wrong in (
        {"query": ""}, {"query": " "}, {"limit": "0"}, {"limit": "101"}, {"min_similarity": "nan"},
        {"weights": "luck:1"}, {"weights": "words:2"},
        {"start_date": "2026-01-01T00:00:00Z", "temporal_filter": "all"},
        {"temporal_filter": "never"}, {"include_relations": "yes"}, {"querry": "x"},
    ):  # fmt: skip
        answer = await http.get(f"{ROOT}/search", params={"query": "x", **wrong})
        assert answer.status_code == 422, wrong


async def test_graph_and_path(http, remembered) -> None:
    """Nodes by distance, edges, a way; 404 for what is not known."""
    for name in ("Ada", "Engine", "Charles", "Byron"):
        await _post(http, "/entities", entity_name=name, entity_type="thing", observations=["x"])
    for ends in (("Ada", "Engine"), ("Charles", "Engine"), ("Byron", "Ada")):
        await _post(http, "/relations", from_entity=ends[0], to_entity=ends[1],
                    relation_type="r", strength=0.9)  # fmt: skip
    found = (await http.get(f"{ROOT}/graph/Ada?max_depth=1&include_observations=false")).json()
    nodes = found["graph"]["nodes"]
    assert {one["entity_name"]: one["depth"] for one in nodes} == {
        "Ada": 0,
        "Engine": 1,
        "Byron": 1,
    }
    assert all(one["observations"] == [] for one in nodes)
    assert found["traversal_stats"]["depth_reached"] == 1
    out = (await http.get(f"{ROOT}/graph/Ada?direction=out&min_strength=0.95")).json()
    assert len(out["graph"]["nodes"]) == 1
    way = (await http.get(f"{ROOT}/path?from_entity=Byron&to_entity=Charles")).json()
    assert (way["found"], way["length"]) == (True, 3)
    names = [one["entity_name"] for one in way["graph"]["nodes"]]
    assert names == ["Byron", "Ada", "Engine", "Charles"]
    none = (await http.get(f"{ROOT}/path?from_entity=Byron&to_entity=Charles&max_depth=2")).json()
    assert (none["found"], none["length"]) == (False, 0)
    for path in ("graph/Nobody", "path?from_entity=Ada&to_entity=Nobody"):
        assert (await http.get(f"{ROOT}/{path}")).json()["code"] == "ENTITY_NOT_FOUND"
    unknown = await http.post(
        f"{ROOT}/relations",
        json={"from_entity": "Ada", "to_entity": "Nobody", "relation_type": "r"},
    )
    assert unknown.status_code == 404
    named = {"from_entity": "Ada", "to_entity": "Engine", "relation_type": "r"}
    gone = await http.request("DELETE", f"{ROOT}/relations", json=named)
    assert gone.json()["relations"] == 1
    again = await http.request("DELETE", f"{ROOT}/relations", json=named)
    assert again.json()["code"] == "RELATION_NOT_FOUND"


# --- upkeep ----------------------------------------------------------------------------------


async def test_health_and_stats(http, entry, remembered) -> None:
    """Healthy; degraded without a model; 503 when the memory does not answer."""
    await _post(http, "/entities", **ADA)
    stats = (await http.get(f"{ROOT}/stats")).json()
    assert (stats["backend"], stats["stats"]["entities"], stats["unembedded"]) == ("model", 1, 0)
    healthy = (await http.get(f"{ROOT}/health?verify=true")).json()
    assert healthy["status"] == "healthy"
    assert [one["name"] for one in healthy["checks"]] == ["store", "model", "index", "contents"]
    assert (await _post(http, "/maintenance", task="verify"))["faults"] == []
    await remembered.close()
    remembered.embedder = None
    degraded = await http.get(f"{ROOT}/health")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    entry.failure = MemoryUnavailable(backend="model", reason="it is away")
    unhealthy = await http.get(f"{ROOT}/health")
    assert (unhealthy.status_code, unhealthy.json()["status"]) == (503, "unhealthy")
    assert "it is away" in unhealthy.json()["checks"][0]["detail"]


async def test_settings_are_shown_and_changed(http, memory: AsyncMemoryClient) -> None:
    """What is not named stays; a bad one is named with its range, and changes nothing."""
    shown = (await http.get(f"{ROOT}/config")).json()
    assert shown["settings"]["vector_weight"] == 0.7
    assert shown["allowed"]["vector_weight"]
    assert shown["changed"] == []
    assert shown["fixed"]["backend"] == "embedded"
    put = await http.put(f"{ROOT}/config", json={"vector_weight": 0.5, "half_life_days": 7})
    assert put.status_code == 200
    assert put.json()["changed"] == ["half_life_days", "vector_weight"]
    for body, field in (
        ({"vector_weight": 2}, "vector_weight"),
        ({"vector_weight": "0.1"}, "vector_weight"),
        ({"words_weight": 0.1, "backend": "qdrant"}, "backend"),
        ({"none_such": 1}, "none_such"),
        ({}, "body"),
        ([], "body"),
    ):
        refused = await http.put(f"{ROOT}/config", json=body)
        assert refused.status_code == 422, body
        assert f"`{field}`" in refused.json()["detail"], body
    again = await memory.configure(half_life_days=None)
    assert again.changed == ("vector_weight",)
    assert (await memory.config()) == again
    assert (await http.delete(f"{ROOT}/config?confirm=true")).status_code == 405


# --- moving ----------------------------------------------------------------------------------


async def _fill(http: httpx2.AsyncClient) -> None:
    for scope in ("workspace", "global", "agent:Greeter"):
        for name in ("Ada", "Engine"):
            await _post(http, "/entities", entity_name=name, entity_type="thing",
                        observations=[f"{name} of {scope}", "x"], memory_scope=scope,
                        metadata={"n": [1, None]}, valid_from="1815-12-10T00:00:00Z")  # fmt: skip
        await _post(http, "/relations", from_entity="Ada", to_entity="Engine",
                    relation_type="wrote for", memory_scope=scope, strength=0.7)  # fmt: skip


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("vectors", ["true", "false"])
async def test_an_export_is_imported_without_a_loss(http, remembered, form, vectors) -> None:
    """Into an empty memory of the same model: the same entities, relations and vectors."""
    await _fill(http)
    before = remembered.kept.copy()
    query = {"format": form, "include_embeddings": vectors}
    exported = await http.get(f"{ROOT}/export", params=query)
    assert f"memory.{form}" in exported.headers["content-disposition"]
    head = (
        exported.json()["export_metadata"]
        if form == "json"
        else json.loads(exported.text.splitlines()[0])
    )
    assert (head["version"], head["entity_count"], head["relation_count"]) == ("1.0", 6, 3)
    assert head["source_backend"] == "model"
    remembered.kept.entities.clear()
    remembered.kept.relations.clear()
    remembered.kept.vectors.clear()
    embedded = len(remembered.embedder.texts)
    kind = "application/json" if form == "json" else "application/x-ndjson"
    report = await http.post(
        f"{ROOT}/import", content=exported.content, headers={"Content-Type": kind}
    )
    assert report.status_code == 200, report.text
    assert (report.json()["entities_created"], report.json()["relations_created"]) == (6, 3)
    assert remembered.kept.entities == before.entities
    assert remembered.kept.relations == before.relations
    assert remembered.kept.vectors.keys() == before.vectors.keys()
    assert (len(remembered.embedder.texts) == embedded) == (vectors == "true")


async def test_an_export_of_a_part(http, remembered) -> None:
    """Of one scope, or of what an agent may read; counts are those of the part."""
    await _fill(http)
    for query, count in (
        ({"memory_scope": "global"}, 2), ({"agent_id": "Greeter"}, 4),
        ({"agent_id": "Greeter", "memory_scope": "agent"}, 2),
    ):  # fmt: skip
        exported = (await http.get(f"{ROOT}/export", params=query)).json()
        assert len(exported["entities"]) == count
        assert exported["export_metadata"]["entity_count"] == count
    refused = await http.get(f"{ROOT}/export?agent_id=Analyst&memory_scope=workspace")
    assert refused.status_code == 403
    assert (await http.head(f"{ROOT}/export")).content == b""


async def test_an_export_that_breaks_is_no_whole_file(http, entry, remembered) -> None:
    """What fails before the first byte is a problem; later, the connection is cut."""
    await _fill(http)
    entry.failure = MemoryUnavailable(backend="model", reason="away")
    assert (await http.get(f"{ROOT}/export")).status_code == 503
    entry.failure = None
    seen = 0
    ask = remembered.memory._ask

    async def breaking(request: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise MemoryUnavailable(backend="model", reason="away")
        return await ask(request)

    entry.memory._ask = breaking
    broken = await http.get(f"{ROOT}/export?format=jsonl")
    assert '"end"' not in broken.text


async def test_strategies_of_an_import(http, remembered) -> None:
    """Update, skip, and an error that names the line."""
    await _post(http, "/entities", **ADA)
    line = {"entity_name": "Ada Lovelace", "entity_type": "person", "observations": ["new"]}
    other = {"entity_name": "Engine", "entity_type": "machine"}
    text = f"{json.dumps(other)}\n{json.dumps(line)}\n"

    async def take(strategy: str) -> Any:
        path = f"{ROOT}/import?merge_strategy={strategy}"
        return await http.post(path, content=text, headers={"Content-Type": "application/x-ndjson"})

    failed = await take("error_on_conflict")
    assert failed.status_code == 409
    assert "(line 2)" in failed.json()["detail"]
    skipped = (await take("skip_existing")).json()
    assert (skipped["entities_created"], skipped["entities_skipped"]) == (1, 1)
    updated = (await take("update_existing")).json()
    assert updated["entities_updated"] == 1
    entity = remembered.kept.entities[Entity(WORKSPACE, "Ada Lovelace", "person").key]
    assert {one.text for one in entity.observations} == {"wrote the first program", "new"}
    assert (await take("hope")).status_code == 422


async def test_an_import_into_one_scope(http, remembered) -> None:
    """From the query or beside the data; what stands behind the data is refused."""
    data = {"entities": [{"entity_name": "a", "entity_type": "b"}]}
    body = {"agent_id": "Greeter", "memory_scope": "agent", "merge_strategy": None, "data": data}
    assert (await _post(http, "/import", **body))["entities_created"] == 1
    assert (await _post(http, "/import?memory_scope=global", **data))["entities_created"] == 1
    assert {key.scope.key for key in remembered.kept.entities} == {"agent:greeter", "global"}
    for wrong in ({"memory_scope": "moon"}, {"merge_strategy": "hope"}, {"agent_id": "Nobody"}):
        answer = await http.post(f"{ROOT}/import", json={**wrong, "data": data})
        assert answer.status_code in (404, 422), wrong
    late = await http.post(f"{ROOT}/import", json={"data": data, "memory_scope": "global"})
    assert "before what is imported" in late.json()["detail"]


async def test_the_file_of_an_mcp_memory_server_is_imported(http, remembered) -> None:
    """Lines in any order; a relation whose end was never made is passed over and told."""
    lines = [
        {"type": "relation", "from": "Ada", "to": "Engine", "relationType": "programs"},
        {"type": "relation", "from": "Ada", "to": "Nobody", "relationType": "knows"},
        {"type": "entity", "name": "Ada", "entityType": "person", "observations": ["wrote"]},
        {"type": "entity", "name": "Engine", "entityType": "machine", "observations": []},
    ]
    text = "\n".join(json.dumps(one) for one in lines)
    report = (await http.post(f"{ROOT}/import", content=text)).json()
    assert (report["entities_created"], report["relations_created"]) == (2, 1)
    assert report["relations_skipped"] == 1
    assert "line 2" in report["notes"][0]
    assert "Nobody" in report["notes"][0]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "text/csv"}, b"{}", 415),
        ({"Content-Encoding": "gzip"}, b"{}", 415),
        ({}, b"", 422),
        ({}, b'{"entity_name":"a"', 422),
        ({}, DANGLING, 422),
    ],
)
async def test_imports_that_do_not_read(http, remembered, headers, content, status) -> None:
    """One problem with the place."""
    response = await http.post(f"{ROOT}/import", content=content, headers=headers)
    assert response.status_code == status
    if status == 422:
        assert response.json()["code"] == "IMPORT_INVALID"
        assert response.json()["fields"]["place"]


async def test_an_import_that_stops_arriving_is_given_up(remembered, entry) -> None:
    """After the time that a body may be silent; what was taken up stays."""
    app = make_app(entry)
    app.state.edge.limits = type(app.state.edge.limits)(body_s=0.05)
    messages: list[Any] = []
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": f"{ROOT}/import", "query_string": b"",
             "headers": [(b"host", b"localhost")], "scheme": "http", "root_path": ""}  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 20)
    assert messages[0]["status"] == 408
    assert (app.state.edge.streams, app.state.edge.buffered) == (0, 0)


# --- the client ------------------------------------------------------------------------------


async def test_the_client_gives_what_the_node_gives(memory, remembered) -> None:
    """Every method of ``node.memory`` over REST: the same answers, field by field."""
    node = remembered.memory
    more = {"metadata": {"born": 1815}, "valid_from_ms": -5, "importance": 0.7}
    stored = await memory.store("Ada", "person", ["wrote"], memory_scope="workspace", **more)
    assert stored.created
    assert stored.entity == (await node.open("Ada")).entities[0]
    drafts = [EntityDraft("Engine", "machine", ("was never built",)), EntityDraft("Bob", "person")]
    many = await memory.store_many(drafts)
    assert [one.entity.entity_name for one in many.entities] == ["Engine", "Bob"]
    with pytest.raises(EntityConflict):
        await memory.store_many([EntityDraft("new", "x"), EntityDraft("Bob", "machine")])
    assert (await node.open("new")).entities == ()
    added = await memory.add("Ada", ["knew Babbage"], source="m1")
    assert added.entity.observations[-1].source == "m1"
    related = await memory.relate("Ada", "wrote for", "Engine", strength=0.9, bidirectional=True)
    assert related.created == 2
    assert (await memory.open("Ada", "Nobody")) == (await node.open("Ada", "Nobody"))
    for search in ({}, {"include_relations": True, "weights": Weights(words=1.0)}):
        found, there = await memory.search("wrote", **search), await node.search("wrote", **search)
        assert found.results == there.results
    for walk in ({}, {"include_observations": False, "max_depth": 0, "direction": "in"}):
        found, there = await memory.graph("Ada", **walk), await node.graph("Ada", **walk)
        assert (found.nodes, found.edges, found.depths) == (there.nodes, there.edges, there.depths)
    way, there = await memory.path("Ada", "Engine"), await node.path("Ada", "Engine")
    assert (way.nodes, way.edges) == (there.nodes, there.edges)
    assert (await memory.list()).entities == (await node.list()).entities
    assert (await memory.merge("Ada", "Bob")).entity.entity_name == "Ada"
    assert (await memory.delete_observations("Ada", ["wrote", "x"])).observations == 1
    gone = await memory.delete_relations([RelationName("Ada", "Engine", "wrote for"),
                                          RelationName("Ada", "Engine", "x")])  # fmt: skip
    assert gone.relations == 1
    exported = [page async for page in memory.export(include_embeddings=True)]
    there = [page async for page in node.export(include_embeddings=True)]
    items = {one.entity.key: one for page in exported for one in page.entities}
    assert items == {one.entity.key: one for page in there for one in page.entities}
    assert (await memory.delete("Engine", "Nobody")).entities == 1
    assert (await memory.stats()).stats == (await node.stats()).stats
    assert (await memory.verify()).faults == ()
    assert (await memory.optimize()).done == (await node.optimize()).done
    assert (await memory.ask(Maintain(task="embed"))).done
    assert (await memory.clear("workspace")).entities == 1


async def test_errors_reach_the_client_as_they_were_raised(memory, remembered) -> None:
    """Their classes and fields; the item of a page of an import by its number."""
    await memory.store("Ada", "person")
    with pytest.raises(EntityNotFound, match="Nobody"):
        await memory.add("Nobody", ["x"])
    with pytest.raises(AgentNotFound):
        await memory.of("Nobody").search("x")
    with pytest.raises(NotAuthorized):
        await memory.of("Analyst").store("x", "y", memory_scope="global")
    page = Import(
        entities=(ImportEntity(Entity(GLOBAL, "Bob", "person", created_ms=1, updated_ms=1)),),
        relations=(Relation(GLOBAL, "Bob", "Nobody", "knows", created_ms=1, updated_ms=1),),
    )
    with pytest.raises(ImportInvalid) as caught:
        await memory.import_page(page)
    assert caught.value.fields["place"] == "relations[0]"
    # Over REST the entities of a page are taken up before its relations.
    report = await memory.import_page(Import(entities=page.entities))
    assert report.entities_skipped == 1


def test_the_blocking_client_has_the_same_methods() -> None:
    """One for each of ``Memory`` that waits for an answer, without waiting in between."""
    calls: list[Any] = []

    def run(steps: Any) -> Any:
        calls.append(next(steps))
        return "answered"

    memory = MemoryClient(AsyncClient("http://x")._calls, run, lambda call: iter([b"x"]))
    assert memory.of("Greeter").stats() == "answered"
    assert memory.search("x", 3) == "answered"
    assert calls[1].query["limit"] == "3"
    assert list(memory.export_file("jsonl")) == [b"x"]
    names = {name for name in vars(AsyncMemoryClient.__base__) if not name.startswith("_")}
    assert names - {"export"} <= set(dir(memory))
