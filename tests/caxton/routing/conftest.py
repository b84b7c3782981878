"""Engines that are stopped at the end of their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from engine import Engine


@pytest.fixture
async def make_engine(tmp_path: Path) -> AsyncIterator[Callable[..., Engine]]:
    """Makes engines."""
    made: list[Engine] = []

    def make(agents: dict[str, Any], **settings: Any) -> Engine:
        folder = tmp_path / f"engine-{len(made)}"
        folder.mkdir()
        engine = Engine(folder, agents, **settings)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.stop()
