"""The short form of the chaos run."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import Chaos, run

# A number of messages must be acknowledged between the kills.
pytestmark = [pytest.mark.process, pytest.mark.alone, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("durability", "seed"), [("process", 4), ("disk", 11)])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, durability: str, seed: int) -> None:
    """Shards, gateway, tools and supervisor killed, shards stopped: every promise holds."""
    chaos = Chaos(tmp_path, durability=durability, conversations=32)
    try:
        report, nemesis, dead, pending = await run(chaos, 6, seed, 1.0)
        assert report.faults == {}, f"seed {seed}, {dict(nemesis.done)}"
        assert (dead, pending) == (0, 0)
        assert report.acknowledged > 500
    finally:
        chaos.end()
