"""The docs are true: pages current, links resolve, commands exist."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from caxton.agents.agent_file import parse_agent_file
from caxton.api.routes import ROUTES
from caxton.cli.reference import command_table
from caxton.tools.catalog import ToolCatalog

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("tests/*.md")])


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_reference_pages_are_current() -> None:
    """What the tables say is what the pages say."""
    command = [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    """Each `caxton` command of a shell block is one of the table."""
    known = {name for row in command_table()["commands"] for name in (row["name"], *row["also"])}
    for block in blocks(page, ""):
        for line in block.splitlines():
            words = re.sub(r"^\$ ", "", line).split()
            if words[:1] != ["caxton"] or len(words) < 2:
                continue
            assert words[1] in known or " ".join(words[1:3]) in known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_what_they_say(page: Path) -> None:
    """Python compiles, TOML parses, agent files are valid without a warning beside the page's own
    MCP servers."""
    for block in blocks(page, "python"):
        ast.parse(block)
    for block in blocks(page, "toml"):
        tomllib.loads(block)
    configured = [json.loads(one) for one in blocks(page, "json") if "mcpServers" in one]
    catalog = ToolCatalog.live(name for one in configured for name in one["mcpServers"])
    for block in blocks(page, "markdown"):
        parsed = parse_agent_file(block.encode(), page.name, catalog)
        assert parsed.warnings == (), block


def test_every_route_is_in_the_rest_page() -> None:
    """The page names each path of the table."""
    page = (ROOT / "docs" / "reference" / "rest.md").read_text()
    for route in ROUTES:
        path = re.sub(r"/\{\w+\}.*", "", route.path)
        assert path in page, route.path
