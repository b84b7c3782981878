"""Each program of the actors page runs, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "actors.md"
PROGRAM = re.compile(r"^```python\n(.*?)^```\n+(?:```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
PROGRAMS = PROGRAM.findall(PAGE.read_text())


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_prints_what_the_page_says(number: int, tmp_path: Path) -> None:
    """As a file of its own, run by an interpreter of its own."""
    code, expected = PROGRAMS[number]
    assert expected, "a program without its output"
    file = tmp_path / "program.py"
    file.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    assert done.stdout == expected
    assert done.returncode == 0


def test_the_page_has_programs() -> None:
    """The pattern finds them."""
    assert len(PROGRAMS) >= 9
