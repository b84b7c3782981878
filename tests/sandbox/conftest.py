"""Shared: one sandbox per test, and the modules of the shipped tool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sandbox_http import Server
from sandbox_processes import MakeBox

from sandbox import Sandbox, WorkerPool


@pytest.fixture
async def sandbox(cache_dir: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with one worker, closed after the test with no process left."""
    box = Sandbox(cache_dir, workers=1)
    yield box
    pids = box.pids
    await box.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture(scope="session")
def csv_wasm() -> bytes:
    """The shipped CSV tool."""
    root = Path(__file__).resolve().parents[2]
    return (root / "caxton/tools/builtin/csv_parser/csv_parser.wasm").read_bytes()


@pytest.fixture
async def make_box(cache_dir: Path) -> AsyncIterator[MakeBox]:
    """Sandboxes with a pool of their own bounds."""
    boxes: list[Sandbox] = []

    def make(size: int = 1, **bounds: int) -> Sandbox:
        boxes.append(Sandbox(cache_dir, pool=WorkerPool(size, **bounds)))
        return boxes[-1]

    yield make
    for box in boxes:
        await box.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A plain HTTP server."""
    made = Server()
    await made.start()
    yield made
    await made.close()
