"""The short form of ``memory_index_kills.py``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("memory_index_kills.py")


@pytest.mark.process
def test_nothing_acknowledged_is_lost_and_the_index_agrees() -> None:
    """Killed right after a snapshot, from which the next start is, and a dozen times more, at
    moments and at steps."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "12", "--seed", "6"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "none lost" in done.stdout
    found = re.search(r"(\d+) starts from a snapshot", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1]) >= 1
