"""The line that sums up the runs of scripts/test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def suite(folder: Path, name: str, **counts: object) -> Path:
    """A result file as pytest writes it."""
    said = " ".join(f'{key}="{value}"' for key, value in counts.items())
    path = folder / name
    path.write_text(f"<testsuites><testsuite {said}></testsuite></testsuites>")
    return path


def line(*files: Path) -> subprocess.CompletedProcess[str]:
    """What the program prints."""
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "test_results.py"), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_runs_are_summed(tmp_path: Path) -> None:
    """Every kind of result, in pytest's words."""
    one = suite(tmp_path, "a.xml", tests=10, failures=1, errors=2, skipped=3, time="1.5")
    two = suite(tmp_path, "b.xml", tests=5, failures=0, errors=0, skipped=0, time="2.25")
    assert line(one, two).stdout == ("==== 1 failed, 9 passed, 3 skipped, 2 errors in 3.75s ====\n")
    assert line(two).stdout == "==== 5 passed in 2.25s ====\n"


def test_a_run_without_a_file_is_no_success(tmp_path: Path) -> None:
    """It says which is missing."""
    done = line(tmp_path / "gone.xml")
    assert done.returncode != 0
    assert "gone.xml" in done.stderr
