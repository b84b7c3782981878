"""How many entities there are in each scope, and how many there may be of one agent."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

from caxton.errors import MemoryFull
from caxton.memory.backend import MemoryBackend
from caxton.memory.model import Scope, ScopeKind

__all__ = ["Room"]


class Room:
    """Counts along with what is written, for nobody else writes.

    Args:
        backend: counts once, at first use.
        limit: most entities in the scope of one agent; 0 for any number.
    """

    def __init__(self, backend: MemoryBackend, limit: int) -> None:
        self._backend = backend
        self._limit = limit
        self._counts: Counter[Scope] | None = None

    def bound(self, limit: int) -> None:
        """Set how many there may be of one agent; what is there already stays."""
        self._limit = limit

    async def load(self) -> None:
        """Count what is there."""
        stats = await self._backend.stats()
        self._counts = Counter({Scope.parse(key): n for key, n in stats.scopes.items()})

    def scopes(self) -> list[Scope]:
        """Those with entities: the shared ones first, then those of agents by name."""
        counts: Counter[Scope] = self._counts or Counter()
        shared = [ScopeKind.WORKSPACE, ScopeKind.GLOBAL, ScopeKind.AGENT]
        there = [scope for scope, count in counts.items() if count > 0]
        return sorted(there, key=lambda one: (shared.index(one.kind), one.owner))

    def less(self, scope: Scope, count: int) -> None:
        """Some are gone."""
        if self._counts is not None:
            self._counts[scope] -= count

    @contextlib.contextmanager
    def taken(self, more: Mapping[Scope, int]) -> Iterator[None]:
        """Some are to be written; they are not there if that fails.

        Raises:
            MemoryFull: there would be too many.
        """
        counts: Counter[Scope] = self._counts if self._counts is not None else Counter()
        for scope, count in more.items():
            there = counts[scope]
            if self._limit and scope.kind is ScopeKind.AGENT and there + count > self._limit:
                raise MemoryFull(memory_scope=scope.key, count=there, limit=self._limit)
        counts.update(more)
        try:
            yield
        except BaseException:
            counts.subtract(more)
            raise
