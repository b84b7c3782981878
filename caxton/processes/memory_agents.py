"""What agent files say of their memory, read from the registry."""

from __future__ import annotations

from caxton.agents.definition import MemorySettings
from caxton.memory.model import fold
from caxton.storage.registry import Registry

__all__ = ["MemoryAgents"]


class MemoryAgents:
    """Follows the registry when it is asked."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = 0
        self._settings: dict[str, MemorySettings] = {}

    def __call__(self, name: str) -> MemorySettings | None:
        """The settings of the agent called ``name``; None where there is none."""
        for record in self._registry.since(self._revision):
            self._revision = max(self._revision, record.revision)
            key = fold(record.name)
            if record.removed or record.definition is None:
                self._settings.pop(key, None)
            else:
                self._settings[key] = record.definition.memory
        return self._settings.get(fold(name))
