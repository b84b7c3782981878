"""Changes of how the memory works, in the audit trail before they are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from caxton.memory.client import Memory
from caxton.memory.requests import Configure
from caxton.memory.tuning import check_changes

__all__ = ["CONFIGURED", "audited"]

CONFIGURED: Final = "memory.configured"


def audited(memory: Memory, audit: Callable[[str, str, str], Awaitable[None]]) -> Memory:
    """The same memory, whose changed settings are noted.

    Args:
        memory: on behalf of an operator.
        audit: writes a record; what it raises ends the change before it begins.
    """

    async def ask(request: Any) -> Any:
        if isinstance(request, Configure) and request.changes and request.agent is None:
            changes = check_changes(request.changes)
            said = ", ".join(
                f"{name}={'as configured' if value is None else value}"
                for name, value in changes.items()
            )
            await audit(CONFIGURED, "memory", said)
        return await memory.ask(request)

    return Memory(ask)
