"""The short form of ``memory_index_kills.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("memory_index_kills.py")


@pytest.mark.process
def test_nothing_acknowledged_is_lost_and_the_index_agrees() -> None:
    """Killed a dozen times, at moments and at steps."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "12", "--seed", "6"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "none lost" in done.stdout
