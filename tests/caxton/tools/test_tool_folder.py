"""The tools folder of a node: loaded, followed, and never taken down by a bad tool."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tool_texts import ECHO, answering, looping, put_tool, stating

from caxton.tools.catalog import FOLDER_SOURCE, ToolCatalog
from caxton.tools.folder import ToolFolder
from caxton.tools.loading import LoadedTool, load_tool
from caxton.tools.tool_files import ToolFiles
from sandbox import Sandbox
from sandbox.testing import agent


class Followed:
    """A folder with its catalog, and what it told."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.place = folder
        self.catalog = ToolCatalog.live()
        self.events: list[tuple[str, str, str]] = []
        self.loaded: list[str] = []
        self.forgotten: list[str] = []
        self.changed = asyncio.Event()

        async def load(files: ToolFiles) -> tuple[LoadedTool, ...]:
            self.loaded.append(files.name)
            return await load_tool(sandbox, files)

        self.folder = ToolFolder(
            folder,
            load,
            self.catalog,
            lambda *event: self.events.append(event),
            self.changed.set,
            self.forgotten.append,
        )

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.catalog.specs if one.source == FOLDER_SOURCE]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(kind, name) for kind, name, _ in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def followed(tmp_path: Path, cache_dir: Path) -> AsyncIterator[Followed]:
    async with Sandbox(cache_dir, 1) as sandbox:
        found = Followed(tmp_path / "tools", sandbox)
        yield found
        await found.folder.close()


async def test_tools_of_all_kinds_are_loaded(followed: Followed) -> None:
    """Described by their file or, where they can, by themselves."""
    place = followed.place
    await followed.folder.sync()
    assert followed.names == []
    put_tool(place, "echo", ECHO, about={"description": "Echoes.", "inputSchema": {
        "type": "object", "properties": {"a": {"type": "integer"}}}})  # fmt: skip
    put_tool(place, "shout", stating(json.dumps({"name": "shout", "description": "Shouts."})))
    (place / "shout" / "tool.json").unlink()
    await followed.folder.sync()
    assert followed.names == ["echo", "shout"]
    echo, shout = followed.catalog.get("echo"), followed.catalog.get("shout")
    assert echo is not None
    assert shout is not None
    assert (echo.kind, echo.description, echo.sandboxed) == ("core-agent", "Echoes.", True)
    assert echo.input_schema["properties"] == {"a": {"type": "integer"}}
    assert (shout.kind, shout.description) == ("wasi-command", "Shouts.")
    assert followed.kinds == [("tool.loaded", "echo"), ("tool.loaded", "shout")]
    followed.loaded.clear()
    await followed.folder.sync()
    assert followed.loaded == []


async def test_a_bad_tool_is_told_and_the_others_go_on(followed: Followed) -> None:
    """With a reason that says what to do."""
    place = followed.place
    put_tool(place, "good", ECHO)
    put_tool(place, "csv_parser", ECHO)
    put_tool(place, "odd_import", agent("(i64.const 0)", imports='(import "a" "b" (func))'))
    put_tool(place, "sender", agent("(i64.const 0)",
             imports='(import "caxton" "send" (func (param i32 i32) (result i32)))'))  # fmt: skip
    put_tool(place, "asks_much", ECHO, policy="version: 1.0\npermissions: [x]\n")
    put_tool(place, "bad_schema", ECHO, about={"description": "x", "inputSchema": {"type": 7}})
    put_tool(place, "silent", stating("", 3))
    put_tool(place, "chatty", stating("I am a tool"))
    put_tool(place, "unknown__name", ECHO)
    for name in ("silent", "chatty"):
        (place / name / "tool.json").unlink()
    (place / "text.wasm").write_text("(module)")
    put_tool(place, "mute", ECHO)
    (place / "mute" / "tool.json").unlink()
    put_tool(place, "unbuilt", ECHO)
    (place / "unbuilt" / "unbuilt.wasm").unlink()
    await followed.folder.sync()
    assert followed.names == ["good"]
    said = {
        "csv_parser": "a tool of Caxton has this name",
        "odd_import": "ungranted_import: import a.b",
        "sender": "imports caxton.send, which is for agents",
        "asks_much": "policy.yaml: policy, line",
        "bad_schema": "`inputSchema` must be",
        "silent": "does not answer --describe (exit code 3)",
        "chatty": "--describe is not JSON",
        "unknown__name": "a name is a letter",
        "text": "not_a_module",
        "mute": "put a tool.json beside it",
        "unbuilt": "caxton tool build",
    }
    problems = followed.catalog.problems
    assert set(problems) == set(said)
    for name, text in said.items():
        assert text in problems[name], name
        if name != "csv_parser":
            assert followed.catalog.why_unavailable(name) == problems[name][:200]
    views = {one.name: one for one in followed.catalog.views()}
    assert views["mute"].problem == problems["mute"]
    assert views["csv_parser"].source == "builtin"
    assert {kind for kind, _ in followed.kinds} == {"tool.loaded", "tool.load_failed"}


async def test_a_new_version_takes_over_and_a_broken_one_does_not(followed: Followed) -> None:
    """The version before goes on, and the reason is told once."""
    place = followed.place
    put_tool(place, "t", answering('{"v":1}'))
    await followed.folder.sync()
    first = followed.catalog.get("t")
    put_tool(place, "t", answering('{"v":2}'))
    await followed.folder.sync()
    second = followed.catalog.get("t")
    assert first is not None
    assert second is not None
    assert first.sha256 != second.sha256
    assert followed.forgotten == [first.sha256]
    (place / "t" / "t.wasm").write_bytes(b"\0asm\1\0\0\0junk")
    await followed.folder.sync()
    await followed.folder.sync()
    assert followed.catalog.get("t") == second
    assert "compile_failed" in followed.catalog.problems["t"]
    assert followed.kinds == [
        ("tool.loaded", "t"), ("tool.reloaded", "t"), ("tool.load_failed", "t"),
    ]  # fmt: skip
    assert followed.events[-1][2].endswith("; the version before goes on")
    put_tool(place, "t", answering('{"v":3}'))
    await followed.folder.sync()
    assert followed.catalog.problems == {}
    third = followed.catalog.get("t")
    assert third is not None
    assert third.sha256 != second.sha256
    shutil.rmtree(place / "t")
    await followed.folder.sync()
    assert followed.catalog.get("t") is None
    assert followed.kinds[-1] == ("tool.removed", "t")


async def test_a_changed_policy_or_description_is_a_new_version(followed: Followed) -> None:
    """Also when the module is the same."""
    place = followed.place
    put_tool(place, "t", ECHO)
    await followed.folder.sync()
    policy = 'version: "1.0"\nresources: {fuel: 5000}\n'
    put_tool(place, "t", ECHO, about={"description": "Another."}, policy=policy)
    await followed.folder.sync()
    spec = followed.catalog.get("t")
    assert spec is not None
    assert (spec.description, spec.policy) == ("Another.", policy)
    assert followed.kinds == [("tool.loaded", "t"), ("tool.reloaded", "t")]
    assert followed.forgotten == []


async def test_the_folder_is_followed_also_when_it_comes_later(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New, changed and removed tools show without a restart."""
    monkeypatch.setattr("caxton.tools.folder.RESCAN_S", 0.05)
    followed.folder.watch()
    put_tool(followed.place, "t", answering('{"v":1}'))
    await followed.until(lambda: "t" in followed.names)
    first = followed.catalog.get("t")
    put_tool(followed.place, "t", answering('{"v":2}'))
    await followed.until(lambda: followed.catalog.get("t") != first)
    shutil.rmtree(followed.place / "t")
    await followed.until(lambda: followed.names == [])
    await followed.folder.close()
    put_tool(followed.place, "late", looping())
    assert followed.names == []


async def test_a_place_that_is_no_folder_is_told(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing else happens."""
    followed.place.write_text("a file")
    await followed.folder.sync()
    assert "is not readable" in caplog.text
    assert followed.names == []
