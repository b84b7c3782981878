"""The tools process: owns the sandbox workers, so that nothing a tool does touches a shard."""

from __future__ import annotations

import asyncio
from typing import Any

from actors import ControlChannel, Link, LinkServer
from caxton.agents.state import StateDesk, open_state
from caxton.links.wire import Query, decode_payload
from caxton.observe.logs import start_logging
from caxton.processes.layout import TOOLS, Layout
from caxton.processes.peers import answer, sender
from caxton.tools.runner import SandboxToolRunner

__all__ = ["run_tools"]


class _Tools:
    """Answers the questions of the shards."""

    def __init__(self, runner: SandboxToolRunner, state: StateDesk) -> None:
        self._runner = runner
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        """A question came."""
        sentence: Any = decode_payload(kind, payload)
        if isinstance(sentence, Query):
            task = asyncio.get_running_loop().create_task(self._answer(link, sentence))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, link: Link, query: Query) -> None:
        sender(link)(await answer(query, self))

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run a tool, or keep what an agent keeps."""
        if name == "state":
            return await self._state.answer(arguments)
        return await self._runner.answer(name, arguments)

    def on_up(self, link: Link, fresh: bool) -> None:
        """A shard is there."""

    def on_down(self, link: Link) -> None:
        """A shard is gone; its answers wait in the link."""


async def run_tools(control: ControlChannel, layout: Layout) -> None:
    """Main of the tools process."""
    config = layout.config
    start_logging(config, control.name, console=False)
    state = open_state(config)
    runner = SandboxToolRunner(config, state)
    tools = _Tools(runner, StateDesk(state))
    server = LinkServer(layout.socket(TOOLS), layout.identity(TOOLS), tools)
    await runner.start()
    await server.start()
    control.ready()
    await control.wait_drain()
    await server.close()
    await runner.close()
    await state.close()
