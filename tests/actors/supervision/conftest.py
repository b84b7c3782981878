"""A bench for each test."""

from __future__ import annotations

import pytest
from supervision_bench import TreeBench


@pytest.fixture
def bench() -> TreeBench:
    return TreeBench()
