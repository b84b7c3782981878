"""Building tools: what is in a folder, which compiler is taken, and how it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from caxton.errors import ToolBuildFailed, ToolchainMissing, ToolInvalid
from caxton.tools.compiling.builder import build, put_in_place
from caxton.tools.compiling.sources import Language, Shape, find_sources
from caxton.tools.compiling.toolchains import TOOLCHAINS, Machine, choose
from caxton.tools.compiling.world import WORLD_FILE
from caxton.tools.scaffold import scaffold, template_files

ROOT = Path(__file__).resolve().parents[3]
NO_PYTHON = "/nowhere/python"


def machine(folder: Path, **programs: str) -> Machine:
    """A machine that has nothing but these programs: shell scripts."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return Machine(path=str(folder), env={"HOME": str(folder)}, python=NO_PYTHON)


@pytest.mark.parametrize("language", list(Language))
def test_every_template_is_found_as_its_language(language: Language, tmp_path: Path) -> None:
    """And has what a tool needs: a description, a policy, cases and a next step."""
    written = scaffold("sample", language, tmp_path)
    sources = find_sources(tmp_path / "sample")
    assert sources.language is language
    assert sources.main.is_file()
    assert sources.module == tmp_path / "sample" / "sample.wasm"
    names = {path.name for path in written}
    assert {"policy.yaml", "basic.json", "README.md"} <= names
    assert ("tool.json" in names) is (language not in (Language.JS, Language.PYTHON))
    text = "".join(path.read_text() for path in written)
    assert not [mark for mark in ("{{name}}", "{{description}}", "{{path}}") if mark in text]
    assert "caxton tool build" in (tmp_path / "sample" / "README.md").read_text()
    assert set(template_files(language)) == {
        str(path.relative_to(tmp_path / "sample")).replace("sample", "NAME") for path in written
    }


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Also when it is a file."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("here", "file"):
        with pytest.raises(ToolInvalid, match="is there already"):
            scaffold(name, Language.WAT, tmp_path)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine"]
    with pytest.raises(ToolInvalid, match="a name is"):
        scaffold("../up", Language.WAT, tmp_path)


def test_agents_are_told_by_the_function_they_export() -> None:
    """So the same language makes both."""
    for name in ("counter_c", "counter_rust", "counter_go", "counter_as"):
        assert find_sources(ROOT / "examples" / "wasm-agents" / name).shape is Shape.AGENT
    assert find_sources(ROOT / "examples" / "tools" / "words_c").shape is Shape.COMMAND
    assert find_sources(ROOT / "examples" / "tools" / "words_js").shape is Shape.COMPONENT


def test_what_is_no_tool_says_so(tmp_path: Path) -> None:
    """No source, more than one language, no folder."""
    with pytest.raises(ToolInvalid, match="no source"):
        find_sources(tmp_path)
    (tmp_path / "a.c").write_text("")
    (tmp_path / "a.rs").write_text("")
    with pytest.raises(ToolInvalid, match=r"more than one language \(a\.c, a\.rs\)"):
        find_sources(tmp_path)
    with pytest.raises(ToolInvalid, match="is no folder"):
        find_sources(tmp_path / "a.c")


@pytest.mark.parametrize("language", [one for one in Language if TOOLCHAINS[one]])
def test_a_missing_compiler_is_named_with_what_installs_it(
    language: Language, tmp_path: Path
) -> None:
    """Each that could be taken."""
    scaffold("sample", language, tmp_path)
    with pytest.raises(ToolchainMissing) as caught:
        choose(find_sources(tmp_path / "sample"), machine(tmp_path / "bin"))
    for toolchain in TOOLCHAINS[language]:
        assert f"{toolchain.name} ({toolchain.install[:20]}" in str(caught.value)


def test_the_first_compiler_that_is_there_is_taken(tmp_path: Path) -> None:
    """A rustc without the target is passed over; npm's programs are found beside the tool."""
    scaffold("c_tool", Language.C, tmp_path)
    scaffold("rust_tool", Language.RUST, tmp_path)
    scaffold("js_tool", Language.JS, tmp_path)
    here = machine(tmp_path / "bin", zig="", node="")
    assert choose(find_sources(tmp_path / "c_tool"), here)[0].name == "zig"
    without = tmp_path / "without"
    with_target = tmp_path / "with"
    (with_target / "lib" / "rustlib" / "wasm32-wasip1" / "lib").mkdir(parents=True)
    machine(tmp_path / "one", rustc=f"echo {without}", cargo="")
    both = machine(tmp_path / "two", rustc=f"echo {with_target}")
    both = Machine(f"{tmp_path / 'one'}:{both.path}", both.env, both.python)
    toolchain, words = choose(find_sources(tmp_path / "rust_tool"), both)
    assert (toolchain.name, tuple(words)) == (
        "rustc", (str(tmp_path / "two" / "rustc"), "wasm32-wasip1"),
    )  # fmt: skip
    (tmp_path / "rust_tool" / "Cargo.toml").write_text("")
    assert choose(find_sources(tmp_path / "rust_tool"), both)[0].name == "cargo"
    program = tmp_path / "node_modules" / ".bin" / "componentize-qjs"
    program.parent.mkdir(parents=True)
    program.write_text("")
    toolchain, words = choose(find_sources(tmp_path / "js_tool"), here)
    assert tuple(words) == (str(program),)
    plan = toolchain.call(find_sources(tmp_path / "js_tool"), words, tmp_path)
    assert str(WORLD_FILE) in plan.arguments
    assert WORLD_FILE.is_file()


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    """With its exit code and its last words; nothing is written."""
    scaffold("sample", Language.GO, tmp_path)
    sources = find_sources(tmp_path / "sample")
    before = sorted(path.name for path in sources.folder.iterdir())
    broken = machine(tmp_path / "bin", go="echo main.go:7: no such thing >&2; exit 3")
    with pytest.raises(ToolBuildFailed, match=r"(?s)exit code 3\n.*main\.go:7: no such thing"):
        build(sources, broken)
    with pytest.raises(ToolBuildFailed, match="left 1 modules where one is needed"):
        build(sources, machine(tmp_path / "quiet", go="exit 0"))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "go").write_bytes(b"\x7fELF")
    (tmp_path / "odd" / "go").chmod(0o755)
    with pytest.raises(ToolBuildFailed, match="does not start"):
        build(sources, Machine(str(tmp_path / "odd"), {}, NO_PYTHON))
    assert sorted(path.name for path in sources.folder.iterdir()) == before


def test_a_compiler_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    """At the deadline."""
    scaffold("sample", Language.GO, tmp_path)
    child = tmp_path / "child"
    slow = machine(tmp_path / "bin", go=f"/bin/sleep 600 & echo $! > {child}; wait")
    started = time.monotonic()
    with pytest.raises(ToolBuildFailed, match=r"was not done in 0\.5 s"):
        build(find_sources(tmp_path / "sample"), slow, deadline_s=0.5)
    assert time.monotonic() - started < 20
    number = int(child.read_text())
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == "zombie"


def test_text_is_assembled_without_a_compiler(tmp_path: Path) -> None:
    """A mistake is told with its line."""
    scaffold("sample", Language.WAT, tmp_path)
    built = build(find_sources(tmp_path / "sample"), machine(tmp_path / "bin"))
    assert built.data[:8] == b"\0asm\1\0\0\0"
    (tmp_path / "sample" / "sample.wat").write_text("(module\n  (funk))")
    with pytest.raises(ToolBuildFailed, match=r"(?s)refused the text.*funk"):
        build(find_sources(tmp_path / "sample"))


def test_the_module_comes_at_once_or_not_at_all(tmp_path: Path) -> None:
    """No part of it is left beside."""
    target = tmp_path / "a.wasm"
    put_in_place(b"one", target)
    put_in_place(b"two", target)
    assert target.read_bytes() == b"two"
    with pytest.raises(OSError, match="directory"):
        put_in_place(b"x", tmp_path)
    assert os.listdir(tmp_path) == ["a.wasm"]
