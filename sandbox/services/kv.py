"""The key-value store of guests: a part of its own for each, and a call's writes kept together.

A guest writes into a ``KvSession``; what it wrote is applied in one step when its call succeeded
and forgotten when it did not. Reads see the call's own writes.
"""

from __future__ import annotations

import bisect
import itertools
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sandbox.errors import InvalidSetting
from sandbox.services.request import Refusal, ServiceError

__all__ = ["KvLimits", "KvSession", "KvStore", "KvUsage", "MemoryKvStore", "Written"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

Written = Mapping[bytes, bytes | None]
"""Keys to values, as a call's result has them; None removes the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLimits:
    """Bounds of one namespace. Raises ``InvalidSetting`` when one is out of range."""

    key_bytes: int = 512
    """Longest key in UTF-8, in bytes. 1 to 4,096; default 512."""
    value_bytes: int = MIB
    """Longest value, in bytes. 0 to 32 MiB; default 1 MiB."""
    keys: int = 10_000
    """Most keys. 1 to 1,000,000; default 10,000."""
    total_bytes: int = 64 * MIB
    """Most bytes of keys and values together. 1 to 1 GiB; default 64 MiB."""
    listed: int = 10_000
    """Most keys one list returns. 1 to 1,000,000; default 10,000."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("key_bytes", 1, 4096),
            ("value_bytes", 0, 32 * MIB),
            ("keys", 1, 1_000_000),
            ("total_bytes", 1, 1024 * MIB),
            ("listed", 1, 1_000_000),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")


@dataclass(frozen=True, slots=True)
class KvUsage:
    """What a namespace holds: keys, and bytes of keys and values."""

    keys: int = 0
    bytes: int = 0


class KvStore(Protocol):
    """Where values are kept. A ``KeyReader`` that can be written.

    Synchronous and quick: it is called on the event loop and between instructions of a guest, so it
    must not block noticeably. Safe to use from several threads.
    """

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        ...

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        ...

    def usage(self, namespace: str) -> KvUsage:
        """What the namespace holds."""
        ...

    def apply(self, namespace: str, written: Written) -> None:
        """Make all changes or, when it raises ``ServiceError`` (``too_large``), none."""
        ...


@dataclass(slots=True)
class _Namespace:
    values: dict[bytes, bytes] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    bytes: int = 0


class MemoryKvStore:
    """A store in memory, for tests and for guests whose state may end with the process."""

    def __init__(self, limits: KvLimits | None = None) -> None:
        self._limits = limits or KvLimits()
        self._namespaces: dict[str, _Namespace] = {}
        self._lock = threading.Lock()

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        with self._lock:
            part = self._namespaces.get(namespace)
            return part.values.get(key) if part is not None else None

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """The keys that begin with ``prefix``, in order."""
        with self._lock:
            part = self._namespaces.get(namespace)
            if part is None:
                return []
            found = itertools.islice(part.keys, bisect.bisect_left(part.keys, prefix), None)
            return list(itertools.takewhile(lambda key: key.startswith(prefix), found))

    def usage(self, namespace: str) -> KvUsage:
        """What the namespace holds."""
        with self._lock:
            part = self._namespaces.get(namespace)
            return KvUsage(len(part.values), part.bytes) if part is not None else KvUsage()

    def apply(self, namespace: str, written: Written) -> None:
        """Make all changes or, when it raises ``ServiceError`` (``too_large``), none."""
        with self._lock:
            part = self._namespaces.setdefault(namespace, _Namespace())
            keys, size = len(part.values), part.bytes
            for key, value in written.items():
                before = part.values.get(key)
                keys += (value is not None) - (before is not None)
                size += _size(key, value) - _size(key, before)
            limits = self._limits
            if (keys > max(limits.keys, len(part.values))) or (
                size > max(limits.total_bytes, part.bytes)
            ):
                raise ServiceError(
                    Refusal.TOO_LARGE,
                    f"{namespace} would hold {keys} keys and {size} bytes; at most {limits.keys} "
                    f"and {limits.total_bytes} are allowed. Delete some",
                )
            for key, value in written.items():
                if part.values.pop(key, None) is not None:
                    del part.keys[bisect.bisect_left(part.keys, key)]
                if value is not None:
                    bisect.insort(part.keys, key)
                    part.values[key] = bytes(value)
            part.bytes = size


class KvSession:
    """One call's view of its namespace. Not for several threads at once.

    Keys and prefixes come as bytes from a guest and must be UTF-8. All methods raise
    ``ServiceError`` (``bad_request``, ``too_large``). Limits are checked with each write, so a
    guest hears of them where it can act.
    """

    def __init__(self, store: KvStore, namespace: str, limits: KvLimits | None = None) -> None:
        self._store = store
        self._namespace = namespace
        self._limits = limits or KvLimits()
        self._written: dict[bytes, bytes | None] = {}
        self._keys = 0
        self._bytes = 0

    @property
    def changed(self) -> int:
        """How many keys wait for ``commit``."""
        return len(self._written)

    def get(self, key: bytes) -> bytes | None:
        """The value this call sees; None where there is none."""
        return self._get(self._key(key))

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value, for this call now and for others with ``commit``."""
        name = self._key(key)
        limits = self._limits
        if len(value) > limits.value_bytes:
            raise ServiceError(
                Refusal.TOO_LARGE,
                f"a value of {len(value)} bytes; at most {limits.value_bytes} are allowed",
            )
        before = self._get(name)
        keys = self._keys + (before is None)
        size = self._bytes + _size(name, value) - _size(name, before)
        usage = self._store.usage(self._namespace)
        if before is None and usage.keys + keys > limits.keys:
            raise ServiceError(
                Refusal.TOO_LARGE, f"one key more than the {limits.keys} allowed; delete some"
            )
        if size > self._bytes and usage.bytes + size > limits.total_bytes:
            raise ServiceError(
                Refusal.TOO_LARGE,
                f"keys and values would be {usage.bytes + size} bytes together; at most "
                f"{limits.total_bytes} are allowed. Delete some",
            )
        self._keys, self._bytes = keys, size
        self._written[name] = bytes(value)

    def delete(self, key: bytes) -> bool:
        """Remove a value; whether this call saw one."""
        name = self._key(key)
        before = self._get(name)
        if before is None:
            return False
        self._keys -= 1
        self._bytes -= _size(name, before)
        self._written[name] = None
        return True

    def list(self, prefix: bytes) -> list[str]:
        """The keys this call sees that begin with ``prefix``, sorted, at most ``listed`` ones."""
        start = self._checked(prefix)
        seen = set(self._store.keys(self._namespace, start))
        for key, value in self._written.items():
            if key.startswith(start):
                (seen.discard if value is None else seen.add)(key)
        return [key.decode(errors="replace") for key in sorted(seen)[: self._limits.listed]]

    def listed(self, prefix: bytes) -> bytes:
        """The same as a JSON array, as guests get it."""
        return json.dumps(self.list(prefix), ensure_ascii=False).encode()

    def commit(self) -> None:
        """Apply what was written, in one step; what follows starts anew."""
        if self._written:
            self._store.apply(self._namespace, self._written)
        self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        self._written = {}
        self._keys = self._bytes = 0

    def _get(self, name: bytes) -> bytes | None:
        if name in self._written:
            return self._written[name]
        return self._store.get(self._namespace, name)

    def _key(self, key: bytes) -> bytes:
        if not key:
            raise ServiceError(Refusal.BAD_REQUEST, "the key is empty")
        return self._checked(key)

    def _checked(self, key: bytes) -> bytes:
        if len(key) > self._limits.key_bytes:
            raise ServiceError(
                Refusal.TOO_LARGE,
                f"a key of {len(key)} bytes; at most {self._limits.key_bytes} are allowed",
            )
        try:
            key.decode()
        except UnicodeDecodeError:
            raise ServiceError(Refusal.BAD_REQUEST, "the key is not UTF-8") from None
        return key


def _size(key: bytes, value: bytes | None) -> int:
    """What a key counts; nothing when it is not there."""
    return 0 if value is None else len(key) + len(value)
