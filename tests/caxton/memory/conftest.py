"""Puts this folder on the path: the backend and the embedder that tests are made with are here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fake_embedder import FakeEmbedder
from memory_services import Desk, open_desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A service with a model."""
    async with open_desk(FakeEmbedder()) as made:
        yield made
