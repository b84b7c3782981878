"""The services of a process together, and the view of them that one call of a guest has."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sandbox.grant_events import GrantEvent, GrantKind, OnGrant, unheard
from sandbox.grants import Grants
from sandbox.services.database import DatabaseService
from sandbox.services.http import HttpService
from sandbox.services.json_body import bad_request, read_integer, read_object
from sandbox.services.kv import KvLimits, KvSession, KvStore
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError

__all__ = ["CallServices", "HostServices", "MemorySearch", "host_services"]

SEARCH_BYTES: Final = 64 * 1024
SEARCH_RESULTS: Final = 100

MemorySearch = Callable[[str, str, int], Awaitable[list[dict[str, Any]]]]
"""Search the part of the memory a guest may see: its name, the query, and most results."""

_KINDS: Final[dict[Service, GrantKind]] = {
    Service.KV_GET: "kv",
    Service.KV_PUT: "kv",
    Service.KV_DELETE: "kv",
    Service.KV_LIST: "kv",
    Service.HTTP: "host",
    Service.QUERY: "database",
    Service.MEMORY_SEARCH: "memory",
}


class HostServices:
    """Answers guests out of the services it was given; the others are ``unavailable``.

    ``on_grant`` hears of each grant used or refused. Belongs to one event loop; ``close`` it.
    As an ``Answerer`` of its own each write to the key-value store is applied at once; ``call``
    gives one that applies a call's writes together.
    """

    def __init__(
        self,
        *,
        http: HttpService | None = None,
        kv: KvStore | None = None,
        database: DatabaseService | None = None,
        memory: MemorySearch | None = None,
        kv_limits: KvLimits | None = None,
        on_grant: OnGrant = unheard,
    ) -> None:
        self.http = http
        self.kv = kv
        self.database = database
        self.memory = memory
        self.kv_limits = kv_limits or KvLimits()
        self.on_grant = on_grant

    def call(self, grants: Grants, on_grant: OnGrant | None = None) -> CallServices:
        """What one call of a guest with these grants asks; ``commit`` it when it succeeded."""
        return CallServices(self, grants, on_grant or self.on_grant)

    async def answer(self, request: HostRequest, on_grant: OnGrant | None = None) -> bytes | None:
        """Answer one question. Raises ``ServiceError``."""
        call = self.call(request.grants, on_grant)
        answer = await call.answer(request)
        call.commit()
        return answer

    async def close(self) -> None:
        """End what runs on threads."""
        if self.database is not None:
            await self.database.close()


class CallServices:
    """An ``Answerer`` for one call: its writes to the key-value store wait for ``commit``.

    ``kv_get`` and ``kv_list`` answer with the value and a JSON array of keys. ``kv_put`` answers
    with nothing; ``kv_delete`` with empty bytes when the key was there and None when it was not.
    """

    def __init__(self, services: HostServices, grants: Grants, on_grant: OnGrant) -> None:
        self._services = services
        self._grants = grants
        self._on_grant = on_grant
        self._told: set[str] = set()
        self._session: KvSession | None = None
        if services.kv is not None and grants.kv:
            self._session = KvSession(services.kv, grants.kv, services.kv_limits)

    @property
    def kv(self) -> KvSession | None:
        """The call's view of the key-value store, when it has one."""
        return self._session

    async def answer(self, request: HostRequest) -> bytes | None:
        """Answer one question of the call. Raises ``ServiceError``."""
        services, service = self._services, request.service
        if service is Service.HTTP and services.http is not None:
            return await services.http.answer(request, self._on_grant)
        if service is Service.QUERY and services.database is not None:
            return await services.database.answer(request, self._on_grant)
        if service is Service.MEMORY_SEARCH and services.memory is not None:
            return await self._search(services.memory, request)
        if _KINDS[service] == "kv" and services.kv is not None:
            return self._keyed(request)
        message = f"{service} is not available here"
        self._on_grant(GrantEvent(_KINDS[service], str(service), allowed=False, reason=message))
        raise ServiceError(Refusal.UNAVAILABLE, message)

    def commit(self) -> None:
        """Apply what the call wrote to the key-value store."""
        if self._session is not None:
            self._session.commit()

    def discard(self) -> None:
        """Forget what the call wrote."""
        if self._session is not None:
            self._session.discard()

    def _keyed(self, request: HostRequest) -> bytes | None:
        session = self._session
        if session is None:
            raise self._refused("kv", str(request.service), "no key-value store is granted")
        self._used("kv", f"{self._grants.kv} {request.service}")
        match request.service:
            case Service.KV_GET:
                return session.get(request.key)
            case Service.KV_PUT:
                session.put(request.key, request.body)
                return None
            case Service.KV_DELETE:
                return b"" if session.delete(request.key) else None
            case _:
                return session.listed(request.key)

    async def _search(self, search: MemorySearch, request: HostRequest) -> bytes:
        if not self._grants.memory:
            raise self._refused("memory", "memory_search", "no memory is granted")
        asked = read_object(request.body, ("query", "limit"), SEARCH_BYTES)
        query = asked.get("query")
        if not isinstance(query, str) or not query.strip():
            raise bad_request("query must be a text, not empty")
        limit = read_integer(asked, "limit", 10, 1, SEARCH_RESULTS)
        self._used("memory", self._grants.memory)
        left_s = request.deadline - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                found = await search(self._grants.memory, query, limit)
        except TimeoutError:
            raise ServiceError(
                Refusal.TIMEOUT, f"the search did not end within {int(left_s * 1000)} ms"
            ) from None
        return json.dumps({"results": found[:limit]}, ensure_ascii=False).encode()

    def _used(self, kind: GrantKind, what: str) -> None:
        # Once a call and kind: a guest may ask thousands of times.
        if what not in self._told:
            self._told.add(what)
            self._on_grant(GrantEvent(kind, what, allowed=True))

    def _refused(self, kind: GrantKind, what: str, reason: str) -> ServiceError:
        self._on_grant(GrantEvent(kind, what, allowed=False, reason=reason))
        return ServiceError(Refusal.NOT_GRANTED, f"{reason}. See permissions.{kind} of the policy")


def host_services(memory: MemorySearch | None = None) -> HostServices:
    """HTTP and databases with their default limits, and the memory when there is one."""
    return HostServices(http=HttpService(), database=DatabaseService(), memory=memory)
