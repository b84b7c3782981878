"""The link of a process to the memory process, which starts when the first one asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from actors import Link, LinkClient
from caxton.errors import CaxtonError, MemoryUnavailable, NodeNotReady
from caxton.links.questions import Questions
from caxton.links.wire import Answer, decode_payload
from caxton.memory.client import Memory
from caxton.memory.requests import MemoryStats, Request
from caxton.memory.service_times import deadline_s
from caxton.memory.wire import decode_answer, encode_request
from caxton.processes.layout import MEMORY, Layout
from caxton.processes.peers import sender
from caxton.views import MemoryView

__all__ = ["MemoryLink", "memory_view"]

logger = logging.getLogger("caxton.links")

UP_S: Final = 30.0
"""How long a question waits for the process."""
NEED_S: Final = 2.0
"""How often it is said that the process is needed, while it is not there."""
GLANCE_S: Final = 1.0
MARGIN_S: Final = 5.0
"""How much longer than the service an asker waits, so that it hears why."""


class MemoryLink:
    """See the module.

    Args:
        layout: the node.
        name: of this process's end.
        need: has the supervisor start the memory process; harmless when it runs.
    """

    def __init__(self, layout: Layout, name: str, need: Callable[[], object]) -> None:
        self._client = LinkClient(layout.socket(MEMORY), layout.identity(name), MEMORY, self)
        self._questions = Questions(sender(self._client.link), MEMORY)
        self._need = need
        self._backend = layout.config.memory_backend
        self._up = asyncio.Event()
        self._started = False
        self.memory = Memory(self.ask)
        """The memory, on behalf of an operator."""

    async def ask(self, request: Request) -> Any:
        """Put a request to the memory process. One that was under way when that ended is not
        repeated.

        Raises:
            MemoryUnavailable: the process is not there, or ended.
            CaxtonError: what the service answers.
        """
        raw = encode_request(request)
        if not self._up.is_set():
            await self._wait_up()
        try:
            answer = await self._questions.ask(
                "memory", {"request": raw}, deadline_s(request) + MARGIN_S, cancels=True
            )
        except NodeNotReady as error:
            raise self._unavailable(
                "its process ended while it was asked; what was to be written may be there"
            ) from error
        return decode_answer(request, answer)

    async def glance(self, runs: bool) -> MemoryView:
        """How the memory is; zeros where its process does not run, which this does not start."""
        if not runs:
            return MemoryView()
        self._connect()
        try:
            async with asyncio.timeout(GLANCE_S):
                await self._up.wait()
                return memory_view(await self.memory.stats())
        except (TimeoutError, CaxtonError) as error:
            return MemoryView(note=str(error) or f"no answer within {GLANCE_S:g} s")

    def _unavailable(self, reason: str) -> MemoryUnavailable:
        return MemoryUnavailable(backend=self._backend, reason=reason)

    def _connect(self) -> None:
        if not self._started:
            self._started = True
            self._client.start()

    async def _wait_up(self) -> None:
        self._connect()
        try:
            async with asyncio.timeout(UP_S):
                while not self._up.is_set():
                    self._need()
                    try:
                        async with asyncio.timeout(NEED_S):
                            await self._up.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise self._unavailable(f"its process was not there within {UP_S:g} s") from None

    def on_up(self, link: Link, fresh: bool) -> None:
        """The process is there."""
        self._up.set()

    def on_down(self, link: Link) -> None:
        """It is gone, and with it what it was asked."""
        self._up.clear()
        self._questions.lost()

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """It answered."""
        try:
            sentence = decode_payload(kind, payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # It would come again and again, and hold up what is behind it.
            logger.error("dropped a frame of kind %d from %s: %s", kind, link.peer, error)
            return
        if isinstance(sentence, Answer):
            self._questions.answered(sentence)

    async def close(self) -> None:
        """Close the link."""
        if self._started:
            await self._client.close()


def memory_view(stats: MemoryStats) -> MemoryView:
    """The memory as the node's status shows it."""
    return MemoryView(
        open=True,
        entities=stats.stats.entities,
        relations=stats.stats.relations,
        unembedded=stats.unembedded,
        searches=stats.searches,
        writes=stats.writes,
        note=stats.note,
    )
