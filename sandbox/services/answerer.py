"""The services of a process together: who answers what guests ask, but for their keys."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sandbox.grant_events import GrantEvent, GrantKind, OnGrant
from sandbox.services.database import DatabaseService
from sandbox.services.http import HttpService
from sandbox.services.json_body import bad_request, read_integer, read_object
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError

__all__ = ["HostServices", "MemorySearch", "host_services"]

SEARCH_BYTES: Final = 64 * 1024
SEARCH_RESULTS: Final = 100

MemorySearch = Callable[[str, str, int], Awaitable[list[dict[str, Any]]]]
"""Search the part of the memory a guest may see: its name, the query, and most results."""

_KINDS: Final[dict[Service, GrantKind]] = {
    Service.HTTP: "host",
    Service.QUERY: "database",
    Service.MEMORY_SEARCH: "memory",
}


class HostServices:
    """Answers guests out of the services it was given; the others are ``unavailable``.

    Keys are answered by ``Questions`` itself. Belongs to one event loop; ``close`` it.
    """

    def __init__(
        self,
        *,
        http: HttpService | None = None,
        database: DatabaseService | None = None,
        memory: MemorySearch | None = None,
    ) -> None:
        self._http = http
        self._database = database
        self._memory = memory

    async def answer(self, request: HostRequest, on_grant: OnGrant) -> bytes | None:
        """Answer one question. See ``Answerer``."""
        service = request.service
        if service is Service.HTTP and self._http is not None:
            return await self._http.answer(request, on_grant)
        if service is Service.QUERY and self._database is not None:
            return await self._database.answer(request, on_grant)
        if service is Service.MEMORY_SEARCH and self._memory is not None:
            return await _search(self._memory, request, on_grant)
        message = f"{service} is not available here"
        kind = _KINDS.get(service, "kv")
        on_grant(GrantEvent(kind, str(service), allowed=False, reason=message))
        raise ServiceError(Refusal.UNAVAILABLE, message)

    async def close(self) -> None:
        """End what runs on threads."""
        if self._database is not None:
            await self._database.close()


def host_services(memory: MemorySearch | None = None) -> HostServices:
    """HTTP and databases with their default limits, and the memory when there is one."""
    return HostServices(http=HttpService(), database=DatabaseService(), memory=memory)


async def _search(search: MemorySearch, request: HostRequest, on_grant: OnGrant) -> bytes:
    scope = request.grants.memory
    if not scope:
        reason = "no memory is granted"
        on_grant(GrantEvent("memory", "memory_search", allowed=False, reason=reason))
        raise ServiceError(Refusal.NOT_GRANTED, f"{reason}. See permissions.memory of the policy")
    asked = read_object(request.body, ("query", "limit"), SEARCH_BYTES)
    query = asked.get("query")
    if not isinstance(query, str) or not query.strip():
        raise bad_request("query must be a text, not empty")
    limit = read_integer(asked, "limit", 10, 1, SEARCH_RESULTS)
    on_grant(GrantEvent("memory", scope, allowed=True))
    left_s = request.deadline - time.monotonic()
    try:
        async with asyncio.timeout(left_s):
            found = await search(scope, query, limit)
    except TimeoutError:
        raise ServiceError(
            Refusal.TIMEOUT, f"the search did not end within {int(left_s * 1000)} ms"
        ) from None
    return json.dumps({"results": found[:limit]}, ensure_ascii=False).encode()
