"""Questions over a link: asked once, answered once, or failed at the deadline."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from caxton.errors import CaxtonError, NodeNotReady, Timeout, error_from_code
from caxton.links.wire import Answer, Notice, Query

__all__ = ["Questions"]

logger = logging.getLogger("caxton.links")


class Questions:
    """The asking side of one link.

    Args:
        send: puts a sentence on the link.
        part: name of the other side, for errors.
    """

    def __init__(self, send: Callable[[msgspec.Struct], None], part: str) -> None:
        self._send = send
        self._part = part
        # An answer to the process that this one replaces must not fit a question of ours.
        self._next = secrets.randbits(40) << 20
        self._open: dict[int, asyncio.Future[Any]] = {}

    async def ask(
        self,
        name: str,
        arguments: dict[str, Any],
        timeout_s: float = 10.0,
        *,
        cancels: bool = False,
    ) -> Any:
        """Ask and wait for the answer.

        Args:
            name: of the question.
            arguments: of the question.
            timeout_s: seconds to wait.
            cancels: tell the other side when nobody waits any more.

        Raises:
            Timeout: no answer within ``timeout_s`` seconds.
            CaxtonError: what the other side answered, or that it went away.
        """
        self._next += 1
        reference = self._next
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[reference] = future
        try:
            self._send(Query(reference, name, arguments))
            async with asyncio.timeout(timeout_s):
                return await future
        except asyncio.CancelledError:
            self._cancel(reference, cancels)
            raise
        except TimeoutError:
            self._cancel(reference, cancels)
            raise Timeout(
                what=f"answer of {self._part} to `{name}`", timeout_ms=int(timeout_s * 1_000)
            ) from None
        finally:
            self._open.pop(reference, None)

    def _cancel(self, reference: int, cancels: bool) -> None:
        if not cancels:
            return
        try:
            self._send(Notice("cancel", reference))
        except CaxtonError as error:
            logger.warning("%s was not told that nobody waits: %s", self._part, error)

    def answered(self, answer: Answer) -> None:
        """The other side answered."""
        future = self._open.get(answer.reference)
        if future is None or future.done():
            return
        if answer.code:
            future.set_exception(error_from_code(answer.code, answer.fields))
        else:
            future.set_result(answer.value)

    def lost(self) -> None:
        """The other side's process is gone, and with it the questions it had."""
        error: CaxtonError = NodeNotReady(part=self._part)
        for future in self._open.values():
            if not future.done():
                future.set_exception(error)
