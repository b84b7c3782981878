"""An app over a fake node, and a client of it without sockets."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

sys.path.append(str(Path(__file__).parents[1]))

from fake_entry import FakeEntry

from caxton.api.app import make_app


@pytest.fixture
def entry() -> FakeEntry:
    """The node."""
    return FakeEntry()


@pytest.fixture
def app(entry: FakeEntry) -> Starlette:
    """The app in front of it."""
    return make_app(entry)


@pytest.fixture
async def http(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client inside the process; faults of the app come as the server would send them."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
def edge(app: Starlette) -> Any:
    """What the requests of the app share."""
    return app.state.edge
