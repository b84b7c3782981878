"""The worked guests, built from their source and run, with the compilers that are here.

WebAssembly text needs none. The others are built where ``ziglang`` (in this Python or that of
``TOOLS_PYTHON``), ``go`` or ``componentize-py`` (on the path or beside that Python), a Rust with a
WebAssembly target, ``asc`` or ``componentize-qjs`` is found. ``scripts/check-tools`` has the
compilers for C, Go and Python.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

from caxton.errors import ToolchainMissing
from caxton.tools.cases import check, read_cases
from caxton.tools.compiling.builder import build, put_in_place
from caxton.tools.compiling.sources import Language, Sources, find_sources
from caxton.tools.compiling.toolchains import Machine, choose
from caxton.tools.tool_files import files_of
from caxton.tools.workbench import Workbench
from sandbox import Grants, Questions, Sandbox
from sandbox.memory_keys import MemoryKeys

EXAMPLES: Final = Path(__file__).resolve().parents[3] / "examples"

TOOLS: Final = (
    "echo_wat", "words_c", "words_rust", "words_go", "words_as", "words_js", "words_python",
)  # fmt: skip
AGENTS: Final = ("counter_c", "counter_rust", "counter_as")


def here() -> Machine:
    """This machine, with the Python that has the compiler of the shipped tools."""
    path = os.environ.get("PATH", os.defpath)
    python = os.environ.get("TOOLS_PYTHON")
    return Machine(path=f"{Path(python).parent}{os.pathsep}{path}" if python else path)


def can_build(folder: Path) -> bool:
    """Whether there is a compiler for what is in a folder."""
    sources = find_sources(folder)
    if sources.language is Language.WAT:
        return True
    try:
        choose(sources, here())
    except ToolchainMissing:
        return False
    return True


def copied(name: str, source: str, folder: Path) -> Sources:
    """The sources of an example in a folder of the test."""
    shutil.copytree(
        EXAMPLES / source / name, folder / name, ignore=shutil.ignore_patterns("*.wasm")
    )
    return find_sources(folder / name)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [one for one in TOOLS if can_build(EXAMPLES / "tools" / one)])
async def test_a_tool_is_built_and_passes_its_cases(name: str, tmp_path: Path) -> None:
    """By the compiler that is found, from its source alone."""
    sources = copied(name, "tools", tmp_path)
    put_in_place(build(sources, here()).data, sources.module)
    files = files_of(sources.folder)
    async with Workbench(tmp_path / "cache") as bench:
        (tool,) = await bench.tools(files)
        for case in read_cases(name, files.cases):
            outcome = await bench.call_as_asked(tool, case.arguments, sources.folder, {})
            assert check(case, outcome).differences == (), case.name
    assert tool.about.name == name


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [one for one in AGENTS if can_build(EXAMPLES / "wasm-agents" / one)]
)
async def test_an_agent_is_built_and_counts(name: str, tmp_path: Path) -> None:
    """In keys that outlive its instance; without them it says what to grant."""
    data = build(copied(name, "wasm-agents", tmp_path), here()).data
    keys = MemoryKeys()
    async with Sandbox(tmp_path / "cache", 1, questions=Questions(keys)) as sandbox:
        prepared = await sandbox.load(data)
        for first in (1, 6):
            guest = await prepared.open(grants=Grants(kv="own"))
            for count in range(first, first + 5):
                reply = await guest.exchange(b'{"content":"x"}')
                keys.apply("own", reply.written)
                assert f'"content":"messages so far: {count}"' in reply.data.decode()
            await guest.close()
        guest = await prepared.open()
        (line,) = (await guest.exchange(b"{}")).logs
        assert line.text == "no key-value store: grant kv in the agent file"
        assert line.level == 2
        await guest.close()
