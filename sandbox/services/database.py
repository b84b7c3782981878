"""Databases for guests: one statement a call, of the kinds that are granted, on a thread.

SQLite files are opened here; other sources through SQLAlchemy, which is an extra
(``pip install 'caxton[databases]'``). Where it can, the database itself keeps the limits; its own
account should still have no more rights than the grant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from sandbox.grant_events import GrantEvent, OnGrant
from sandbox.grants import DatabaseGrant, Grants
from sandbox.services.request import HostRequest, Refusal, ServiceError
from sandbox.services.rows import DatabaseLimits, Query, Rows, read_query
from sandbox.services.sql_statement import read_statement

__all__ = ["DatabaseService"]


class _Call(Protocol):
    def run(self) -> Rows: ...
    def stop(self) -> None: ...


class DatabaseService:
    """Answers the database questions of guests. Belongs to one event loop; close it.

    ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        limits: DatabaseLimits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or DatabaseLimits()
        self._clock = clock
        self._threads: ThreadPoolExecutor | None = None
        self._turns = asyncio.Semaphore(self._limits.concurrent)
        self._waiting = 0

    async def answer(self, request: HostRequest, on_grant: OnGrant) -> bytes:
        """The result as JSON. Raises ``ServiceError``."""
        query = read_query(request.body, self._limits)
        grant = _granted(query.database, request.grants, on_grant)
        left_s = min(self._limits.timeout_ms / 1000, request.deadline - self._clock())
        if self._waiting >= self._limits.waiting + self._limits.concurrent:
            raise ServiceError(
                Refusal.UNAVAILABLE,
                f"{self._waiting} statements are under way or waiting; try again later",
            )
        self._waiting += 1
        call: _Call | None = None
        try:
            async with asyncio.timeout(left_s):
                call = self._call(grant, query, time.monotonic() + left_s)
                result = await self._run(call)
        except TimeoutError:
            self._used(grant, query, on_grant)
            raise ServiceError(
                Refusal.TIMEOUT,
                f"the statement on {grant.name} did not end within {int(left_s * 1000)} ms",
            ) from None
        except ServiceError as error:
            if error.code is Refusal.NOT_GRANTED:
                on_grant(GrantEvent("database", grant.name, allowed=False, reason=error.message))
            else:
                self._used(grant, query, on_grant)
            raise
        finally:
            self._waiting -= 1
            if call is not None:
                call.stop()
        self._used(grant, query, on_grant)
        return result

    async def close(self) -> None:
        """Wait for the threads, whose statements end at their deadlines."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)

    def _used(self, grant: DatabaseGrant, query: Query, on_grant: OnGrant) -> None:
        on_grant(GrantEvent("database", f"{grant.name} {_kind(query)}", allowed=True))

    def _call(self, grant: DatabaseGrant, query: Query, deadline: float) -> _Call:
        if grant.url is None:
            from sandbox.services.sqlite_source import SqliteCall

            return SqliteCall(grant, query, deadline)
        from sandbox.services.sqlalchemy_source import SqlalchemyCall

        return SqlalchemyCall(grant, query, deadline)

    async def _run(self, call: _Call) -> bytes:
        await self._turns.acquire()
        try:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(
                    self._limits.concurrent, thread_name_prefix="sandbox database"
                )
            running = asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: call.run().encoded()
            )
        except BaseException:
            self._turns.release()
            raise
        # The turn is given back when the thread is free, which may be after we stopped waiting.
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    def _ended(self, running: asyncio.Future[bytes]) -> None:
        self._turns.release()
        if not running.cancelled():
            # Heard by whoever still waits; marked as seen for those who stopped.
            running.exception()


def _granted(name: str, grants: Grants, on_grant: OnGrant) -> DatabaseGrant:
    grant = grants.database(name)
    if grant is None:
        granted = ", ".join(grant.name for grant in grants.databases) or "none"
        message = f"database {name[:80]!r} is not granted; granted: {granted}"
        on_grant(GrantEvent("database", name[:80], allowed=False, reason=message))
        raise ServiceError(Refusal.NOT_GRANTED, message)
    return grant


def _kind(query: Query) -> str:
    try:
        return read_statement(query.sql).first
    except ServiceError:
        # SQLite took what the reader for all dialects found unclear.
        return "statement"
