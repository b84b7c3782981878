"""A writer of the memory is killed in the middle of it; the long form is a command."""

from __future__ import annotations

import pytest
from memory_store_kills import run

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed() -> None:
    """Nothing is there by half either, and what is left verifies, after each of ten kills."""
    assert run(10, seed=7).written > 100
