"""Questions of guests on their way from a worker to whoever answers them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from sandbox.errors import Reason, SandboxError
from sandbox.frames import Header
from sandbox.grant_events import GrantEvent, OnGrant, given
from sandbox.grants import Grants
from sandbox.services.request import (
    Answerer,
    Ask,
    HostRequest,
    Refusal,
    Service,
    ServiceError,
)
from sandbox.worker_frames import NONSENSE, pack_answer, pack_service_error

__all__ = ["GrantHeard", "KeyReader", "Questions"]

_log = logging.getLogger(__name__)


class KeyReader(Protocol):
    """Reads a key-value store, without waiting. What guests write comes back with their results."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        ...

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        ...


GrantHeard = Callable[[str, GrantEvent], None]
"""Told whose guest used or was refused what; must not block."""


def unheard(_owner: str, _event: GrantEvent) -> None:
    """For callers that keep no audit trail."""


class Questions:
    """Who answers the guests of a sandbox, and who hears what they use.

    Args:
        keys: answers for the key-value store; None where there is none.
        answerer: answers everything else; None for nobody.
        on_grant: told of each grant that is used or refused.
    """

    def __init__(
        self,
        keys: KeyReader | None = None,
        answerer: Answerer | None = None,
        on_grant: GrantHeard = unheard,
    ) -> None:
        self._keys = keys
        self._answerer = answerer
        self._on_grant = on_grant

    def opened(self, grants: Grants, owner: str) -> None:
        """A guest begins with these folders and variables."""
        for event in given(grants):
            self._on_grant(owner, event)

    def inline(self, grants: Grants, owner: str) -> Ask:
        """The answers a guest in this process gets: those that need no waiting.

        It asks on a thread of its own. Its use of keys is told once, on the loop.
        """
        loop = asyncio.get_running_loop()
        told: set[GrantEvent] = set()

        def tell(event: GrantEvent) -> None:
            if event not in told:
                told.add(event)
                loop.call_soon_threadsafe(self._on_grant, owner, event)

        def ask(service: Service, key: bytes, _body: bytes) -> bytes | None:
            return self._of_keys(service, key, grants, tell)

        return ask

    async def frame(
        self, header: Header, body: bytes, grants: Grants, deadline: float, owner: str
    ) -> bytes:
        """The frame that answers a worker's question; ``deadline`` is on ``time.monotonic()``.

        Raises ``SandboxError`` (``killed``) when the worker asks nonsense.
        """
        try:
            service, cut = Service(header["ask"]), int(header["key"])
        except NONSENSE as error:
            raise SandboxError(Reason.KILLED, f"a worker asked nonsense: {error!r}") from None
        try:
            if service in {Service.KV_GET, Service.KV_LIST}:
                return pack_answer(
                    self._of_keys(service, body[:cut], grants, partial(self._on_grant, owner))
                )
            return pack_answer(await self._answer(service, body[cut:], grants, deadline, owner))
        except ServiceError as error:
            return pack_service_error(error)

    async def _answer(
        self, service: Service, body: bytes, grants: Grants, deadline: float, owner: str
    ) -> bytes | None:
        if self._answerer is None:
            raise ServiceError(Refusal.UNAVAILABLE, f"{service} is not offered here")
        request = HostRequest(service, b"", body, grants, deadline)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await self._answerer.answer(request, partial(self._on_grant, owner))
        except TimeoutError:
            raise ServiceError(
                Refusal.TIMEOUT, f"{service} had no answer before the call's own deadline"
            ) from None
        except ServiceError:
            raise
        except Exception as error:
            _log.exception("%s failed", service)
            raise ServiceError(
                Refusal.FAILED, f"{service} failed in the host: {type(error).__name__}"
            ) from error

    def _of_keys(self, service: Service, key: bytes, grants: Grants, tell: OnGrant) -> bytes | None:
        if self._keys is None:
            raise ServiceError(Refusal.UNAVAILABLE, "there is no key-value store here")
        if not grants.kv:
            why = "the key-value store is not granted; grant `kv`"
            tell(GrantEvent("kv", "keys", allowed=False, reason=why))
            raise ServiceError(Refusal.NOT_GRANTED, why)
        tell(GrantEvent("kv", f"keys of {grants.kv}", allowed=True))
        if service is Service.KV_LIST:
            names = self._keys.keys(grants.kv, key)
            return json.dumps([name.decode(errors="replace") for name in names]).encode()
        return self._keys.get(grants.kv, key)
