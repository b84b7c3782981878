"""The deadline of calls to a server of the memory, from the settings on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from caxton.config import Config
from caxton.errors import MemoryUnavailable
from caxton.memory.backends import make_backend

DEADLINE_S = 30.0


@pytest.mark.parametrize(
    ("name", "scheme"), [("qdrant", "http"), ("neo4j", "bolt")], ids=["qdrant", "neo4j"]
)
async def test_a_call_ends_when_the_settings_say(tmp_path: Path, name: str, scheme: str) -> None:
    """Of a server that takes connections and says nothing."""
    held: list[asyncio.StreamWriter] = []

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = make_backend(
        Config(
            data=tmp_path,
            memory_backend=name,
            memory_url=f"{scheme}://127.0.0.1:{port}",
            memory_timeout_ms=300,
        )
    )
    started = time.monotonic()
    try:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(MemoryUnavailable, match=r"within 0\.3 s"):
                await backend.start(None)
    finally:
        await backend.close()
        for writer in held:
            writer.close()
        server.close()
    assert time.monotonic() - started >= 0.3
    assert held
