"""The connection to Neo4j: every call bounded, retried as the driver does it, its errors ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

from neo4j import AsyncDriver, AsyncGraphDatabase, AsyncManagedTransaction, AsyncSession
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    DatabaseError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    TransientError,
)

from caxton.errors import MemoryUnavailable, StorageError
from caxton.memory.remote import RemoteTarget, deadline, shown_url, without_secret

__all__ = ["NAME", "Bolt"]

NAME: Final = "neo4j"
T = TypeVar("T")
Work = Callable[[AsyncManagedTransaction], Awaitable[T]]


class Bolt:
    """One driver with its pool of connections. Belongs to one event loop.

    Args:
        target: where the server is, and who asks.
    """

    def __init__(self, target: RemoteTarget) -> None:
        self.seconds = target.timeout_ms / 1_000
        """How long one call may take."""
        self._target = target
        self._driver: AsyncDriver | None = None

    async def open(self) -> None:
        """Connect, and see that the server answers.

        Raises:
            MemoryUnavailable: it does not, or refuses the user.
        """
        target = self._target
        async with self._mapped("the connection", self.seconds):
            self._driver = AsyncGraphDatabase.driver(
                target.url,
                auth=(target.user, target.secret.reveal()) if target.secret else None,
                connection_timeout=self.seconds,
                connection_acquisition_timeout=self.seconds,
                max_transaction_retry_time=self.seconds / 2,
                user_agent="caxton",
            )
        # With the database that is meant: a server may be there without it.
        await self.read("RETURN 1 AS one")

    async def close(self) -> None:
        """Close all connections."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.close()

    async def read(self, statement: str, /, **values: Any) -> list[dict[str, Any]]:
        """The rows of one statement.

        Raises:
            MemoryUnavailable: the server gives none.
        """

        async def rows(tx: AsyncManagedTransaction) -> list[dict[str, Any]]:
            result = await tx.run(statement, values)
            return [record.data() async for record in result]

        return await self.read_with(rows)

    async def read_with(self, work: Work[T]) -> T:
        """What ``work`` makes of a transaction that reads. It may be called more than once.

        Raises:
            MemoryUnavailable: the server does not answer.
        """
        async with self._mapped("a question", self.seconds), self._session() as session:
            return await session.execute_read(work)

    async def write_with(self, work: Work[T], *, size: int = 1) -> T:
        """What ``work`` makes of a transaction that writes, all or nothing.

        Args:
            work: may be called more than once, each time in a new transaction.
            size: how many records it writes; large ones may take longer.

        Raises:
            MemoryUnavailable: the server does not answer; whether it has written is not known.
            StorageError: it does not take what is written.
        """
        seconds = self.seconds * (1 + size / 500)
        async with self._mapped("a write", seconds, writes=True), self._session() as session:
            return await session.execute_write(work)

    async def understands(self, statement: str, /, **values: Any) -> bool:
        """Whether the server carries out a statement outside of a transaction of ours.

        Raises:
            MemoryUnavailable: it does not answer.
        """
        async with self._mapped("a statement", self.seconds), self._session() as session:
            try:
                await (await session.run(statement, values)).consume()
            except AuthError:
                raise
            except (ClientError, DatabaseError):
                return False
            return True

    def _session(self) -> AsyncSession:
        if self._driver is None:
            raise MemoryUnavailable(backend=NAME, reason="it is closed")
        return self._driver.session(**self._database())

    def _database(self) -> dict[str, Any]:
        return {"database": self._target.database} if self._target.database else {}

    @contextlib.asynccontextmanager
    async def _mapped(
        self, what: str, seconds: float, *, writes: bool = False
    ) -> AsyncIterator[None]:
        """Turn what the driver raises inside the block into our errors, without the password."""
        doubt = "; whether it has written is not known" if writes else ""
        try:
            async with deadline(NAME, seconds, what + doubt, shown_url(self._target.url)):
                yield
        except AuthError as error:
            raise self._unavailable(
                f"it refuses the user {self._target.user}: set memory.user and memory.password"
            ) from error
        except (ServiceUnavailable, TransientError) as error:
            raise self._unavailable(f"{self._said(error)}{doubt}") from error
        except Neo4jError as error:
            if writes:
                raise StorageError(store=NAME, reason=self._said(error)) from error
            raise self._unavailable(self._said(error)) from error
        except (DriverError, ConfigurationError, OSError, ValueError) as error:
            raise self._unavailable(f"{self._said(error)}{doubt}") from error

    def _unavailable(self, reason: str) -> MemoryUnavailable:
        return MemoryUnavailable(backend=NAME, reason=f"{shown_url(self._target.url)}: {reason}")

    def _said(self, error: Exception) -> str:
        said = getattr(error, "message", None) or str(error)
        return without_secret(f"{type(error).__name__}: {said}", self._target.secret)
