"""The pages on tools show the files that are in the repository, and these are what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caxton.tools.cases import read_cases
from caxton.tools.compiling.sources import Language
from caxton.tools.scaffold import scaffold
from caxton.tools.tool_files import find_tools, parse_description
from sandbox.abi import FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "write-a-tool.md"
BLOCK = re.compile(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)

EXAMPLES = {
    "words_c": Language.C,
    "words_rust": Language.RUST,
    "words_go": Language.GO,
    "words_js": Language.JS,
    "words_python": Language.PYTHON,
    "words_as": Language.ASSEMBLYSCRIPT,
    "echo_wat": Language.WAT,
}


def test_the_blocks_of_the_page_are_the_files_they_name() -> None:
    """Whole and to the letter."""
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 4
    for name, text in blocks:
        assert text == (ROOT / name).read_text(), name


@pytest.mark.parametrize(("name", "language"), EXAMPLES.items())
def test_the_examples_are_what_the_command_makes(
    name: str, language: Language, tmp_path: Path
) -> None:
    """A reader gets the same with ``caxton tool new``."""
    made = scaffold(name, language, tmp_path)
    for path in made:
        kept = ROOT / "examples" / "tools" / name / path.relative_to(tmp_path / name)
        assert kept.read_text() == path.read_text().replace(
            str(tmp_path / name), f"examples/tools/{name}"
        ), kept


def test_the_examples_are_tools_with_cases() -> None:
    """Described by a file where their source does not hold it."""
    found = {files.name: files for files in find_tools(ROOT / "examples" / "tools")}
    assert set(found) == {*EXAMPLES, "text_stats"}
    for name, files in found.items():
        assert len(read_cases(name, files.cases)) >= 2
        if files.description is not None:
            parse_description(files.description.read_bytes(), name, "tool.json")


def test_the_page_of_the_abi_names_every_import() -> None:
    """And shows each agent."""
    text = (ROOT / "docs" / "reference" / "wasm-abi.md").read_text()
    for one in FUNCTIONS:
        assert f"| `{one.module}.{one.name}` | `{one.type}` |" in text
    sources = [*(ROOT / "examples" / "wasm-agents").glob("*/*.[crgt]*")]
    shown = [path for path in sources if path.suffix in (".c", ".rs", ".ts", ".go")]
    assert len(shown) == 4
    for path in shown:
        assert path.read_text().rstrip() in text, path
