"""An agent at the *process* level: it lives in a worker of its own.

For agents that import WASI or questions that somebody else answers. Each costs a process (about
24 MiB), which is killed when the agent does not end by its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Self

from sandbox.call_errors import check_message
from sandbox.engine import GuestReply
from sandbox.errors import Reason, SandboxError
from sandbox.frames import Header, pack
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Module
from sandbox.pool import exchange
from sandbox.questions import Questions
from sandbox.quota import QuotaWatch
from sandbox.worker_frames import failure, guest_reply
from sandbox.worker_process import WorkerProcess
from sandbox.worker_requests import Asked, pack_request

__all__ = ["ProcessGuest"]

GRACE_S: Final = 0.25
FILE_BYTES: Final = 64 * 1024 * 1024

ALIVE: Final = frozenset({Reason.REPLY_TOO_LARGE, Reason.MESSAGE_TOO_LARGE})
"""Errors after which an agent goes on."""


class ProcessGuest:
    """A live agent module in its own worker. Made by ``open``."""

    def __init__(
        self,
        worker: WorkerProcess,
        limits: Limits,
        grants: Grants,
        questions: Questions,
        closed: Callable[[], None],
        owner: str,
    ) -> None:
        self._worker = worker
        self._limits = limits
        self._grants = grants
        self._questions = questions
        self._owner = owner
        self._on_close: Callable[[], None] | None = closed
        self._dead: str | None = None
        self._busy = False

    @classmethod
    async def open(
        cls,
        module: Module,
        limits: Limits,
        grants: Grants,
        questions: Questions,
        closed: Callable[[], None],
        owner: str = "",
    ) -> Self:
        """Start a worker and open the agent in it; its initialisers run within ``limits``.

        Raises ``SandboxError``; no process is left then.
        """
        worker = await WorkerProcess.start(limits.memory_bytes, FILE_BYTES)
        guest = cls(worker, limits, grants, questions, closed, owner)
        questions.opened(grants, owner)
        asked: Asked = (("op", "open"),)
        try:
            await guest._exchange(pack_request(module.artifact, limits, grants, asked))
        except BaseException:
            await guest._end("it could not be opened")
            raise
        return guest

    @property
    def pid(self) -> int:
        """Process id of its worker."""
        return self._worker.pid

    async def call(self, data: bytes) -> bytes:
        """Deliver one message. See ``Guest``."""
        return (await self.exchange(data)).data

    async def exchange(self, data: bytes) -> GuestReply:
        """Deliver one message. See ``Guest``; cancelling ends the agent."""
        if self._dead is not None:
            raise SandboxError(
                Reason.INSTANCE_DEAD,
                f"the guest ended earlier ({self._dead}); open a new one",
                cause=self._dead,
            )
        if self._busy:
            raise SandboxError(
                Reason.HOST_ERROR, "the guest is in a call; calls on one guest follow each other"
            )
        check_message("the message", data, self._limits)
        self._busy = True
        try:
            return guest_reply(*await self._exchange(pack({"op": "call"}, data)))
        except SandboxError as error:
            if error.reason not in ALIVE:
                await self._end(str(error.reason))
            raise
        except asyncio.CancelledError:
            await self._end("a call was cancelled")
            raise
        finally:
            self._busy = False

    async def close(self) -> None:
        """End its worker."""
        await self._end("it was closed")

    async def _exchange(self, frame: bytes) -> tuple[Header, bytes]:
        async with QuotaWatch(self._grants, self._worker.pid, self._worker.kill_now):
            answer = await exchange(
                self._worker, frame, self._limits, self._grants, self._questions, GRACE_S,
                self._owner,
            )  # fmt: skip
        error = failure(answer[0])
        if error is not None:
            raise error
        return answer

    async def _end(self, why: str) -> None:
        self._dead = self._dead or why
        closed, self._on_close = self._on_close, None
        if closed is not None:
            try:
                await asyncio.shield(self._worker.kill())
            finally:
                closed()
