"""Keys of guests that are kept in memory only."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox.services.request import Refusal, ServiceError

__all__ = ["MemoryKeys"]

MIB: Final = 1024 * 1024

Written = Mapping[bytes, bytes | None]
"""Keys to values, as a call's result has them; None removes the key."""


@dataclass(slots=True)
class _Namespace:
    values: dict[bytes, bytes] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    bytes: int = 0


class MemoryKeys:
    """A key-value store in memory, for guests whose state may end with the process.

    A ``KeyReader``; safe to use from several threads.

    Args:
        most_keys: of a namespace.
        most_bytes: of a namespace, keys and values together.
    """

    def __init__(self, most_keys: int = 10_000, most_bytes: int = 64 * MIB) -> None:
        self._most_keys = most_keys
        self._most_bytes = most_bytes
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

    def apply(self, namespace: str, written: Written) -> None:
        """Make all changes or, when it raises ``ServiceError`` (``too_large``), none."""
        with self._lock:
            part = self._namespaces.setdefault(namespace, _Namespace())
            keys, size = len(part.values), part.bytes
            for key, value in written.items():
                before = part.values.get(key)
                keys += (value is not None) - (before is not None)
                size += _size(key, value) - _size(key, before)
            if keys > max(self._most_keys, len(part.values)) or size > max(
                self._most_bytes, part.bytes
            ):
                raise ServiceError(
                    Refusal.TOO_LARGE,
                    f"{namespace} would hold {keys} keys and {size} bytes; at most "
                    f"{self._most_keys} and {self._most_bytes} are allowed. Delete some",
                )
            for key, value in written.items():
                if part.values.pop(key, None) is not None:
                    del part.keys[bisect.bisect_left(part.keys, key)]
                if value is not None:
                    bisect.insort(part.keys, key)
                    part.values[key] = bytes(value)
            part.bytes = size


def _size(key: bytes, value: bytes | None) -> int:
    """What a key counts; nothing when it is not there."""
    return 0 if value is None else len(key) + len(value)
