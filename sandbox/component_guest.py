"""A component as a guest: each call is a fresh instance in a worker."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Final, Protocol

from sandbox.components.functions import Function, is_fixed_world
from sandbox.engine import ComponentResult, GuestReply
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Module

__all__ = ["ComponentCaller", "ComponentGuest", "text_of"]

TOLD_CHARS: Final = 2_000
"""Most of a component's own words that stand in its error."""


class ComponentCaller(Protocol):
    """Calls functions of components; ``Sandbox`` and ``WorkerPool`` do."""

    def call_component(
        self,
        module: Module,
        function: str,
        arguments: bytes = b"{}",
        limits: Limits | None = None,
        grants: Grants | None = None,
        *,
        owner: str = "",
    ) -> Awaitable[ComponentResult]:
        """See ``WorkerPool.call_component``."""
        ...


class ComponentGuest:
    """An opened component. Made by ``Prepared.open``.

    In the world ``caxton:tool/tool``, ``call`` gives its input to ``call`` as text and returns the
    text that came back. Any other component has functions: ``invoke`` calls one of them, and
    ``call`` the only one, if there is one.
    """

    def __init__(
        self, caller: ComponentCaller, module: Module, limits: Limits, grants: Grants, owner: str
    ) -> None:
        self._caller = caller
        self._module = module
        self._given = (limits, grants)
        self._owner = owner
        self._closed = False
        self.functions: tuple[Function, ...] = module.functions
        """What it exports, also what cannot be called, with the reason."""
        self.is_tool = is_fixed_world(self.functions)
        """Whether it is of the world ``caxton:tool/tool``."""

    async def call(self, data: bytes) -> bytes:
        """Give it bytes and await its reply. See ``Guest``."""
        return (await self.exchange(data)).data

    async def exchange(self, data: bytes) -> GuestReply:
        """The same with its log and its cost; an ``err`` is ``guest_abort`` with its words."""
        if not self.is_tool:
            return _reply(await self.invoke(self._only().export, data), None)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise SandboxError(
                Reason.BAD_ARGUMENTS, f"the input is not UTF-8 at byte {error.start}", path=""
            ) from None
        result = await self.invoke("call", json.dumps({"input": text}).encode())
        return _reply(result, text_of(result.data))

    async def describe(self) -> bytes:
        """What the ``describe`` of a ``caxton:tool/tool`` gives. Raises ``SandboxError``."""
        return text_of((await self.invoke("describe")).data)

    async def invoke(self, function: str, arguments: bytes = b"{}") -> ComponentResult:
        """Call a function by its name among the exports.

        ``arguments`` is a JSON object by the names of its parameters. The ``err`` of a result is a
        result with ``failed``. Raises ``SandboxError``; ``bad_arguments`` names the place.
        """
        if self._closed:
            raise SandboxError(Reason.INSTANCE_DEAD, "the guest is closed", cause="it was closed")
        limits, grants = self._given
        return await self._caller.call_component(
            self._module, function, arguments, limits, grants, owner=self._owner
        )

    async def close(self) -> None:
        """Refuse further calls; there is nothing to free."""
        self._closed = True

    def _only(self) -> Function:
        callable_ones = [item for item in self.functions if not item.refused]
        if len(callable_ones) == 1:
            return callable_ones[0]
        names = ", ".join(item.export for item in callable_ones)
        raise SandboxError(
            Reason.MISSING_EXPORT,
            f"the component has several functions, say which one to invoke: {names}",
            export="call",
        )


def text_of(data: bytes) -> bytes:
    """The text that a JSON string stands for. Raises ``SandboxError`` (``killed``)."""
    try:
        text = json.loads(data)
    except ValueError:
        text = None
    if not isinstance(text, str):
        raise SandboxError(Reason.KILLED, "a worker gave no text for a string")
    return text.encode()


def _reply(result: ComponentResult, text: bytes | None) -> GuestReply:
    data = result.data if text is None else text
    if result.failed:
        said = data.decode(errors="replace")[:TOLD_CHARS]
        raise SandboxError(
            Reason.GUEST_ABORT, f"the tool failed: {said or 'it said nothing'}", text=said
        )
    return GuestReply(
        data, (), result.logs, result.logs_dropped, result.fuel_used, result.wall_ms,
        result.written, result.asked,
    )  # fmt: skip
