"""The store as large arrays, for what builds an index of all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from caxton.memory.embedded.layout import FACTS

__all__ = ["Facts", "facts_of_rows", "term_blocks", "vector_blocks"]

_VECTOR_KEY = np.dtype([("eid", ">u8"), ("part", ">u2")])


class Facts(msgspec.Struct, frozen=True):
    """What is known of entities besides texts: one array for each column."""

    eid: NDArray[np.uint64]
    scope: NDArray[np.uint32]
    type: NDArray[np.uint32]
    model: NDArray[np.uint16]
    """Number of the model of its vectors; 0 without."""
    parts: NDArray[np.uint16]
    """How many vectors it has."""
    valid_from: NDArray[np.int64]
    """``layout.ALWAYS_FROM`` for None."""
    valid_to: NDArray[np.int64]
    """``layout.ALWAYS_TO`` for None."""


def facts_of_rows(keys: list[bytes], values: list[bytes]) -> Facts:
    """From rows of ``names``, ascending by eid.

    Raises:
        ValueError: a row is damaged.
    """
    scopes = np.frombuffer(b"".join([key[:4] for key in keys]), ">u4")
    rows = np.frombuffer(b"".join(values), FACTS)
    order = np.argsort(rows["eid"], kind="stable")
    rows = rows[order]
    return Facts(
        eid=rows["eid"].astype(np.uint64),
        scope=scopes[order].astype(np.uint32),
        type=rows["type"].astype(np.uint32),
        model=rows["model"].astype(np.uint16),
        parts=rows["parts"].astype(np.uint16),
        valid_from=rows["valid_from"].astype(np.int64),
        valid_to=rows["valid_to"].astype(np.int64),
    )


def _rows(
    txn: lmdb.Transaction[bytes], table: Any, count: int
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    rows = iter(txn.cursor(table))
    while block := list(islice(rows, count)):
        yield [key for key, _ in block], [value for _, value in block]


def vector_blocks(
    txn: lmdb.Transaction[bytes],
    tables: Mapping[str, Any],
    count: int,
    others: frozenset[int],
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float16]]]:
    """All vectors but those of the entities ``others``, ascending by ``(eid, part)``.

    Raises:
        ValueError: a row is damaged.
    """
    for keys, values in _rows(txn, tables["vectors"], count):
        eids = np.frombuffer(b"".join(keys), _VECTOR_KEY)["eid"].astype(np.uint64)
        if others:
            chosen = [at for at, eid in enumerate(eids.tolist()) if eid not in others]
            if not chosen:
                continue
            eids, values = eids[chosen], [values[at] for at in chosen]
        yield eids, np.frombuffer(b"".join(values), "<f2").reshape(len(values), -1)


def term_blocks(
    txn: lmdb.Transaction[bytes], tables: Mapping[str, Any], count: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]]:
    """The terms of all texts: eids, how many terms each has, and all terms one after another."""
    for keys, values in _rows(txn, tables["words"], count):
        yield (
            np.frombuffer(b"".join(keys), ">u8").astype(np.uint64),
            np.fromiter((len(one) // 4 for one in values), np.uint32, len(values)),
            np.frombuffer(b"".join(values), "<u4"),
        )
