"""Probes: is the process alive, and does the node take messages."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from caxton.api.entry import Entry
from caxton.errors import CaxtonError
from caxton.views import NodeView

__all__ = ["Check", "Health", "Readiness", "readiness"]


class Health(msgspec.Struct, frozen=True):
    """The process answers; nothing else was looked at."""

    status: Literal["healthy"]
    version: str


class Check(msgspec.Struct, frozen=True):
    """One part that the node needs."""

    name: str
    ok: bool
    detail: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether the node takes messages, and what stands against it."""

    status: Literal["starting", "ready", "degraded", "draining"]
    checks: tuple[Check, ...]


async def readiness(entry: Entry, timeout_s: float) -> Readiness:
    """Ask the node for its own account; one that gives none in ``timeout_s`` is degraded."""
    try:
        async with asyncio.timeout(timeout_s):
            view = await entry.status()
    except CaxtonError as error:
        return Readiness("degraded", (Check("status", ok=False, detail=error.detail),))
    except TimeoutError:
        detail = f"no answer within {timeout_s:g} s"
        return Readiness("degraded", (Check("status", ok=False, detail=detail),))
    return Readiness(view.state, tuple(_checks(view)))


def _checks(view: NodeView) -> list[Check]:
    checks = [
        Check(one.name, one.state == "ready", f"{one.state}, {one.restarts} restarts")
        for one in view.processes
    ]
    for shard in view.shards:
        room = not shard.pending_limit or shard.pending < shard.pending_limit
        detail = f"{shard.pending} of at most {shard.pending_limit} pending"
        checks.append(Check(f"shard {shard.shard}", room, detail))
    return checks
