"""The server: stops in time, leaves signals and the log alone."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time

import httpx2
import pytest
from fake_entry import FakeEntry
from serving import Serving

from caxton.api.app import make_app
from caxton.api.server import make_server


async def test_server_leaves_signals_alone() -> None:
    """Neither start nor stop touches a signal handler."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    server = make_server(make_app(FakeEntry()))
    serving = asyncio.ensure_future(server.serve())
    async with asyncio.timeout(5):
        while not server.started:
            await asyncio.sleep(0)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    server.should_exit = True
    await asyncio.wait_for(serving, 5)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_stop_cuts_streams_and_ends_waits() -> None:
    """An open stream ends at once, a waiting request with a problem, all within the deadline."""
    with Serving(drain_s=1) as node:
        node.entry.live = node.run(asyncio.Queue)
        node.entry.hold = node.run(asyncio.Event)
        found: dict[str, httpx2.Response] = {}

        def ask() -> None:
            found["reply"] = httpx2.post(
                f"{node.url}/api/v1/messages?wait=60s", json={"capability": "x"}, timeout=20
            )

        asking = threading.Thread(target=ask)
        asking.start()
        with httpx2.stream("GET", f"{node.url}/api/v1/events", timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 1000"
            assert asyncio.run_coroutine_threadsafe(node.entry.asked.wait(), node._loop).result(5)
            began = time.monotonic()
            node.server.should_exit = True
            assert list(lines)[-2:] == [": the node stops", ""]
        node.stop()
        asking.join(5)
    assert time.monotonic() - began < 5
    assert (found["reply"].status_code, found["reply"].json()["code"]) == (503, "NODE_NOT_READY")
    assert "message_id" in found["reply"].json()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port), 1)


def test_bad_request_line_hurts_nobody() -> None:
    """Bytes that are no HTTP get an answer, and the server goes on."""
    with Serving() as node:
        with socket.create_connection(("127.0.0.1", node.port), 5) as raw:
            raw.sendall(b"\x00\xff garbage\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400")
        assert httpx2.get(f"{node.url}/health").status_code == 200


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Connections have no Nagle delay, however the listener was made."""
    with Serving() as node:
        assert node.listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
