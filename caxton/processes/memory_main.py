"""The memory process: the one writer of the node's memory, with its index and its model."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from actors import ControlChannel, Link, LinkServer
from caxton.errors import CaxtonError, NotFound
from caxton.links.wire import Answer, Notice, Query, decode_payload
from caxton.memory.host import MemoryHost
from caxton.memory.wire import decode_request, encode_answer
from caxton.observe.logs import start_logging
from caxton.processes.layout import MEMORY, Layout
from caxton.processes.memory_agents import MemoryAgents
from caxton.processes.peers import answer, sender
from caxton.processes.tuning import tune
from caxton.storage.registry import Registry

__all__ = ["MemoryDesk", "run_memory"]

logger = logging.getLogger("caxton.memory")


class MemoryDesk:
    """Answers the questions of the other processes."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        """Answer one question."""
        if name != "memory":
            raise NotFound(kind="question", id=name)
        request = decode_request(arguments["request"])
        return encode_answer(await self._host.answer(request))

    # --- LinkEvents --------------------------------------------------------------------------

    def on_up(self, link: Link, fresh: bool) -> None:
        """A process is there; nobody waits for what an earlier one of its name had asked."""
        if fresh:
            self._forget(link.peer)

    def on_down(self, link: Link) -> None:
        """A process is gone, or its connection; its answers wait in the link."""

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A question came, or nobody waits for its answer any more."""
        try:
            sentence: Any = decode_payload(kind, payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # It would come again and again, and hold up what is behind it.
            logger.error("dropped a frame of kind %d from %s: %s", kind, link.peer, error)
            return
        if isinstance(sentence, Query):
            key = (link.peer, sentence.reference)
            task = asyncio.get_running_loop().create_task(self._answer(link, sentence))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        elif isinstance(sentence, Notice) and sentence.name == "cancel":
            running = self._tasks.get((link.peer, sentence.value))
            if running is not None:
                running.cancel()

    async def _answer(self, link: Link, query: Query) -> None:
        said: Answer = await answer(query, self)
        try:
            sender(link)(said)
        except CaxtonError as error:
            logger.warning("%s does not take its answers: %s", link.peer, error)

    def _forget(self, peer: str) -> None:
        for (asker, _), task in list(self._tasks.items()):
            if asker == peer:
                task.cancel()

    async def close(self) -> None:
        """Wait until what was asked is answered; the service bounds it."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=1.0)


async def run_memory(control: ControlChannel, layout: Layout) -> None:
    """Main of the memory process. It is ready at once: what is asked waits for the store."""
    config = layout.config
    start_logging(config, control.name, console=False)
    registry = Registry(config.data / "registry", readonly=True)

    def event(kind: str, subject: str, text: str) -> None:
        control.tell("event", kind, subject, text)

    # The index and the model stay as long as the process: no collection need look at them.
    host = MemoryHost(config, MemoryAgents(registry), event, opened=tune)
    desk = MemoryDesk(host)
    server = LinkServer(layout.socket(MEMORY), layout.identity(MEMORY), desk)
    host.start()
    await server.start()
    control.ready()
    timeout_s = await control.wait_drain()
    await host.close(max(1.0, timeout_s - 2.0))
    await desk.close()
    await server.close()
    registry.close()
