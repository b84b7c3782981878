"""The repository itself: documented modules of a readable size, nothing of a machine in it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("actors", "caxton", "sandbox")
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def tracked() -> list[Path]:
    """The files git knows, or all of them in a copy without git."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return MODULES
    return [ROOT / name for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_documented_and_of_one_mind(path: Path) -> None:
    """A docstring says what it is; 450 lines are the most; ``__all__`` is real."""
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    # The error table is one list: cutting it in two would hide half of it.
    assert len(text.splitlines()) <= (900 if path.name == "errors.py" else 450)
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
            assert len(set(names)) == len(names)
            for name in names:
                assert re.search(rf"\b{name}\b", text.replace(f'"{name}"', "", 1)), name


def test_no_banned_words_name_a_module() -> None:
    """Nouns of the field, not places where anything goes."""
    banned = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core"}
    assert [path for path in MODULES if path.stem in banned] == []


def test_no_file_names_a_machine() -> None:
    """No home folder and no build path is committed."""
    needles = [os.fsencode(str(Path.home())) + b"/", os.fsencode(str(ROOT)) + b"/"]
    allowed = [b"/" + b"/"]
    found = []
    for path in tracked():
        if path.is_file() and path.suffix != ".wasm":
            data = path.read_bytes()
            found += [(path, n) for n in needles if n not in allowed and len(n) > 6 and n in data]
    assert found == []


def test_scripts_can_be_run() -> None:
    """What the README calls has its run bit."""
    names = ("up", "test", "check", "install", "build-tools", "check-tools", "memory-model",
             "memory-parity")  # fmt: skip
    for name in (*(f"scripts/{name}" for name in names), ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
