"""Running tools of every kind, with what their policy and their caller both name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tool_texts import ECHO, answering, looping, put_tool, stating

from caxton import Config
from caxton.agents.behaviour import ToolResult
from caxton.agents.state import open_state
from caxton.tools.catalog import ToolSpec
from caxton.tools.runner import SandboxToolRunner
from caxton.tools.tool_files import files_of
from sandbox.testing import command


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[SandboxToolRunner]:
    config = Config(
        agents=tmp_path, data=tmp_path / "data", workspace=tmp_path, tools_workers=1, shards=0
    )
    (tmp_path / "data").mkdir()
    state = open_state(config)
    found = SandboxToolRunner(config, state)
    yield found
    await found.close()
    await state.close()


async def called(
    runner: SandboxToolRunner, place: Path, permissions: dict[str, object] | None = None
) -> tuple[ToolSpec, ToolResult]:
    (tool,) = await runner.load(files_of(place))
    result = await runner.call(
        tool.spec, {"a": "ü"}, permissions=permissions or {}, timeout_ms=5_000, owner="a"
    )
    return tool.spec, result


async def test_a_module_of_the_agent_abi_is_a_tool(
    runner: SandboxToolRunner, tmp_path: Path
) -> None:
    """Each call in memory of its own; its error object is a failure."""
    spec, result = await called(runner, put_tool(tmp_path, "echo", ECHO))
    assert spec.kind == "core-agent"
    assert (result.ok, json.loads(result.content)) == (True, {"echo": {"a": "ü"}})
    failing = answering('{"error":{"code":"no","message":"never"}}')
    _, result = await called(runner, put_tool(tmp_path, "failing", failing))
    assert (result.ok, result.reason) == (False, "exit")
    assert "never" in result.content
    _, result = await called(runner, put_tool(tmp_path, "looping", looping()))
    assert (result.ok, result.reason) == (False, "out_of_fuel")


async def test_permissions_that_a_kind_has_no_use_for_do_no_harm(
    runner: SandboxToolRunner, tmp_path: Path
) -> None:
    """A tool without WASI sees no folder, and runs."""
    (tmp_path / "data").mkdir(exist_ok=True)
    permissions: dict[str, object] = {"files": {"data": "ro"}, "env": ["HOME"]}
    _, result = await called(runner, put_tool(tmp_path, "echo", ECHO), permissions)
    assert result.ok


async def test_a_policy_bounds_the_work(runner: SandboxToolRunner, tmp_path: Path) -> None:
    """Its limits hold; a folder that it asks for and is not there refuses the call."""
    policy = 'version: "1.0"\nresources: {fuel: 1}\n'
    _, result = await called(runner, put_tool(tmp_path, "echo", ECHO, policy=policy))
    assert (result.ok, result.reason) == (False, "out_of_fuel")
    policy = 'version: "1.0"\npermissions: {storage: {allow: [{uri: "fs://n", access: [read]}]}}\n'
    _, result = await called(runner, put_tool(tmp_path, "other", ECHO, policy=policy))
    assert (result.ok, result.reason) == (False, "refused")
    assert "fs://n is not there" in result.content


FOLDERS = command(
    """(i32.store8 (i32.const 100) (i32.add (i32.const 48)
      (i32.eqz (call $stat (i32.const 3) (i32.const 200)))))
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))""",
    imports="""(import "wasi_snapshot_preview1" "fd_write"
      (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get"
      (func $stat (param i32 i32) (result i32)))""",
)
"""Prints 1 when there is a folder, else 0."""


@pytest.mark.parametrize(
    ("asks", "granted", "there"),
    [
        (None, "given", "1"),
        (None, None, "0"),
        ("given", "given", "1"),
        ("given", None, "0"),
        ("asked", "given", "0"),
        ("", "given", "0"),
    ],
)
async def test_a_tool_gets_what_its_policy_and_its_caller_both_name(
    asks: str | None, granted: str | None, there: str, runner: SandboxToolRunner, tmp_path: Path
) -> None:
    """Without a policy, what its caller grants."""
    for name in ("given", "asked"):
        (tmp_path / name).mkdir()
    policy = ""
    if asks is not None:
        allow = f'[{{uri: "fs://{asks}", access: [read]}}]' if asks else "[]"
        policy = f'version: "1.0"\npermissions: {{storage: {{allow: {allow}}}}}\n'
    place = put_tool(tmp_path, "folders", FOLDERS, policy=policy)
    permissions: dict[str, object] = {"files": {granted: "ro"}} if granted else {}
    _, result = await called(runner, place, permissions)
    assert (result.ok, result.content) == (True, there)


async def test_a_command_says_that_it_failed(runner: SandboxToolRunner, tmp_path: Path) -> None:
    """By its exit code."""
    _, result = await called(runner, put_tool(tmp_path, "no", stating("it is so", 3)))
    assert (result.ok, result.content, result.reason) == (False, "it is so", "exit")


async def test_a_module_that_was_forgotten_is_read_again(
    runner: SandboxToolRunner, tmp_path: Path
) -> None:
    """From its file."""
    spec, _ = await called(runner, put_tool(tmp_path, "echo", ECHO))
    runner.forget(spec.sha256)
    result = await runner.call(spec, {"b": 1}, permissions={}, timeout_ms=5_000)
    assert json.loads(result.content) == {"echo": {"b": 1}}
