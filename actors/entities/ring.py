"""Consistent hashing: entity ids to slots, slots to nodes.

An id always has the same slot; only slots move. The nodes of the slots are found by rendezvous
hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): each pair
of slot and node has a score, and a slot wants the node it has the highest score with. A node that
comes takes from each other node alike, one that goes leaves its slots to all the others alike, and
nothing else moves. Jump hashing moves as little, but only the last node may go; a ring of points
needs hundreds of points per node for the same balance.

Pure rendezvous spreads like dice. So no node has more than ``load_factor`` times its share
(Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2018): a full node
keeps the slots it has the highest scores with, and the others go to their next choice (Gale and
Shapley's deferred acceptance). What comes out depends on the nodes' names alone, not on the order
in which they came, and is the same in every process and on every version of Python.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import Final

__all__ = ["SLOTS", "assign", "moves", "slot_of"]

SLOTS: Final = 1_024
"""About ten times the processes of a large machine, and more."""
LOAD_FACTOR: Final = 1.1

_MASK: Final = (1 << 64) - 1


def slot_of(entity_id: str, slots: int = SLOTS) -> int:
    """The slot of an entity id, 0 to ``slots`` - 1; the same for ever."""
    digest = blake2b(entity_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % slots


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _mixed(value: int) -> int:
    """The finalizer of SplitMix64: every bit of the result depends on every bit of the value."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def assign(
    nodes: Iterable[str], slots: int = SLOTS, *, load_factor: float = LOAD_FACTOR
) -> tuple[str, ...]:
    """The node of each slot; empty without nodes.

    Args:
        nodes: their names, in any order.
        slots: how many there are. 1 to 65,536.
        load_factor: at most this many times its share, rounded up, is given to a node. 1 to 100.

    Raises:
        ValueError: a value is out of its range.
    """
    if not 1 <= slots <= 65_536:
        raise ValueError(f"slots: {slots!r} given, 1 to 65,536 allowed")
    if not 1 <= load_factor <= 100:
        raise ValueError(f"load_factor: {load_factor!r} given, 1 to 100 allowed")
    return _assign(tuple(sorted(set(nodes))), slots, load_factor)


@lru_cache(maxsize=16)
def _assign(names: tuple[str, ...], slots: int, load_factor: float) -> tuple[str, ...]:
    if not names:
        return ()
    room = ceil(load_factor * slots / len(names))
    numbers = [_number(name) for name in names]
    taken: list[list[tuple[int, int]]] = [[] for _ in names]
    wishes = [_wishes(slot, numbers) for slot in range(slots)]
    found = [0] * slots
    todo = list(range(slots))
    while todo:
        slot = todo.pop()
        score, node = wishes[slot].pop()
        held = taken[node]
        found[slot] = node
        if len(held) < room:
            heapq.heappush(held, (score, slot))
        else:
            # The slot this node cares least for goes on to its own next choice.
            todo.append(heapq.heappushpop(held, (score, slot))[1])
    return tuple(names[node] for node in found)


def _wishes(slot: int, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Score and place of each node, the best last."""
    salt = _mixed(slot)
    return sorted((_mixed(number ^ salt), place) for place, number in enumerate(numbers))


def moves(
    owners: Mapping[int, str] | Sequence[str], target: Sequence[str]
) -> list[tuple[int, str, str]]:
    """Slot, present and future node of what has to move."""
    present = owners.items() if isinstance(owners, Mapping) else enumerate(owners)
    return [(slot, old, target[slot]) for slot, old in present if old != target[slot]]
