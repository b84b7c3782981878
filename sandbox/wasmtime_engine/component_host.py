"""The functions of ``caxton:tool/host`` for one call, on the host functions of all guests.

Texts take the place of ranges of memory: each is a memory of its own to ``HostCalls``, so that
limits, fuel and refusals are the same for components as for core modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar, Final

from wasmtime.component import Variant

from sandbox.host import ABSENT, REFUSED, U32, HostCalls
from sandbox.services.request import Refusal, ServiceError

__all__ = ["ComponentHost"]


class _Letter:
    """Bytes on their way in or out, as a guest's memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def size(self) -> int:
        """See ``GuestMemory``."""
        return U32

    def read(self, start: int, length: int) -> bytes:
        """See ``GuestMemory``."""
        return self.data[start : start + length]

    def write(self, _start: int, data: bytes) -> None:
        """See ``GuestMemory``."""
        self.data = data


class ComponentHost:
    """The host's side of one call of a component.

    The binding takes ``Variant`` for a result whose two sides have a Python type in common, and the
    bare value of either side for another: None, True or a list, or the text of the error.
    """

    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]]
    """By name in ``wit/tool.wit``; each takes this object and the guest's values."""

    def __init__(self, calls: HostCalls) -> None:
        self._calls = calls

    def log(self, level: int, msg: str) -> None:
        """Keep a line."""
        data = msg.encode()
        self._calls.log(_Letter(data), level, 0, len(data))

    def now(self) -> int:
        """Unix time in milliseconds."""
        return self._calls.now(_Letter())

    def http(self, request: str) -> Variant:
        """Send an HTTP request."""
        return self._forward(self._calls.http, request)

    def query(self, request: str) -> Variant:
        """Ask a database."""
        return self._forward(self._calls.query, request)

    def memory_search(self, request: str) -> Variant:
        """Search the memory."""
        return self._forward(self._calls.memory_search, request)

    def kv_get(self, key: str) -> Variant:
        """The value of a key, or none."""
        data = key.encode()
        given = self._calls.kv_get(_Letter(data), 0, len(data))
        if given == ABSENT:
            return _OK_NOTHING
        return self._taken(given)

    def kv_put(self, key: str, value: str) -> str | None:
        """Set a key."""
        name, data = key.encode(), value.encode()
        letter = _Letter(name + data)
        given = self._calls.kv_put(letter, 0, len(name), len(name), len(data))
        return str(self._taken(given).payload) if given == REFUSED else None

    def kv_delete(self, key: str) -> bool | str:
        """Remove a key."""
        data = key.encode()
        given = self._calls.kv_delete(_Letter(data), 0, len(data))
        return str(self._taken(given).payload) if given == REFUSED else given == 1

    def kv_list(self, prefix: str) -> list[str] | str:
        """The keys that begin with a prefix."""
        data = prefix.encode()
        answer = self._taken(self._calls.kv_list(_Letter(data), 0, len(data)))
        if answer.tag == "err":
            return str(answer.payload)
        return [str(name) for name in json.loads(str(answer.payload))]

    def _forward(self, ask: Callable[[_Letter, int, int], int], request: str) -> Variant:
        data = request.encode()
        return self._taken(ask(_Letter(data), 0, len(data)))

    def _taken(self, given: int) -> Variant:
        letter = _Letter()
        self._calls.take(letter, 0, U32)
        try:
            text = letter.data.decode()
        except UnicodeDecodeError:
            error = ServiceError(Refusal.FAILED, "the answer is not text in UTF-8")
            return Variant("err", error.told().decode())
        return Variant("err" if given == REFUSED else "ok", text)


_OK_NOTHING: Final = Variant("ok", None)

ComponentHost.FUNCTIONS = {
    "log": ComponentHost.log,
    "http": ComponentHost.http,
    "kv-get": ComponentHost.kv_get,
    "kv-put": ComponentHost.kv_put,
    "kv-delete": ComponentHost.kv_delete,
    "kv-list": ComponentHost.kv_list,
    "query": ComponentHost.query,
    "memory-search": ComponentHost.memory_search,
    "now": ComponentHost.now,
}
