"""A benchmark that got slower is found, whatever the machine does meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def saved(folder: Path, name: str, cost: float, pace: float, kilobytes: float = 2.5) -> Path:
    """What ``--save`` writes."""
    file = folder / name
    row = {"mode": "flat out", "durability": "disk", "shards": 1}
    costs = {"server us/msg": cost, "loop ns": pace, "kB each": kilobytes}
    file.write_text(json.dumps({"benchmark": "route", "machine": {}, "rows": [row | costs]}))
    return file


def compare(before: Path, now: Path) -> subprocess.CompletedProcess[str]:
    """Run the command on two files."""
    return subprocess.run(
        [sys.executable, str(ROOT / "perf" / "compare.py"), str(before), str(now)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("cost", "pace", "kilobytes", "code"),
    [
        (10.0, 20.0, 2.5, 0),
        (24.0, 50.0, 2.5, 0),  # a slower machine
        (14.0, 20.0, 2.5, 1),
        (10.0, 10.0, 2.5, 1),  # a faster machine hides it
        (10.0, 20.0, 4.0, 1),
    ],
)
def test_costs_are_compared_at_the_same_pace(
    tmp_path: Path, cost: float, pace: float, kilobytes: float, code: int
) -> None:
    """More than the tolerance is an exit code of 1, and the row says so."""
    before = saved(tmp_path, "before.json", 10.0, 20.0)
    now = saved(tmp_path, "now.json", cost, pace, kilobytes)
    done = compare(before, now)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("worse" in done.stdout) == bool(code)
    assert "flat out, disk, 1" in done.stdout


def test_files_without_a_row_in_common_are_refused(tmp_path: Path) -> None:
    """A comparison of nothing is no comparison."""
    before = saved(tmp_path, "before.json", 10.0, 20.0)
    now = tmp_path / "now.json"
    now.write_text(
        json.dumps(
            {"benchmark": "route", "rows": [{"mode": "other", "us/msg": 1.0, "loop ns": 20.0}]}
        )
    )
    done = compare(before, now)
    assert done.returncode == 1
    assert "no row is in both files" in done.stderr
