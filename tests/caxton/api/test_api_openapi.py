"""The OpenAPI document says what the app does, and the app does what it says."""

from __future__ import annotations

import os
import re
from typing import Any

import httpx2
import jsonschema
import pytest
import schemathesis
from fake_entry import FakeEntry
from hypothesis import settings
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.checks import positive_data_acceptance

from caxton.api.app import make_app
from caxton.api.openapi import COMMON, document
from caxton.api.routes import ROUTES, Route
from caxton.api.schemas import components
from caxton.errors import (
    AgentFailed,
    NodeNotReady,
    ProtocolViolation,
    QueueFull,
    StorageFull,
    Timeout,
)
from caxton.message import FIELDS, from_json, make_message, to_json
from caxton.types import format_id, new_id

BODIES: dict[str, Any] = {
    "Message": {"receiver": "Greeter", "content": "hi"},
    "CapabilityChange": {"strategy": "priority"},
    "Client": {"name": "web", "metadata": {"team": "shop"}},
    "EntityBody": {"entity_name": "Ada", "entity_type": "person", "observations": ["wrote"]},
    "EntityBatchBody": {"entities": [{"entity_name": "Ada", "entity_type": "person"}]},
    "ObservationsBody": {"observations": ["wrote"]},
    "DeleteObservationsBody": {"entity_name": "Ada", "observations": ["wrote"]},
    "RelationBody": {"from_entity": "Ada", "to_entity": "Ada", "relation_type": "is"},
    "DeleteRelationBody": {"from_entity": "Ada", "to_entity": "Ada", "relation_type": "is"},
    "MergeBody": {"into": "Ada", "other": "Lady Lovelace"},
    "MaintenanceBody": {"task": "verify"},
    "MemoryConfigBody": {"vector_weight": 0.5, "half_life_days": None},
    "MemoryImport": {"export_metadata": {"version": "1.0"}, "entities": []},
    "MessageBatch": {"messages": [{"capability": "x"}, {}]},
}
QUERIES: dict[str, str] = {
    "DELETE /api/v1/memory/entities": "memory_scope=workspace&confirm=true",
    "DELETE /api/v1/memory/{agent_id}": "confirm=true",
    "GET /api/v1/memory/search": "query=who",
    "GET /api/v1/memory/path": "from_entity=Ada&to_entity=Charles",
}


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document()["components"]})


def _check(route: Route, response: httpx2.Response) -> None:
    """A response is one of the documented ones, in status, media type, headers and body."""
    operation = document()["paths"][route.path][route.method.lower()]
    described = operation["responses"][str(response.status_code)]
    media = response.headers["content-type"].partition(";")[0]
    schema = described["content"][media]["schema"]
    for name in described["headers"]:
        if name != "Retry-After":
            assert name in response.headers
    if media.endswith("json"):
        _validator(schema).validate(response.json())


def _request(route: Route) -> dict[str, Any]:
    path = route.path.replace("{agent}", "Greeter").replace("{conversation}", format_id(new_id()))
    path = path.replace("{capability}", "greeter").replace("{client}", "web")
    path = path.replace("{name}", "Ada").replace("{entity_name}", "Ada")
    query = QUERIES.get(f"{route.method} {route.path}", "")
    return {
        "method": route.method,
        "url": f"{path.replace('{agent_id}', 'Greeter')}?{query}",
        "json": BODIES.get(route.body),
    }


def test_document_is_valid_as_far_as_its_schemas_go() -> None:
    """Every schema is one of JSON Schema 2020-12, and every reference leads somewhere."""
    found = components()
    for schema in found.values():
        Draft202012Validator.check_schema(schema)
    names = re.findall(r"#/components/schemas/(\w+)", str(document()))
    assert set(names) <= set(found)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_is_reachable_and_answers_as_documented(http, route) -> None:
    """Each route is there, and its good answer and its problems are documented."""
    good = await http.request(**_request(route))
    assert good.status_code in {one.status for one in route.good} | {404}
    _check(route, good)
    for change in ({"params": {"unknown": "1"}}, {"headers": {"Host": "evil.example"}}):
        _check(route, await http.request(**_request(route), **change))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_documents_its_failures(http, entry, route) -> None:
    """What fails behind a route comes out as documented."""
    for failure in (NodeNotReady(part="shard 0"), RuntimeError("fault")):
        if route.path.endswith("/events"):
            continue
        entry.failure = failure
        _check(route, await http.request(**_request(route)))


@pytest.mark.parametrize(
    "error",
    [
        QueueFull(queue="journal", depth=1, limit=1),
        StorageFull(store="journal", reason="disk"),
        ProtocolViolation(performative="agree", conversation="x", rule="y"),
        AgentFailed(agent="x", attempts=3, reason="y"),
        Timeout(what="reply", timeout_ms=1_000),
        NodeNotReady(part="shard 0"),
    ],
)
async def test_refusals_of_messages_are_documented(http, entry, error) -> None:
    """Each way in which the node refuses a message has its documented status."""
    (route,) = [one for one in ROUTES if one.path == "/api/v1/messages"]
    entry.refusals.append(error)
    _check(route, await http.request(**_request(route)))
    entry.refusals.append(error)
    _check(route, await http.request(**_request(route), params={"wait": "1s"}))


async def test_reply_is_documented(http) -> None:
    """The answer to ``wait`` fits its schema."""
    (route,) = [one for one in ROUTES if one.path == "/api/v1/messages"]
    response = await http.request(**_request(route), params={"wait": "1s"})
    assert response.status_code == 200
    _check(route, response)


def test_problems_of_every_route_are_there() -> None:
    """Each operation lists what any request can meet."""
    for path in document()["paths"].values():
        for operation in path.values():
            assert {str(status) for status in COMMON} <= set(operation["responses"])


def test_message_schema_names_every_field() -> None:
    """The schema written by hand and the reader have the same fields."""
    assert set(components()["Message"]["properties"]) == FIELDS


def test_what_is_written_fits_the_schema() -> None:
    """The JSON form of a message fits its schema and reads back as the same message."""
    message = make_message(
        "cfp",
        sender=new_id(),
        capability="x",
        content=b"\xff",
        reply_with=new_id(),
        in_reply_to=new_id(),
        reply_by=1_800_000_000_000,
        language="l",
        ontology="o",
        protocol="p",
    )
    body = to_json(message)
    _validator(components()["Message"]).validate(body)
    assert from_json(body) == message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"receiver": "a", "capability": "b"},
        {"capability": "b", "content": "x", "content_base64": "eA=="},
        {"capability": "b", "unknown": 1},
        {"capability": "b", "content_base64": "x"},
        {"capability": "b", "trace_context": {}},
        {"capability": "b", "delivery_options": {"priority": 2}},
        {"capability": "b", "performative": None},
    ],
)
def test_what_is_refused_does_not_fit_the_schema(body) -> None:
    """The schema refuses what the reader refuses."""
    with pytest.raises(jsonschema.ValidationError):
        _validator(components()["Message"]).validate(body)


# --- schemathesis: generated requests for every operation ------------------------------------


class _QuietEntry(FakeEntry):
    """Forgets what it took, so that thousands of requests leave nothing behind."""

    async def submit(self, messages: Any) -> Any:
        self.taken.clear()
        self.replies.clear()
        return await super().submit(messages)


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", make_app(_QuietEntry(), loopback=False))


UNTOLD = {
    "page_token", "memory_scope", "export_metadata", "valid_to", "entities", "start_date",
    "end_date", "into", "vector_weight", "words_weight",
}  # fmt: skip


EXAMPLES = int(os.environ.get("API_EXAMPLES", "12"))
"""Generated requests of an operation, besides those at the limits of its schema."""


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
def test_generated_requests(case: schemathesis.Case) -> None:
    """Fitting and unfitting requests get documented answers, and never a fault."""
    # A token's pattern does not tell which tokens this node gave, nor do the schemas of the memory
    # that `agent` needs an agent_id, which relations may be imported, what ends before its begin,
    # that one of two weights is above 0, whichever was set before.
    given = {*case.query, *(case.body if isinstance(case.body, dict) else {"entities"})}
    excluded = [positive_data_acceptance] if UNTOLD & given else []
    case.call_and_validate(excluded_checks=excluded)
