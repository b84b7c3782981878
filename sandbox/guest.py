"""What is common to everything that was opened: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sandbox.engine import CommandResult, GuestReply, LogLine
from sandbox.errors import Reason, SandboxError
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.module import Module
from sandbox.pool import WorkerPool

__all__ = ["CommandGuest", "Guest"]

TOLD_BYTES = 2_000
"""Most of a failed command's own words that stand in its error."""


class Guest(Protocol):
    """An opened module: an agent that keeps its memory, or a tool that starts afresh each time."""

    async def call(self, data: bytes) -> bytes:
        """Give it bytes and await its reply. Raises ``SandboxError``."""
        ...

    async def exchange(self, data: bytes) -> GuestReply:
        """The same, with what it sent, logged, wrote and used. Raises ``SandboxError``."""
        ...

    async def close(self) -> None:
        """Free what it holds. May be called again."""
        ...


class CommandGuest:
    """A WASI command as a guest: each call is a fresh instance, standard input to output.

    A command that ends with another exit code than 0 is ``guest_abort``, with what it said.
    """

    def __init__(
        self,
        pool: WorkerPool,
        module: Module,
        limits: Limits,
        grants: Grants,
        args: tuple[str, ...] = (),
        owner: str = "",
    ) -> None:
        self._pool = pool
        self._given = (module, limits, grants, args)
        self._owner = owner
        self._closed = False

    async def call(self, data: bytes) -> bytes:
        """Run it once. See ``Guest``."""
        return (await self.exchange(data)).data

    async def exchange(self, data: bytes) -> GuestReply:
        """Run it once. See ``Guest``."""
        if self._closed:
            raise SandboxError(Reason.INSTANCE_DEAD, "the guest is closed", cause="it was closed")
        module, limits, grants, args = self._given
        result = await self._pool.run_command(module, data, limits, grants, args, owner=self._owner)
        if result.exit_code != 0:
            raise exited(result)
        written: Mapping[bytes, bytes | None] = result.written
        logs: tuple[LogLine, ...] = result.logs
        return GuestReply(
            result.stdout, (), logs, result.logs_dropped, result.fuel_used, result.wall_ms, written,
            result.asked, result.memory_bytes,
        )  # fmt: skip

    async def close(self) -> None:
        """Refuse further calls; there is nothing to free."""
        self._closed = True


def exited(result: CommandResult) -> SandboxError:
    """The error for a command that ended with another exit code than 0."""
    said = (result.stderr or result.stdout)[:TOLD_BYTES].decode(errors="replace").strip()
    return SandboxError(
        Reason.GUEST_ABORT,
        f"the command ended with exit code {result.exit_code}: {said or 'it said nothing'}",
        exit_code=result.exit_code,
        text=said,
    )
