"""Isolation level *inline*: an agent module in this process, on a thread made for guests.

Only for modules whose imports are all the sandbox's own non-blocking host functions, which
``Module.level`` has established: fuel and epochs stop everything such a module can do.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.engine import AgentInstance, GuestReply
from sandbox.errors import Reason, SandboxError
from sandbox.guest_threads import GuestThreads


class InlineGuest:
    """A live agent module. Made by ``Sandbox.open_agent``.

    It keeps its memory between calls. After out_of_fuel, timeout, trap, bad_pointer,
    guest_abort or host_error it is dead: every later call raises ``instance_dead``.
    """

    def __init__(
        self, instance: AgentInstance, threads: GuestThreads, closed: Callable[[], None]
    ) -> None:
        self._instance = instance
        self._threads = threads
        self._on_close: Callable[[], None] | None = closed

    async def call(self, data: bytes) -> bytes:
        """Deliver one message and await the reply. See ``exchange``."""
        return (await self.exchange(data)).data

    async def exchange(self, data: bytes) -> GuestReply:
        """Deliver one message and await the reply, with what the guest sent, logged and wrote.

        Calls on one guest follow each other; a second one at the same time is refused
        (``host_error``). Cancelling gives up the wait; the guest runs on to its own deadline.
        Raises ``SandboxError``.
        """
        if self._threads.closed:
            raise SandboxError(
                Reason.INSTANCE_DEAD, "the sandbox of this guest is closed", cause="it was closed"
            )
        return await self._threads.call(self._instance.call, data)

    async def close(self) -> None:
        """Free the guest's memory, after a call in flight. May be called again."""
        closed, self._on_close = self._on_close, None
        if closed is None:
            return
        closed()
        if not self._threads.closed:
            await self._threads.call(self._instance.close)
