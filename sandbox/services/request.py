"""A guest's question to its host, and who answers it.

The questions and answers are bytes, most of them JSON; see ``sandbox.host`` for their shapes. A
service runs in the process that owns the sandbox, never in the guest's: a guest that took over its
worker has no connection, no file and no credential to steal there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from sandbox.grant_events import OnGrant
from sandbox.grants import Grants

__all__ = ["Answerer", "Ask", "HostRequest", "Refusal", "Service", "ServiceError", "nobody"]

ERROR_BYTES: Final = 4_096
"""Largest error a guest is told, so that a fixed buffer always holds it."""


class Service(StrEnum):
    """What can be asked for. Stable: the names are those of the imports."""

    KV_GET = "kv_get"
    KV_PUT = "kv_put"
    KV_DELETE = "kv_delete"
    KV_LIST = "kv_list"
    HTTP = "http"
    QUERY = "query"
    MEMORY_SEARCH = "memory_search"


class Refusal(StrEnum):
    """Why a question has no answer. Stable: guests match on it."""

    NOT_GRANTED = "not_granted"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class ServiceError(Exception):
    """A question was refused or failed. The guest is told both, and goes on."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def told(self) -> bytes:
        """What the guest gets: a JSON object of at most 4,096 bytes."""
        message = self.message.encode(errors="replace")[: ERROR_BYTES // 8]
        text = message.decode(errors="ignore")
        return json.dumps({"code": str(self.code), "message": text}).encode()


@dataclass(frozen=True, slots=True)
class HostRequest:
    """One question. ``key`` is used by the key-value services only, ``body`` by the others and by
    ``kv_put``. ``deadline`` is when the guest's own clock ends, on ``time.monotonic()``.
    """

    service: Service
    key: bytes
    body: bytes
    grants: Grants
    deadline: float


class Answerer(Protocol):
    """Answers the questions of guests."""

    async def answer(self, request: HostRequest, on_grant: OnGrant) -> bytes | None:
        """The answer; None where the key is not there, or there is nothing to say.

        ``on_grant`` is told of what is used or refused. Raises ``ServiceError``; must end by
        ``request.deadline``.
        """
        ...


Ask = Callable[[Service, bytes, bytes], bytes | None]
"""A question from inside a call: service, key, body. It blocks; answers as ``Answerer`` does."""


def nobody(service: Service, key: bytes, body: bytes) -> bytes | None:
    """The answerer of a guest that may ask for nothing."""
    raise ServiceError(Refusal.UNAVAILABLE, f"{service} is not offered here")
