"""A real server on an ephemeral loopback port, in a thread of its own, over a fake node."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from fake_entry import FakeEntry

from caxton.api.app import Limits, make_app
from caxton.api.server import make_server


class Serving:
    """Serves while the block lasts; ``run`` does something on its loop."""

    def __init__(self, entry: FakeEntry | None = None, *, port: int = 0, drain_s: int = 5) -> None:
        self.entry = entry or FakeEntry()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = make_app(self.entry, limits=Limits(heartbeat_s=0.05))
        self.server = make_server(self.app, drain_s=drain_s)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        self._loop.run_until_complete(self.server.serve(sockets=[self.listener]))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(self, work: Callable[[], Any]) -> Any:
        """The result of ``work`` on the server's loop."""

        async def do() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(5)

    def stop(self) -> None:
        """End it and wait until it has ended."""
        self.server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()
