"""The shipped database tool: what it asks of the host, and what it answers about real SQLite.

The last test goes through a worker and the database service.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shipped_tool import ShippedTool, check_description, module_of

from sandbox import DatabaseGrant, Grants, Questions, Sandbox
from sandbox.services.answerer import HostServices
from sandbox.services.database import DatabaseService
from sandbox.services.request import Refusal, Service, ServiceError
from sandbox.wasmtime_engine import WasmtimeEngine

IN_PLACE = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SCHEMA = """
create table city (id integer primary key, name text not null, "odd ""name" real default 1.5);
create table visit (city integer, day text default (date('now')), photo blob);
create view busy as select name from city;
create index visits on visit (city);
insert into city (name) values ('Oslo'), ('Žilina'), ('東京');
insert into visit values (1, '2024-01-01', x'00ff10');
"""


class Databases:
    """The host: keeps requests and runs them on one SQLite file, or gives a fixed answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[dict[str, Any]] = []
        self.answers: list[bytes | ServiceError] = []

    def __call__(self, service: Service, key: bytes, body: bytes) -> bytes | None:
        assert (service, key) == (Service.QUERY, b"")
        self.requests.append(json.loads(body))
        if not self.answers:
            return self._run(self.requests[-1])
        answer = self.answers.pop(0)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    def _run(self, request: dict[str, Any]) -> bytes:
        with closing(sqlite3.connect(self.path)) as connection:
            try:
                cursor = connection.execute(request["sql"], request.get("parameters", []))
            except sqlite3.Error as error:
                raise ServiceError(Refusal.FAILED, str(error)) from None
            rows = cursor.fetchmany(request["limit"] + 1)
            connection.commit()
            told = {
                "columns": [item[0] for item in cursor.description or ()],
                "rows": [list(map(told_value, row)) for row in rows[: request["limit"]]],
                "changed": max(cursor.rowcount, 0),
                "truncated": len(rows) > request["limit"],
            }
        return json.dumps(told, ensure_ascii=False).encode()


def told_value(value: object) -> object:
    """A value as the host tells it."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[WasmtimeEngine, Path]:
    """The tool, compiled once."""
    return ShippedTool.compiled("database", tmp_path_factory.mktemp("tool"))


@pytest.fixture
def host(tmp_path: Path) -> Databases:
    """A database of two tables and a view."""
    path = tmp_path / "places.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
    return Databases(path)


@pytest.fixture
def tool(compiled: tuple[WasmtimeEngine, Path], host: Databases, tmp_path: Path) -> ShippedTool:
    """The tool with that host."""
    tool = ShippedTool(*compiled, tmp_path)
    tool.host = host
    return tool


def test_a_query_is_asked_as_it_is(tool: ShippedTool, host: Databases) -> None:
    """The request has just what the host's interface names; the rows come with their names."""
    got = tool.ask(
        database="places", sql="select id, name from city where id > ?", parameters=[1], limit=5
    )
    assert host.requests == [
        {
            "database": "places",
            "sql": "select id, name from city where id > ?",
            "parameters": [1],
            "limit": 5,
        }
    ]
    assert got == {
        "columns": ["id", "name"],
        "rows": [[2, "Žilina"], [3, "東京"]],
        "row_count": 2,
        "changed": 0,
        "truncated": False,
    }


def test_parameters_by_name_and_none_at_all(tool: ShippedTool, host: Databases) -> None:
    """An object is for names; without parameters none are sent."""
    sql = "select :text as a, :none as b"
    got = tool.ask(database="p", sql=sql, parameters={"text": "x'\"", "none": None})
    assert got["rows"] == [["x'\"", None]]
    tool.ask(database="p", sql="select 1", operation="query", parameters=None)
    assert host.requests[-1] == {"database": "p", "sql": "select 1", "limit": 100}


def test_what_is_too_much_is_said(tool: ShippedTool) -> None:
    """The limit goes to the host, and so does the answer's truncated come back."""
    got = tool.ask(database="p", sql="select id from city", limit=2)
    assert (got["rows"], got["row_count"], got["truncated"]) == ([[1], [2]], 2, True)


def test_values_keep_their_digits_and_bytes(tool: ShippedTool, host: Databases) -> None:
    """Integers of 64 bits, real numbers, and blobs as base64."""
    got = tool.ask(database="p", sql="select 9223372036854775807, 0.1, photo, '' from visit")
    assert got["rows"] == [[2**63 - 1, 0.1, {"base64": "AP8Q"}, ""]]
    given_parameters = [{"base64": "AP8Q"}, 2**63 - 1, 1e-7]
    host.answers = [b'{"columns":["a"],"rows":[],"changed":0,"truncated":false}']
    tool.ask(database="p", sql="select ?, ?, ?", parameters=given_parameters)
    assert host.requests[-1]["parameters"] == given_parameters


def test_changes_are_counted(tool: ShippedTool) -> None:
    """A statement without rows has none, and says how many it changed."""
    got = tool.ask(database="p", sql="update city set name = upper(name) where id < 3")
    assert (got["columns"], got["rows"], got["row_count"], got["changed"]) == ([], [], 0, 2)


def test_tables_and_views_are_listed(tool: ShippedTool) -> None:
    """In the order of their names, without SQLite's own."""
    assert tool.ask(database="p", operation="tables") == {
        "database": "p",
        "tables": [
            {"name": "busy", "type": "view"},
            {"name": "city", "type": "table"},
            {"name": "visit", "type": "table"},
        ],
        "truncated": False,
    }


def test_a_table_is_described(tool: ShippedTool, host: Databases) -> None:
    """Columns with their types, and what they may hold; the name goes as a parameter."""
    got = tool.ask(database="p", operation="describe", table="city")
    assert host.requests[-1]["parameters"] == ["city"]
    assert got["columns"] == [
        {"name": "id", "type": "INTEGER", "nullable": False, "primary_key": True},
        {"name": "name", "type": "TEXT", "nullable": False, "primary_key": False},
        {"name": 'odd "name', "type": "REAL", "nullable": True, "default": "1.5",
         "primary_key": False},
    ]  # fmt: skip
    assert (
        tool.ask(database="p", operation="describe", table="busy")["columns"][0]["name"] == "name"
    )
    assert tool.error(database="p", operation="describe", table="x'; drop table city") == (
        "unknown_table",
        'there is no table "x\'; drop table city" in p; there is busy, city, visit',
    )


def test_other_databases_have_an_information_schema(tool: ShippedTool, host: Databases) -> None:
    """Which is asked when there is no sqlite_master; the first error is the one that is told."""
    missing = ServiceError(Refusal.FAILED, 'relation "sqlite_master" does not exist')
    rows = {"columns": ["name", "type"], "rows": [["users", "table"]], "truncated": True}
    host.answers = [missing, json.dumps(rows).encode()]
    got = tool.ask(database="p", operation="tables")
    assert got == {
        "database": "p",
        "tables": [{"name": "users", "type": "table"}],
        "truncated": True,
    }
    assert "information_schema.tables" in host.requests[-1]["sql"]
    columns = {"columns": [], "rows": [["id", "uuid", 0, "gen()"], ["at", "date", 1, None]]}
    host.answers = [missing, json.dumps(columns).encode()]
    got = tool.ask(database="p", operation="describe", table="users")
    assert got["columns"] == [
        {"name": "id", "type": "uuid", "nullable": False, "default": "gen()"},
        {"name": "at", "type": "date", "nullable": True},
    ]
    host.answers = [missing, ServiceError(Refusal.FAILED, "second")]
    assert tool.error(database="p", operation="tables")[1] == missing.message
    asked = len(host.requests)
    host.answers = [ServiceError(Refusal.TIMEOUT, "late")]
    assert tool.error(database="p", operation="tables") == ("timeout", "late")
    assert len(host.requests) == asked + 1


def test_a_refusal_names_the_database_to_grant(tool: ShippedTool, host: Databases) -> None:
    """With what the host said of it."""
    host.answers = [ServiceError(Refusal.NOT_GRANTED, "DELETE is not granted")]
    code, message = tool.error(database="places", sql="delete from city")
    assert code == "not_granted"
    assert message.startswith("DELETE is not granted")
    assert '"places"' in message


@pytest.mark.parametrize("refusal", [item for item in Refusal if item != "not_granted"])
def test_other_refusals_are_told_as_they_are(
    tool: ShippedTool, host: Databases, refusal: Refusal
) -> None:
    """Code and message are the host's."""
    host.answers = [ServiceError(refusal, 'near "selekt": syntax error')]
    assert tool.error(database="p", sql="selekt") == (refusal, 'near "selekt": syntax error')


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{", b"{}", b"null", b'{"columns":[]}', b'{"rows":[]}',
     b'{"columns":{},"rows":[]}', b'{"columns":[],"rows":5}'],
)  # fmt: skip
@pytest.mark.parametrize(
    "arguments",
    [{"sql": "x"}, {"operation": "tables"}, {"operation": "describe", "table": "x"}],
)
def test_an_answer_that_is_no_result_is_an_error(
    tool: ShippedTool, host: Databases, answer: bytes, arguments: dict[str, str]
) -> None:
    """Whatever a host says, the tool neither traps nor makes something up."""
    host.answers = [answer]
    assert tool.code(database="p", **arguments) == "bad_answer"


def test_rows_that_are_too_short_are_an_error(tool: ShippedTool, host: Databases) -> None:
    """Of a table list too."""
    host.answers = [b'{"columns":["name"],"rows":[["x"]]}']
    assert tool.code(database="p", operation="tables") == "bad_answer"


def test_wrong_arguments_are_named(tool: ShippedTool, host: Databases) -> None:
    """Nothing is asked of the host for them."""
    assert tool.code(sql="select 1") == "missing_argument"
    assert tool.code(database="", sql="select 1") == "missing_argument"
    assert tool.code(database="p") == "missing_argument"
    assert tool.code(database="p", operation="describe") == "missing_argument"
    assert tool.code(database="p", sql="x", table="city") == "bad_argument"
    assert tool.code(database="p", operation="tables", sql="x") == "bad_argument"
    assert tool.code(database="p", operation="tables", table="x") == "bad_argument"
    assert tool.code(database="p", operation="describe", table="x", limit=5) == "bad_argument"
    assert tool.code(database="p", operation="drop") == "bad_argument"
    assert tool.code(database="p", sql="x", limit=0) == "bad_argument"
    assert tool.code(database="p", sql="x", limit=10_001) == "bad_argument"
    assert tool.code(database="p", sql="x", parameters="1") == "bad_argument"
    assert tool.code(database="p", sql="x", params=[]) == "unknown_argument"
    assert host.requests == []


values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
)


@IN_PLACE
@given(st.lists(values, min_size=1, max_size=5))
def test_any_value_comes_back_as_it_was(tool: ShippedTool, given_values: list[object]) -> None:
    """There and back through the tool and SQLite."""
    sql = "select " + ", ".join("?" for _ in given_values)
    got = tool.ask(database="p", sql=sql, parameters=given_values)
    assert got["rows"] == [given_values]
    assert list(map(type, got["rows"][0])) == list(map(type, given_values))


def test_large_results_fit(tool: ShippedTool) -> None:
    """Ten thousand rows within the default limits."""
    sql = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) "
        "select i, 'name ' || i, i / 7.0 from n"
    )
    got = tool.ask(database="p", sql=sql, limit=10_000)
    assert (got["row_count"], got["truncated"]) == (10_000, True)
    assert got["rows"][-1][:2] == [10_000, "name 10000"]
    assert tool.fuel_used < tool.limits.fuel / 4


def test_the_description_is_the_sidecar(tool: ShippedTool) -> None:
    """--describe prints tool.json, and the module is the recorded one."""
    check_description(tool, "database")


@pytest.mark.process
async def test_a_granted_database_is_read_and_written(host: Databases, cache_dir: Path) -> None:
    """Within the grant: reading, writing where it says so, no other database."""
    services = HostServices(database=DatabaseService())
    read = DatabaseGrant("places", str(host.path))
    kinds = frozenset({"SELECT", "INSERT"})
    write = DatabaseGrant("places", str(host.path), write=True, statements=kinds)
    async with Sandbox(cache_dir, workers=1, questions=Questions(answerer=services)) as box:
        module = await box.prepare(module_of("database"))

        async def ask(*grants: DatabaseGrant, **arguments: object) -> dict[str, Any]:
            stdin = json.dumps({"database": "places", **arguments}).encode()
            got = await box.run_command(module, stdin, grants=Grants(databases=grants))
            answer: dict[str, Any] = json.loads(got.stdout)
            return answer

        got = await ask(
            read, sql="select name from city where name like :n", parameters={"n": "O%"}
        )
        assert (got["columns"], got["rows"]) == (["name"], [["Oslo"]])
        got = await ask(read, operation="tables")
        assert [item["name"] for item in got["tables"]] == ["busy", "city", "visit"]
        got = await ask(read, operation="describe", table="visit")
        assert [item["name"] for item in got["columns"]] == ["city", "day", "photo"]
        got = await ask(read, sql="select photo from visit")
        assert got["rows"] == [[{"base64": "AP8Q"}]]

        insert = "insert into city (name) values (?)"
        error = (await ask(read, sql=insert, parameters=["Brno"]))["error"]
        assert error["code"] == "not_granted"
        got = await ask(write, sql=insert, parameters=["Brno"])
        assert got["changed"] == 1
        got = await ask(read, sql="select count(*) from city where name = 'Brno'")
        assert got["rows"] == [[1]]
        assert (await ask(write, sql="drop table city"))["error"]["code"] == "not_granted"
        error = (await ask(read, database="other", sql="select 1"))["error"]
        assert error["code"] == "not_granted"
        assert '"other"' in error["message"]
        error = (await ask(read, sql="selekt 1"))["error"]
        assert error["code"] in {"failed", "bad_request", "not_granted"}
    await services.close()
