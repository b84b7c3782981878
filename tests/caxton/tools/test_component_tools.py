"""Components as tools: each function is one, described by the component or by its file."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from caxton.errors import ToolInvalid
from caxton.tools.loading import LoadedTool, load_tool
from caxton.tools.tool_files import ToolFiles
from caxton.tools.tool_run import ToolRun, default_limits, run_tool
from sandbox import Grants, Limits, Sandbox
from sandbox.module import Kind
from sandbox.testing import wat

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/tools/text_stats"

ADD = '(func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift {0}))'
HALF = """(func (export "half") (param "n" u32) (result (result u32 (error u32)))
  (canon lift (core func $i "half") (memory (core memory $i "memory"))))"""


def numbers(*lifts: str) -> bytes:
    """A component of functions on numbers."""
    return wat(f"""(component
      (core module $m
        (memory (export "memory") 1)
        (func (export "add") (param i32 i32) (result i32)
          (i32.add (local.get 0) (local.get 1)))
        (func (export "half") (param i32) (result i32)
          (i32.store8 (i32.const 64) (i32.and (local.get 0) (i32.const 1)))
          (i32.store (i32.const 68) (i32.div_u (local.get 0) (i32.const 2)))
          (i32.const 64)))
      (core instance $i (instantiate $m))
      {"".join(lifts)})""")


ONE = numbers(ADD.format('(core func $i "add")'))
TWO = numbers(ADD.format('(core func $i "add")'), HALF)


@pytest.fixture
async def box(cache_dir: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with one worker."""
    async with Sandbox(cache_dir, workers=1) as sandbox:
        yield sandbox


def written(folder: Path, module: bytes, description: dict[str, object] | None = None) -> ToolFiles:
    """A tool's folder, ``numbers``."""
    place = folder / "numbers"
    place.mkdir()
    (place / "numbers.wasm").write_bytes(module)
    if description is not None:
        (place / "tool.json").write_text(json.dumps(description))
    return ToolFiles("numbers", place / "numbers.wasm", place)


async def called(box: Sandbox, tool: LoadedTool, **arguments: object) -> ToolRun:
    """One call with the default limits."""
    limits = default_limits(tool.module.kind)
    data = json.dumps(arguments).encode()
    return await run_tool(box, tool.module, data, limits, Grants(), function=tool.function)


async def test_a_function_is_described_by_its_types(box: Sandbox, tmp_path: Path) -> None:
    """With its signature as a description and its types as a schema."""
    (tool,) = await load_tool(box, written(tmp_path, ONE))
    assert (tool.about.name, tool.function) == ("numbers_add", "add")
    assert tool.about.description == "add: func(a: u32, b: u32) -> u32 of numbers"
    assert tool.about.input_schema["required"] == ["a", "b"]
    assert tool.spec.kind == "component"
    run = await called(box, tool, a=2, b=40)
    assert (run.ok, run.text) == (True, "42")


async def test_each_of_several_functions_is_a_tool(box: Sandbox, tmp_path: Path) -> None:
    """Named after the file and the function; an err is a failure of the tool."""
    add, half = await load_tool(box, written(tmp_path, TWO))
    assert [add.about.name, half.about.name] == ["numbers_add", "numbers_half"]
    assert (await called(box, half, n=8)).text == "4"
    odd = await called(box, half, n=9)
    assert (odd.ok, odd.text) == (False, "4")


async def test_a_file_cannot_describe_typed_functions(box: Sandbox, tmp_path: Path) -> None:
    """It says what to do instead."""
    files = written(tmp_path, TWO, {"description": "x", "inputSchema": {"type": "object"}})
    with pytest.raises(ToolInvalid, match=r"tool\.json is for a tool that has no types"):
        await load_tool(box, files)


async def test_the_world_describes_itself(box: Sandbox) -> None:
    """The example in JavaScript: its own name, schema, result and error."""
    files = ToolFiles("text_stats", EXAMPLE / "text_stats.wasm", EXAMPLE)
    (tool,) = await load_tool(box, files)
    assert tool.about.name == "text_stats"
    assert tool.about.input_schema["required"] == ["text"]
    run = await called(box, tool, text="one two")
    assert run.ok
    assert json.loads(run.text)["words"] == 2
    failed = await called(box, tool, text=3)
    assert not failed.ok
    assert json.loads(failed.text)["code"] == "bad_request"


def test_a_component_has_limits_of_its_own() -> None:
    """A Python has to fit."""
    assert default_limits(Kind.COMPONENT) == Limits.for_component()
