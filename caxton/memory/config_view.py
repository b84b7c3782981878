"""How the memory works, as operators see it."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["MemoryConfig"]


class MemoryConfig(msgspec.Struct, frozen=True):
    """How the memory works."""

    settings: dict[str, float | int]
    """What can be changed while it runs, as it is in force."""
    changed: tuple[str, ...]
    """Names of those that are not as the node's configuration says; kept over restarts."""
    allowed: dict[str, str]
    """Their ranges."""
    fixed: dict[str, Any]
    """What is read from the node's configuration when the memory starts."""
