"""The key-value store of guests: a part of its own for each, and a call's writes kept together.

A guest writes into a ``KvSession``; what it wrote is applied in one step when its call succeeded
and forgotten when it did not. Reads see the call's own writes.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sandbox.errors import InvalidSetting
from sandbox.services.request import Refusal, ServiceError

__all__ = ["KvLimits", "KvSession", "KvStore", "KvUsage", "MemoryKvStore"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

Changes = Mapping[str, bytes | None]
"""New values by key; None deletes."""


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
    """Where values are kept. Synchronous and quick: it is called on the event loop and between
    instructions of a guest, so it must not block noticeably. Safe to use from several threads.
    """

    def get(self, namespace: str, key: str) -> bytes | None:
        """The value; None where there is none."""
        ...

    def put(self, namespace: str, key: str, value: bytes) -> None:
        """Set one value."""
        ...

    def delete(self, namespace: str, key: str) -> bool:
        """Remove one value; whether it was there."""
        ...

    def list(self, namespace: str, prefix: str, limit: int) -> list[str]:
        """The first ``limit`` keys that begin with ``prefix``, sorted by code point."""
        ...

    def usage(self, namespace: str) -> KvUsage:
        """What the namespace holds."""
        ...

    def apply(self, namespace: str, changes: Changes) -> None:
        """Make all changes or, when it raises, none."""
        ...


@dataclass(slots=True)
class _Namespace:
    values: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    bytes: int = 0


class MemoryKvStore:
    """A store in memory, for tests and for guests whose state may end with the process."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}
        self._lock = threading.Lock()

    def get(self, namespace: str, key: str) -> bytes | None:
        """The value; None where there is none."""
        with self._lock:
            part = self._namespaces.get(namespace)
            return part.values.get(key) if part is not None else None

    def put(self, namespace: str, key: str, value: bytes) -> None:
        """Set one value."""
        self.apply(namespace, {key: value})

    def delete(self, namespace: str, key: str) -> bool:
        """Remove one value; whether it was there."""
        with self._lock:
            part = self._namespaces.get(namespace)
            if part is None or key not in part.values:
                return False
            self._change(part, key, None)
            return True

    def list(self, namespace: str, prefix: str, limit: int) -> list[str]:
        """The first ``limit`` keys that begin with ``prefix``, sorted."""
        with self._lock:
            part = self._namespaces.get(namespace)
            keys = part.keys if part is not None else []
            found: list[str] = []
            for key in keys[bisect.bisect_left(keys, prefix) :]:
                if len(found) >= limit or not key.startswith(prefix):
                    break
                found.append(key)
            return found

    def usage(self, namespace: str) -> KvUsage:
        """What the namespace holds."""
        with self._lock:
            part = self._namespaces.get(namespace)
            return KvUsage(len(part.values), part.bytes) if part is not None else KvUsage()

    def apply(self, namespace: str, changes: Changes) -> None:
        """Make all changes."""
        with self._lock:
            part = self._namespaces.setdefault(namespace, _Namespace())
            for key, value in changes.items():
                self._change(part, key, value)

    def _change(self, part: _Namespace, key: str, value: bytes | None) -> None:
        before = part.values.pop(key, None)
        if before is not None:
            part.bytes -= _size(key, before)
        if value is None:
            if before is not None:
                del part.keys[bisect.bisect_left(part.keys, key)]
            return
        if before is None:
            bisect.insort(part.keys, key)
        part.values[key] = bytes(value)
        part.bytes += _size(key, value)


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
        self._changes: dict[str, bytes | None] = {}
        self._keys = 0
        self._bytes = 0

    @property
    def changed(self) -> int:
        """How many keys wait for ``commit``."""
        return len(self._changes)

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
        size = self._bytes + _size(name, value) - (0 if before is None else _size(name, before))
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
        self._changes[name] = bytes(value)

    def delete(self, key: bytes) -> bool:
        """Remove a value; whether this call saw one."""
        name = self._key(key)
        before = self._get(name)
        if before is None:
            return False
        self._keys -= 1
        self._bytes -= _size(name, before)
        self._changes[name] = None
        return True

    def list(self, prefix: bytes) -> list[str]:
        """The keys this call sees that begin with ``prefix``, sorted, at most ``listed`` ones."""
        start = self._text(prefix)
        most = self._limits.listed
        stored = self._store.list(self._namespace, start, most + len(self._changes))
        seen = {key for key in stored if self._changes.get(key, b"") is not None}
        seen.update(
            key
            for key, value in self._changes.items()
            if value is not None and key.startswith(start)
        )
        return sorted(seen)[:most]

    def listed(self, prefix: bytes) -> bytes:
        """The same as a JSON array, as guests get it."""
        return json.dumps(self.list(prefix), ensure_ascii=False).encode()

    def commit(self) -> None:
        """Apply what was written, in one step; what follows starts anew."""
        changes = self._changes
        if changes:
            self._store.apply(self._namespace, changes)
        self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        self._changes = {}
        self._keys = self._bytes = 0

    def _get(self, name: str) -> bytes | None:
        if name in self._changes:
            return self._changes[name]
        return self._store.get(self._namespace, name)

    def _key(self, key: bytes) -> str:
        if not key:
            raise ServiceError(Refusal.BAD_REQUEST, "the key is empty")
        return self._text(key)

    def _text(self, key: bytes) -> str:
        if len(key) > self._limits.key_bytes:
            raise ServiceError(
                Refusal.TOO_LARGE,
                f"a key of {len(key)} bytes; at most {self._limits.key_bytes} are allowed",
            )
        try:
            return key.decode()
        except UnicodeDecodeError:
            raise ServiceError(Refusal.BAD_REQUEST, "the key is not UTF-8") from None


def _size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value)
